package websocket

import (
	"crypto/tls"
	"errors"
	"io"
	"os"
	"time"
)

// How a connection ends, whoever began. All of it is done by whoever has the
// turn to read, but for CloseNow and the write deadline, which only close the
// connection below and leave the reader to find out.

// closing is how a connection ends. It belongs to the mu of its writeHalf. The
// first cause decides: neither readErr nor closeErr changes once it is set.
type closing struct {
	state    closeState
	readErr  error // what reads return once the connection has ended
	closeErr error // what Close returns then
	broken   error // why nothing can be sent any more
	over     bool  // the connection has ended, and somebody closes the one below
	closed   bool  // that has been done
}

// lingerTime bounds how long a failed connection is read after its Close frame
// has been sent. To close a socket that has unread input would reset it, and
// the peer might never see the frame that tells it what it did wrong.
const lingerTime = time.Second

// errEnding is what the read path returns once the connection is ending.
var errEnding = errors.New("closing handshake under way")

// ended notes that the connection is over. The caller holds mu, gives it up and
// closes the connection below; not before, since a net.Conn may wait in Close
// for a read to return, and that read for mu.
func (c *Conn) ended(closeErr error) {
	out := &c.out
	cl := &out.closing
	exchanged := cl.state == stateClosed && cl.broken == nil && !out.flushing && out.pending == nil
	cl.over = true
	cl.state, _ = cl.state.next(eventEnd)
	if cl.readErr == nil {
		cl.readErr = closeErr
	}
	if cl.closeErr == nil && !exchanged {
		cl.closeErr = closeErr
	}
	out.dropQueue()
	if c.deflate != nil {
		c.deflate.deflater = nil
	}
	c.ending.Store(true)
	out.notify()
}

// closeBelow closes the connection below, after ended: at once, or else in a way
// that may wait until the time of the closing handshake is up.
func (c *Conn) closeBelow(closeErr error, atOnce bool) (err error) {
	defer c.closed()
	if atOnce {
		err = c.dropBelow()
	} else {
		err = c.before(c.out.closeBy, c.nc.Close) // closeBy does not change any more
	}
	c.logEnded(closeErr)
	return err
}

