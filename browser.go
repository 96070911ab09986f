package websocket

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// A program in a browser has no connection to write frames to: it has the
// browser's WebSocket object, which takes and gives messages. A browserConn
// stands between that and an ordinary Conn. It reads the frames that the Conn
// writes, hands over the messages in them, and makes frames of what comes back.
// The browser answers Pings and the peer's Close itself; the Close frame that
// the Conn writes as its answer then changes nothing any more.
//
// This file is the same everywhere; browser_js.go has what needs a browser.

// What a browser has no way to do.
var (
	errBrowserPing      = fmt.Errorf("websocket: a browser cannot send a Ping: %w", errors.ErrUnsupported)
	errBrowserCloseCode = fmt.Errorf("websocket: in a browser the status code must be 1000 or 3000 to 4999: %w", errors.ErrUnsupported)
	errBrowserGone      = errors.New("the browser has lost the connection")
)

// browserCannot returns an error for an option that the browser has no way to
// heed, or nil.
func (d *Dialer) browserCannot(req *http.Request) error {
	what := ""
	switch {
	case len(d.Header) > 0:
		what = "Header"
	case req.Header["Authorization"] != nil:
		what = "a user in the URL"
	case d.TLSConfig != nil:
		what = "TLSConfig"
	case d.NetDialContext != nil:
		what = "NetDialContext"
	case d.Proxy != nil || d.ProxyHeader != nil:
		what = "Proxy and ProxyHeader"
	case d.Jar != nil:
		what = "Jar"
	case d.MaxRedirects > 0:
		what = "MaxRedirects"
	case d.PingInterval > 0:
		what = "PingInterval"
	default:
		return nil
	}
	return fmt.Errorf("a browser has no way to heed %s: %w", what, errors.ErrUnsupported)
}

// browserCloses reports whether a program in a browser may close with s.
func (s StatusCode) browserCloses() bool {
	return s == StatusNormalClosure || s >= 3000 && s <= 4999
}

// A browserSocket is the browser's WebSocket object. Its methods do not wait.
type browserSocket interface {
	send(op Opcode, payload []byte) error
	close(code StatusCode, reason string) // StatusNoStatusReceived: without one
	buffered() int                        // bytes sent that have not left
	drop()                                // close it, and let go of it
}

const (
	// maxBrowserBuffered is how many bytes may wait in the browser before
	// another message has to.
	maxBrowserBuffered = 1 << 20

	// browserPoll is how often to look whether they have left: there is no
	// event for it.
	browserPoll = 10 * time.Millisecond
)

// A browserConn is the connection below a Conn in a browser.
type browserConn struct {
	socket browserSocket
	url    string

	mu      sync.Mutex
	changed chan struct{} // closed at every change
	in      [][]byte      // frames received, in pieces that are not empty
	ended   bool          // nothing will follow them
	clean   bool          // it ended with a closing handshake
	closed  bool          // by Close

	readDeadline, writeDeadline time.Time

	// One goroutine writes at a time.
	out     []byte // a frame that has not been written to its end
	message []byte // the frames before it of its message, without headers
	opcode  Opcode // of the message
}

func newBrowserConn(socket browserSocket, url string) *browserConn {
	return &browserConn{socket: socket, url: url, changed: make(chan struct{})}
}

// notify wakes those who wait. The caller holds mu.
func (c *browserConn) notify() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// received takes a message that has arrived. What has not been read waits here:
// a browser cannot be told to slow down.
func (c *browserConn) received(op Opcode, payload []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addFrame(op, payload)
}

func (c *browserConn) addFrame(op Opcode, payload []byte) {
	h := FrameHeader{Fin: true, Opcode: op, Length: int64(len(payload))}
	c.in = append(c.in, h.Append(nil))
	if len(payload) > 0 {
		c.in = append(c.in, payload)
	}
	c.notify()
}

// end notes that the browser has closed the connection: clean, with the
// peer's Close frame, which had the given code, or otherwise.
func (c *browserConn) end(code StatusCode, reason string, clean bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	c.ended = true
	c.clean = clean && (code == StatusNoStatusReceived || code.sendable())
	if c.clean {
		c.addFrame(OpClose, appendClosePayload(nil, code, reason))
	}
	c.notify()
}

