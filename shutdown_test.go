package websocket

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// tracked returns how many connections u knows.
func tracked(u *Upgrader) int {
	u.tracker.mu.Lock()
	defer u.tracker.mu.Unlock()
	return len(u.tracker.conns)
}

// servePipe returns a Conn that u has made and its peer, a client.
func servePipe(t *testing.T, u *Upgrader) (*Conn, *peer) {
	client, server := overPipe(t)
	return u.Server(server), &peer{t: t, nc: client, client: true}
}

// answerClose reads up to a Close frame, which has to be 1001, and answers it.
func (p *peer) answerClose() error {
	for {
		h, payload, err := p.readFrame()
		if err != nil {
			return err
		}
		if h.Opcode == OpClose {
			if string(payload) != "\x03\xe9" {
				p.t.Errorf("the Close frame has the body %q, want code 1001 and no reason", payload)
			}
			_, err := p.nc.Write(p.frame(true, OpClose, string(payload)))
			return err
		}
	}
}

// shutdownContext ends after d with a cause of its own.
func shutdownContext(t *testing.T, d time.Duration) (context.Context, error) {
	cause := errors.New("no more patience")
	ctx, cancel := context.WithTimeoutCause(t.Context(), d, cause)
	t.Cleanup(cancel)
	return ctx, cause
}

// TestShutdown shuts a server down whose peers all answer, in whatever state
// its connections are, and lets nobody in afterwards.
func TestShutdown(t *testing.T) {
	var u Upgrader
	opened := make(chan *Conn)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := u.Upgrade(w, r); err == nil {
			opened <- c
		}
	}))
	defer server.Close()

	var ended []<-chan error
	var conns []*Conn
	for range 20 {
		dialed := async(func() *Conn {
			c, _, err := Dial(t.Context(), server.URL)
			if err != nil {
				t.Error(err)
			}
			return c
		})
		conns = append(conns, <-opened)
		client := <-dialed
		ended = append(ended, async(func() error {
			for {
				if _, _, err := client.ReadMessage(nil); err != nil {
					return err
				}
			}
		}))
	}
	if n := tracked(&u); n != len(conns) {
		t.Fatalf("the Upgrader knows %d connections, want %d", n, len(conns))
	}
	before := runtime.NumGoroutine()
	reading := readError(conns[0])
	w, err := conns[1].NextWriter(OpText)
	if err != nil {
		t.Fatal(err)
	}
	written := async(func() error { return conns[2].WriteMessage(OpBinary, make([]byte, 1<<20)) })

	if err := u.Shutdown(t.Context()); err != nil {
		t.Fatalf("Shutdown returned %v, want nil: all peers answer", err)
	}
	if err := <-written; err != nil && !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write under way returned %v, want nil or an error that Is net.ErrClosed", err)
	}
	for _, e := range ended {
		wantCloseError(t, <-e, StatusGoingAway, "", "the server has shut down")
	}
	if err := <-reading; !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read at the server returned %v, want an error that Is net.ErrClosed", err)
	}
	if err := w.Close(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("an open writer returned %v, want an error that Is net.ErrClosed", err)
	}
	for _, c := range conns {
		if err := c.Close(); err != nil {
			t.Errorf("Close returned %v after Shutdown, want nil", err)
		}
	}
	if n := tracked(&u); n != 0 {
		t.Errorf("the Upgrader still knows %d connections", n)
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("there are %d goroutines more than before", after-before)
	}

	_, resp, err := Dial(t.Context(), server.URL)
	var refused *HandshakeError
	if !errors.As(err, &refused) || refused.Status != http.StatusServiceUnavailable || resp == nil {
		t.Errorf("Dial returned %v after Shutdown, want status 503", err)
	}
	for range 2 {
		if err := u.Shutdown(t.Context()); err != nil {
			t.Errorf("a later Shutdown returned %v, want nil: there is nothing left to do", err)
		}
	}
}

