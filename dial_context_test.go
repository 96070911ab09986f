package websocket

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var errGivenUp = errors.New("the caller has given up")

// wantGivenUp checks that err is that of a context cancelled with errGivenUp.
func wantGivenUp(t *testing.T, conn *Conn, err error) {
	t.Helper()
	if conn != nil || !errors.Is(err, context.Canceled) || !errors.Is(err, errGivenUp) {
		t.Errorf("Dial returned %v and error %v; want no Conn and an error that Is context.Canceled and its cause", conn, err)
	}
	if err != nil && strings.Count(err.Error(), "websocket: ") != 1 {
		t.Errorf("error %q, want one prefix", err)
	}
}

// TestDialCancelled cancels the context while Dial waits for the server, which
// sees the connection closed.
func TestDialCancelled(t *testing.T) {
	for _, test := range []struct {
		name, scheme string
		before       string // what the server sends before it falls silent
		readRequest  bool
	}{
		{"in TLS", "wss", "", false},
		{"waiting for the 101", "ws", "", true},
		{"in the status line", "ws", "HTTP/1.1 1", true},
		{"in the header", "ws", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: web", true},
		{"after an interim response", "ws", "HTTP/1.1 103 Early Hints\r\n\r\n", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			server := startRaw(t, func(nc net.Conn) {
				if test.readRequest {
					readKey(t, nc)
				}
				io.WriteString(nc, test.before)
				cancel(errGivenUp)
			})
			d := &Dialer{HandshakeTimeout: -1}
			conn, resp, err := d.Dial(ctx, strings.Replace(server.url, "ws", test.scheme, 1))
			wantGivenUp(t, conn, err)
			if resp != nil {
				t.Errorf("response %v, want none", resp)
			}
			server.wantClosed()
		})
	}

	t.Run("in a refusal's body", func(t *testing.T) {
		server := startRaw(t, answer(t, "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nhel"))
		ctx, cancel := context.WithCancelCause(t.Context())
		d := &Dialer{NetDialContext: cancelAfterRead(func() { cancel(errGivenUp) })}
		conn, resp, err := d.Dial(ctx, server.url)
		wantGivenUp(t, conn, err)
		var refused *HandshakeError
		if !errors.As(err, &refused) || refused.Status != 403 || string(refused.Body) != "hel" || resp == nil {
			t.Errorf("error %v with response %v, want a *HandshakeError with what came of the body", err, resp)
		}
		server.wantClosed()
	})

	t.Run("before", func(t *testing.T) {
		server := startRaw(t, func(nc net.Conn) {})
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errGivenUp)
		conn, _, err := Dial(ctx, server.url)
		wantGivenUp(t, conn, err)
	})

	t.Run("while connecting", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		d := &Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			cancel(errGivenUp)
			<-ctx.Done()
			return nil, errors.New("interrupted")
		}}
		conn, _, err := d.Dial(ctx, "ws://h.example/")
		wantGivenUp(t, conn, err)
	})

	t.Run("while connecting, but a connection comes", func(t *testing.T) {
		ours, peer := net.Pipe()
		ctx, cancel := context.WithCancelCause(t.Context())
		d := &Dialer{NetDialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			cancel(errGivenUp)
			return ours, nil
		}}
		conn, _, err := d.Dial(ctx, "ws://h.example/")
		wantGivenUp(t, conn, err)
		if _, err := io.Copy(io.Discard, peer); err != nil {
			t.Errorf("reading from the dropped connection: %v, want its end", err)
		}
	})

	t.Run("while writing", func(t *testing.T) {
		ours, peer := net.Pipe()
		ctx, cancel := context.WithCancelCause(t.Context())
		d := &Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) { return ours, nil }}
		go func() {
			peer.Read(make([]byte, 1)) // of the request, and no more
			cancel(errGivenUp)
		}()
		conn, _, err := d.Dial(ctx, "ws://h.example/")
		wantGivenUp(t, conn, err)
		if _, err := io.Copy(io.Discard, peer); err != nil {
			t.Errorf("reading from the dropped connection: %v, want its end", err)
		}
	})
}

// A lastMoment is a connection that calls then when a Read has brought the
// server's answer.
type lastMoment struct {
	net.Conn
	then func()
}

func (c *lastMoment) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.then()
	}
	return n, err
}

// cancelAfterRead dials such a connection.
func cancelAfterRead(cancel func()) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := new(net.Dialer).DialContext(ctx, network, addr)
		return &lastMoment{nc, cancel}, err
	}
}

// TestDialCancelledAtTheLastMoment cancels the context when the answer has been
// read: too late to interrupt anything, and still no connection that will be
// closed, or has been, may be returned.
func TestDialCancelledAtTheLastMoment(t *testing.T) {
	server := startRaw(t, answer(t, sampleAnswer+helloFrame))
	ctx, cancel := context.WithCancelCause(t.Context())
	d := &Dialer{NetDialContext: cancelAfterRead(func() { cancel(errGivenUp) })}
	conn, resp, err := d.Dial(ctx, server.url)
	wantGivenUp(t, conn, err)
	if resp != nil {
		t.Errorf("response %v, want none", resp)
	}
	server.wantClosed()
}

// TestDialRacesWithCancel cancels at about the time of the answer. Whatever
// Dial returns must be true: an error, or a connection that works.
func TestDialRacesWithCancel(t *testing.T) {
	const messages = 3
	server := startRaw(t, answer(t, sampleAnswer+strings.Repeat(helloFrame, messages)))
	for range 200 {
		ctx, cancel := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		d := &Dialer{NetDialContext: cancelAfterRead(func() { wg.Go(func() { cancel(errGivenUp) }) })}
		conn, _, err := d.Dial(ctx, server.url)
		wg.Wait()
		if err != nil {
			wantGivenUp(t, conn, err)
		} else {
			for range messages {
				wantMessage(t, conn, OpText, "Hello")
			}
			if err := conn.WriteMessage(OpText, []byte("Hello")); err != nil {
				t.Fatalf("writing to a connection that Dial has returned: %v", err)
			}
			conn.CloseNow()
		}
		cancel(nil)
		server.wantClosed()
	}
}

