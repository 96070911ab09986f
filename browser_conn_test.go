package websocket

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"crypto/tls"
)

// A fakeSocket does what a browser's WebSocket object does, with a Conn of our
// own below: it takes messages at any time and sends them in the background.
type fakeSocket struct {
	conn  *Conn        // to the peer
	above *browserConn // what it serves

	mu     sync.Mutex
	queue  []func()
	queued int
	sent   []string // what was given to send and close, in short
	wake   chan struct{}
	done   chan struct{}
}

// startFakeBrowser returns the client's Conn over a browserConn, and the
// server's end. A test runs it in a bubble.
func startFakeBrowser(t *testing.T, d *Dialer) (client *Conn, socket *fakeSocket, server *Conn) {
	ours, peer := net.Pipe()
	server = new(Upgrader).Server(peer)
	socket = &fakeSocket{
		conn: (&Dialer{ReadLimit: -1}).Client(ours),
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	socket.above = newBrowserConn(socket, "ws://h.example/")
	go socket.write()
	go socket.read()
	cfg := d.config()
	cfg.browser = true
	client = newConn(socket.above, cfg)
	t.Cleanup(func() {
		client.CloseNow()
		server.CloseNow()
		socket.conn.CloseNow()
		close(socket.done)
		synctest.Wait()
	})
	return client, socket, server
}

func (s *fakeSocket) read() {
	for {
		op, p, err := s.conn.ReadMessage(nil)
		if err == nil {
			s.above.received(op, p)
			continue
		}
		closed, clean := errors.AsType[*CloseError](err)
		if !clean && s.conn.Close() == nil { // the program has closed
			closed = &CloseError{Code: s.conn.Stats().CloseReceived}
			clean = true
		}
		if closed == nil {
			closed = &CloseError{Code: StatusAbnormalClosure}
		}
		s.above.end(closed.Code, closed.Reason, clean && closed.Err == nil)
		return
	}
}

func (s *fakeSocket) write() {
	for {
		s.mu.Lock()
		queue := s.queue
		s.queue = nil
		s.mu.Unlock()
		for _, f := range queue {
			f()
		}
		if len(queue) > 0 {
			continue
		}
		select {
		case <-s.wake:
		case <-s.done:
			return
		}
	}
}

func (s *fakeSocket) add(what string, f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, what)
	s.queue = append(s.queue, f)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *fakeSocket) send(op Opcode, payload []byte) error {
	p := slices.Clone(payload)
	s.add(op.String(), func() {
		s.conn.WriteMessage(op, p)
		s.mu.Lock()
		s.queued -= len(p)
		s.mu.Unlock()
	})
	s.mu.Lock()
	s.queued += len(p)
	s.mu.Unlock()
	return nil
}

func (s *fakeSocket) close(code StatusCode, reason string) {
	s.add("close "+code.String()+" "+reason, func() {
		s.conn.startClose(code, reason)
	})
}

func (s *fakeSocket) buffered() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queued
}

func (s *fakeSocket) drop() { s.add("drop", func() { go s.conn.CloseNow() }) }

// did returns what the socket was told to do, apart from sending.
func (s *fakeSocket) did() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(s.sent), func(what string) bool { return what == "text" || what == "binary" })
}

// inFakeBrowser runs test in a bubble with a Conn in a browser.
func inFakeBrowser(t *testing.T, name string, test func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client, socket, server := startFakeBrowser(t, &Dialer{ReadLimit: 10 << 20})
			test(t, client, socket, server)
		})
	})
}