// wait waits for a change or the deadline, or until it is time to look again
// where poll is not 0. The caller holds mu, which is released meanwhile.
func (c *browserConn) wait(deadline time.Time, poll time.Duration) {
	changed := c.changed
	c.mu.Unlock()
	defer c.mu.Lock()
	until := poll
	if !deadline.IsZero() && (poll == 0 || time.Until(deadline) < poll) {
		until = time.Until(deadline)
	} else if poll == 0 {
		<-changed
		return
	}
	timer := time.NewTimer(until)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

// passed reports whether a deadline has passed.
func passed(deadline time.Time) bool {
	return !deadline.IsZero() && !time.Now().Before(deadline)
}

func (c *browserConn) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return 0, net.ErrClosed
		case passed(c.readDeadline):
			return 0, os.ErrDeadlineExceeded
		case len(c.in) > 0:
			n := copy(p, c.in[0])
			if c.in[0] = c.in[0][n:]; len(c.in[0]) == 0 {
				c.in[0] = nil
				c.in = c.in[1:]
			}
			return n, nil
		case c.ended:
			return 0, io.EOF
		}
		c.wait(c.readDeadline, 0)
	}
}

// Write takes frames, which may be cut anywhere.
func (c *browserConn) Write(p []byte) (int, error) {
	c.out = append(c.out, p...)
	rest := c.out
	for {
		h, n, err := ParseFrameHeader(rest)
		if err != nil {
			return 0, err
		}
		if n == 0 || int64(len(rest)-n) < h.Length {
			break
		}
		payload := rest[n : n+int(h.Length)]
		rest = rest[n+int(h.Length):]
		Mask(payload, h.MaskKey, 0) // all frames of a client are masked
		if err := c.writeFrame(h, payload); err != nil {
			return 0, err
		}
	}
	if len(rest) == 0 {
		c.out = nil
	} else {
		c.out = c.out[:copy(c.out, rest)]
	}
	return len(p), nil
}

func (c *browserConn) writeFrame(h FrameHeader, payload []byte) error {
	switch h.Opcode {
	case OpClose:
		code, reason, err := parseClosePayload(payload)
		if err != nil {
			return err
		}
		if !code.browserCloses() {
			code, reason = StatusNoStatusReceived, ""
		}
		c.socket.close(code, reason)
		return nil
	case OpPing:
		return errBrowserPing
	case OpPong:
		return nil
	case OpContinuation:
	default:
		c.opcode = h.Opcode
	}
	if !h.Fin || len(c.message) > 0 {
		c.message = append(c.message, payload...)
		payload = c.message
	}
	if !h.Fin {
		return nil
	}
	c.message = nil
	return c.send(payload)
}

// send sends a message when there is room for it.
func (c *browserConn) send(payload []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		switch {
		case c.closed:
			return net.ErrClosed
		case c.clean:
			return nil // too late; why is still to be read
		case c.ended:
			return errBrowserGone
		case passed(c.writeDeadline):
			return os.ErrDeadlineExceeded
		case c.socket.buffered() <= maxBrowserBuffered:
			return c.socket.send(c.opcode, payload)
		}
		c.wait(c.writeDeadline, browserPoll)
	}
}

func (c *browserConn) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	c.closed, c.in = true, nil
	c.notify()
	c.socket.drop()
	return nil
}

func (c *browserConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *browserConn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readDeadline = t
	c.notify()
	return nil
}

func (c *browserConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeDeadline = t
	c.notify()
	return nil
}

func (c *browserConn) LocalAddr() net.Addr  { return browserAddr("browser") }
func (c *browserConn) RemoteAddr() net.Addr { return browserAddr(c.url) }

// A browserAddr is all that is known of an address: the URL.
type browserAddr string

func (a browserAddr) Network() string { return "websocket" }
func (a browserAddr) String() string  { return string(a) }
