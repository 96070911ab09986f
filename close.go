package websocket

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"unicode/utf8"
	"weak"
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
	case c.browser && !code.browserCloses():
		return errBrowserCloseCode
	case len(reason) > maxCloseReason || !utf8.ValidString(reason):
		return errBadCloseReason
	}
	return c.closeWith(code, reason)
}

// closeWith is CloseWithStatus for the library's own use.
func (c *Conn) closeWith(code StatusCode, reason string) error {
	c.startClose(code, reason)
	return c.endClose()
}

// startClose begins the closing handshake, if that has not been done, and does
// not wait.
func (c *Conn) startClose(code StatusCode, reason string) {
	out := &c.out
	out.mu.Lock()
	defer out.mu.Unlock()
	readErr := errClosed
	if out.closing.broken != nil {
		readErr = out.closing.broken // a write has found out
	}
	if c.sendClose(code, reason, readErr, errClosed) {
		c.limitReading(out.closeBy, true)
		c.flushAside()
	}
}

// endClose waits for the end of the closing handshake.
func (c *Conn) endClose() error {
	// A reader at work ends the handshake itself. It is bounded by the same
	// time, so that there is no need to wait for less than its turn.
	c.in.lock()
	defer c.in.unlock()
	c.readFailed(errEnding)
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.closing.closeErr
}

// CloseNow drops the connection without a closing handshake and never waits.
// Replies that are held are sent if that takes no waiting. Other methods that
// are waiting return an error that Is [net.ErrClosed]. After the connection has
// ended it does nothing.
func (c *Conn) CloseNow() error {
	out := &c.out
	out.mu.Lock()
	if out.closing.over {
		closed := out.closing.closed
		out.mu.Unlock()
		if !closed {
			c.dropBelow() // whoever closes it may be waiting for TLS
		}
		return nil
	}
	if out.pending != nil && !out.flushing && c.raw != nil && out.closing.broken == nil {
		batch := out.take()
		c.disarmWrite()
		c.tryWrite(batch, nil)
		putWriteBuffer(batch)
	}
	readErr, cause := errClosed, errDropped
	if out.closing.broken != nil {
		readErr, cause = out.closing.broken, out.closing.broken // a write has found out
	}
	if out.closing.readErr == nil {
		out.closing.readErr = readErr
	}
	c.endWriting(errClosed)
	c.ended(cause)
	closeErr := out.closing.closeErr
	out.mu.Unlock()
	return c.closeBelow(closeErr, true)
}

// A tracker knows the connections that an Upgrader has made, so that Shutdown
// can close them. It does not keep them alive: those that have been dropped by
// everyone are swept out when their number may have doubled, which costs a
// handshake less than to be told of each.
type tracker struct {
	mu       sync.Mutex
	conns    map[weak.Pointer[Conn]]struct{}
	sweepAt  int            // how many conns there are at the next sweep
	shut     bool           // no more handshakes
	dropping bool           // and no more connections
	entering sync.WaitGroup // upgrades under way
}

var errShutDown = errors.New("websocket: the server has been shut down")

// enter announces a connection, which Shutdown waits for until leave. It
// reports false after Shutdown.
func (t *tracker) enter() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.shut {
		return false
	}
	t.entering.Add(1)
	return true
}

func (t *tracker) leave() { t.entering.Done() }

// add makes c known until it ends. It reports false where Shutdown does not
// wait for c any more.
func (t *tracker) add(c *Conn) bool {
	w := weak.Make(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dropping {
		return false
	}
	if t.conns == nil {
		t.conns = make(map[weak.Pointer[Conn]]struct{})
	}
	if len(t.conns) >= t.sweepAt {
		t.sweep()
	}
	t.conns[w] = struct{}{}
	c.tracker = t
	return true
}

func (t *tracker) remove(c *Conn) {
	w := weak.Make(c)
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, w)
}

// sweep forgets the connections that are no more. The caller holds mu.
func (t *tracker) sweep() {
	maps.DeleteFunc(t.conns, func(w weak.Pointer[Conn], _ struct{}) bool { return w.Value() == nil })
	t.sweepAt = max(2*len(t.conns), minSweep)
}

// minSweep is how many connections are not worth a sweep.
const minSweep = 64

// Shutdown ends what u has begun: it refuses new handshakes with status 503,
// sends [StatusGoingAway] to all connections that u has made, and waits until
// their closing handshakes have ended, at most for the close timeout. When ctx
// ends first it drops the rest.
//
// It returns nil when every connection has ended with a closing handshake.
// Otherwise the error says how many have not, and Is the cause of ctx where
// that has ended.
//
// [http.Server.Shutdown] neither knows of these connections nor waits for
// them: call both. An Upgrader that has been shut down stays so.
func (u *Upgrader) Shutdown(ctx context.Context) error {
	open := u.tracker.shutDown(ctx)
	for _, c := range open {
		c.startClose(StatusGoingAway, "")
	}
	// When ctx ends, whoever waits in a closing handshake is cut short.
	dropped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(dropped)
		for _, c := range open {
			c.CloseNow()
		}
	})
	defer func() {
		if !stop() {
			<-dropped
		}
	}()
	failed := make(chan bool, len(open))
	for _, c := range open {
		go func() {
			err := c.endClose()
			c.awaitClosed()
			failed <- err != nil
		}()
	}
	n := 0
	for range open {
		if <-failed {
			n++
		}
	}
	switch {
	case n == 0:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("websocket: shutdown: %d of %d connections dropped: %w", n, len(open), context.Cause(ctx))
	}
	return fmt.Errorf("websocket: shutdown: %d of %d connections ended without a closing handshake", n, len(open))
}

// shutDown lets nothing enter any more and returns the connections that are
// open, those of upgrades under way included unless ctx ends before them.
func (t *tracker) shutDown(ctx context.Context) (open []*Conn) {
	t.mu.Lock()
	t.shut = true
	t.mu.Unlock()
	entered := make(chan struct{})
	go func() { // no longer than it takes to write a 101
		t.entering.Wait()
		close(entered)
	}()
	select {
	case <-entered:
	case <-ctx.Done():
	}

	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropping = true
	for w := range t.conns {
		if c := w.Value(); c != nil {
			open = append(open, c)
		}
	}
	return open
}
