package websocket

import "io"

// Waiting for input holds no pooled buffer. Where there is a RawConn, readRaw
// waits for the connection to become readable and only then takes one. Elsewhere
// the wait is a read into the few bytes of readHalf.rest. Inside a frame's
// payload such a connection, over TLS for instance, may keep its buffer.

// fill reads more into the read buffer. What is left there is less than a
// header.
func (c *Conn) fill() error {
	in := &c.in
	if c.raw != nil {
		n, err := c.readRaw(nil)
		if err != nil {
			in.giveBack()
			return err
		}
		in.data = in.buf.b[:len(in.data)+n]
		return nil
	}
	if in.remaining == 0 && !in.inControl {
		// Between frames: wait for a few bytes without a buffer. TLS, the
		// usual case, has the rest of its record ready for the next read.
		in.giveBack()
	}
	if in.buf == nil {
		n, err := c.readNet(in.rest[in.nrest:])
		in.nrest += n
		if err == nil {
			in.room()
		}
		return err
	}
	n, err := c.readNet(in.room())
	in.data = in.buf.b[:len(in.data)+n]
	return err
}

// readNet reads from the connection, at least one byte.
func (c *Conn) readNet(p []byte) (int, error) {
	c.settleDebts()
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
	if in.buf == nil {
		in.buf = getReadBuffer()
		in.data = in.buf.b[:copy(in.buf.b, in.rest[:in.nrest])]
		in.nrest = 0
	} else {
		in.data = in.buf.b[:copy(in.buf.b, in.data)]
	}
	return in.buf.b[len(in.data):]
}

// giveBack returns the read buffer to its pool. What is left in it, less than
// a header, stays behind in rest.
func (in *readHalf) giveBack() {
	if in.buf == nil {
		return
	}
	in.nrest = copy(in.rest[:], in.data)
	putReadBuffer(in.buf)
	in.buf, in.data = nil, nil
}