func TestBrowserMessages(t *testing.T) {
	inFakeBrowser(t, "whole", func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
		for _, n := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20} {
			for _, op := range []Opcode{OpText, OpBinary} {
				payload := strings.Repeat("x", n)
				if err := client.WriteMessage(op, []byte(payload)); err != nil {
					t.Fatal(err)
				}
				wantMessage(t, server, op, payload)
				server.SetReadLimit(-1)
				go server.WriteMessage(op, []byte(payload))
				wantMessage(t, client, op, payload)
			}
		}
		if len(socket.did()) != 0 {
			t.Errorf("the browser was told to %q", socket.did())
		}
	})

	inFakeBrowser(t, "in fragments", func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
		for _, pieces := range [][]int{{0}, {0, 0, 5}, {40_000, 1}, {10, 100_000, 0, 7}, {1, 2, 3, 70_000}} {
			w, err := client.NextWriter(OpText)
			if err != nil {
				t.Fatal(err)
			}
			total := 0
			for _, n := range pieces {
				if _, err := w.Write(bytes.Repeat([]byte("y"), n)); err != nil {
					t.Fatal(err)
				}
				total += n
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			wantMessage(t, server, OpText, strings.Repeat("y", total))
		}
	})

	// The peer's Pings are the browser's business.
	inFakeBrowser(t, "ping", func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
		go server.ReadMessage(nil) // somebody has to
		if err := server.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		if err := client.Ping(t.Context()); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Ping returns %v, want errors.ErrUnsupported", err)
		}
		go server.WriteMessage(OpText, []byte("still here"))
		wantMessage(t, client, OpText, "still here")
	})
}