// TestShutdownDropsTheSilent: peers that do not answer are waited for until the
// context ends, those that do are not dropped.
func TestShutdownDropsTheSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := Upgrader{CloseTimeout: time.Hour}
		var reading []<-chan error
		var conns []*Conn // or they might be collected before they are shut down
		for i := range 10 {
			c, p := servePipe(t, &u)
			conns = append(conns, c)
			if i%2 == 0 {
				reading = append(reading, readError(c))
			}
			switch {
			case i < 3: // reads, and never answers
				go io.Copy(io.Discard, p.nc)
			case i < 5: // does not even read
			default:
				go p.answerClose()
			}
		}
		defer runtime.KeepAlive(conns)
		ctx, cause := shutdownContext(t, time.Minute)
		began := time.Now()
		starting := async(func() error { return u.Shutdown(ctx) })
		synctest.Wait()
		second := async(func() error { return u.Shutdown(ctx) })
		first := <-starting
		if took := time.Since(began); took != time.Minute {
			t.Errorf("Shutdown returned after %v, want when its context ended", took)
		}
		if !errors.Is(first, cause) || first.Error() != "websocket: shutdown: 5 of 10 connections dropped: no more patience" {
			t.Errorf("Shutdown returned %q, want how many were dropped and the cause of its context", first)
		}
		if err := <-second; !errors.Is(err, cause) {
			t.Errorf("a second Shutdown at the same time returned %q, want the cause of its context, too", err)
		}
		for _, r := range reading {
			if err := <-r; !errors.Is(err, net.ErrClosed) {
				t.Errorf("a read at the server returned %v, want an error that Is net.ErrClosed", err)
			}
		}
		if n := tracked(&u); n != 0 {
			t.Errorf("the Upgrader still knows %d connections", n)
		}
		if err := u.Shutdown(ctx); err != nil {
			t.Errorf("a later Shutdown returned %v, want nil: there is nothing left to do", err)
		}
	})
}

// TestShutdownWithoutEnd: without an end of the context it is the close timeout
// that bounds the wait.
func TestShutdownWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := Upgrader{CloseTimeout: time.Minute}
		c, p := servePipe(t, &u)
		go io.Copy(io.Discard, p.nc)
		busy, _ := servePipe(t, &u) // with a write under way that nobody reads
		written := async(func() error { return busy.WriteMessage(OpBinary, make([]byte, 1<<20)) })
		synctest.Wait()
		began := time.Now()
		err := u.Shutdown(context.Background())
		if err == nil || err.Error() != "websocket: shutdown: 2 of 2 connections ended without a closing handshake" {
			t.Errorf("Shutdown returned %v, want how many have not answered", err)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("Shutdown returned after %v, want after the close timeout", took)
		}
		if <-written == nil {
			t.Error("the write under way returned nil, though nobody has read it")
		}
		if err := c.Close(); err == nil {
			t.Error("Close returned nil, want what broke the connection")
		}
	})
}

// TestShutdownTooLate: also a context that has ended leaves the peers a Close
// frame that says why.
func TestShutdownTooLate(t *testing.T) {
	var u Upgrader
	var conns []*Conn // or they might be collected before they are shut down
	var peers []*peer
	for range 10 {
		client, server := overTCP(t)
		conns = append(conns, u.Server(server))
		peers = append(peers, &peer{t: t, nc: client, client: true})
	}
	defer runtime.KeepAlive(conns)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := u.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown returned %v, want nil or what its context ended with", err)
	}
	for _, p := range peers {
		p.wantClose(StatusGoingAway, "the server has shut down")
		p.wantEOF("the connection was dropped")
	}
}

// TestShutdownDuringUpgrades: an upgrade that has begun is shut down, too, and
// one that has not is refused.
func TestShutdownDuringUpgrades(t *testing.T) {
	for range 5 {
		var u Upgrader
		var upgraded atomic.Int64
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := u.Upgrade(w, r)
			if err == nil {
				upgraded.Add(1)
				c.ReadMessage(nil)
			}
		}))
		var dials sync.WaitGroup
		var shutDown atomic.Int64
		for range 20 {
			dials.Go(func() {
				for {
					c, _, err := Dial(t.Context(), server.URL)
					var refused *HandshakeError
					if errors.As(err, &refused) && refused.Status == http.StatusServiceUnavailable {
						return
					}
					if err != nil {
						t.Error(err)
						return
					}
					_, _, err = c.ReadMessage(nil)
					if !errors.Is(err, &CloseError{Code: StatusGoingAway}) {
						t.Errorf("the client's read returned %v, want 1001", err)
					}
					shutDown.Add(1)
				}
			})
		}
		for upgraded.Load() < 5 {
			runtime.Gosched()
		}
		if err := u.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown returned %v, want nil: all peers answer", err)
		}
		if n := tracked(&u); n != 0 {
			t.Errorf("Shutdown has left %d connections", n)
		}
		dials.Wait()
		if up, down := upgraded.Load(), shutDown.Load(); up != down {
			t.Errorf("%d connections were opened and %d shut down", up, down)
		}
		server.Close()
	}
}

