package websocket

import (
	"math"
	"os"
	"runtime"
	"sync"
	"time"
	"unicode/utf8"
)

// Writing is one pending buffer and one flusher at a time. A frame is appended
// to the buffer whole, then whoever finds no flusher at work becomes it. What
// others append meanwhile leaves with the next write, so that many writers
// share a system call. This file says what is appended and who may; flush.go
// has the flusher.

const (
	// maxAppend is the largest payload that is copied into the pending buffer.
	maxAppend = 32 << 10

	// maxPiece is how much of a larger one is copied at once, where it has to be.
	// Half of it costs a client 6 % more for 1 MiB.
	maxPiece = 64 << 10

	// maxPending is how many bytes may wait before writers have to.
	maxPending = 64 << 10

	// maxHeld and holdTime bound the replies that wait for the next one.
	maxHeld  = 8 << 10
	holdTime = time.Millisecond
)

// A writeHalf is the sending direction of a Conn. It belongs to mu, which is
// never held while waiting.
type writeHalf struct {
	mu  sync.Mutex
	err error // what every write returns from now on

	pending  *buffer // frames that no flusher has taken; nil where there are none
	flushing bool    // somebody has the role of the flusher
	crowded  bool    // others have written while the last flush was under way

	// Those who write messages stand in a line, of which only the head may add
	// data frames. It does not wait but for the flusher's role, or it is a
	// NextWriter between its first and last frame.
	busy       bool // there is a head
	queueing   bool // it keeps its place before its frame leaves
	streaming  bool // by NextWriter
	fragmented bool // a message has begun and its last frame has not left

	holding   bool // hold is armed
	halfClose bool // the flusher is to close this direction when done

	leaving   int64 // bytes that a flusher has taken and not sent
	maxQueued int64
	armed     moment // the write deadline that has been set on the connection below
	deadline  moment // the application's
	flushBy   moment // when the flush that began last has to be over
	closeBy   moment // when the closing handshake has to be over
	stats     writeStats

	hold    *time.Timer   // sends held frames
	changed chan struct{} // closed at the next change; see watch
	backlog *backlog      // nil until something has had to wait

	pongs  int    // bytes of Pongs in pending
	pings  *ping  // the first that waits for its Pong
	pingID uint64 // of the last; the first is random, for peers that count in Pongs of their own

	closing closing // see ending.go
}

// A backlog is what waits elsewhere than in the pending buffer, which on most
// connections nothing ever does. It belongs to the mu of its writeHalf.
type backlog struct {
	line    []*lineRequest // those behind its head, first come first served
	head    *roleRequest   // the head, while it waits for the role
	timeout *time.Timer    // ends their wait at the deadline

	queue  []preparedFrame // what has been given to Enqueue while the head was queueing
	queued int64           // bytes in it
	turns  int             // how often it has been appended to pending

	latestPong []byte // payload of a Pong that waits for room; nil for none
}

// needBacklog returns the backlog, a new one where there is none.
func (out *writeHalf) needBacklog() *backlog {
	if out.backlog == nil {
		out.backlog = new(backlog)
	}
	return out.backlog
}

// dropQueue lets go of what has been enqueued and not been sent.
func (out *writeHalf) dropQueue() {
	if b := out.backlog; b != nil {
		b.queue, b.queued = nil, 0
	}
}

// queued returns how many bytes of what has been enqueued wait for the head of
// the line.
func (out *writeHalf) queued() int64 {
	if out.backlog == nil {
		return 0
	}
	return out.backlog.queued
}

// turns returns how often what had been enqueued has been appended to pending.
func (out *writeHalf) turns() int {
	if out.backlog == nil {
		return 0
	}
	return out.backlog.turns
}

