package websocket

import (
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"strconv"
	"time"
	"unicode/utf8"
)

// A StatusCode says why an endpoint closes a connection (section 7.4).
type StatusCode uint16

// The status codes of section 7.4.1 and of the registry of section 11.7.
const (
	StatusNormalClosure      StatusCode = 1000
	StatusGoingAway          StatusCode = 1001 // a server goes down, a browser leaves the page
	StatusProtocolError      StatusCode = 1002
	StatusUnsupportedData    StatusCode = 1003 // a type of data the endpoint cannot accept
	StatusNoStatusReceived   StatusCode = 1005 // never on the wire: the Close frame had no body
	StatusAbnormalClosure    StatusCode = 1006 // never on the wire: there was no Close frame
	StatusInvalidPayload     StatusCode = 1007 // such as text that is not UTF-8
	StatusPolicyViolation    StatusCode = 1008
	StatusMessageTooBig      StatusCode = 1009
	StatusMandatoryExtension StatusCode = 1010 // from a client that missed an extension
	StatusInternalError      StatusCode = 1011
	StatusServiceRestart     StatusCode = 1012
	StatusTryAgainLater      StatusCode = 1013
	StatusBadGateway         StatusCode = 1014
	StatusTLSHandshake       StatusCode = 1015 // never on the wire: TLS failed
)

var statusText = map[StatusCode]string{
	StatusNormalClosure:      "normal closure",
	StatusGoingAway:          "going away",
	StatusProtocolError:      "protocol error",
	StatusUnsupportedData:    "unsupported data",
	StatusNoStatusReceived:   "no status received",
	StatusAbnormalClosure:    "abnormal closure",
	StatusInvalidPayload:     "invalid payload data",
	StatusPolicyViolation:    "policy violation",
	StatusMessageTooBig:      "message too big",
	StatusMandatoryExtension: "mandatory extension",
	StatusInternalError:      "internal error",
	StatusServiceRestart:     "service restart",
	StatusTryAgainLater:      "try again later",
	StatusBadGateway:         "bad gateway",
	StatusTLSHandshake:       "TLS handshake",
}

// String returns the number of the code and, where it has one, its name, such
// as "1001 (going away)".
func (s StatusCode) String() string {
	n := strconv.Itoa(int(s))
	if text, ok := statusText[s]; ok {
		return n + " (" + text + ")"
	}
	return n
}

// sendable reports whether s may stand in a Close frame (section 7.4): it is
// defined and not one of those that only ever describe what happened, or it is
// in the range of libraries and applications.
func (s StatusCode) sendable() bool {
	switch {
	case s >= 1000 && s <= 1003, s >= 1007 && s <= 1014: // 7.4.1 and 11.7
		return true
	case s >= 3000 && s <= 4999: // 7.4.2: registered, and private
		return true
	}
	return false
}

// maxCloseReason is what a control frame has room for after the status code.
const maxCloseReason = maxControlPayload - 2

// parseClosePayload decodes the body of a Close frame (section 5.5.1). An
// empty one is StatusNoStatusReceived (section 7.1.5).
func parseClosePayload(p []byte) (StatusCode, string, error) {
	switch len(p) {
	case 0:
		return StatusNoStatusReceived, "", nil
	case 1:
		return 0, "", errCloseBodyLength
	}
	code, reason := StatusCode(binary.BigEndian.Uint16(p)), p[2:]
	if !code.sendable() {
		return 0, "", errCloseCode
	}
	if !utf8.Valid(reason) {
		return 0, "", errReasonNotUTF8
	}
	return code, string(reason), nil
}

// appendClosePayload encodes the body of a Close frame, an empty one for
// StatusNoStatusReceived.
func appendClosePayload(dst []byte, code StatusCode, reason string) []byte {
	if code == StatusNoStatusReceived {
		return dst
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, reason...)
}

// A closeState is how far the closing handshake has come (section 7.1).
//
//	            send                receive
//	open ─────────────► closeSent ─────────────► closed
//	  │     receive                   send         ▲
//	  └───────────────► closeReceived ─────────────┤
//	                                               │
//	any state ── end: no byte can follow ──────────┘
type closeState uint8

const (
	// stateOpen: messages flow in both directions.
	stateOpen closeState = iota

	// stateCloseSent: our Close frame is queued and no frame may follow it
	// (5.5.1). Data that still arrives is read and dropped.
	stateCloseSent

	// stateCloseReceived: the peer's Close frame has been read, and whatever
	// follows it is ignored. Ours is due.
	stateCloseReceived

	// stateClosed: both Close frames have been queued or read, or there is no
	// connection any more to do so.
	stateClosed
)

// A closeEvent moves the closing handshake on.
type closeEvent uint8

const (
	eventSend    closeEvent = iota // our Close frame is queued
	eventReceive                   // the peer's Close frame has been read
	eventEnd                       // the connection broke or was dropped
)

// next returns the state after e. ok is false where e changes nothing: a
// second Close frame is neither sent nor read, and nothing follows the end.
func (s closeState) next(e closeEvent) (_ closeState, ok bool) {
	switch {
	case s == stateClosed:
		return s, false
	case e == eventEnd:
		return stateClosed, true
	case s == stateOpen && e == eventSend:
		return stateCloseSent, true
	case s == stateOpen && e == eventReceive:
		return stateCloseReceived, true
	case s == stateCloseSent && e == eventReceive:
		return stateClosed, true
	case s == stateCloseReceived && e == eventSend:
		return stateClosed, true
	}
	return s, false
}