// TestBrowserWrite writes frames cut at every place.
func TestBrowserWrite(t *testing.T) {
	type sent struct {
		op      Opcode
		payload string
	}
	var frames []byte
	add := func(fin bool, op Opcode, payload string) {
		key := newMaskKey()
		frames = FrameHeader{Fin: fin, Opcode: op, Masked: true, MaskKey: key, Length: int64(len(payload))}.Append(frames)
		start := len(frames)
		frames = append(frames, payload...)
		Mask(frames[start:], key, 0)
	}
	long := strings.Repeat("long", 50)
	add(true, OpText, "Hello")
	add(false, OpBinary, "")
	add(false, OpContinuation, "ab")
	add(true, OpPong, "ignored")
	add(true, OpContinuation, long)
	add(true, OpText, "")
	add(true, OpBinary, "end")
	want := []sent{{OpText, "Hello"}, {OpBinary, "ab" + long}, {OpText, ""}, {OpBinary, "end"}}
	for cut := range len(frames) + 1 {
		var got []sent
		c := newBrowserConn(socketFunc(func(op Opcode, p []byte) { got = append(got, sent{op, string(p)}) }), "")
		for _, p := range [][]byte{frames[:cut], frames[cut:]} {
			if n, err := c.Write(p); n != len(p) || err != nil {
				t.Fatalf("Write of %d bytes returns %d, %v", len(p), n, err)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("cut after %d bytes: the browser got %v, want %v", cut, got, want)
		}
	}
}

// A socketFunc is a browser that takes all messages.
type socketFunc func(op Opcode, payload []byte)

func (f socketFunc) send(op Opcode, payload []byte) error { f(op, payload); return nil }
func (socketFunc) close(StatusCode, string)               {}
func (socketFunc) buffered() int                          { return 0 }
func (socketFunc) drop()                                  {}

func TestBrowserClose(t *testing.T) {
	for _, end := range []struct {
		code   StatusCode
		reason string
	}{{StatusNormalClosure, ""}, {3000, "x"}, {4999, strings.Repeat("ü", 61)}} {
		inFakeBrowser(t, "by the program, "+end.code.String(), func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
			peer := make(chan error, 1)
			go func() { _, _, err := server.ReadMessage(nil); peer <- err }()
			if err := client.CloseWithStatus(end.code, end.reason); err != nil {
				t.Errorf("CloseWithStatus: %v", err)
			}
			if err, ok := errors.AsType[*CloseError](<-peer); !ok || err.Code != end.code || err.Reason != end.reason {
				t.Errorf("the peer saw %v, want %v %q", err, end.code, end.reason)
			}
		})
	}

	for _, end := range []struct {
		code   StatusCode
		reason string
	}{{StatusNormalClosure, ""}, {StatusGoingAway, "away"}, {StatusInternalError, "x"}, {4002, "bis später"}} {
		inFakeBrowser(t, "by the peer, "+end.code.String(), func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
			server.WriteMessage(OpText, []byte("before"))
			go server.CloseWithStatus(end.code, end.reason)
			synctest.Wait() // the browser has dealt with it
			if err := client.WriteMessage(OpText, []byte("too late")); err != nil {
				t.Errorf("writing before the Close frame has been read: %v", err)
			}
			wantMessage(t, client, OpText, "before")
			_, _, err := client.ReadMessage(nil)
			if closed, ok := errors.AsType[*CloseError](err); !ok || closed.Code != end.code || closed.Reason != end.reason {
				t.Errorf("reading fails with %v, want %v %q", err, end.code, end.reason)
			}
			if err := client.WriteMessage(OpText, nil); !errors.Is(err, net.ErrClosed) {
				t.Errorf("writing fails with %v, want net.ErrClosed", err)
			}
			if err := client.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}

	inFakeBrowser(t, "codes that a browser does not send", func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
		for _, code := range []StatusCode{1001, 1002, 1003, 1007, 1011, 1014} {
			if err := client.CloseWithStatus(code, ""); !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("CloseWithStatus(%d) returns %v, want errors.ErrUnsupported", code, err)
			}
		}
		if err := client.CloseWithStatus(1006, ""); err != errBadCloseCode {
			t.Errorf("CloseWithStatus(1006) returns %v, want %v", err, errBadCloseCode)
		}
		go server.WriteMessage(OpText, []byte("still here"))
		wantMessage(t, client, OpText, "still here")
	})

	inFakeBrowser(t, "for what the peer sent", func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
		client.SetReadLimit(4)
		go server.WriteMessage(OpText, []byte("Hello"))
		peer := readError(server) // which has a second for it
		if _, _, err := client.ReadMessage(nil); !errors.Is(err, ErrReadLimit) {
			t.Errorf("reading fails with %v, want ErrReadLimit", err)
		}
		if err := <-peer; !errors.Is(err, &CloseError{Code: StatusNoStatusReceived}) {
			t.Errorf("the peer saw %v, want a Close frame without the code 1009, which a browser does not send", err)
		}
	})

	inFakeBrowser(t, "a stream of the other type", func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
		go server.WriteMessage(OpText, []byte("Hello"))
		go server.ReadMessage(nil)
		if _, err := StreamConn(client, OpBinary).Read(make([]byte, 10)); err != errOtherType {
			t.Errorf("reading fails with %v, want %v", err, errOtherType)
		}
		if _, _, err := client.ReadMessage(nil); !errors.Is(err, net.ErrClosed) {
			t.Errorf("reading after that fails with %v, want net.ErrClosed", err)
		}
	})

	inFakeBrowser(t, "without a Close frame", func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
		server.CloseNow()
		synctest.Wait()
		_, _, err := client.ReadMessage(nil)
		if !errors.Is(err, &CloseError{Code: StatusAbnormalClosure}) || !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("reading fails with %v, want 1006 and io.ErrUnexpectedEOF", err)
		}
		if err := client.WriteMessage(OpText, nil); !errors.Is(err, &CloseError{Code: StatusAbnormalClosure}) {
			t.Errorf("writing fails with %v, want 1006", err)
		}
	})

	inFakeBrowser(t, "without a Close frame, and writing first", func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
		server.CloseNow()
		synctest.Wait()
		if err := client.WriteMessage(OpText, nil); !errors.Is(err, errBrowserGone) {
			t.Errorf("writing fails with %v, want %v", err, errBrowserGone)
		}
	})

	inFakeBrowser(t, "now", func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
		reading := make(chan error, 1)
		go func() { _, _, err := client.ReadMessage(nil); reading <- err }()
		synctest.Wait()
		if err := client.CloseNow(); err != nil {
			t.Error(err)
		}
		if err := <-reading; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the read that waits fails with %v, want net.ErrClosed", err)
		}
		if did := socket.did(); !slices.Equal(did, []string{"drop"}) {
			t.Errorf("the browser was told to %q, want to drop the connection", did)
		}
	})

	// The peer never answers: the close timeout is ours, not the browser's.
	inFakeBrowser(t, "not answered", func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
		before := time.Now()
		if err := client.Close(); !errors.Is(err, errCloseTimeout) {
			t.Errorf("Close returns %v, want %v", err, errCloseTimeout)
		}
		if waited := time.Since(before); waited != defaultCloseTimeout {
			t.Errorf("Close waited for %v, want %v", waited, defaultCloseTimeout)
		}
	})
}