// A lineRequest is a writer that waits in the line. It wakes as the head, or
// with an error, or with nothing left to do: who leaves the line appends the
// small messages that wait in it.
type lineRequest struct {
	done     chan struct{}
	message  preparedFrame // none where that cannot be appended by others
	appended bool
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
	case c.deflate.compresses(len(p)):
		return c.writeCompressed(op, p)
	}
	return c.writeWhole(&preparedFrame{FrameHeader{Fin: true, Opcode: op}, p, len(p)})
}

// writeWhole sends a message of one frame when it is its turn.
func (c *Conn) writeWhole(f *preparedFrame) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if appended, err := c.takeLine(f); appended || err != nil {
		return err
	}
	c.windowMoves(f)
	return c.writeFrame(f)
}

// takeLine waits until no other message is being written. The caller holds mu
// and is the head of the line afterwards, until it calls leaveLine; unless f, the
// message that it wants to write next, has been appended meanwhile. With nil for
// f that is left to the caller.
func (c *Conn) takeLine(f *preparedFrame) (appended bool, err error) {
	out := &c.out
	if out.err == nil && out.deadline.passed() {
		c.writeFailed(os.ErrDeadlineExceeded)
	}
	if out.err != nil {
		return false, out.err
	}
	if !out.busy {
		out.busy = true
		return false, nil
	}
	r := &lineRequest{done: make(chan struct{})}
	if f != nil {
		r.message = *f
	}
	b := out.needBacklog()
	b.line = append(b.line, r)
	c.watchLine()
	out.mu.Unlock()
	<-r.done
	out.mu.Lock()
	c.watchLine()
	if r.appended {
		return true, nil
	}
	return false, out.err
}

// leaveLine lets the next message be written. What was enqueued meanwhile comes
// first. As long as there is room it appends the small messages that wait: to
// wake one writer after the other, each for a message of its own, would have
// all of them wait for good.
func (c *Conn) leaveLine() {
	out := &c.out
	c.appendQueue()
	out.queueing, out.streaming = false, false
	if b := out.backlog; b != nil {
		for len(b.line) > 0 {
			r := b.line[0]
			b.line = b.line[1:]
			close(r.done)
			if !r.message.h.Fin || len(r.message.p) > maxAppend || len(out.frames()) > maxPending {
				return // it is the head now
			}
			c.appendPrepared(&r.message)
			r.appended = true
			out.crowded = true
		}
		b.line = nil
	}
	out.busy = false
}

// appendQueue appends what has been enqueued.
func (c *Conn) appendQueue() {
	out := &c.out
	b := out.backlog
	if b == nil || len(b.queue) == 0 {
		return
	}
	for i := range b.queue {
		c.appendPrepared(&b.queue[i])
	}
	out.dropQueue()
	b.turns++
	out.notify()
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
	out.needBacklog().head = r
	c.watchLine()
	out.mu.Unlock()
	<-r.done
	out.mu.Lock()
	c.watchLine()
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
	b := out.backlog
	switch {
	case b == nil:
	case out.deadline == 0 || !out.waiting():
		if b.timeout != nil {
			b.timeout.Stop()
		}
	case b.timeout == nil:
		b.timeout = time.AfterFunc(out.deadline.until(), c.lineTimeout)
	default:
		b.timeout.Reset(out.deadline.until())
	}
}

// waiting reports whether writers wait in line.
func (out *writeHalf) waiting() bool {
	b := out.backlog
	return b != nil && (len(b.line) > 0 || b.head != nil)
}

func (c *Conn) lineTimeout() {
	out := &c.out
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.waiting() && out.deadline.passed() {
		c.writeFailed(os.ErrDeadlineExceeded)
	}
}

// writeFrame sends a data frame. The caller holds mu and is the head of the
// line; after the last frame of its message it is so no more.
func (c *Conn) writeFrame(f *preparedFrame) error {
	batch, p, err := c.appendOrTake(f)
	if batch == nil {
		return err
	}
	return c.flush(batch, p)
}

