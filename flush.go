package websocket

import (
	"errors"
	"net"
	"os"
	"sync"
)

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

// maxRounds is how often a writer flushes for others.
const maxRounds = 8

// take takes what is pending, to be written by the caller, who has the role.
func (out *writeHalf) take() *buffer {
	b := out.pending
	out.pending, out.pongs, out.leaving = nil, 0, int64(len(b.b))
	if out.holding {
		out.holding = false
		out.hold.Stop()
	}
	out.notify()
	return b
}

// flush writes batch and then p, the payload of its last frame, where that was
// not appended. The caller has the role, which is passed on, and holds mu,
// which is released while writing.
func (c *Conn) flush(batch *buffer, p []byte) error {
	out := &c.out
	c.queueLatestPong()
	err := c.beginFlush(true)
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
			n, err = c.tryWrite(batch, nil)
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
		err := c.beginFlush(false)
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
	out.leaving = 0
	if out.closing.broken != nil && out.pending != nil {
		putWriteBuffer(out.take()) // there is no way to send it
	}
	if out.halfClose && out.pending == nil {
		out.halfClose = false
		if nc, ok := c.nc.(interface{ CloseWrite() error }); ok && out.closing.broken == nil {
			by := out.closeBy
			out.mu.Unlock()
			c.before(by, nc.CloseWrite)
			out.mu.Lock()
		}
	}
	switch b := out.backlog; {
	case b != nil && b.head != nil:
		b.head.granted = true
		close(b.head.done)
		b.head = nil
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
	b := c.out.backlog
	if b == nil || b.latestPong == nil {
		return
	}
	if c.out.err == nil {
		c.appendFrame(FrameHeader{Fin: true, Opcode: OpPong}, b.latestPong)
	}
	b.latestPong = nil
}

// writeOut writes frames, of which some bytes may have been sent already, and
// then p, the payload of the last of them where it is not there yet.
func (c *Conn) writeOut(frames *buffer, sent int, p []byte) error {
	if len(p) > 0 {
		return c.writeLarge(frames, p)
	}
	if c.raw != nil && sent == 0 {
		// The same system call as in Write, from half the depth of stack: a
		// goroutine that reads and writes gets by with its first 2 KiB.
		n, err := c.tryWrite(frames, nil)
		if err != nil || n == len(frames.b) {
			return err
		}
		sent = n
	}
	_, err := c.nc.Write(frames.b[sent:])
	return err
}

// writeLarge writes frames and then p, the payload of the last of them.
func (c *Conn) writeLarge(frames *buffer, p []byte) error {
	if !c.writesInPieces() {
		// Both in one system call, p from the caller's memory.
		n, err := c.tryWrite(frames, p)
		if err != nil || n == len(frames.b)+len(p) {
			return err
		}
		v := vectors.Get().(*vector)
		v.parts[0], v.parts[1] = unsent(frames.b, p, n)
		v.buffers = v.parts[:]
		_, err = v.buffers.WriteTo(c.nc)
		*v = vector{}
		vectors.Put(v)
		return err
	}
	// In pieces, which are copied behind the frames, and masked there.
	var key [4]byte
	if c.client {
		key = [4]byte(frames.b[len(frames.b)-4:])
	}
	for len(p) > 0 {
		n := min(len(p), maxPiece)
		if c.client {
			frames.appendMasked(p[:n], key) // maxPiece is a multiple of 4
		} else {
			frames.b = append(frames.b, p[:n]...)
		}
		if _, err := c.nc.Write(frames.b); err != nil {
			return err
		}
		frames.b, p = frames.b[:0], p[n:]
	}
	return nil
}

// writesInPieces reports whether large payloads are copied piece by piece: to be
// masked, or because header and payload cannot be written together.
func (c *Conn) writesInPieces() bool { return c.client || c.raw == nil }

// firstPiece returns how much of a large payload is to follow its header in the
// same buffer.
func (c *Conn) firstPiece(length int) int {
	if c.writesInPieces() {
		return min(length, maxPiece)
	}
	return 0
}

// unsent returns what is left of head and p after some bytes of them.
func unsent(head, p []byte, sent int) (_, _ []byte) {
	n := min(sent, len(head))
	return head[n:], p[sent-n:]
}

// A vector is what writev needs beside its buffers.
type vector struct {
	buffers net.Buffers
	parts   [2][]byte
}

var vectors = sync.Pool{New: func() any { return new(vector) }}

// beginFlush sets the deadline of a flush that begins now. The caller holds mu.
func (c *Conn) beginFlush(app bool) error {
	if c.writeTimeout > 0 {
		c.out.flushBy = after(c.writeTimeout)
	}
	err := c.armWrite(c.writeDeadline(app))
	if c.out.closing.state != stateOpen {
		return nil // limitReading sees to connections without deadlines
	}
	return err
}

// writeDeadline returns when the flush under way has to be over. With app the
// application's deadline counts even where it has passed already.
func (c *Conn) writeDeadline(app bool) moment {
	out := &c.out
	by := earlier(out.closeBy, out.flushBy)
	if app || !out.deadline.passed() {
		by = earlier(by, out.deadline)
	}
	return by
}

// armWrite sets the write deadline of the connection below.
func (c *Conn) armWrite(by moment) error {
	if by == c.out.armed {
		return nil
	}
	c.out.armed = by
	return c.nc.SetWriteDeadline(by.time())
}

// disarmWrite removes a deadline that has passed, for an attempt to write that
// does not wait.
func (c *Conn) disarmWrite() error {
	if !c.out.armed.passed() {
		return nil
	}
	return c.armWrite(0)
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
		go c.closeBelow(cl.broken, true) // our caller may be a read, which it would wait for
	default:
		// What the peer had sent before, perhaps a Close that tells why, is
		// still to be read; but not for ever.
		cl.broken = &CloseError{Code: StatusAbnormalClosure, Err: err}
		c.endWriting(cl.broken)
		if cl.state == stateOpen {
			c.limitReading(after(c.closeTimeout), false)
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
	if b := out.backlog; b != nil {
		for _, r := range b.line {
			close(r.done)
		}
		if b.head != nil {
			close(b.head.done)
		}
		b.line, b.head = nil, nil
	}
	for out.pings != nil {
		out.endPing(err)
	}
	c.watchLine()
	out.notify()
}
