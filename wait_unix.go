//go:build unix

package websocket

import (
	"io"
	"net"
	"os"
	"syscall"
)

// rawConnOf returns what nc can be waited on with, or nil. Only these exact
// types qualify: a type that embeds one of them would promote its SyscallConn,
// and with it the methods that the type overrides would be passed over.
func rawConnOf(nc net.Conn) syscall.RawConn {
	var sc syscall.Conn
	switch nc := nc.(type) {
	case *net.TCPConn:
		sc = nc
	case *net.UnixConn:
		sc = nc
	default:
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// readRaw reads into direct or, where that is nil, into the read buffer,
// waiting until there is something. While it waits the Conn holds no buffer:
// the callback attempts the read and gives the buffer back when it finds
// nothing. It has to attempt it before it waits, even where the last read
// came back short, or an end of input that came with the data is missed.
func (c *Conn) readRaw(direct []byte) (int, error) {
	in := &c.in
	in.direct = direct
	err := c.raw.Read(in.attempt)
	in.direct = nil
	if err != nil {
		return 0, err
	}
	return in.n, in.readErr
}

// attemptRead is the callback of readRaw. It is bound once, into in.attempt.
func (c *Conn) attemptRead(fd uintptr) (done bool) {
	in := &c.in
	p := in.direct
	if p == nil {
		p = in.room()
	}
	n, err := syscall.Read(int(fd), p)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), p)
	}
	switch {
	case err == syscall.EAGAIN:
		in.giveBack()
		c.settleDebts()
		return false
	case err != nil:
		in.n, in.readErr = 0, c.opError("read", err)
	case n == 0:
		in.n, in.readErr = 0, io.EOF
	default:
		in.n, in.readErr = n, nil
	}
	return true
}

// tryWrite writes what can be written of p without waiting.
func (c *Conn) tryWrite(p []byte) (n int, err error) {
	rawErr := c.raw.Write(func(fd uintptr) bool {
		for n < len(p) {
			var m int
			m, err = syscall.Write(int(fd), p[n:])
			if err == syscall.EINTR {
				continue
			}
			if err != nil {
				break
			}
			n += m
		}
		return true
	})
	switch {
	case err == syscall.EAGAIN:
		return n, nil
	case err != nil:
		return n, c.opError("write", err)
	}
	return n, rawErr
}

// opError dresses an error of a system call as package net does.
func (c *Conn) opError(op string, err error) error {
	return &net.OpError{
		Op: op, Net: c.nc.LocalAddr().Network(), Source: c.nc.LocalAddr(), Addr: c.nc.RemoteAddr(),
		Err: os.NewSyscallError(op, err),
	}
}
