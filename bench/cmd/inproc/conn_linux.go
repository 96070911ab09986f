package main

import (
	"bytes"
	"io"
	"net"
	"time"

	"rfc6455.example/websocket/bench/load"
)

// A memConn is a connection without a network: what is read from it are the
// same frames in a circle, after the answer to a client's handshake, and what
// is written to it is counted and gone.
type memConn struct {
	frames []byte
	at     int

	handshake []byte        // answer to be read first
	asked     []byte        // a client's request so far
	answered  chan struct{} // closed when there is an answer; nil for a server
	closed    bool

	reads, writes int64
}

func (c *memConn) Read(p []byte) (int, error) {
	if c.answered != nil {
		<-c.answered
	}
	if c.closed {
		return 0, net.ErrClosed
	}
	c.reads++
	if len(c.handshake) > 0 {
		n := copy(p, c.handshake)
		c.handshake = c.handshake[n:]
		return n, nil
	}
	if len(c.frames) == 0 {
		return 0, io.EOF
	}
	n := 0
	for n < len(p) {
		m := copy(p[n:], c.frames[c.at:])
		n += m
		if c.at += m; c.at == len(c.frames) {
			c.at = 0
		}
	}
	return n, nil
}

func (c *memConn) Write(p []byte) (int, error) {
	if c.closed {
		return 0, net.ErrClosed
	}
	c.writes++
	if c.answered != nil && c.handshake == nil {
		c.asked = append(c.asked, p...)
		if bytes.HasSuffix(c.asked, []byte("\r\n\r\n")) {
			response, err := load.Answer(bytes.NewReader(c.asked))
			if err != nil {
				return 0, err
			}
			c.handshake = response
			close(c.answered)
		}
	}
	return len(p), nil
}

func (c *memConn) Close() error                     { c.closed = true; return nil }
func (c *memConn) LocalAddr() net.Addr              { return memAddr{} }
func (c *memConn) RemoteAddr() net.Addr             { return memAddr{} }
func (c *memConn) SetDeadline(time.Time) error      { return nil }
func (c *memConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memConn) SetWriteDeadline(time.Time) error { return nil }

type memAddr struct{}

func (memAddr) Network() string { return "memory" }
func (memAddr) String() string  { return "memory" }