// closed notes that the connection below has been closed.
func (c *Conn) closed() {
	if c.tracker != nil {
		c.tracker.remove(c)
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	c.out.closing.closed = true
	c.out.notify()
}

// before closes the connection below, or a direction of it, with f. That may
// take a while: TLS has to send an alert, and a WebSocket connection below has
// its own closing handshake. When the time is up the connection is dropped.
func (c *Conn) before(by moment, f func() error) error {
	if c.raw != nil {
		return f()
	}
	limit := time.AfterFunc(by.until(), func() { c.dropBelow() })
	defer limit.Stop()
	return f()
}

// dropBelow closes the connection below without waiting for anything: over TLS
// the one below that.
func (c *Conn) dropBelow() error {
	nc := c.nc
	for {
		t, ok := nc.(*tls.Conn)
		if !ok {
			break
		}
		nc = t.NetConn() // which is TLS again where that is how to reach a proxy
	}
	if s, ok := nc.(*streamConn); ok {
		return s.CloseNow()
	}
	return nc.Close()
}

// sendClose queues our Close frame. From now on writes return writeErr, and
// reads, once the connection has ended, readErr. It reports false where a Close
// frame has been queued before or the connection has ended. The caller holds
// mu, and flushes.
func (c *Conn) sendClose(code StatusCode, reason string, readErr, writeErr error) bool {
	out := &c.out
	cl := &out.closing
	state, ok := cl.state.next(eventSend)
	if !ok {
		return false
	}
	cl.state, cl.readErr = state, readErr
	c.ending.Store(true)
	c.endWriting(writeErr)
	if !out.fragmented {
		c.appendQueue()
	}
	out.dropQueue()
	if cl.broken == nil {
		out.stats.closeSent = code
	}
	c.appendFrame(FrameHeader{Fin: true, Opcode: OpClose}, appendClosePayload(nil, code, reason))
	out.closeBy = after(c.closeTimeout)
	if out.flushing {
		c.armWrite(c.writeDeadline(false))
	}
	return true
}

// readFailed decides what an error of the read path means: it is the one place
// that turns the first error into the one that every later read returns, and
// sends the Close frame that goes with it. The caller has the turn to read.
func (c *Conn) readFailed(err error) error {
	in := &c.in
	if in.err != nil {
		return in.err
	}
	protocol, _ := err.(*ProtocolError)
	received, _ := err.(*CloseError)
	switch {
	case c.ending.Load():
		in.err = c.finishClose(err)
	case protocol != nil:
		in.err = c.failConnection(protocol)
	case received != nil:
		in.err = c.answerClose(received)
	case errors.Is(err, os.ErrDeadlineExceeded) && !c.brokenAndRead():
		c.settleDebts()
		return errReadDeadline // not for good
	default:
		c.settleDebts() // the peer may have ended but its own direction
		in.err = c.shut(c.abnormal(err))
	}
	c.release()
	return in.err
}

// release gives up all memory once nothing will be read any more.
func (c *Conn) release() {
	in := &c.in
	in.data = nil
	in.giveBack()
	in.saved, in.controlPayload = nil, nil
	if d := c.deflate; d != nil {
		d.releaseRead()
		d.inflater = inflater{}
	}
}

// failConnection fails the connection (section 7.1.7): a Close frame that says
// why, the half-close behind it, and then the peer is read until it has seen
// them or lingerTime has passed.
func (c *Conn) failConnection(reason *ProtocolError) error {
	out := &c.out
	out.mu.Lock()
	if !c.sendClose(reason.Code, reason.Err.Error(), reason, errFailed) {
		out.mu.Unlock()
		return c.finishClose(reason)
	}
	out.closing.closeErr = reason
	out.halfClose = true
	end := after(lingerTime)
	c.limitReading(end, true)
	out.closeBy = earlier(out.closeBy, end)
	if out.flushing {
		c.armWrite(c.writeDeadline(false))
	}
	c.flushAside()
	out.mu.Unlock()
	c.linger()
	out.mu.Lock()
	c.awaitFlushed() // the peer may have ended before our Close frame has left
	out.mu.Unlock()
	return c.shut(reason)
}

// answerClose answers the peer's Close frame with one of the same code and
// closes the connection.
func (c *Conn) answerClose(received *CloseError) error {
	out := &c.out
	out.mu.Lock()
	if out.closing.state != stateOpen {
		out.mu.Unlock()
		return c.finishClose(received)
	}
	out.closing.state, _ = out.closing.state.next(eventReceive)
	out.stats.closeReceived = received.Code
	c.sendClose(received.Code, "", received, errClosedByPeer)
	c.limitReading(out.closeBy, true)
	c.flushAside()
	out.mu.Unlock()
	return c.completeClose()
}

// finishClose ends the closing handshake that has begun with our Close frame.
// err is what reading has come to.
func (c *Conn) finishClose(err error) error {
	out := &c.out
	if err == errEnding || errors.Is(err, os.ErrDeadlineExceeded) {
		err = c.awaitClose()
	}
	received, ok := err.(*CloseError)
	if !ok {
		return c.shut(c.abnormal(err))
	}
	out.mu.Lock()
	out.stats.closeReceived = received.Code
	if state, ok := out.closing.state.next(eventReceive); ok {
		out.closing.state = state
	}
	out.mu.Unlock()
	return c.completeClose()
}

// awaitClose drops what the peer sends until its Close frame, which it returns
// as a *CloseError.
func (c *Conn) awaitClose() error {
	in := &c.in
	for {
		for in.remaining > 0 {
			if _, err := c.chunk(readBufferSize); err != nil {
				return err
			}
		}
		if in.fin {
			in.inMessage = false
		}
		if err := c.nextFrame(); err != nil {
			return err
		}
	}
}

// completeClose closes the connection below after both Close frames: a server
// at once, a client when the server has done so (section 7.1.1).
func (c *Conn) completeClose() error {
	out := &c.out
	out.mu.Lock()
	c.awaitFlushed()
	broken := out.closing.broken
	excess := len(c.in.data) > 0 || c.inputWaits() // the peer went on after its Close frame
	if !c.client && excess && broken == nil {
		out.halfClose = true
		c.limitReading(after(lingerTime), true)
		c.flushAside()
	}
	out.mu.Unlock()
	if (c.client || excess) && broken == nil {
		c.linger()
	}
	return c.shut(broken)
}

// awaitFlushed waits until nothing is pending, which the write deadline of an
// ending connection bounds. The caller holds mu, which is released meanwhile.
func (c *Conn) awaitFlushed() {
	out := &c.out
	for out.flushing && !out.closing.over {
		left := out.watch()
		out.mu.Unlock()
		<-left
		out.mu.Lock()
	}
}

// awaitClosed waits until whoever closes the connection below has done so, and
// has made the record of it. The connection has ended.
func (c *Conn) awaitClosed() {
	out := &c.out
	out.mu.Lock()
	defer out.mu.Unlock()
	for !out.closing.closed {
		changed := out.watch()
		out.mu.Unlock()
		<-changed
		out.mu.Lock()
	}
}

// linger reads and drops until there is no more, or the time is up.
func (c *Conn) linger() {
	in := &c.in
	in.remaining = 1 // not between frames any more, where reads may be small
	for {
		in.data, in.nrest = in.data[:0], 0
		if err := c.fill(); err != nil {
			return
		}
	}
}

// abnormal says as an error how the connection ended without a Close frame.
func (c *Conn) abnormal(err error) error {
	out := &c.out
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.closing.broken != nil {
		return out.closing.broken
	}
	switch e := err.(type) {
	case *ProtocolError:
		return e
	case ioError:
		err = e.error
	}
	switch {
	case err == io.EOF:
		err = io.ErrUnexpectedEOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = errCloseTimeout
	}
	return &CloseError{Code: StatusAbnormalClosure, Err: err}
}

// shut closes the connection below, the last step of every ending. closeErr is
// nil after a closing handshake. It returns what reads return from now on.
func (c *Conn) shut(closeErr error) error {
	out := &c.out
	out.mu.Lock()
	wasOver := out.closing.over
	if !wasOver {
		if cl := &out.closing; cl.readErr == nil && cl.broken != nil {
			closeErr = cl.broken // a write has met the same end a moment ago
		}
		if closeErr != nil {
			c.endWriting(closeErr)
		}
		c.ended(closeErr)
	}
	readErr, closeErr := out.closing.readErr, out.closing.closeErr
	out.mu.Unlock()
	if !wasOver {
		c.closeBelow(closeErr, closeErr != nil)
	}
	return readErr
}

// brokenAndRead reports whether nothing can be sent any more and the time that
// is left to read what the peer had sent has passed.
func (c *Conn) brokenAndRead() bool {
	_, _, passed := c.in.deadline.passed()
	return passed && c.broken()
}

// broken reports whether nothing can be sent any more.
func (c *Conn) broken() bool {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.closing.broken != nil
}
