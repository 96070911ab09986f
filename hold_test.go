package websocket

import (
	"bytes"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// countWrites makes c count how often it writes to the connection below.
func countWrites(c *Conn) *atomic.Int64 {
	n := new(atomic.Int64)
	c.nc = countedConn{c.nc, n}
	if c.raw != nil {
		c.raw = countedRawConn{c.raw, n}
	}
	return n
}

type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

type countedRawConn struct {
	syscall.RawConn
	writes *atomic.Int64
}

func (c countedRawConn) Write(f func(uintptr) bool) error {
	c.writes.Add(1)
	return c.RawConn.Write(f)
}

// burst returns n text frames as the peer sends them, "0" and so on, of size
// bytes each.
func (p *peer) burst(n, size int) []byte {
	var all []byte
	for i := range n {
		all = append(all, p.frame(true, OpText, burstMessage(i, size))...)
	}
	return all
}

func burstMessage(i, size int) string {
	return fmt.Sprintf("%0*d", size, i)
}

// TestRepliesTogether: the replies to 16 messages that come together leave
// with one write.
func TestRepliesTogether(t *testing.T) {
	const messages, size = 16, 128
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		writes := countWrites(c)
		ended := async(func() error { return echo(c) })
		for range 100 {
			before := writes.Load()
			p.send(p.burst(messages, size))
			for i := range messages {
				p.wantFrame(OpText, burstMessage(i, size), "every message is answered")
			}
			// In real time the hold timer may strike in between; but not always.
			n := writes.Load() - before
			if n == 1 {
				p.close()
				<-ended
				return
			}
			t.Logf("the replies left with %d writes", n)
		}
		t.Fatal("the replies to messages that came together never left with one write")
	})
}

// heldReply returns a Conn in a bubble that holds its reply "reply" to the
// first of two messages.
func heldReply(t *testing.T, client bool) (*Conn, *peer, *atomic.Int64) {
	t.Helper()
	c, p := newPeer(t, overPipe, connConfig{client: client})
	writes := countWrites(c)
	p.send(p.burst(2, 1))
	wantMessage(t, c, OpText, "0", "it was sent")
	if err := c.WriteMessage(OpText, []byte("reply")); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	if n := writes.Load(); n != 0 {
		t.Fatalf("the reply has left with %d writes, want it held: another message is there", n)
	}
	return c, p, writes
}

// TestHeldBytesLeave looks at each of the ways in which held bytes leave, and
// at when they do. A bubble's clock stands still but for timers.
func TestHeldBytesLeave(t *testing.T) {
	const held = "reply"
	for _, way := range []struct {
		name  string
		after time.Duration
		act   func(t *testing.T, c *Conn, p *peer) // what the application does then
		want  func(p *peer)                        // what the peer gets, behind the reply
	}{
		{"when the application stops reading", holdTime,
			func(*testing.T, *Conn, *peer) {}, nil},
		{"when a read is about to wait", 0,
			func(t *testing.T, c *Conn, _ *peer) {
				wantMessage(t, c, OpText, "1", "it was sent")
				go readError(c)
			}, nil},
		{"when a reader of a stream is about to wait", 0,
			func(t *testing.T, c *Conn, p *peer) {
				wantMessage(t, c, OpText, "1", "it was sent")
				p.send(p.frame(false, OpText, "x"))
				_, r, err := c.NextReader()
				if err != nil {
					t.Fatal(err)
				}
				go r.Read(make([]byte, 10))
				go r.Read(make([]byte, 10))
			}, nil},
		{"when the last message is answered", 0,
			func(t *testing.T, c *Conn, _ *peer) {
				wantMessage(t, c, OpText, "1", "it was sent")
				go c.WriteMessage(OpText, []byte("last"))
			},
			func(p *peer) { p.wantFrame(OpText, "last", "the reply to the last message") }},
		{"when a few KiB are held", 0,
			func(t *testing.T, c *Conn, _ *peer) { go c.WriteMessage(OpText, make([]byte, maxHeld)) },
			func(p *peer) { p.wantFrame(OpText, string(make([]byte, maxHeld)), "it was written") }},
		{"with a large message", 0,
			func(t *testing.T, c *Conn, _ *peer) { go c.WriteMessage(OpText, make([]byte, 100<<10)) },
			func(p *peer) { p.wantFrame(OpText, string(make([]byte, 100<<10)), "it was written") }},
		{"with a Ping", 0,
			func(t *testing.T, c *Conn, _ *peer) { go c.Ping(t.Context()) },
			func(p *peer) { p.wantPing("Ping was called") }},
		{"on Close", 0,
			func(t *testing.T, c *Conn, _ *peer) { go c.Close() },
			func(p *peer) { p.wantClose(StatusNormalClosure, "Close was called") }},
		{"when the handler panics", holdTime,
			func(t *testing.T, c *Conn, _ *peer) {
				done := make(chan struct{})
				go func() {
					defer close(done)
					defer func() { recover() }()
					panic("as in a handler of net/http")
				}()
				<-done
			}, nil},
		{"together with those of another goroutine", holdTime,
			func(t *testing.T, c *Conn, _ *peer) {
				if err := <-async(func() error { return c.WriteMessage(OpText, []byte("other")) }); err != nil {
					t.Error(err)
				}
			},
			func(p *peer) { p.wantFrame(OpText, "other", "it was written meanwhile") }},
	} {
		t.Run(way.name, func(t *testing.T) {
			inBothRoles(t, func(t *testing.T, client bool) {
				synctest.Test(t, func(t *testing.T) {
					c, p, _ := heldReply(t, client)
					start := time.Now()
					way.act(t, c, p)
					p.wantFrame(OpText, held, "a held reply leaves")
					if got := time.Since(start); got != way.after {
						t.Errorf("the reply left after %v, want %v", got, way.after)
					}
					if way.want != nil {
						way.want(p)
					}
				})
			})
		})
	}
}

