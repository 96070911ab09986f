package websocket

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
	"unicode/utf8"
)

// Writing is one pending buffer and one flusher at a time. A frame is appended
// to the buffer whole, then whoever finds no flusher at work becomes it. What
// others append meanwhile leaves with the next write, so that many writers
// share a system call.
//
// The role of the flusher passes on like this:
//
//	WriteMessage     writes its own frame, waiting as long as it takes, then
//	                 offers the role to the writer that waits for it; what
//	                 others have appended it sends as far as that needs no wait
//	flushAside       the reader's way, and that of Ping and Close: sends what
//	                 can be sent without waiting
//	flushRest        a goroutine that takes over what the two have to leave,
//	                 until nothing is pending
//
// So pending bytes never stand without a flusher or an armed hold timer, no
// writer is kept flushing for others, and reading never waits for writing.
const (
	// maxAppend is the largest payload that is copied into the pending buffer.
	maxAppend = 32 << 10

	// maxPending is how many bytes may wait before writers have to.
	maxPending = 64 << 10

	// maxHeld and holdTime bound the replies that wait for the next one.
	maxHeld  = 8 << 10
	holdTime = time.Millisecond

	// maxRounds is how often a writer flushes for others.
	maxRounds = 8
)

// A writeHalf is the sending direction of a Conn. It belongs to mu, which is
// never held while waiting.
type writeHalf struct {
	mu  sync.Mutex
	err error // what every write returns from now on

	pending  *buffer // frames that no flusher has taken; nil where there are none
	flushing bool    // somebody has the role of the flusher

	// The line of those who write messages. Only its head may add data
	// frames. It does not wait but for the flusher's role, or it is a
	// NextWriter between its first and last frame.
	busy bool
	line []chan struct{} // those behind the head, first come first served
	head *roleRequest    // the head, while it waits for the role

	deadline time.Time // the application's
	armed    time.Time // what has been set on the connection
	closeBy  time.Time // when the closing handshake has to be over

	timer struct {
		hold    *time.Timer // sends held frames
		holding bool        // it is armed
		line    *time.Timer // ends the line's wait at deadline
	}

	changed chan struct{} // closed at the next change; see watch

	pongs         int // bytes of Pongs in pending
	latestPong    []byte
	hasLatestPong bool
	pings         []*ping // waiting, in the order of their ids
	pingID        uint64

	halfClose bool        // the flusher is to close this direction when done
	vec       net.Buffers // for writev, kept from one call to the next
	vecs      [2][]byte

	closing closing // see close.go
}

// A roleRequest is granted with the role of the flusher, or else ended.
type roleRequest struct {
	done    chan struct{}
	granted bool
}

// frames returns what is pending.
func (out *writeHalf) frames() []byte {
	if out.pending == nil {
		return nil
	}
	return out.pending.b
}

// watch returns a channel that is closed when bytes have left or the
// connection has ended.
func (out *writeHalf) watch() <-chan struct{} {
	if out.changed == nil {
		out.changed = make(chan struct{})
	}
	return out.changed
}

func (out *writeHalf) notify() {
	if out.changed != nil {
		close(out.changed)
		out.changed = nil
	}
}

