//go:build unix

package websocket

import (
	"crypto/tls"
	"errors"
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

// A readAttempt is what readRaw and its callback tell each other.
type readAttempt struct {
	direct   []byte
	n        int
	errno    syscall.Errno
	callback func(fd uintptr) (done bool)
}

func (a *readAttempt) bind(c *Conn) { a.callback = c.attemptRead }

// readRaw reads into direct or, where that is nil, into the read buffer,
// waiting until there is something. While it waits the Conn holds no buffer:
// the callback attempts the read and gives the buffer back when it finds
// nothing. It has to attempt it before it waits, even where the last read
// came back short, or an end of input that came with the data is missed.
func (c *Conn) readRaw(direct []byte) (int, error) {
	in, a := &c.in, &c.in.attempt
	a.direct = direct
	err := c.raw.Read(a.callback)
	a.direct = nil
	switch {
	case err != nil:
	case a.errno != 0:
		err = c.opError("read", a.errno)
	case a.n == 0:
		err = ioError{io.EOF} // not that of a message
	}
	if err != nil {
		in.giveBack()
		return 0, err
	}
	if direct == nil {
		in.data = in.buf.b[:len(in.data)+a.n]
	}
	return a.n, nil
}

// attemptRead is the callback of readRaw.
func (c *Conn) attemptRead(fd uintptr) (done bool) {
	in := &c.in
	p := in.attempt.direct
	if p == nil {
		p = in.room()
	}
	n, errno := socketRead(fd, p)
	for errno == syscall.EINTR {
		n, errno = socketRead(fd, p)
	}
	if errno == syscall.EAGAIN {
		in.giveBack()
		c.settleDebts()
		if in.keepalive != nil {
			in.keepalive.foundEmpty = true
		}
		return false
	}
	in.attempt.n, in.attempt.errno = n, errno
	return true
}

// inputWaits reports whether there is input in the kernel, which is left there.
// Below TLS it may be no more than an alert; to close the socket over it would
// reset the connection all the same.
func (c *Conn) inputWaits() (waits bool) {
	nc := c.nc
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	if raw := rawConnOf(nc); raw != nil {
		raw.Read(func(fd uintptr) bool {
			n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK)
			waits = err == nil && n > 0
			return true
		})
	}
	return waits
}

// A writeAttempt is what tryWrite and its callback tell each other.
type writeAttempt struct {
	payload  []byte // what follows the buffer
	n        int
	errno    syscall.Errno
	callback func(fd uintptr) (done bool)
}

// tryWrite writes what can be written of b, and of p after it, without waiting,
// so that a deadline means nothing to it.
func (c *Conn) tryWrite(b *buffer, p []byte) (n int, err error) {
	w := &b.write
	if w.callback == nil {
		w.callback = b.attemptWrite
	}
	w.payload, w.n, w.errno = p, 0, 0
	err = c.raw.Write(w.callback)
	w.payload = nil
	switch {
	case w.errno != 0 && w.errno != syscall.EAGAIN:
		err = c.opError("write", w.errno)
	case err != nil && errors.Is(err, os.ErrDeadlineExceeded):
		err = nil
	}
	return w.n, err
}

// attemptWrite is the callback of tryWrite. It is bound once for a buffer, into
// write.callback.
func (b *buffer) attemptWrite(fd uintptr) (done bool) {
	w := &b.write
	for w.errno == 0 {
		head, p := unsent(b.b, w.payload, w.n)
		var n int
		var errno syscall.Errno
		switch {
		case len(p) > 0:
			n, errno = socketWriteBoth(fd, head, p)
		case len(head) > 0:
			n, errno = socketWrite(fd, head)
		default:
			return true
		}
		switch errno {
		case 0:
			w.n += n
		case syscall.EINTR:
		default:
			w.errno = errno
		}
	}
	return true
}

// portableRead and portableWrite are system calls that do not wait.
func portableRead(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Read(int(fd), p)
	return n, errnoOf(err)
}

func portableWrite(fd uintptr, p []byte) (int, syscall.Errno) {
	n, err := syscall.Write(int(fd), p)
	return n, errnoOf(err)
}

// errnoOf returns what a function of package syscall has put in its error.
func errnoOf(err error) syscall.Errno {
	errno, _ := err.(syscall.Errno)
	return errno
}

// opError dresses an error of a system call as package net does.
func (c *Conn) opError(op string, err error) error {
	return &net.OpError{
		Op: op, Net: c.nc.LocalAddr().Network(), Source: c.nc.LocalAddr(), Addr: c.nc.RemoteAddr(),
		Err: os.NewSyscallError(op, err),
	}
}
