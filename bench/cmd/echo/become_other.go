//go:build !unix

package main

import "errors"

func become([]string) error {
	return errors.New("a peer that is another program runs on Unix only")
}
