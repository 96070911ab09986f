package websocket

import (
	"errors"
	"io"
	"math"
	"os"
	"unicode/utf8"
)

// permessage-deflate on a connection (RFC 7692, sections 6 and 7.2). What it
// makes of bytes is in compress.go, deflate.go and inflate.go.
//
// A compressed message is collected whole before it is inflated from memory,
// so that a read deadline finds nothing but bytes that have not been looked at.
// It is inflated even where nobody wants it: whoever sends what cannot be
// inflated hears of it, and the next message may refer back to it.
//
// With context takeover messages are compressed by the head of the line of
// writers, in the order in which they leave; Pongs do not wait for it, and
// what is enqueued meanwhile leaves behind it. Without, whoever writes
// compresses before it stands in line.

// A messageDeflate is the extension's part of a Conn.
type messageDeflate struct {
	read, write direction
	level       int
	threshold   int

	// Receiving, for who has the turn to read.
	inflater  inflater
	collected *buffer        // what has come of a compressed message; nil for nothing
	payload   []byte         // all of it: in collected or in the read buffer
	inflating *inflateReader // of payload, for NextReader and to skip
	size      int64          // bytes that inflating has returned

	// Sending with context takeover. This belongs to the mu of the writeHalf.
	deflater *deflater // nil before the first message and while one is compressed
	moved    bool      // the peer's window has got a message that deflater has not seen
}

// newMessageDeflate returns what the response r means for the end whose
// options o are.
func newMessageDeflate(o *Compression, r deflateParams, isClient bool) *messageDeflate {
	d := &messageDeflate{level: o.level()}
	d.write, d.read = o.agreed(r, isClient)
	d.threshold = o.threshold(d.write.takeover)
	if d.read.takeover {
		d.inflater = *newInflater(d.read.windowBits)
	}
	return d
}

// appendInflated reads the rest of a compressed message and appends it to dst.
func (c *Conn) appendInflated(dst []byte) ([]byte, error) {
	in, d := &c.in, c.deflate
	if err := c.collect(); err != nil {
		in.resumes = errors.Is(err, os.ErrDeadlineExceeded)
		return nil, err
	}
	start := len(dst)
	dst, err := d.inflater.appendMessage(dst, d.payload, in.limit.Load())
	if err != nil {
		return nil, err
	}
	c.inflated(int64(len(dst) - start))
	if in.opcode == OpText && !utf8.Valid(dst[start:]) {
		return nil, errTextNotUTF8
	}
	return dst, nil
}

// inflatePart returns the next bytes of a compressed message, at least one and
// at most n, which are valid until the next read. It returns io.EOF at the end
// of the message.
func (c *Conn) inflatePart(n int) ([]byte, error) {
	in, d := &c.in, c.deflate
	if d.inflating == nil {
		if err := c.collect(); err != nil {
			return nil, err
		}
		d.inflating = d.inflater.open(d.payload, in.limit.Load())
	}
	p, err := d.inflating.next(n)
	d.size += int64(len(p))
	switch {
	case err == io.EOF:
		c.inflated(d.size)
		return nil, c.endText(io.EOF)
	case err != nil:
		return nil, err
	}
	return p, c.checkText(p)
}

// collect reads the rest of a compressed message, into memory that grows with
// what has come. A small one stays where it is in the read buffer, which
// nobody reads into before the message has been inflated.
func (c *Conn) collect() error {
	in, d := &c.in, c.deflate
	for in.inMessage {
		err := c.toPayload()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		p, err := c.chunk(readBufferSize)
		if err != nil {
			return err
		}
		if d.collected == nil && in.fin && in.remaining == 0 {
			d.payload = p
			continue
		}
		if d.collected == nil {
			d.collected = getWriteBuffer()
		}
		d.collected.b = append(d.collected.b, p...)
	}
	if d.collected != nil {
		d.payload = d.collected.b
	}
	return nil
}

// inflated notes that a compressed message has been inflated to its end, to size
// bytes.
func (c *Conn) inflated(size int64) {
	c.in.compressed = false
	c.countMessage(size)
	c.deflate.releaseRead()
}

// releaseRead gives up what a message under way has of the pools.
func (d *messageDeflate) releaseRead() {
	if d.inflating != nil {
		d.inflating.release()
		d.inflating = nil
	}
	if d.collected != nil {
		putWriteBuffer(d.collected)
		d.collected = nil
	}
	d.payload, d.size = nil, 0
}

// maxCompressed returns how long a message may be while it is compressed, if
// it must not be longer than limit. What cannot be compressed becomes longer,
// by an eighth where all of it is sent in the fixed codes of nine bits.
func maxCompressed(limit int64) int64 { return limit + min(limit/8+64, math.MaxInt-limit) }

// compresses reports whether a message of n bytes is to be sent compressed.
func (d *messageDeflate) compresses(n int) bool { return d != nil && n >= d.threshold }

// takeDeflater returns a deflater for the next message. With context takeover
// the caller is the head of the line, and queueing is set. The caller holds mu.
func (c *Conn) takeDeflater() *deflater {
	d := c.deflate
	if !d.write.takeover {
		return getDeflater(d.level, d.write.windowBits)
	}
	z := d.deflater
	d.deflater = nil // a message that does not end spoils it
	if z == nil {
		z = newDeflater(d.level, d.write.windowBits)
	}
	if d.moved {
		z.forget()
	}
	d.moved = false
	return z
}

// giveDeflater takes back what takeDeflater returned, after the end of the
// message. The caller holds mu.
func (c *Conn) giveDeflater(z *deflater) {
	switch d := c.deflate; {
	case !d.write.takeover:
		putDeflater(z)
	case c.out.err == nil: // or else nothing is compressed any more
		d.deflater = z
	}
}

// pays reports whether a message of n bytes that has been compressed is to be
// sent so. With context takeover it is in the window already.
func (d *messageDeflate) pays(compressed, n int) bool { return d.write.takeover || compressed < n }

// writeCompressed is WriteMessage for a message that is to be compressed.
func (c *Conn) writeCompressed(op Opcode, p []byte) error {
	d, out := c.deflate, &c.out
	b := getWriteBuffer()
	defer putWriteBuffer(b)
	f := preparedFrame{FrameHeader{Fin: true, RSV1: true, Opcode: op}, nil, len(p)}
	if !d.write.takeover {
		b.b = appendDeflated(b.b, p, d.level, d.write.windowBits)
		f.p = b.b
		if !d.pays(len(b.b), len(p)) {
			f.h.RSV1, f.p = false, p
		}
		return c.writeWhole(&f)
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	if _, err := c.takeLine(nil); err != nil {
		return err
	}
	out.queueing = true // nothing may come before this message now
	z := c.takeDeflater()
	out.mu.Unlock()
	b.b = z.appendMessage(b.b, p)
	f.p = b.b
	out.mu.Lock()
	c.giveDeflater(z)
	if out.err != nil {
		return out.err
	}
	return c.writeFrame(&f)
}
