package websocket

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

// What tests of a Conn share: connections of every kind to make Conns of, and
// a peer that sends exact bytes and looks at every frame.

// A connectFunc makes two ends of a connection, which are closed with the test.
type connectFunc func(t testing.TB) (client, server net.Conn)

// overTCP connects through the loopback interface: both ends can be waited
// for without a buffer and closed by halves.
func overTCP(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// overTLS connects through TLS over TCP, with its handshake done.
func overTLS(t testing.TB) (client, server net.Conn) {
	t.Helper()
	below, belowServer := overTCP(t)
	clientConfig, serverConfig := testTLS()
	c, s := tls.Client(below, clientConfig), tls.Server(belowServer, serverConfig)
	handshake := async(s.Handshake)
	if err := errors.Join(c.Handshake(), <-handshake); err != nil {
		t.Fatal(err)
	}
	return c, s
}

// testTLS returns configurations for both ends, on the certificate of package
// httptest, which is for example.com.
var testTLS = sync.OnceValues(func() (client, server *tls.Config) {
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return &tls.Config{RootCAs: roots, ServerName: "example.com"},
		&tls.Config{Certificates: s.TLS.Certificates}
})

// overPipe connects in memory, where a write waits for its reader, and where a
// Conn can neither wait without reading nor close one direction. It may be
// used in a synctest bubble.
func overPipe(t testing.TB) (client, server net.Conn) {
	client, server = net.Pipe()
	t.Cleanup(func() {
		client.Close()
		server.Close()
	})
	return client, server
}

// onEvery runs test over TCP, over TLS and, in a synctest bubble, over a pipe.
func onEvery(t *testing.T, test func(t *testing.T, connect connectFunc)) {
	t.Run("tcp", func(t *testing.T) { test(t, overTCP) })
	t.Run("tls", func(t *testing.T) { test(t, overTLS) })
	t.Run("pipe", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { test(t, overPipe) })
	})
}

// inBothRoles runs test for a server and for a client.
func inBothRoles(t *testing.T, test func(t *testing.T, client bool)) {
	t.Run("server", func(t *testing.T) { test(t, false) })
	t.Run("client", func(t *testing.T) { test(t, true) })
}

// everywhere runs test in both roles over every kind of connection.
func everywhere(t *testing.T, test func(t *testing.T, client bool, connect connectFunc)) {
	inBothRoles(t, func(t *testing.T, client bool) {
		onEvery(t, func(t *testing.T, connect connectFunc) { test(t, client, connect) })
	})
}

// newPair returns two Conns that are connected with each other. cfg counts for
// both, except for the role. Both are dropped with the test.
func newPair(t testing.TB, connect connectFunc, cfg connConfig) (client, server *Conn) {
	t.Helper()
	a, b := connect(t)
	cfg.client = false
	server = newConn(b, cfg)
	cfg.client = true
	client = newConn(a, cfg)
	t.Cleanup(func() {
		client.CloseNow()
		server.CloseNow()
	})
	return client, server
}

// async calls f in a goroutine and returns where its result will be.
func async[T any](f func() T) <-chan T {
	result := make(chan T, 1)
	go func() { result <- f() }()
	return result
}

// readError calls ReadMessage in a goroutine, for what its error will be.
func readError(c *Conn) <-chan error {
	return async(func() error {
		_, _, err := c.ReadMessage(nil)
		return err
	})
}

// echo sends every message of c back and returns the error that ends it.
func echo(c *Conn) error {
	var buf []byte
	for {
		op, p, err := c.ReadMessage(buf[:0])
		if err != nil {
			return err
		}
		buf = p
		if err := c.WriteMessage(op, p); err != nil {
			return err
		}
	}
}

func wantMessage(t testing.TB, c *Conn, op Opcode, payload string, because ...string) {
	t.Helper()
	gotOp, p, err := c.ReadMessage(nil)
	if err != nil || gotOp != op || string(p) != payload {
		t.Fatalf("ReadMessage returned a %v message %s, error %v\nwant a %v message %s: %s",
			gotOp, brief(p), err, op, brief([]byte(payload)), strings.Join(because, ""))
	}
}

// wantProtocolError: err says that the peer broke the protocol.
func wantProtocolError(t testing.TB, err error, code StatusCode, because string) {
	t.Helper()
	var pe *ProtocolError
	if !errors.As(err, &pe) || pe.Code != code {
		t.Fatalf("the error is %T %v, want a *ProtocolError with code %v: %s", err, err, code, because)
	}
	var ce *CloseError
	if errors.As(err, &ce) {
		t.Fatalf("the error %v has a *CloseError in it, which is for Close frames of the peer and for broken connections", err)
	}
}

