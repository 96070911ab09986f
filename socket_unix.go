//go:build unix && !(linux && (amd64 || arm64) && !purego && !race && !msan && !asan)

package websocket

import "syscall"

func socketRead(fd uintptr, p []byte) (int, syscall.Errno)  { return portableRead(fd, p) }
func socketWrite(fd uintptr, p []byte) (int, syscall.Errno) { return portableWrite(fd, p) }

// socketWriteBoth leaves it to package net to write two pieces at once.
func socketWriteBoth(uintptr, []byte, []byte) (int, syscall.Errno) { return 0, syscall.EAGAIN }
