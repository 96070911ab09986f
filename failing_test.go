package websocket

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestHalfCloseAfterFailure: after a failure the sending direction is closed,
// behind the Close frame, while we go on reading what the peer had under way.
func TestHalfCloseAfterFailure(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for _, connect := range []connectFunc{overTCP, overTLS} {
			c, p := newPeer(t, connect, connConfig{client: client})
			c.SetReadDeadline(time.Now().Add(time.Hour))
			p.send(p.frame(true, OpContinuation, ""))
			reader := readError(c)
			p.wantClose(StatusProtocolError, "there is nothing to continue")
			p.wantEOF("this direction is closed behind the Close frame")
			c.SetReadDeadline(longPast) // does not count any more
			for range 100 {
				if _, err := p.nc.Write(make([]byte, 10_000)); err != nil {
					t.Fatalf("the peer cannot send on: %v, want what it had under way read and dropped", err)
				}
			}
			select {
			case err := <-reader:
				t.Fatalf("the read that met the failure returned %v, want it to read on until the peer has closed", err)
			default:
			}
			p.close()
			wantProtocolError(t, <-reader, StatusProtocolError, "that is what ended the connection")
		}
	})
}

// TestHalfCloseBehindStuckWriter: the half-close waits for what is being
// written.
func TestHalfCloseBehindStuckWriter(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for _, connect := range []connectFunc{overTCP, overTLS} {
			c, p := newPeer(t, narrow(connect), connConfig{client: client})
			writer := stuckWriter(t, c)
			reader := readError(c)
			p.send(p.frame(true, OpContinuation, ""))
			waitUntil(t, "the failure has been noticed", inState(c, func(out *writeHalf) bool { return out.halfClose }))
			p.wantFrame(OpBinary, string(make([]byte, tooLarge)), "it had begun before the failure")
			p.wantClose(StatusProtocolError, "there is nothing to continue")
			p.wantEOF("this direction is closed behind the Close frame")
			p.close()
			if err := <-writer; err != nil {
				t.Fatalf("the writer got %v, want nil: its message was sent", err)
			}
			wantProtocolError(t, <-reader, StatusProtocolError, "that is what ended the connection")
		}
	})
}

// TestLingering: a failed connection is read for a second at most. The
// application's deadline does not shorten that, CloseNow does.
func TestLingering(t *testing.T) {
	for _, test := range []struct {
		name string
		want time.Duration
		act  func(c *Conn, p *peer)
	}{
		{"a peer that does nothing", lingerTime, func(*Conn, *peer) {}},
		{"a peer that closes", lingerTime / 4, func(_ *Conn, p *peer) {
			time.Sleep(lingerTime / 4)
			p.close()
		}},
		{"a peer that goes on sending", lingerTime, func(_ *Conn, p *peer) {
			for range 50 {
				p.send(make([]byte, 100_000))
				time.Sleep(lingerTime / 20)
			}
		}},
		{"a read deadline", lingerTime, func(c *Conn, _ *peer) {
			c.SetReadDeadline(time.Now().Add(lingerTime / 4))
			time.Sleep(lingerTime / 2)
			c.SetReadDeadline(longPast)
		}},
		{"Close", lingerTime, func(c *Conn, _ *peer) {
			time.Sleep(lingerTime / 4)
			c.Close()
		}},
		{"CloseNow", lingerTime / 4, func(c *Conn, _ *peer) {
			time.Sleep(lingerTime / 4)
			c.CloseNow()
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBothRoles(t, func(t *testing.T, client bool) {
				synctest.Test(t, func(t *testing.T) {
					c, p := newPeer(t, overPipe, connConfig{client: client})
					p.send(p.frame(true, OpContinuation, ""))
					start := time.Now()
					reader := readError(c)
					p.wantClose(StatusProtocolError, "there is nothing to continue")
					go test.act(c, p)
					err := <-reader
					wantProtocolError(t, err, StatusProtocolError, "that is what ended the connection")
					if got := time.Since(start); got != test.want {
						t.Errorf("the read that met the failure returned after %v, want %v", got, test.want)
					}
					if closeErr := c.Close(); closeErr != err {
						t.Errorf("Close returned %v, want what reading returned, %v", closeErr, err)
					}
					time.Sleep(time.Minute) // for act to end
				})
			})
		})
	}
}

// TestCloseNowEndsLingering: the same over sockets.
func TestCloseNowEndsLingering(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for _, connect := range []connectFunc{overTCP, overTLS} {
			c, p := newPeer(t, connect, connConfig{client: client})
			p.send(p.frame(true, OpContinuation, ""))
			reader := readError(c)
			p.wantClose(StatusProtocolError, "there is nothing to continue")
			c.CloseNow()
			wantProtocolError(t, <-reader, StatusProtocolError, "that is what ended the connection")
		}
	})
}

// A stuckConn stands for a peer that reads nothing more: once it is stuck, a
// Write returns only when the connection has been closed, whatever the deadline.
type stuckConn struct {
	net.Conn
	stuck, closed chan struct{}
	once          sync.Once
}