// TestShutdownDuringSlowUpgrade: a client that does not take its 101 keeps
// Shutdown waiting no longer than until its context ends.
func TestShutdownDuringSlowUpgrade(t *testing.T) {
	for _, timely := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var u Upgrader
			client, server := overPipe(t)
			var c *Conn // or it might be collected before it is shut down
			defer func() { runtime.KeepAlive(c) }()
			upgraded := async(func() error {
				r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(sampleRequest)))
				if err != nil {
					return err
				}
				c, err = u.Upgrade(hijacker{httptest.NewRecorder(), func() (net.Conn, *bufio.ReadWriter, error) {
					return server, bufio.NewReadWriter(bufio.NewReader(server), bufio.NewWriter(server)), nil
				}}, r)
				return err
			})
			synctest.Wait()
			began := time.Now()
			ctx, _ := shutdownContext(t, time.Second)
			shut := async(func() error { return u.Shutdown(ctx) })
			if !timely {
				if err := <-shut; err != nil || time.Since(began) != time.Second {
					t.Errorf("Shutdown returned %v after %v, want nil when its context ended: there was no connection yet", err, time.Since(began))
				}
			}
			p := &peer{t: t, nc: client, client: true}
			br := bufio.NewReader(client)
			if _, err := http.ReadResponse(br, nil); err != nil {
				t.Fatal(err)
			}
			if timely {
				p.nc = client
				p.wantClose(StatusGoingAway, "Shutdown has waited for the upgrade")
				p.send(p.frame(true, OpClose, "\x03\xe9"))
				if err := errors.Join(<-shut, <-upgraded); err != nil {
					t.Errorf("Shutdown and Upgrade returned %v, want nil", err)
				}
				return
			}
			if err := <-upgraded; err != errShutDown {
				t.Errorf("Upgrade returned %v, want %v", err, errShutDown)
			}
			p.wantEOF("the connection came too late")
		})
	}
}

// TestShutdownAndCloseNow drops connections while they are shut down.
func TestShutdownAndCloseNow(t *testing.T) {
	for range 20 {
		var u Upgrader
		var conns []*Conn
		for range 10 {
			client, server := overTCP(t)
			conns = append(conns, u.Server(server))
			go (&peer{t: t, nc: client, client: true}).answerClose()
		}
		for _, c := range conns[:3] {
			c.CloseNow()
		}
		if n := tracked(&u); n != 7 {
			t.Errorf("the Upgrader knows %d connections, want those that have not ended", n)
		}
		var dropping sync.WaitGroup
		for _, c := range conns[3:5] {
			dropping.Go(func() { c.CloseNow() })
		}
		err := u.Shutdown(t.Context())
		if err != nil && !strings.Contains(err.Error(), "ended without a closing handshake") {
			t.Errorf("Shutdown returned %v, want at most that connections were dropped", err)
		}
		dropping.Wait()
		for _, c := range conns[5:] {
			if err := c.Close(); err != nil {
				t.Errorf("Close returned %v after Shutdown, want nil: this one was not dropped", err)
			}
		}
		if n := tracked(&u); n != 0 {
			t.Errorf("the Upgrader still knows %d connections", n)
		}
	}
}