// WriteMessage sends p as one message in one frame. op is [OpText], with p
// valid UTF-8, or [OpBinary]; otherwise it fails without harm to the
// connection. Any number of goroutines may write at the same time, their
// messages leave in the order in which the calls came.
//
// When it returns nil the message is in the kernel or about to be sent along
// with others; an error found later is returned by every later write, and by
// [Conn.Close]. It waits while more than 64 KiB are pending, and while a
// NextWriter is open. p is neither changed nor kept.
func (c *Conn) WriteMessage(op Opcode, p []byte) error {
	switch {
	case op != OpText && op != OpBinary:
		return errBadMessageOpcode
	case op == OpText && !utf8.Valid(p):
		return errBadText
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if err := c.takeLine(); err != nil {
		return err
	}
	return c.writeFrame(FrameHeader{Fin: true, Opcode: op}, p)
}

// takeLine waits until no other message is being written. The caller holds mu
// and is the head of the line afterwards, until it calls leaveLine.
func (c *Conn) takeLine() error {
	out := &c.out
	if out.err != nil {
		return out.err
	}
	if !out.busy {
		out.busy = true
		return nil
	}
	turn := make(chan struct{})
	out.line = append(out.line, turn)
	c.watchLine()
	out.mu.Unlock()
	<-turn
	out.mu.Lock()
	return out.err
}

// leaveLine lets the next message be written.
func (out *writeHalf) leaveLine() {
	if len(out.line) == 0 {
		out.busy = false
		return
	}
	close(out.line[0])
	out.line = out.line[1:]
}

// takeRole waits for the role of the flusher. The caller is the head of the
// line and holds mu.
func (c *Conn) takeRole() error {
	out := &c.out
	if !out.flushing {
		out.flushing = true
		return nil
	}
	r := &roleRequest{done: make(chan struct{})}
	out.head = r
	c.watchLine()
	out.mu.Unlock()
	<-r.done
	out.mu.Lock()
	if out.err != nil {
		if r.granted {
			c.passRole()
		}
		return out.err
	}
	return nil
}

// watchLine sees to it that those who wait in line hear of the write deadline.
func (c *Conn) watchLine() {
	out := &c.out
	timer := out.timer.line
	switch {
	case out.deadline.IsZero() || !out.waiting():
		if timer != nil {
			timer.Stop()
		}
	case timer == nil:
		out.timer.line = time.AfterFunc(time.Until(out.deadline), c.lineTimeout)
	default:
		timer.Reset(time.Until(out.deadline))
	}
}

func (out *writeHalf) waiting() bool { return len(out.line) > 0 || out.head != nil }

func (c *Conn) lineTimeout() {
	out := &c.out
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.waiting() && !out.deadline.IsZero() && !time.Now().Before(out.deadline) {
		c.writeFailed(os.ErrDeadlineExceeded)
	}
}

// writeFrame sends a data frame. The caller holds mu and is the head of the
// line; after the last frame of its message it is so no more.
func (c *Conn) writeFrame(h FrameHeader, p []byte) error {
	out := &c.out
	large := len(p) > maxAppend
	hasRole := false
	if large || len(out.frames()) > maxPending {
		if err := c.takeRole(); err != nil {
			return err
		}
		hasRole = true
	}
	if large {
		c.appendHeader(h, len(p))
	} else {
		c.appendFrame(h, p)
		p = nil
	}
	if h.Fin {
		out.leaveLine()
	}
	if !hasRole {
		switch {
		case out.flushing:
			return nil
		case c.more.Load() && len(out.frames()) < maxHeld:
			c.hold()
			return nil
		}
		out.flushing = true
	}
	return c.flush(p)
}

// appendFrame appends a frame to the pending buffer, masked there where this
// is a client. The caller holds mu.
func (c *Conn) appendFrame(h FrameHeader, p []byte) {
	key := c.appendHeader(h, len(p))
	b := append(c.out.pending.b, p...)
	if c.client {
		Mask(b[len(b)-len(p):], key, 0)
	}
	c.out.pending.b = b
}

// appendHeader appends a header to the pending buffer and returns the masking
// key in it.
func (c *Conn) appendHeader(h FrameHeader, length int) (key [4]byte) {
	out := &c.out
	if out.pending == nil {
		out.pending = getWriteBuffer()
	}
	h.Length = int64(length)
	if c.client {
		h.Masked, h.MaskKey = true, newMaskKey()
	}
	out.pending.b = h.Append(out.pending.b)
	return h.MaskKey
}

// hold leaves what is pending to the next write, to the reader when it has to
// wait, or to the timer, whichever comes first.
func (c *Conn) hold() {
	t := &c.out.timer
	switch {
	case t.holding:
		return
	case t.hold == nil:
		t.hold = time.AfterFunc(holdTime, c.holdTimeout)
	default:
		t.hold.Reset(holdTime)
	}
	t.holding = true
}

// holdTimeout sends what is held. Nothing is held again until the next read.
func (c *Conn) holdTimeout() {
	out := &c.out
	c.more.Store(false)
	out.mu.Lock()
	defer out.mu.Unlock()
	out.timer.holding = false
	if !out.flushing && out.pending != nil {
		out.flushing = true
		go c.flushRest(out.take(), 0)
	}
}

// take takes what is pending, to be written by the caller, who has the role.
func (out *writeHalf) take() *buffer {
	b := out.pending
	out.pending, out.pongs = nil, 0
	if out.timer.holding {
		out.timer.holding = false
		out.timer.hold.Stop()
	}
	return b
}

// flush writes what is pending and then p, the payload of the frame whose
// header comes last, where that was not appended. The caller has the role,
// which is passed on, and holds mu, which is released while writing.
func (c *Conn) flush(p []byte) error {
	out := &c.out
	batch := out.take()
	c.queueLatestPong()
	err := c.armWrite(c.writeDeadline(true))
	out.mu.Unlock()
	if err == nil {
		err = c.writeOut(batch, 0, p)
	}
	putWriteBuffer(batch)
	out.mu.Lock()
	if err != nil {
		c.writeFailed(err)
		err = out.err
	}
	c.passRole()
	return err
}

// passRole gives up the role of the flusher: to the writer that waits for it,
// else, when nothing is pending, to nobody. What others have appended is sent
// as far as that does not take long. The caller holds mu.
func (c *Conn) passRole() {
	out := &c.out
	for round := 0; !c.roleDone(); round++ {
		batch := out.take()
		c.queueLatestPong()
		if c.raw == nil || round == maxRounds {
			go c.flushRest(batch, 0)
			return
		}
		err := c.disarmWrite()
		out.mu.Unlock()
		var n int
		if err == nil {
			n, err = c.tryWrite(batch.b)
		}
		out.mu.Lock()
		if err == nil && n < len(batch.b) {
			go c.flushRest(batch, n)
			return
		}
		putWriteBuffer(batch)
		if err != nil {
			c.writeFailed(err)
		}
	}
}

// flushRest has the role of the flusher, in a goroutine of its own. It starts
// with what is left of batch.
func (c *Conn) flushRest(batch *buffer, sent int) {
	out := &c.out
	out.mu.Lock()
	defer out.mu.Unlock()
	for {
		c.queueLatestPong()
		err := c.armWrite(c.writeDeadline(false))
		out.mu.Unlock()
		if err == nil {
			err = c.writeOut(batch, sent, nil)
		}
		putWriteBuffer(batch)
		out.mu.Lock()
		if err != nil {
			c.writeFailed(err)
		}
		if c.roleDone() {
			return
		}
		batch, sent = out.take(), 0
	}
}

// flushAside sends what is pending without waiting. What cannot be sent so is
// left to a goroutine. The caller holds mu.
func (c *Conn) flushAside() {
	out := &c.out
	if out.flushing || out.pending == nil && !out.halfClose {
		return
	}
	out.flushing = true
	c.passRole()
}

// roleDone gives up the role of the flusher where there is nothing more to do
// for the one who has it, and reports that.
func (c *Conn) roleDone() bool {
	out := &c.out
	if out.closing.broken != nil && out.pending != nil {
		putWriteBuffer(out.take()) // there is no way to send it
	}
	if out.halfClose && out.pending == nil {
		out.halfClose = false
		out.mu.Unlock()
		if nc, ok := c.nc.(interface{ CloseWrite() error }); ok {
			nc.CloseWrite()
		}
		out.mu.Lock()
	}
	switch {
	case out.head != nil:
		out.head.granted = true
		close(out.head.done)
		out.head = nil
	case out.pending == nil:
		out.flushing = false
	default:
		return false
	}
	out.notify()
	return true
}

// queueLatestPong queues the answer to the last of many Pings, now that there
// is room for it again.
func (c *Conn) queueLatestPong() {
	out := &c.out
	if out.hasLatestPong && out.err == nil {
		c.appendFrame(FrameHeader{Fin: true, Opcode: OpPong}, out.latestPong)
	}
	out.hasLatestPong = false
}

// writeOut writes frames and then p, the payload of the last of them where it
// is not there yet.
func (c *Conn) writeOut(frames *buffer, sent int, p []byte) error {
	switch {
	case len(p) == 0:
		_, err := c.nc.Write(frames.b[sent:])
		return err
	case c.raw != nil && !c.client:
		// Both in one system call, p from the caller's memory.
		out := &c.out
		out.vecs = [2][]byte{frames.b, p}
		out.vec = out.vecs[:]
		_, err := out.vec.WriteTo(c.nc)
		out.vec, out.vecs = nil, [2][]byte{}
		return err
	}
	// In pieces, which are copied behind the frames, and masked there.
	var key [4]byte
	if c.client {
		key = [4]byte(frames.b[len(frames.b)-4:])
	}
	for len(p) > 0 {
		n := min(len(p), maxAppend)
		start := len(frames.b)
		frames.b = append(frames.b, p[:n]...)
		if c.client {
			Mask(frames.b[start:], key, 0) // maxAppend is a multiple of 4
		}
		if _, err := c.nc.Write(frames.b); err != nil {
			return err
		}
		frames.b, p = frames.b[:0], p[n:]
	}
	return nil
}

// writeDeadline returns when a flush that begins now has to be over. With app
// the application's deadline counts even where it has passed already.
func (c *Conn) writeDeadline(app bool) time.Time {
	out := &c.out
	t := out.closeBy
	if d := out.deadline; !d.IsZero() && (app || time.Now().Before(d)) {
		t = earlier(t, d)
	}
	if c.writeTimeout > 0 {
		t = earlier(t, time.Now().Add(c.writeTimeout))
	}
	return t
}

// earlier returns the earlier of two deadlines, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// armWrite sets the write deadline of the connection below.
func (c *Conn) armWrite(t time.Time) error {
	if t.Equal(c.out.armed) {
		return nil
	}
	c.out.armed = t
	return c.nc.SetWriteDeadline(t)
}

// disarmWrite removes a deadline that has passed, for an attempt to write that
// does not wait.
func (c *Conn) disarmWrite() error {
	if armed := c.out.armed; armed.IsZero() || time.Now().Before(armed) {
		return nil
	}
	return c.armWrite(time.Time{})
}

// writeFailed notes that nothing can be sent any more. The caller holds mu.
func (c *Conn) writeFailed(err error) {
	out := &c.out
	cl := &out.closing
	if cl.broken != nil || cl.over {
		return
	}
	timeout := errors.Is(err, os.ErrDeadlineExceeded)
	switch {
	case cl.state != stateOpen && timeout:
		cl.broken = &CloseError{Code: StatusAbnormalClosure, Err: errCloseTimeout}
	case timeout:
		// A frame may have been cut: there is nothing left to say, and the
		// reader learns why.
		cl.broken = &CloseError{Code: StatusAbnormalClosure, Err: errWriteTimedOut}
		c.endWriting(errWriteDeadline)
		c.ended(cl.broken)
		go c.closeBelow() // our caller may be a read, which it would wait for
	default:
		// What the peer had sent before, perhaps a Close that tells why, is
		// still to be read; but not for ever.
		cl.broken = &CloseError{Code: StatusAbnormalClosure, Err: err}
		c.endWriting(cl.broken)
		if cl.state == stateOpen {
			c.limitReading(time.Now().Add(c.closeTimeout), false)
		}
	}
}

// endWriting makes err what every write returns from now on, and what those
// return that wait. Frames that are pending are still sent. The caller holds
// mu.
func (c *Conn) endWriting(err error) {
	out := &c.out
	if out.err != nil {
		return
	}
	out.err = err
	for _, turn := range out.line {
		close(turn)
	}
	if out.head != nil {
		close(out.head.done)
	}
	for _, p := range out.pings {
		p.err = err
		close(p.done)
	}
	out.line, out.head, out.pings = nil, nil, nil
	c.watchLine()
	out.notify()
}