func (c *stuckConn) Write(p []byte) (int, error) {
	select {
	case <-c.stuck:
		<-c.closed
		return 0, net.ErrClosed
	default:
		return c.Conn.Write(p)
	}
}

func (c *stuckConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// tlsOver puts TLS over two ends of a connection.
func tlsOver(t testing.TB, a, b net.Conn) (client, server net.Conn) {
	t.Helper()
	clientConfig, serverConfig := testTLS()
	c, s := tls.Client(a, clientConfig), tls.Server(b, serverConfig)
	handshake := async(s.Handshake)
	if err := errors.Join(c.Handshake(), <-handshake); err != nil {
		t.Fatal(err)
	}
	return c, s
}

// TestCloseNowOverTLS: to close a TLS connection is to send an alert, for which
// CloseNow must not wait. Here it would wait for ever.
func TestCloseNowOverTLS(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for _, withWriter := range []bool{false, true} {
			var below *stuckConn
			c, _ := newPeer(t, func(t testing.TB) (net.Conn, net.Conn) {
				a, b := overTCP(t)
				below = &stuckConn{Conn: a, stuck: make(chan struct{}), closed: make(chan struct{})}
				if client {
					return tlsOver(t, below, b)
				}
				below.Conn = b
				return tlsOver(t, a, below)
			}, connConfig{client: client})
			close(below.stuck)
			reader := readError(c)
			var writer <-chan error
			if withWriter {
				writer = stuckWriter(t, c)
			}
			if err := c.CloseNow(); err != nil {
				t.Fatalf("CloseNow returned %v, want nil", err)
			}
			is(net.ErrClosed)(t, <-reader)
			if withWriter {
				is(net.ErrClosed)(t, <-writer)
			}
		}
	})
}

// TestDropped: a connection that nobody holds any more leaves nothing behind,
// once the held replies have left: no goroutine, and the runtime closes the
// socket.
func TestDropped(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for name, use := range map[string]func(c *Conn){
			"unused":         func(*Conn) {},
			"written to":     func(c *Conn) { c.WriteMessage(OpText, []byte("reply")) },
			"inside message": func(c *Conn) { c.NextWriter(OpText) },
			"half read":      func(c *Conn) { c.NextReader() },
			"with deadlines": func(c *Conn) { c.SetDeadline(time.Now().Add(time.Hour)) },
			"after a Ping": func(c *Conn) {
				ctx, cancel := context.WithCancel(context.Background())
				cancel()
				c.Ping(ctx)
			},
			"after a panic": func(c *Conn) {
				defer func() { recover() }()
				c.WriteMessage(OpText, []byte("reply"))
				panic("in the handler")
			},
		} {
			t.Run(name, func(t *testing.T) {
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				p := &peer{t: t, client: !client}
				if p.nc, err = net.Dial("tcp", l.Addr().String()); err != nil {
					t.Fatal(err)
				}
				defer p.nc.Close()
				p.send(p.burst(3, 1))
				p.waitSent()
				func() {
					nc, err := l.Accept()
					if err != nil {
						t.Fatal(err)
					}
					c := newConn(nc, connConfig{client: client})
					wantMessage(t, c, OpText, "0", "it was sent")
					use(c)
				}()
				ended := async(func() error {
					_, err := io.Copy(io.Discard, p.nc)
					return err
				})
				for limit := time.Now().Add(20 * time.Second); time.Now().Before(limit); runtime.GC() {
					select {
					case <-ended: // by a reset, where input is left
						return
					default:
					}
				}
				t.Fatal("the connection was dropped and its socket is still open")
			})
		}
	})
}

// TestCloseNowBesideEverything calls CloseNow while goroutines read, write,
// ping and close.
func TestCloseNowBesideEverything(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for range 30 {
			a, b := newPair(t, connect, connConfig{})
			if !client {
				a, b = b, a
			}
			other := async(func() error { return echo(b) })
			var ends []<-chan error
			for _, use := range []func() error{
				func() error { return readAllMessages(a) },
				func() error {
					for {
						if err := a.WriteMessage(OpBinary, make([]byte, 1000)); err != nil {
							return err
						}
					}
				},
				func() error {
					for {
						if err := writeInPieces(a, OpBinary, make([]byte, 100<<10), 40<<10); err != nil {
							return err
						}
					}
				},
				func() error {
					for {
						if err := a.Ping(t.Context()); err != nil {
							return err
						}
					}
				},
			} {
				ends = append(ends, async(use))
			}
			if err := a.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			closed := async(a.Close)
			a.CloseNow()
			for i, end := range ends {
				if err := <-end; !errors.Is(err, net.ErrClosed) {
					t.Fatalf("goroutine %d got %v, want net.ErrClosed", i, err)
				}
			}
			<-closed
			if err := <-other; err == nil {
				t.Fatal("the other end got no error, want one: the connection has ended")
			}
		}
	})
}
