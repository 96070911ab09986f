package websocket

// The part of reading that knows frames: their headers, control frames, and
// payload as it comes, with read.go above it and wait.go below.

// nextFrame reads the next header of a data frame. Control frames before it
// are dealt with on the way.
func (c *Conn) nextFrame() error {
	in := &c.in
	for {
		if in.inControl {
			if err := c.readControl(); err != nil {
				return err
			}
		}
		h := &in.header
		for in.ahead == 0 {
			whole, err := in.parseAhead()
			if err == nil && !whole {
				err = c.fill()
			}
			if err != nil {
				return err
			}
		}
		if err := h.check(frameContext{!c.client, in.inMessage, c.deflate != nil}); err != nil {
			return err
		}
		in.data = in.data[in.ahead:]
		in.ahead = 0
		if h.Opcode.IsControl() {
			in.inControl = true
			continue
		}
		in.remaining, in.fin, in.masked = h.Length, h.Fin, h.Masked
		in.maskKey, in.maskPos = h.MaskKey, 0
		if h.Opcode != OpContinuation {
			in.inMessage, in.compressed, in.opcode = true, h.RSV1, h.Opcode
		}
		return nil
	}
}

// parseAhead parses the header that data begins with, and reports whether all
// of it is there.
func (in *readHalf) parseAhead() (whole bool, err error) {
	n, err := in.header.parse(in.data)
	in.ahead = uint8(n)
	return n > 0, err
}

// readControl reads the payload of a control frame and deals with it.
func (c *Conn) readControl() error {
	in := &c.in
	length := int(in.header.Length)
	var p []byte
	for len(p) < length {
		if len(in.data) == 0 {
			if err := c.fill(); err != nil {
				return err
			}
		}
		b := in.data[:min(len(in.data), length-int(in.nControl))]
		in.data = in.data[len(b):]
		if len(b) == length {
			p = b // all at once: no copy
			break
		}
		if in.controlPayload == nil {
			in.controlPayload = new([maxControlPayload]byte)
		}
		in.nControl += uint8(copy(in.controlPayload[in.nControl:], b))
		p = in.controlPayload[:in.nControl]
	}
	if in.header.Masked {
		Mask(p, in.header.MaskKey, 0)
	}
	in.inControl, in.controlPayload, in.nControl = false, nil, 0
	return c.handleControl(in.header.Opcode, p)
}

// chunk returns the next bytes of the frame's payload, unmasked where they are
// in the read buffer: at least one and at most n. They are valid until the
// next read.
func (c *Conn) chunk(n int) ([]byte, error) {
	p, err := c.buffered(n)
	c.in.unmask(p, p)
	return p, err
}

// buffered returns the next bytes of the frame's payload as they have come: at
// least one and at most n.
func (c *Conn) buffered(n int) ([]byte, error) {
	in := &c.in
	if len(in.data) == 0 {
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
	n = int(min(int64(n), int64(len(in.data)), in.remaining))
	p := in.data[:n]
	in.data = in.data[n:]
	return p, nil
}

// directSize is how much there must be to read for a copy to cost more than
// what a larger read might bring along.
const directSize = readBufferSize

// readDirect reads payload past the read buffer, which is empty.
func (c *Conn) readDirect(p []byte) (n int, err error) {
	in := &c.in
	n, err = c.read(p[:min(int64(len(p)), in.remaining)])
	in.unmask(p[:n], p[:n])
	return n, err
}

// unmask unmasks the next bytes of the frame's payload, which are src, into dst,
// and counts them.
func (in *readHalf) unmask(dst, src []byte) {
	inPlace := len(src) > 0 && &dst[0] == &src[0]
	switch {
	case in.masked && inPlace:
		in.maskPos = uint8(Mask(src, in.maskKey, int(in.maskPos)))
	case in.masked:
		in.maskPos = uint8(maskInto(dst, src, in.maskKey, int(in.maskPos)))
	case !inPlace:
		copy(dst, src)
	}
	in.remaining -= int64(len(src))
}
