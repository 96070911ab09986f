//go:build !unix

package websocket

import (
	"net"
	"syscall"
)

// rawConnOf returns nil: here a connection can only be waited for by reading.
func rawConnOf(net.Conn) syscall.RawConn { return nil }

// inputWaits reports whether there is input in the kernel, which nobody can tell
// here.
func (c *Conn) inputWaits() bool { return false }

// Without a RawConn none of these is ever called but bind.

type (
	readAttempt  struct{ callback func(uintptr) bool }
	writeAttempt struct{}
)

func (*readAttempt) bind(*Conn) {}

func (c *Conn) readRaw([]byte) (int, error)           { panic("websocket: no RawConn") }
func (c *Conn) tryWrite(*buffer, []byte) (int, error) { panic("websocket: no RawConn") }