// TestHeldBytesLeaveOverTCP: where the timer's time is real.
func TestHeldBytesLeaveOverTCP(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for _, connect := range []connectFunc{overTCP, overTLS} {
			c, p := newPeer(t, connect, connConfig{client: client})
			p.send(p.burst(2, 1))
			wantMessage(t, c, OpText, "0", "it was sent")
			if err := <-async(func() error { return c.WriteMessage(OpText, []byte("reply")) }); err != nil {
				t.Fatal(err)
			}
			p.wantFrame(OpText, "reply", "the application does nothing more")
		}
	})
}

// TestHeldBytesOnCloseNow: one attempt is made at them.
func TestHeldBytesOnCloseNow(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		c, p := newPeer(t, overTCP, connConfig{client: client})
		if c.raw == nil {
			t.Skip("no RawConn on this system")
		}
		p.send(p.burst(2, 1))
		p.waitSent()
		wantMessage(t, c, OpText, "0", "it was sent")
		for range 3 {
			if err := c.WriteMessage(OpText, []byte("reply")); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.CloseNow(); err != nil {
			t.Fatalf("CloseNow returned %v, want nil", err)
		}
		for range 3 {
			p.wantFrame(OpText, "reply", "it was held when CloseNow was called")
		}
		p.wantEOF("CloseNow was called and all input had been read")
	})
}

// TestNothingHeldAfterTimer: once the timer has fired nothing is held until
// the next read.
func TestNothingHeldAfterTimer(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, p, _ := heldReply(t, client)
			p.wantFrame(OpText, "reply", "the timer sends it")
			start := time.Now()
			for range 3 {
				written := async(func() error { return c.WriteMessage(OpText, []byte("more")) })
				p.wantFrame(OpText, "more", "it was written")
				if err := <-written; err != nil {
					t.Fatal(err)
				}
			}
			if waited := time.Since(start); waited != 0 {
				t.Errorf("what was written after the timer had fired left after %v, want at once", waited)
			}
			// And then again.
			p.send(p.burst(1, 1))
			wantMessage(t, c, OpText, "1", "it was sent with the first")
			wantMessage(t, c, OpText, "0", "it was sent now")
			p.send(p.burst(2, 1))
			wantMessage(t, c, OpText, "0", "it was sent")
			start = time.Now()
			c.WriteMessage(OpText, []byte("held"))
			p.wantFrame(OpText, "held", "the timer sends it")
			if waited := time.Since(start); waited != holdTime {
				t.Errorf("the reply left after %v, want %v: a message had come with another", waited, holdTime)
			}
		})
	})
}

// TestNothingHeldWithoutMore: a reply is not held for less than a whole data
// frame.
func TestNothingHeldWithoutMore(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			for _, behind := range []func(p *peer) []byte{
				func(p *peer) []byte { return nil },
				func(p *peer) []byte { return p.frame(true, OpText, "cut")[:4] },
				func(p *peer) []byte { return p.frame(false, OpText, "fragment") },
				func(p *peer) []byte { return p.frame(true, OpPing, "") },
			} {
				c, p := newPeer(t, overPipe, connConfig{client: client})
				start := time.Now()
				p.send(bytes.Join([][]byte{p.frame(true, OpText, "message"), behind(p)}, nil))
				wantMessage(t, c, OpText, "message", "it was sent")
				go c.WriteMessage(OpText, []byte("reply"))
				p.wantFrame(OpText, "reply", "there is no other message to be answered")
				if waited := time.Since(start); waited != 0 {
					t.Errorf("the reply left after %v, want at once", waited)
				}
			}
		})
	})
}

// TestReplyHeldNoMoreThanItsBound: an application that answers many messages,
// and takes its time for each, holds none of its replies longer than the bound.
func TestReplyHeldNoMoreThanItsBound(t *testing.T) {
	const messages = 100
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, overPipe, connConfig{client: client})
			p.send(p.burst(messages, 4))
			written := make(chan time.Time, messages)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i := range messages {
					c.ReadMessage(nil)
					written <- time.Now()
					c.WriteMessage(OpText, []byte(burstMessage(i, 4)))
					time.Sleep(holdTime * 3 / 10)
				}
			}()
			for i := range messages {
				p.wantFrame(OpText, burstMessage(i, 4), "every message is answered")
				if waited := time.Since(<-written); waited > holdTime {
					t.Errorf("reply %d left after %v, want %v at most", i, waited, holdTime)
				}
			}
			<-done
		})
	})
}
