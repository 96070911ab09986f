package websocket

import (
	"errors"
	"io"
	"os"
	"slices"
	"sync/atomic"
)

// Reading, from the top down. Each layer only returns errors; readFailed, in
// ending.go, turns the first one into what every later read returns.
//
//	ReadMessage, NextReader   whole messages, messages as a stream
//	beginMessage, readPart    fragments put together, read limit, UTF-8
//	collect, inflatePart      compressed messages, in message_deflate.go
//	nextFrame                 headers checked, control frames answered, in read_frame.go
//	buffered, readDirect      payload, unmasked by unmask, there too
//	fill                      the read buffer, in wait.go
//
// All state is in readHalf. It stays as it is when a read deadline strikes,
// whatever had been reached, and the next call goes on from there.

// A readHalf is the receiving direction of a Conn. But for limit and deadline
// it belongs to the goroutine whose turn it is.
type readHalf struct {
	turn       // of the goroutine that reads
	err  error // what every read returns from now on

	// Bytes that have been read from the connection are in data; less than a
	// header that remains without a buffer is in rest.
	//
	//	data is a part of buf.b; within ReadMessage, where buf == nil, of what
	//	lend returns
	//	buf == nil implies len(data) == 0 outside of ReadMessage
	//	nrest > 0 implies buf == nil and len(data) == 0
	buf   *buffer
	data  []byte
	rest  [maxHeaderSize]byte
	nrest uint8

	// The header that was parsed last. Where ahead is not 0 data begins with
	// it.
	ahead  uint8 // its length
	header FrameHeader

	// The data frame whose header was read last. Control frames may stand
	// between it and the next one of its message.
	remaining int64 // bytes of its payload still to come
	fin       bool
	masked    bool
	maskKey   [4]byte
	maskPos   uint8 // the place of the next byte in the payload, modulo 4

	// A control frame whose payload is being read; its header is in header.
	inControl bool
	nControl  uint8 // bytes in controlPayload

	// The message under way, from its first header to its last byte.
	inMessage  bool
	compressed bool // it is, and has not been inflated to its end
	opcode     Opcode

	resumes bool // it is to be returned, beginning with saved, and not skipped

	// owes reports that frames may be pending which have to leave before the
	// reader waits, hasReplied that a Pong is among them, which has to leave
	// before the application gets the next message, too.
	owes       bool
	hasReplied bool

	text      textChecker
	controls  int32  // control frames since the last message; see countControl
	size      int64  // payload of the message's frames up to and with this one
	fragments int64  // how many these are
	count     uint64 // messages begun, to tell one reader from the next
	stats     readStats
	limit     atomic.Int64
	keepalive *keepalive // nil: off
	attempt   readAttempt
	deadline  readDeadline

	// What seldom is there.
	saved          []byte                   // what ReadMessage had read of the message when a deadline struck
	controlPayload *[maxControlPayload]byte // of a control frame that comes in pieces
	controlsSince  moment                   // when the first of controls came, or later
}

func (in *readHalf) init(c *Conn, early []byte) {
	in.attempt.bind(c)
	if len(early) > 0 {
		in.buf = getReadBuffer()
		if len(early) > len(in.buf.b) {
			in.buf = &buffer{b: slices.Clone(early)}
		}
		in.data = in.buf.b[:copy(in.buf.b, early)]
	}
}

// ReadMessage reads the next message and appends its payload to dst, which
// may be nil. It returns the message's opcode, [OpText] or [OpBinary], and the
// extended slice; text is valid UTF-8. On an error the slice is dst as it was.
//
// A loop that hands its slice back reads without allocating:
//
//	op, buf, err = c.ReadMessage(buf[:0])
//
// Up to its capacity dst is written to, also where the message is shorter or
// there is an error; nothing of it is kept.
//
// Memory grows with the bytes received and not with the length announced.
// Pings and Closes are answered when reading reaches them (section 5.5). Where
// the last reader of NextReader has not been read to its end, the rest of its
// message is skipped.
func (c *Conn) ReadMessage(dst []byte) (Opcode, []byte, error) {
	in := &c.in
	in.lock()
	defer in.unlock()
	var p []byte
	err := c.beginMessage(c.lend(dst))
	if err == nil {
		p, err = c.readMessage(dst)
	}
	in.reclaim()
	if err != nil {
		return 0, dst, c.readFailed(err)
	}
	return in.opcode, p, nil
}

// minLent is how long a message must be for a copy to cost more than to read
// into the caller's memory, which may have less room than the read buffer.
const minLent = 8 << 10

