package websocket

import "io"

// Waiting for input holds no pooled buffer. Where there is a RawConn, readRaw
// waits for the connection to become readable and only then takes one. Elsewhere
// the wait is a read into the few bytes of readHalf.rest, or into what the caller
// of ReadMessage has lent. Inside a frame's
// payload such a connection, over TLS for instance, may keep its buffer.

// fill reads more into the read buffer. What is left in data is less than a
// header.
func (c *Conn) fill() error {
	_, err := c.read(nil)
	return err
}

// read waits for input and reads it: into direct or, where that is nil, into
// the read buffer behind what is left in data.
func (c *Conn) read(direct []byte) (n int, err error) {
	for {
		if c.raw != nil {
			n, err = c.readRaw(direct)
		} else {
			n, err = c.readNet(direct)
		}
		if err == nil {
			if c.in.keepalive != nil {
				c.heard()
			}
			return n, nil
		}
		if again, silent := c.keepAlive(err); silent != nil {
			return 0, silent
		} else if !again {
			return 0, err
		}
	}
}

// readNet is read for a connection without a RawConn.
func (c *Conn) readNet(direct []byte) (int, error) {
	in := &c.in
	c.settleDebts()
	if direct != nil || in.remaining == 0 && !in.inControl {
		// Without a buffer; between frames, for a few bytes. TLS, the usual
		// case, has the rest of its record ready for the next read.
		in.giveBack()
	}
	switch {
	case direct != nil:
		return c.readSome(direct)
	case in.buf == nil:
		n, err := c.readSome(in.rest[in.nrest:])
		in.nrest += uint8(n)
		if err == nil {
			in.room()
		}
		return n, err
	}
	n, err := c.readSome(in.room())
	in.data = in.buf.b[:len(in.data)+n]
	return n, err
}

// readSome reads from the connection below, at least one byte.
func (c *Conn) readSome(p []byte) (int, error) {
	began := c.in.keepalive.probeBegins()
	defer c.in.keepalive.probeEnds(began)
	for range 100 {
		n, err := c.nc.Read(p)
		if n > 0 {
			return n, nil // an error will come again
		}
		if err != nil {
			return 0, ioError{err}
		}
	}
	return 0, io.ErrNoProgress
}

// An ioError is an error of the connection below. That may be a WebSocket
// connection itself, whose errors are not to be taken for ours.
type ioError struct{ error }

func (e ioError) Unwrap() error { return e.error }

// room returns the free part of the read buffer, behind what is left in it,
// and takes a buffer where there is none.
func (in *readHalf) room() []byte {
	left := in.data
	if in.nrest > 0 {
		left = in.rest[:in.nrest]
		in.nrest = 0
	}
	if in.buf == nil {
		in.buf = getReadBuffer()
	}
	n := 0
	if len(left) > 0 { // most often not
		n = copy(in.buf.b, left)
	}
	in.data = in.buf.b[:n]
	return in.buf.b[n:]
}

// giveBack returns the read buffer to its pool. What is left in data, less than
// a header, stays behind in rest.
func (in *readHalf) giveBack() {
	if len(in.data) > 0 {
		in.nrest = uint8(copy(in.rest[:], in.data))
	}
	in.data = nil
	if in.buf != nil {
		putReadBuffer(in.buf)
		in.buf = nil
	}
}
