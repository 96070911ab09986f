//go:build linux && (amd64 || arm64) && !purego && !race && !msan && !asan

package websocket

import (
	"syscall"
	"unsafe"
)

// The system calls of which an echo consists, without telling Go's scheduler:
// they do not wait. As recvfrom, sendto and sendmsg they take the kernel less
// time than read, write and writev, and never wait even where somebody has made
// the socket a blocking one.
//
// What it is worth, bench tells: build it with and without -tags purego.

// maxQuick is how many bytes take so little time to be copied that a scheduler
// which does not know about it does no harm.
const maxQuick = 64 << 10

func socketRead(fd uintptr, p []byte) (int, syscall.Errno) {
	if len(p) > maxQuick {
		return portableRead(fd, p)
	}
	return quickly(syscall.SYS_RECVFROM, fd, p, syscall.MSG_DONTWAIT)
}

func socketWrite(fd uintptr, p []byte) (int, syscall.Errno) {
	if len(p) > maxQuick {
		return portableWrite(fd, p)
	}
	return quickly(syscall.SYS_SENDTO, fd, p, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
}

// socketWriteBoth writes a and then b with one system call. Where that would take
// long it leaves it to package net.
func socketWriteBoth(fd uintptr, a, b []byte) (int, syscall.Errno) {
	if len(a)+len(b) > maxQuick {
		return 0, syscall.EAGAIN
	}
	pieces := [2]syscall.Iovec{
		{Base: unsafe.SliceData(a), Len: uint64(len(a))},
		{Base: unsafe.SliceData(b), Len: uint64(len(b))},
	}
	m := syscall.Msghdr{Iov: &pieces[0], Iovlen: uint64(len(pieces))}
	n, _, errno := syscall.RawSyscall(syscall.SYS_SENDMSG, fd,
		uintptr(unsafe.Pointer(&m)), syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
	return int(n), errno
}

func quickly(call, fd uintptr, p []byte, flags uintptr) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall6(call, fd,
		uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
	return int(n), errno
}