// TestTrackingKeepsNothingAlive: a connection that everyone has let go of is
// collected, its descriptor closed, and forgotten.
func TestTrackingKeepsNothingAlive(t *testing.T) {
	u := Upgrader{PingInterval: time.Hour}
	const n = 10
	var peers []*peer
	for range n {
		client, server := overTCPServerLetGo(t)
		u.Server(server)
		peers = append(peers, &peer{t: t, nc: client, client: true})
	}
	limit := time.Now().Add(20 * time.Second)
	for tracked(&u) > 0 && time.Now().Before(limit) {
		runtime.GC()
		u.tracker.mu.Lock()
		u.tracker.sweep()
		u.tracker.mu.Unlock()
	}
	if left := tracked(&u); left != 0 {
		t.Fatalf("the Upgrader still knows %d of %d connections that nobody has any more", left, n)
	}
	for _, p := range peers {
		p.wantEOF("the connection was collected")
	}
	if err := u.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown returned %v, want nil: there is nothing to do", err)
	}
}

// TestTrackingStaysSmall: connections that everyone has let go of do not pile
// up.
func TestTrackingStaysSmall(t *testing.T) {
	var u Upgrader
	for i := range 10 * minSweep {
		u.Server(struct{ net.Conn }{})
		if i%minSweep == 0 {
			runtime.GC()
		}
	}
	if n := tracked(&u); n > 3*minSweep {
		t.Errorf("the Upgrader knows %d connections, want %d at most: nearly all are gone", n, 3*minSweep)
	}
}

// overTCPServerLetGo is overTCP, except that the test does not keep the
// server's end.
func overTCPServerLetGo(t testing.TB) (client, server net.Conn) {
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
	return client, server
}

// TestServerAfterShutdown: a connection that comes too late is closed, and its
// methods say so.
func TestServerAfterShutdown(t *testing.T) {
	var u Upgrader
	if err := u.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, server := overTCP(t)
	c := u.Server(server)
	_, _, readErr := c.ReadMessage(nil)
	for what, err := range map[string]error{
		"ReadMessage": readErr, "WriteMessage": c.WriteMessage(OpText, nil), "Close": c.Close(), "Ping": c.Ping(t.Context()),
	} {
		if !errors.Is(err, net.ErrClosed) {
			t.Errorf("%s returned %v, want an error that Is net.ErrClosed", what, err)
		}
	}
	if err := c.CloseNow(); err != nil {
		t.Errorf("CloseNow returned %v, want nil", err)
	}
	(&peer{t: t, nc: client, client: true}).wantEOF("the server has been shut down")
	if n := tracked(&u); n != 0 {
		t.Errorf("the Upgrader knows %d connections", n)
	}
}

// TestShutdownBesideHTTP is how a server with both kinds of connections ends.
func TestShutdownBesideHTTP(t *testing.T) {
	var u Upgrader
	serving := make(chan struct{}, 1)
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", func(w http.ResponseWriter, r *http.Request) {
		c, err := u.Upgrade(w, r)
		if err != nil {
			return
		}
		defer c.CloseNow()
		serving <- struct{}{}
		c.ReadMessage(nil)
	})
	mux.HandleFunc("/plain", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	served := async(func() error { return server.Serve(l) })
	url := "http://" + l.Addr().String()
	var transport http.Transport
	resp, err := (&http.Client{Transport: &transport}).Get(url + "/plain")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); err != nil || !bytes.Equal(b, []byte("hello")) {
		t.Fatal(string(b), err)
	}
	resp.Body.Close()
	c, _, err := Dial(t.Context(), url+"/ws")
	if err != nil {
		t.Fatal(err)
	}
	<-serving
	ended := readError(c)
	ctx, _ := shutdownContext(t, time.Minute)
	web := async(func() error { return server.Shutdown(ctx) })
	if err := errors.Join(u.Shutdown(ctx), <-web); err != nil {
		t.Errorf("the two Shutdowns returned %v, want nil", err)
	}
	wantCloseError(t, <-ended, StatusGoingAway, "", "the server has shut down")
	if err := <-served; err != http.ErrServerClosed {
		t.Errorf("Serve returned %v, want http.ErrServerClosed", err)
	}
	if _, _, err := Dial(t.Context(), url+"/ws"); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Dial returned %v, want that nobody listens", err)
	}
	transport.CloseIdleConnections()
}