// lend returns the room behind dst, where a message like the last one would fit
// into it: the next bytes are read there, and the payload need not be copied but
// only moved over its header as it is unmasked. It returns nil where that does
// not pay.
func (c *Conn) lend(dst []byte) []byte {
	room := dst[len(dst):cap(dst)]
	if c.in.size < minLent || c.in.size+maxHeaderSize > int64(len(room)) || c.deflate != nil {
		return nil
	}
	return room[:min(len(room), readBufferSize)]
}

// reclaim moves to the read buffer what lies behind the message in memory that
// was lent.
func (in *readHalf) reclaim() {
	switch {
	case in.buf != nil:
	case len(in.data) > 0:
		in.buf = getReadBuffer()
		in.data = in.buf.b[:copy(in.buf.b, in.data)]
	default:
		in.data = nil // or the memory would be kept
	}
}

// readMessage reads the rest of the message and appends it to dst.
func (c *Conn) readMessage(dst []byte) (_ []byte, err error) {
	if c.in.compressed {
		dst, err = c.appendInflated(dst)
	} else {
		dst, err = c.appendPayload(dst)
	}
	if err != nil {
		return nil, err
	}
	if c.ending.Load() {
		return nil, errEnding
	}
	c.messageRead()
	return dst, nil
}

// appendPayload reads the rest of the message and appends it to dst.
func (c *Conn) appendPayload(dst []byte) ([]byte, error) {
	in := &c.in
	start := len(dst)
	dst = append(dst, in.saved...)
	in.saved = nil
	for {
		err := c.toPayload()
		if err == io.EOF {
			return dst, nil
		}
		if err == nil {
			if len(dst) == cap(dst) {
				// Room for the rest of the frame, but for no more than what
				// has come already or a buffer's worth: its length is only a
				// claim. With its header the next one like it will fit, too.
				room := max(len(dst)-start, readBufferSize)
				dst = slices.Grow(dst, int(min(in.remaining, int64(room)))+maxHeaderSize)
			}
			var n int
			n, err = c.readPayload(dst[len(dst):cap(dst)])
			dst = dst[:len(dst)+n]
		}
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				in.saved, in.resumes = slices.Clone(dst[start:]), true
			}
			return nil, err
		}
	}
}

// NextReader waits for the next message and returns its opcode and a reader
// of its payload, which ends with io.EOF. The reader is valid until the next
// call of NextReader or ReadMessage, which skips what it has left; the rules of
// text and the read limit count for that too. A reader's error is the
// connection's: after a read deadline it may be read further.
//
// A compressed message is inflated as it is read, once all of it has come.
func (c *Conn) NextReader() (Opcode, io.Reader, error) {
	in := &c.in
	in.lock()
	defer in.unlock()
	if err := c.beginMessage(nil); err != nil {
		return 0, nil, c.readFailed(err)
	}
	if in.hasReplied {
		c.settleDebts()
	}
	in.resumes = false
	return in.opcode, &messageReader{c, in.count}, nil
}

// A messageReader reads one message.
type messageReader struct {
	c     *Conn
	count uint64 // of the message it belongs to
}

var errStaleReader = errors.New("websocket: reader used after the next message has begun")

func (r *messageReader) Read(p []byte) (int, error) {
	c, in := r.c, &r.c.in
	in.lock()
	defer in.unlock()
	switch {
	case in.err != nil:
		return 0, in.err
	case in.count != r.count:
		return 0, errStaleReader
	case len(in.saved) > 0:
		n := copy(p, in.saved)
		in.saved = in.saved[n:]
		return n, nil
	case !in.inMessage && !in.compressed:
		return 0, io.EOF
	case len(p) == 0:
		return 0, nil
	}
	n, err := c.readPart(p)
	switch {
	case err == io.EOF:
		c.messageRead()
	case err != nil:
		return 0, c.readFailed(err)
	case in.hasReplied:
		c.settleDebts()
	}
	return n, err
}

// beginMessage reads up to the first header of the next message, or to
// nothing where a deadline left a message half read. Where nothing of it is there
// yet, the first read is into lent or, where that is nil, into the read buffer.
func (c *Conn) beginMessage(lent []byte) error {
	in := &c.in
	switch {
	case in.err != nil:
		return in.err
	case c.ending.Load():
		return errEnding
	case in.resumes:
		return nil
	}
	in.saved = nil
	for in.inMessage || in.compressed {
		if err := c.skipPart(); err != nil && err != io.EOF {
			return err
		}
	}
	if !in.inControl && len(in.data) == 0 && in.nrest == 0 {
		// The wait for a message, which is what an idle connection does. From
		// up here it fits in a goroutine's first 2 KiB of stack.
		if lent != nil {
			in.giveBack() // there is nothing in it
		}
		n, err := c.read(lent)
		if err != nil {
			return err
		}
		if lent != nil {
			in.data = lent[:n]
		}
	}
	if err := c.nextDataFrame(); err != nil {
		return err
	}
	in.count++
	return nil
}

