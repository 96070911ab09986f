package websocket

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

// A scriptedConn brings input in pieces of given sizes and keeps what is
// written.
type scriptedConn struct {
	input []byte
	sizes []byte // of the pieces, over and over; 0: a read deadline strikes
	next  int

	mu     sync.Mutex
	output []byte
}

func (s *scriptedConn) Read(p []byte) (int, error) {
	if len(s.input) == 0 {
		return 0, io.EOF
	}
	n := len(s.input)
	if len(s.sizes) > 0 {
		n = min(n, int(s.sizes[s.next%len(s.sizes)]))
		s.next++
		if n == 0 {
			return 0, os.ErrDeadlineExceeded
		}
	}
	n = copy(p, s.input[:n])
	s.input = s.input[n:]
	return n, nil
}

func (s *scriptedConn) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.output = append(s.output, p...)
	return len(p), nil
}

func (s *scriptedConn) Close() error                     { return nil }
func (s *scriptedConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (s *scriptedConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (s *scriptedConn) SetDeadline(time.Time) error      { return nil }
func (s *scriptedConn) SetReadDeadline(time.Time) error  { return nil }
func (s *scriptedConn) SetWriteDeadline(time.Time) error { return nil }

// written returns all that c, for which s is the connection below, has written
// and is about to write.
func (s *scriptedConn) written(c *Conn) []byte {
	// A goroutine may still be at work.
	c.out.mu.Lock()
	for c.out.flushing {
		left := c.out.watch()
		c.out.mu.Unlock()
		<-left
		c.out.mu.Lock()
	}
	c.out.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.output
}

// fuzzReadLimit is low, for the fuzzer to find it.
const fuzzReadLimit = 1000

// readScript reads all that comes in pieces of these sizes, the first as early
// bytes if early is set. It returns the messages and the error that ends them,
// and what was sent, frame by frame. Both ends have compression with options o.
func readScript(t *testing.T, client, early bool, o *Compression, input, sizes []byte, read func(*reading) error) (events, sent []string) {
	t.Helper()
	s := &scriptedConn{input: input, sizes: sizes}
	cfg := connConfig{client: client, readLimit: fuzzReadLimit, deflate: agreed(o, client)}
	if early && len(sizes) > 0 {
		cfg.early = input[:min(len(input), int(sizes[0]))]
		s.input = input[len(cfg.early):]
	}
	c := newConn(s, cfg)
	r := &reading{c: c, deadline: func() {}}
	err := read(r)
	_, _, again := c.ReadMessage(nil)
	if again != err {
		t.Fatalf("reading ended with %v, and a later read returned %v, want the same", err, again)
	}
	for _, m := range r.messages {
		if len(m) > len("binary ")+fuzzReadLimit {
			t.Fatalf("a message of %d bytes was read, with a read limit of %d", len(m), fuzzReadLimit)
		}
	}
	var pe *ProtocolError
	var ce *CloseError
	if !errors.As(err, &pe) && !errors.As(err, &ce) {
		t.Fatalf("reading ended with %T %v, want a *ProtocolError or a *CloseError", err, err)
	}
	wantNoDeflate(t, c, "the connection has ended")
	failure := fmt.Sprintf("%T %v", err, err)
	// A compressed message in which several things are wrong is refused for
	// that which is seen first, by ReadMessage another one than by a reader.
	several := o != nil && pe != nil && (pe.Code == StatusInvalidPayload || pe.Code == StatusMessageTooBig)
	if several {
		failure = "what a message has in it"
	}
	events = append(r.messages, failure)

	p := &peer{t: t, nc: &scriptedConn{}, client: !client, received: s.written(c)}
	closed := false
	for len(p.received) > 0 {
		h, payload, err := p.readFrame()
		if err != nil {
			t.Fatalf("the Conn has sent % x, which are no frames", p.received)
		}
		p.checkHeader(h)
		if closed {
			t.Fatalf("the Conn has sent a %v frame behind its Close frame", h.Opcode)
		}
		if closed = h.Opcode == OpClose; closed && several {
			payload = nil
		}
		sent = append(sent, fmt.Sprintf("%v %q", h.Opcode, payload))
	}
	if want := ce == nil || ce.Code != StatusAbnormalClosure; closed != want {
		t.Fatalf("reading ended with %v; a Close frame was sent: %v, want %v", err, closed, want)
	}
	return events, sent
}

// fuzzInput holds input in pieces, read in every way, with read deadlines
// between and with early bytes, against input as a whole.
func fuzzInput(t *testing.T, client bool, o *Compression, input, sizes []byte) {
	// So many Pongs that only the latest is sent depend on when they leave.
	if most := maxPongs / 6 * 2; len(input) > most {
		input = input[:most]
	}
	if !slices.ContainsFunc(sizes, func(n byte) bool { return n > 0 }) {
		sizes = []byte{1}
	}
	events, sent := readScript(t, client, false, o, input, nil, (*reading).whole)
	for _, way := range readings {
		for _, early := range []bool{false, true} {
			e, s := readScript(t, client, early, o, input, sizes, way.read)
			if !slices.Equal(e, events) {
				t.Fatalf("in pieces of % d bytes, early bytes %v, with %s: read %q\nwant what was read as a whole: %q", sizes, early, way.name, e, events)
			}
			if !slices.Equal(s, sent) {
				t.Fatalf("in pieces of % d bytes, early bytes %v, with %s: sent %q\nwant what was sent as a whole: %q", sizes, early, way.name, s, sent)
			}
		}
	}
}

func FuzzServerInput(f *testing.F) {
	f.Fuzz(func(t *testing.T, input, sizes []byte) { fuzzInput(t, false, nil, input, sizes) })
}

func FuzzClientInput(f *testing.F) {
	f.Fuzz(func(t *testing.T, input, sizes []byte) { fuzzInput(t, true, nil, input, sizes) })
}