// TestDialContextEndsWithDial uses a connection after its context.
func TestDialContextEndsWithDial(t *testing.T) {
	server := startRaw(t, func(nc net.Conn) {
		answer(t, sampleAnswer)(nc)
		nc.Read(make([]byte, 100))
		io.WriteString(nc, helloFrame)
	})
	ctx, cancel := context.WithCancel(t.Context())
	conn, _, err := Dial(ctx, server.url)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := conn.WriteMessage(OpText, []byte("Hello")); err != nil {
		t.Error(err)
	}
	wantMessage(t, conn, OpText, "Hello")
	conn.CloseNow()
	server.wantClosed()
}

// TestDialTimeouts waits for servers that never answer, under each of the
// bounds there are.
func TestDialTimeouts(t *testing.T) {
	for _, test := range []struct {
		name, url         string
		context, timeout  time.Duration
		handshakeTimedOut bool
	}{
		{"the default", "ws://h.example/", 0, 0, true},
		{"HandshakeTimeout", "ws://h.example/", 0, time.Second, true},
		{"HandshakeTimeout in TLS", "wss://h.example/", 0, time.Second, true},
		{"HandshakeTimeout before the context", "ws://h.example/", 2 * time.Second, time.Second, true},
		{"the context before HandshakeTimeout", "ws://h.example/", time.Second, 2 * time.Second, false},
		{"the context alone", "ws://h.example/", 2 * defaultHandshakeTimeout, -1, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if test.context != 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.context)
					defer cancel()
				}
				ours, peer := net.Pipe()
				go io.Copy(io.Discard, peer)
				d := &Dialer{
					HandshakeTimeout: test.timeout,
					NetDialContext:   func(context.Context, string, string) (net.Conn, error) { return ours, nil },
				}
				_, _, err := d.Dial(ctx, test.url)
				if !errors.Is(err, context.DeadlineExceeded) {
					t.Fatalf("error %v, want context.DeadlineExceeded", err)
				}
				if got := strings.Contains(err.Error(), "no handshake within"); got != test.handshakeTimedOut {
					t.Errorf("error %q names HandshakeTimeout: %v, want %v", err, got, test.handshakeTimedOut)
				}
				if (ctx.Err() != nil) == test.handshakeTimedOut {
					t.Errorf("the context's error is %v when Dial returns %v", ctx.Err(), err)
				}
			})
		})
	}
}

// TestDialRefusalBodyTimeout reads a refusal whose body never comes: the
// status is returned long before the handshake times out.
func TestDialRefusalBodyTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		go func() {
			answer(t, "HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nhel")(peer)
			io.Copy(io.Discard, peer)
		}()
		d := &Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) { return ours, nil }}
		_, resp, err := d.Dial(t.Context(), "ws://h.example/")
		var refused *HandshakeError
		if !errors.As(err, &refused) || refused.Status != 403 || string(refused.Body) != "hel" || resp == nil {
			t.Errorf("error %v with response %v, want a *HandshakeError with what came of the body", err, resp)
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want one that comes before HandshakeTimeout", err)
		}
	})
}

// TestDialNetErrors checks that what the network says stays reachable.
func TestDialNetErrors(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close() // nobody listens there now
	_, _, err = Dial(t.Context(), "ws://"+addr)
	var opErr *net.OpError
	if !errors.As(err, &opErr) || opErr.Op != "dial" || !strings.HasPrefix(err.Error(), "websocket: dial tcp") {
		t.Errorf("error %v, want a *net.OpError from dialling", err)
	}

	d := &Dialer{NetDialContext: func(context.Context, string, string) (net.Conn, error) { return nil, nil }}
	if _, _, err := d.Dial(t.Context(), "ws://h.example/"); err == nil || !strings.Contains(err.Error(), "NetDialContext") {
		t.Errorf("error %v, want one that blames NetDialContext", err)
	}

	d.NetDialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
		return nil, &net.AddrError{Err: network, Addr: addr}
	}
	var addrErr *net.AddrError
	if _, _, err := d.Dial(t.Context(), "wss://h.example/"); !errors.As(err, &addrErr) || addrErr.Err != "tcp" || addrErr.Addr != "h.example:443" {
		t.Errorf("error %v, want NetDialContext's own, called for tcp and h.example:443", err)
	}
}

// TestDialResponse checks that a refusal's response fits in with net/http.
func TestDialResponse(t *testing.T) {
	server := startRaw(t, answer(t, "HTTP/1.1 302 Found\r\nLocation: /b\r\nSet-Cookie: a=1\r\nContent-Length: 0\r\n\r\n"))
	_, resp, err := Dial(t.Context(), server.url+"/a")
	if resp == nil {
		t.Fatalf("no response, error %v", err)
	}
	location, err := resp.Location()
	if want := strings.Replace(server.url, "ws", "http", 1) + "/b"; err != nil || location.String() != want {
		t.Errorf("Location() = %v, %v; want %v", location, err, want)
	}
	if cookies := resp.Cookies(); len(cookies) != 1 || cookies[0].Name != "a" {
		t.Errorf("Cookies() = %v, want a", cookies)
	}
	if err := resp.Body.Close(); err != nil || resp.Request.Method != http.MethodGet {
		t.Errorf("closing the body: %v; method %v", err, resp.Request.Method)
	}
}