// closing is how a connection ends. It belongs to the mu of its writeHalf. The
// first cause decides: neither readErr nor closeErr changes once it is set.
type closing struct {
	state    closeState
	readErr  error // what reads return once the connection has ended
	closeErr error // what Close returns then
	broken   error // why nothing can be sent any more
	over     bool  // the connection below has been closed
}

// lingerTime bounds how long a failed connection is read after its Close frame
// has been sent. To close a socket that has unread input would reset it, and
// the peer might never see the frame that tells it what it did wrong.
const lingerTime = time.Second

// errEnding is what the read path returns once the connection is ending.
var errEnding = errors.New("closing handshake under way")

// Close performs the closing handshake with [StatusNormalClosure]
// (section 7.1.2). It is CloseWithStatus with an empty reason.
func (c *Conn) Close() error { return c.CloseWithStatus(StatusNormalClosure, "") }

// CloseWithStatus sends a Close frame behind all that has been written, waits
// for the peer's and closes the connection below. It takes at most the close
// timeout. Messages that arrive meanwhile are dropped; a goroutine that is
// reading gets an error that Is [net.ErrClosed].
//
// It returns nil if both Close frames were exchanged, whoever began and however
// often it is called; otherwise what broke the connection. code has to be 1000
// to 1003, 1007 to 1014 or 3000 to 4999, and reason UTF-8 of at most 123 bytes.
func (c *Conn) CloseWithStatus(code StatusCode, reason string) error {
	switch {
	case !code.sendable():
		return errBadCloseCode
	case len(reason) > maxCloseReason || !utf8.ValidString(reason):
		return errBadCloseReason
	}
	out := &c.out
	out.mu.Lock()
	if c.sendClose(code, reason, errClosed, errClosed) {
		c.limitReading(out.closeBy, true)
		c.flushAside()
	}
	out.mu.Unlock()

	// A reader at work ends the handshake itself. It is bounded by the same
	// time, so that there is no need to wait for less than its turn.
	c.in.lock()
	defer c.in.unlock()
	c.readFailed(errEnding)
	out.mu.Lock()
	defer out.mu.Unlock()
	return out.closing.closeErr
}

// CloseNow drops the connection without a closing handshake and never waits.
// Replies that are held are sent if that takes no waiting. Other methods that
// are waiting return an error that Is [net.ErrClosed]. After the connection has
// ended it does nothing.
func (c *Conn) CloseNow() error {
	out := &c.out
	out.mu.Lock()
	if out.closing.over {
		out.mu.Unlock()
		return nil
	}
	if out.pending != nil && !out.flushing && c.raw != nil && out.closing.broken == nil {
		batch := out.take()
		c.disarmWrite()
		c.tryWrite(batch.b)
		putWriteBuffer(batch)
	}
	if out.closing.readErr == nil {
		out.closing.readErr = errClosed
	}
	c.endWriting(errClosed)
	c.ended(errDropped)
	out.mu.Unlock()
	return c.closeBelow()
}

// ended notes that the connection is over. The caller holds mu, gives it up and
// closes the connection below; not before, since a net.Conn may wait in Close
// for a read to return, and that read for mu.
func (c *Conn) ended(closeErr error) {
	cl := &c.out.closing
	cl.over = true
	cl.state, _ = cl.state.next(eventEnd)
	if cl.readErr == nil {
		cl.readErr = closeErr
	}
	if cl.closeErr == nil {
		cl.closeErr = closeErr
	}
	c.ending.Store(true)
	c.out.notify()
}

// closeBelow closes the connection below without waiting for anything. Over TLS
// that is the one below TLS, whose own Close may have to wait for its alert to
// go out.
func (c *Conn) closeBelow() error {
	nc := c.nc
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
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
	c.appendFrame(FrameHeader{Fin: true, Opcode: OpClose}, appendClosePayload(nil, code, reason))
	out.closeBy = time.Now().Add(c.closeTimeout)
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
		return errReadDeadline // not for good
	default:
		in.err = c.shut(c.abnormal(err))
	}
	in.release()
	return in.err
}

// release gives up all memory once nothing will be read any more.
func (in *readHalf) release() {
	in.data = nil
	in.giveBack()
	in.saved, in.controlPayload = nil, nil
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
	c.limitReading(time.Now().Add(lingerTime), true)
	c.flushAside()
	out.mu.Unlock()
	c.linger()
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
	if _, ok := err.(*CloseError); !ok {
		return c.shut(c.abnormal(err))
	}
	out.mu.Lock()
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
		if in.frame.Fin {
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
	for out.flushing && !out.closing.over {
		left := out.watch()
		out.mu.Unlock()
		<-left
		out.mu.Lock()
	}
	broken := out.closing.broken
	excess := len(c.in.data) > 0 // the peer went on after its Close frame
	if !c.client && excess && broken == nil {
		out.halfClose = true
		c.limitReading(time.Now().Add(lingerTime), true)
		c.flushAside()
	}
	out.mu.Unlock()
	if (c.client || excess) && broken == nil {
		c.linger()
	}
	return c.shut(broken)
}

// linger reads and drops until there is no more, or the time is up.
func (c *Conn) linger() {
	in := &c.in
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
		if closeErr != nil {
			c.endWriting(closeErr)
		}
		c.ended(closeErr)
	}
	readErr := out.closing.readErr
	out.mu.Unlock()
	switch {
	case wasOver:
	case closeErr == nil:
		c.nc.Close()
	default:
		c.closeBelow()
	}
	return readErr
}

// brokenAndRead reports whether nothing can be sent any more and the time that
// is left to read what the peer had sent has passed.
func (c *Conn) brokenAndRead() bool {
	c.out.mu.Lock()
	broken := c.out.closing.broken != nil
	c.out.mu.Unlock()
	return broken && c.in.deadline.ownPassed()
}