// messageRead notes that a message has been read to its end.
func (c *Conn) messageRead() {
	in := &c.in
	in.resumes = false
	if in.hasReplied {
		c.settleDebts()
	}
	more := c.messageBuffered()
	if more != c.more.Load() {
		c.more.Store(more)
	}
	if more {
		in.owes = true // what is written until the next one may be held
	}
}

// messageBuffered reports whether a whole message has been read.
func (c *Conn) messageBuffered() bool {
	in := &c.in
	if len(in.data) == 0 {
		return false
	}
	whole, _ := in.parseAhead() // an error is for who reads the next message
	h := &in.header
	return whole && h.Fin && !h.Opcode.IsControl() && h.Length <= int64(len(in.data)-int(in.ahead))
}

// settleDebts sends what must not wait until the connection has been waited
// for. It does not wait itself.
func (c *Conn) settleDebts() {
	in := &c.in
	if !in.owes {
		return
	}
	in.owes, in.hasReplied = false, false
	c.more.Store(false)
	c.out.mu.Lock()
	c.flushAside()
	c.out.mu.Unlock()
}

// readPart reads the next bytes of the message into p, at least one unless p
// is empty. It returns io.EOF at the end of the message.
func (c *Conn) readPart(p []byte) (n int, err error) {
	if c.in.compressed {
		b, err := c.inflatePart(len(p))
		return copy(p, b), err
	}
	if err := c.toPayload(); err != nil || len(p) == 0 {
		return 0, err
	}
	return c.readPayload(p)
}

// readPayload reads payload of the frame under way into p: at least one byte,
// of which each is to come yet.
func (c *Conn) readPayload(p []byte) (n int, err error) {
	if len(c.in.data) == 0 && min(int64(len(p)), c.in.remaining) >= directSize {
		n, err = c.readDirect(p)
	} else {
		var wire []byte
		wire, err = c.buffered(len(p))
		n = len(wire)
		c.in.unmask(p, wire)
	}
	if err == nil {
		err = c.checkText(p[:n])
	}
	return n, err
}

// skipPart drops some bytes of the message. It returns io.EOF at its end.
func (c *Conn) skipPart() error {
	if c.in.compressed {
		_, err := c.inflatePart(readBufferSize)
		return err
	}
	if err := c.toPayload(); err != nil {
		return err
	}
	b, err := c.chunk(readBufferSize)
	if err != nil {
		return err
	}
	return c.checkText(b)
}

// checkText checks the next bytes of the message where it is text. A byte that
// cannot be right is reported at once (section 8.1).
func (c *Conn) checkText(p []byte) error {
	if c.in.opcode == OpText && !c.in.text.write(p) {
		return errTextNotUTF8
	}
	return nil
}

// endText returns err at the end of a message, unless that is text cut inside a
// character.
func (c *Conn) endText(err error) error {
	if c.in.opcode == OpText && !c.in.text.complete() {
		return errTextNotUTF8
	}
	return err
}

// toPayload reads headers up to a frame of the message with payload to come.
// It returns io.EOF at the end of the message.
func (c *Conn) toPayload() error {
	in := &c.in
	for in.remaining == 0 {
		if in.fin {
			in.inMessage = false
			in.controls = 0
			if in.compressed {
				return io.EOF
			}
			c.countMessage(in.size)
			return c.endText(io.EOF)
		}
		if err := c.nextDataFrame(); err != nil {
			return err
		}
	}
	return nil
}

// Beyond its first few a message's fragments must have this many bytes on
// average: smaller ones cost us far more than they bring.
const (
	freeFragments   = 1024
	minFragmentSize = 16
)

// nextDataFrame reads the next header of a data frame and counts it towards
// the limits. A length stays an int64 until that has been done.
func (c *Conn) nextDataFrame() error {
	in := &c.in
	if err := c.nextFrame(); err != nil {
		return err
	}
	if c.ending.Load() {
		return errEnding
	}
	if in.header.Opcode != OpContinuation {
		in.size, in.fragments = 0, 0
		in.text.reset()
	}
	limit := in.limit.Load()
	if in.compressed {
		limit = maxCompressed(limit)
	}
	if in.header.Length > limit-in.size {
		return errMessageTooBig
	}
	in.size += in.header.Length
	in.fragments++
	if in.size < (in.fragments-freeFragments)*minFragmentSize {
		return errManyFragments
	}
	return nil
}