// wantCloseError: err says how the connection ended, by the peer's Close
// frame or, with StatusAbnormalClosure, without one.
func wantCloseError(t testing.TB, err error, code StatusCode, reason, because string) {
	t.Helper()
	var ce *CloseError
	if !errors.As(err, &ce) || ce.Code != code || ce.Reason != reason || (ce.Err != nil) != (code == StatusAbnormalClosure) {
		t.Fatalf("the error is %T %v, want a *CloseError with code %v and reason %q: %s", err, err, code, reason, because)
	}
}

// wantEnded: every read of c returns want, which reading returned first, and
// every write an error that Is net.ErrClosed.
func wantEnded(t testing.TB, c *Conn, want error) {
	t.Helper()
	for range 3 {
		if op, p, err := c.ReadMessage([]byte("before")); err != want || op != 0 || string(p) != "before" {
			t.Fatalf("a later ReadMessage returned %v, %q, %v\nwant 0, its slice as it was and the first error, %v", op, p, err, want)
		}
		if _, r, err := c.NextReader(); err != want || r != nil {
			t.Fatalf("a later NextReader returned the error %v, want the first one, %v", err, want)
		}
		if err := c.WriteMessage(OpText, []byte("late")); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("a later WriteMessage returned %v, want an error that Is net.ErrClosed", err)
		}
		if _, err := c.NextWriter(OpBinary); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("a later NextWriter returned %v, want an error that Is net.ErrClosed", err)
		}
	}
	if c.in.buf != nil || c.in.saved != nil || c.in.controlPayload != nil {
		t.Fatal("the connection has ended and still holds memory for reading")
	}
	wantNoDeflate(t, c, "the connection has ended")
}

// A peer is the other end of a Conn under test. It keeps no rules of its own.
type peer struct {
	t      testing.TB
	nc     net.Conn
	client bool // it is the client, and masks its frames
	rsv1   bool // the Conn may send compressed messages

	received []byte          // and not looked at yet
	sent     <-chan struct{} // closed when the last send is done; nil before the first
}

// newPeer returns a Conn, a client if cfg says so, and the peer it is
// connected with.
func newPeer(t testing.TB, connect connectFunc, cfg connConfig) (*Conn, *peer) {
	t.Helper()
	client, server := connect(t)
	p := &peer{t: t, nc: client, client: true, rsv1: cfg.deflate != nil}
	under := server
	if cfg.client {
		p.nc, p.client, under = server, false, client
	}
	c := newConn(under, cfg)
	t.Cleanup(func() {
		c.CloseNow()
		p.nc.Close()
	})
	return c, p
}

// send sends bytes, one piece after another in a Write of its own. It does not
// wait for that: what is sent next waits in turn.
func (p *peer) send(pieces ...[]byte) {
	before, done := p.sent, make(chan struct{})
	p.sent = done
	go func() {
		defer close(done)
		if before != nil {
			<-before
		}
		for _, b := range pieces {
			if _, err := p.nc.Write(b); err != nil {
				return // the Conn has closed: the test looks at why
			}
		}
	}()
}

// waitSent waits until all has been sent: it is in the kernel or, over a pipe,
// has been read.
func (p *peer) waitSent() {
	if p.sent != nil {
		<-p.sent
	}
}

// close closes the connection.
func (p *peer) close() { p.nc.Close() }

// closeWrite closes the peer's sending direction; over a pipe, both.
func (p *peer) closeWrite() {
	if nc, ok := p.nc.(interface{ CloseWrite() error }); ok {
		nc.CloseWrite()
		return
	}
	p.nc.Close()
}

// frame returns a frame as it is right for the peer's role.
func (p *peer) frame(fin bool, op Opcode, payload string) []byte {
	return rawFrame(FrameHeader{Fin: fin, Opcode: op}, payload, p.client)
}

var testMaskKey = [4]byte{0x37, 0xfa, 0x21, 0x3d} // section 5.7

// rawFrame returns the frame of a header and a payload.
func rawFrame(h FrameHeader, payload string, masked bool) []byte {
	h.Length = int64(len(payload))
	if masked {
		h.Masked, h.MaskKey = true, testMaskKey
	}
	b := append(h.Append(nil), payload...)
	if masked {
		Mask(b[len(b)-len(payload):], testMaskKey, 0)
	}
	return b
}

// wire decodes frames that are written as hexadecimal digits without a mask,
// separated by "|". For a peer that is a client they are masked: the bit is
// set, the key inserted, the payload masked. The length stays as it stands
// there, also where it is wrong.
func (p *peer) wire(frames string) []byte {
	p.t.Helper()
	var all []byte
	for f := range strings.SplitSeq(frames, "|") {
		b := unhex(p.t, f)
		if p.client {
			n := 2
			switch b[1] {
			case length16:
				n += 2
			case length64:
				n += 8
			}
			b[1] |= maskBit
			n = min(n, len(b)) // a header that is cut has no mask yet
			b = slices.Insert(b, n, testMaskKey[:]...)
			Mask(b[n+4:], testMaskKey, 0)
		}
		all = append(all, b...)
	}
	return all
}

