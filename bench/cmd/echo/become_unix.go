//go:build unix

package main

import (
	"os"
	"syscall"
)

// become replaces this program by another, in the same process.
func become(argv []string) error {
	// To set the limit, even to what it is, makes the new program inherit it.
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)
	}
	return syscall.Exec(argv[0], argv, os.Environ())
}
