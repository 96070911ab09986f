package load

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// serveRaw runs a TCP server that answers the opening handshake, unless it is
// a raw one, and hands the frames to serve.
func serveRaw(t *testing.T, answerFirst bool, serve func(nc net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer nc.Close()
				if answerFirst {
					response, err := Answer(nc)
					if err != nil {
						return
					}
					nc.Write(response)
				}
				serve(nc)
			}()
		}
	}()
	return ln.Addr().String()
}

// A server that does not echo is found out, whatever it does instead.
func TestVerifyFindsWhatIsNoEcho(t *testing.T) {
	const size = 200
	opt := Options{Conns: 1, InFlight: 2, Size: size, Payload: Binary, Raw: true}
	frame := 4 + size
	for _, c := range []struct {
		name, want string
		alter      func(b []byte) []byte // all that two messages are
	}{
		{"an echo", "", func(b []byte) []byte { return b }},
		{"a byte of the payload", "not an echo", func(b []byte) []byte { b[frame-1] ^= 1; return b }},
		{"the second opcode", "not an echo", func(b []byte) []byte { b[frame] ^= 3; return b }},
		{"the order", "not an echo", func(b []byte) []byte { return append(b[frame:], b[:frame]...) }},
		{"a message twice", "not an echo", func(b []byte) []byte { return append(b[:frame:frame], b[:frame]...) }},
		{"a byte too many", "more bytes", func(b []byte) []byte { return append(b, b[:1]...) }},
		{"the end of the connection", "closed", func(b []byte) []byte { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			opt.Addr = serveRaw(t, false, func(nc net.Conn) {
				b := make([]byte, 2*frame)
				if _, err := io.ReadFull(nc, b); err == nil {
					nc.Write(c.alter(b))
				}
			})
			e, err := NewEcho(opt)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			err = e.Verify()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("Verify says %v, it should say %q", err, c.want)
			}
		})
	}
}

// Every way of sending counts each reply once and loses none.
func TestRunCounts(t *testing.T) {
	addr := serveRaw(t, false, func(nc net.Conn) { io.Copy(nc, nc) })
	for _, opt := range []Options{
		{Conns: 1, InFlight: 1, Size: 128},
		{Conns: 7, InFlight: 16, Size: 128, Spin: true},
		{Conns: 7, InFlight: 16, Refill: 1, Size: 128},
		{Conns: 7, InFlight: 4, Size: 128, Lockstep: true},
		{Conns: 3, InFlight: 2, Size: 1 << 20},
	} {
		opt.Addr, opt.Raw, opt.Payload = addr, true, ASCII
		e, err := NewEcho(opt)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Verify(); err != nil {
			t.Errorf("%+v: %v", opt, err)
		}
		before := e.Answered()
		if err := e.Run(0, 1000); err != nil {
			t.Errorf("%+v: %v", opt, err)
		}
		if n := e.Answered() - before; n < 1000 || n > 1000+int64(2*opt.Conns*opt.InFlight) {
			t.Errorf("%+v: %d replies came, there should be 1000 and what was in flight then", opt, n)
		}
		if err := e.Verify(); err != nil {
			t.Errorf("%+v: after the load: %v", opt, err)
		}
		e.Close()
	}
}

// A client masks, and each frame is one that a server may read.
func TestMessages(t *testing.T) {
	for _, size := range []int{0, 125, 126, 1 << 16} {
		m := NewMessages(3, 2, size, Binary, true)
		if len(m.Out) != 5*m.OutLen || m.OutCycle != 3*m.OutLen || len(m.In) != 3*m.InLen || m.OutLen != m.InLen+4 {
			t.Fatalf("%d bytes: lengths do not fit: %d frames of %d to be sent, %d of %d to come",
				size, len(m.Out)/m.OutLen, m.OutLen, len(m.In)/m.InLen, m.InLen)
		}
		for i := range 3 {
			out, in := m.Out[i*m.OutLen:][:m.OutLen], m.In[i*m.InLen:][:m.InLen]
			key := out[m.OutLen-size-4:][:4]
			for k := range size {
				if out[m.OutLen-size+k]^key[k&3] != in[m.InLen-size+k] {
					t.Fatalf("%d bytes: the payload of message %d is not the one to come back", size, i)
				}
			}
		}
	}
}

// What a process sends is followed through frames cut anywhere.
func TestFrames(t *testing.T) {
	const size = 300
	p := Pattern(size, 'C')
	whole := appendFrame(nil, 2, p, true)
	first := appendFrame(nil, 2, p[:100], true)
	first[0] &^= 0x80
	rest := appendFrame(nil, 0, p[100:], true)
	fragments := append(bytes.Clone(first), rest...)
	wrong := bytes.Clone(whole)
	wrong[len(wrong)-1] ^= 1

	for _, c := range []struct {
		name     string
		stream   []byte
		messages int64
		fails    bool
	}{
		{"one frame", whole, 1, false},
		{"two fragments", fragments, 1, false},
		{"both", append(bytes.Clone(whole), fragments...), 2, false},
		{"a message inside another", append(bytes.Clone(first), whole...), 0, true},
		{"a wrong byte", wrong, 0, true},
		{"not masked", appendFrame(nil, 2, p, false), 0, true},
		{"too long", appendFrame(nil, 2, append(p, 0), true), 0, true},
		{"too short", appendFrame(nil, 2, p[:size-1], true), 0, true},
	} {
		for step := 1; step <= len(c.stream); step++ {
			f := frames{masked: true, size: size, compare: 10}
			var kept []byte
			var err error
			for b := c.stream; len(b) > 0 && err == nil; b = b[min(step, len(b)):] {
				kept, err = f.take(append(bytes.Clone(kept), b[:min(step, len(b))]...))
			}
			if f.messages != c.messages || (err != nil) != c.fails {
				t.Fatalf("%s in pieces of %d: %d messages and %v, there should be %d and an error: %v",
					c.name, step, f.messages, err, c.messages, c.fails)
			}
		}
	}
}

func TestHandshakeCheck(t *testing.T) {
	h := newHandshake("127.0.0.1:1")
	good := "HTTP/1.1 101 Switching Protocols\r\nupgrade: WebSocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + h.accept + "\r\n\r\n"
	if _, err := h.check([]byte(good)); err != nil {
		t.Errorf("a valid answer is refused: %v", err)
	}
	for _, bad := range []string{
		strings.Replace(good, "101", "200", 1),
		strings.Replace(good, h.accept, newHandshake("").accept, 1),
		strings.Replace(good, "upgrade:", "downgrade:", 1),
		strings.Replace(good, "Connection:", "Disconnection:", 1),
	} {
		if _, err := h.check([]byte(bad)); err == nil {
			t.Errorf("an answer that is not valid is taken for one:\n%s", bad)
		}
	}
	// The example of section 1.3.
	if got := acceptFor("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("Sec-WebSocket-Accept is %s", got)
	}
}

func TestHandshakes(t *testing.T) {
	addr := serveRaw(t, true, func(nc net.Conn) { io.Copy(io.Discard, nc) })
	if n, err := Handshakes(addr, 3, 20*time.Millisecond); err != nil || n == 0 {
		t.Errorf("%d handshakes and %v, there should be some and no error", n, err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go http.Serve(ln, http.NotFoundHandler())
	if _, err := Handshakes(ln.Addr().String(), 3, time.Minute); err == nil {
		t.Error("a server that refuses every handshake passes for one that does not")
	}
}
