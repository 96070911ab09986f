//go:build !linux

package main

import "log"

func main() {
	log.Fatal("bench: the load generator needs Linux (epoll, /proc); the echo servers in cmd/echo run everywhere")
}