func TestBrowserDeadlines(t *testing.T) {
	inFakeBrowser(t, "reading", func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
		client.SetReadDeadline(time.Now().Add(time.Second))
		if _, _, err := client.ReadMessage(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("reading fails with %v, want os.ErrDeadlineExceeded", err)
		}
		client.SetReadDeadline(time.Time{})
		reading := make(chan error, 1)
		go func() { _, _, err := client.ReadMessage(nil); reading <- err }()
		synctest.Wait()
		client.SetReadDeadline(time.Unix(1, 0))
		if err := <-reading; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the read that waits fails with %v, want os.ErrDeadlineExceeded", err)
		}
		client.SetReadDeadline(time.Now().Add(time.Second))
		go server.WriteMessage(OpText, []byte("Hello"))
		wantMessage(t, client, OpText, "Hello")
	})

	// The peer does not read: what the browser holds stays bounded, and a
	// deadline ends the wait.
	inFakeBrowser(t, "writing", func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
		client.SetWriteDeadline(time.Now().Add(time.Second))
		payload := make([]byte, 100_000)
		var err error
		for n := 0; err == nil; n++ {
			if n > 100 {
				t.Fatal("messages are taken without end")
			}
			err = client.WriteMessage(OpBinary, payload)
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("writing fails with %v, want os.ErrDeadlineExceeded", err)
		}
		if n := socket.buffered(); n <= maxBrowserBuffered || n > maxBrowserBuffered+len(payload) {
			t.Errorf("%d bytes are in the browser, want %d and at most a message more", n, maxBrowserBuffered)
		}
	})

	inFakeBrowser(t, "writing, until there is room", func(t *testing.T, client *Conn, socket *fakeSocket, server *Conn) {
		const messages = 30
		go func() {
			for range messages {
				client.WriteMessage(OpBinary, make([]byte, 100_000))
			}
		}()
		time.Sleep(time.Minute) // nobody reads
		for range messages {
			wantMessage(t, server, OpBinary, string(make([]byte, 100_000)))
		}
	})
}

// TestBrowserCannot checks that what a browser cannot heed is refused.
func TestBrowserCannot(t *testing.T) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	for want, test := range map[string]struct {
		url    string
		dialer Dialer
	}{
		"Header":            {"ws://h.example/", Dialer{Header: http.Header{"X-Own": {"x"}}}},
		"a user in the URL": {"ws://user@h.example/", Dialer{}},
		"TLSConfig":         {"ws://h.example/", Dialer{TLSConfig: &tls.Config{}}},
		"NetDialContext":    {"ws://h.example/", Dialer{NetDialContext: new(net.Dialer).DialContext}},
		"Proxy":             {"ws://h.example/", Dialer{Proxy: http.ProxyURL(&url.URL{})}},
		"ProxyHeader":       {"ws://h.example/", Dialer{ProxyHeader: http.Header{}}},
		"Jar":               {"ws://h.example/", Dialer{Jar: jar}},
		"MaxRedirects":      {"ws://h.example/", Dialer{MaxRedirects: 1}},
		"PingInterval":      {"ws://h.example/", Dialer{PingInterval: 1}},
		"": {"ws://h.example/", Dialer{ReadLimit: 1, WriteTimeout: 1, CloseTimeout: 1, MaxQueued: 1, HandshakeTimeout: 1,
			Subprotocols: []string{"a"}, ParallelDials: true}},
	} {
		req, err := test.dialer.newRequest(test.url, sampleKey)
		if err != nil {
			t.Fatal(err)
		}
		err = test.dialer.browserCannot(req)
		if want == "" && err != nil || want != "" && (!errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), want)) {
			t.Errorf("error %v, want one that Is errors.ErrUnsupported and names %q", err, want)
		}
	}
}