// readFrame returns the next frame, its payload unmasked.
func (p *peer) readFrame() (FrameHeader, []byte, error) {
	buf := make([]byte, 32<<10)
	for {
		h, n, err := ParseFrameHeader(p.received)
		if err != nil {
			return h, nil, err
		}
		if n > 0 && h.Length <= int64(len(p.received)-n) {
			payload := p.received[n : n+int(h.Length)]
			p.received = p.received[n+len(payload):]
			if h.Masked {
				Mask(payload, h.MaskKey, 0)
			}
			return h, payload, nil
		}
		n, err = p.nc.Read(buf)
		p.received = append(p.received, buf[:n]...)
		if n == 0 && err != nil {
			return FrameHeader{}, nil, err
		}
	}
}

// wantFrame: the next thing that comes is a whole frame.
func (p *peer) wantFrame(op Opcode, payload, because string) {
	p.t.Helper()
	p.wantFragment(true, op, payload, because)
}

// wantFragment: the next thing that comes is a frame with this FIN bit.
func (p *peer) wantFragment(fin bool, op Opcode, payload, because string) {
	p.t.Helper()
	h, got, err := p.readFrame()
	switch {
	case err != nil:
		p.t.Fatalf("the peer got %v, want a %v frame: %s", err, op, because)
	case h.Opcode != op || h.Fin != fin || string(got) != payload:
		p.t.Fatalf("the peer got a %v frame %s, FIN %v\nwant a %v frame %s, FIN %v: %s",
			h.Opcode, brief(got), h.Fin, op, brief([]byte(payload)), fin, because)
	}
	p.checkHeader(h)
}

// wantClose: the next thing that comes is a Close frame with this code, or
// without one for StatusNoStatusReceived. It returns the reason.
func (p *peer) wantClose(code StatusCode, because string) (reason string) {
	p.t.Helper()
	h, payload, err := p.readFrame()
	if err != nil {
		p.t.Fatalf("the peer got %v, want a Close frame with %v: %s", err, code, because)
	}
	if h.Opcode != OpClose {
		p.t.Fatalf("the peer got a %v frame %s, want a Close frame with %v: %s", h.Opcode, brief(payload), code, because)
	}
	p.checkHeader(h)
	got, reason, err := parseClosePayload(payload)
	if err != nil || got != code {
		p.t.Fatalf("the peer got a Close frame with %v %q (%v), want %v: %s", got, reason, err, code, because)
	}
	return reason
}

// checkHeader: a frame of the Conn keeps the rules, which a Conn of the peer's
// role would hold it against.
func (p *peer) checkHeader(h FrameHeader) {
	p.t.Helper()
	if err := h.check(frameContext{toServer: !p.client, fragmented: h.Opcode == OpContinuation, compressed: p.rsv1}); err != nil {
		p.t.Fatalf("the Conn has sent %+v, which breaks a rule: %v", h, err)
	}
}

// wantEOF: nothing more comes and the connection ends in an orderly way.
func (p *peer) wantEOF(because string) {
	p.t.Helper()
	rest, err := io.ReadAll(p.nc)
	if rest = append(p.received, rest...); len(rest) > 0 || err != nil {
		p.t.Fatalf("the peer got %s, error %v\nwant the end of input and no error: %s", brief(rest), err, because)
	}
}

// brief returns p for the text of a failure.
func brief(p []byte) string {
	const most = 64
	if len(p) <= most {
		return fmt.Sprintf("%q", p)
	}
	return fmt.Sprintf("%q… (%d bytes)", p[:most], len(p))
}

// TestEcho sends messages of many lengths, so that every way of reading and
// writing one is taken, to and fro.
func TestEcho(t *testing.T) {
	onEvery(t, func(t *testing.T, connect connectFunc) {
		client, server := newPair(t, connect, connConfig{readLimit: -1})
		ended := async(func() error { return echo(server) })
		for _, n := range []int{0, 1, 2, 125, 126, 127, 4095, 4096, 4097, 32<<10 - 14, 32 << 10, 32<<10 + 1, 65535, 65536, 65537, 1 << 20, 5 << 20} {
			message := bytes.Repeat([]byte("0123456789abcde"), n/15+1)[:n]
			for _, op := range []Opcode{OpText, OpBinary} {
				if err := client.WriteMessage(op, message); err != nil {
					t.Fatal(err)
				}
				wantMessage(t, client, op, string(message), "what comes back is what was sent")
			}
		}
		if err := client.CloseWithStatus(3000, "bye"); err != nil {
			t.Fatalf("the client's Close returned %v, want nil: both Close frames were exchanged", err)
		}
		err := <-ended
		wantCloseError(t, err, 3000, "bye", "the client closed with that")
		if err := server.Close(); err != nil {
			t.Fatalf("the server's Close returned %v, want nil: the client has closed", err)
		}
		wantEnded(t, server, err)
	})
}