// appendOrTake appends a data frame to the pending buffer. Where it has to be
// written at once the caller gets the role of the flusher and what to flush; a
// large payload is not in batch then, but p.
func (c *Conn) appendOrTake(f *preparedFrame) (batch *buffer, p []byte, err error) {
	out := &c.out
	large := len(f.p) > maxAppend || len(f.p) >= maxHeld && c.raw != nil && !c.client && !out.flushing
	hasRole := false
	if large || len(out.frames()) > maxPending {
		if err := c.takeRole(); err != nil {
			return nil, nil, err
		}
		hasRole = true
	}
	out.fragmented = !f.h.Fin
	out.count(f)
	if large {
		c.appendHeader(f.h, len(f.p), c.firstPiece(len(f.p)))
		batch := out.take() // before anything can come between header and payload
		if f.h.Fin {
			c.leaveLine()
		}
		return batch, f.p, nil
	}
	c.appendFrame(f.h, f.p)
	if f.h.Fin {
		c.leaveLine()
	}
	if !hasRole {
		switch {
		case out.flushing:
			out.crowded = true
			return nil, nil, nil
		case c.more.Load() && len(out.frames()) < maxHeld:
			c.holdBack()
			return nil, nil, nil
		}
		out.flushing = true
	}
	if out.crowded {
		c.gather()
	}
	return out.take(), nil, nil
}

// gather lets those who write at the same time append their frames before a
// batch is taken. The caller has the role of the flusher and holds mu, which is
// released meanwhile.
func (c *Conn) gather() {
	out := &c.out
	before := len(out.frames())
	out.mu.Unlock()
	runtime.Gosched()
	out.mu.Lock()
	out.crowded = len(out.frames()) > before
}

// count counts a data frame that is about to be sent.
func (out *writeHalf) count(f *preparedFrame) {
	out.stats.bytes += int64(f.size)
	out.stats.compressed += int64(len(f.p))
	if f.h.Fin {
		out.stats.messages++
	}
}

// appendFrame appends a frame to the pending buffer, masked there where this
// is a client. The caller holds mu.
func (c *Conn) appendFrame(h FrameHeader, p []byte) {
	key := c.appendHeader(h, len(p), len(p))
	if b := c.out.pending; c.client {
		b.appendMasked(p, key)
	} else {
		b.b = append(b.b, p...)
	}
}

// makeRoom sees to it that a header and n bytes can be appended to the pending
// buffer. What may be queued bounds the memory that is used for it.
func (out *writeHalf) makeRoom(n int) {
	if out.pending == nil {
		out.pending = getWriteBuffer()
	}
	if need := len(out.pending.b) + maxHeaderSize + n; need > cap(out.pending.b) {
		most := min(max(out.maxQueued, maxPending), math.MaxInt)
		out.pending.grow(need, int(most))
	}
}

// appendHeader appends the header of a payload of the given length to the
// pending buffer, with room behind it, and returns the masking key in it.
func (c *Conn) appendHeader(h FrameHeader, length, room int) (key [4]byte) {
	out := &c.out
	out.makeRoom(room)
	h.Length = int64(length)
	if c.client {
		h.Masked, h.MaskKey = true, newMaskKey()
	}
	out.pending.b = h.Append(out.pending.b)
	return h.MaskKey
}

// holdBack leaves what is pending to the next write, to the reader when it has to
// wait, or to the timer, whichever comes first.
func (c *Conn) holdBack() {
	out := &c.out
	switch {
	case out.holding:
		return
	case out.hold == nil:
		out.hold = time.AfterFunc(holdTime, c.holdTimeout)
	default:
		out.hold.Reset(holdTime)
	}
	out.holding = true
}

// holdTimeout sends what is held. Nothing is held again until the next read.
func (c *Conn) holdTimeout() {
	out := &c.out
	c.more.Store(false)
	out.mu.Lock()
	defer out.mu.Unlock()
	out.holding = false
	if !out.flushing && out.pending != nil {
		out.flushing = true
		go c.flushRest(out.take(), 0)
	}
}
