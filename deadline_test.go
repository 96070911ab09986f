package websocket

import (
	"context"
	"errors"
	"math"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

var longPast = time.Unix(1, 0)

// wantWriteTimedOut: a write deadline has struck, which has failed the
// connection for good.
func wantWriteTimedOut(t testing.TB, c *Conn) {
	t.Helper()
	c.SetDeadline(time.Time{}) // too late
	var first error
	for range 3 {
		_, _, err := c.ReadMessage(nil)
		wantCloseError(t, err, StatusAbnormalClosure, "", "the connection was failed, without a Close frame")
		if errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(err, errWriteTimedOut) {
			t.Fatalf("reading returned %v, want an error that names the write and is not os.ErrDeadlineExceeded: no read deadline has struck", err)
		}
		if first == nil {
			first = err
		}
		if err != first {
			t.Fatalf("a later read returned %v, want the first error, %v", err, first)
		}
		_, err = c.NextWriter(OpText)
		for _, err := range []error{err, c.WriteMessage(OpText, nil), c.Ping(context.Background())} {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("a later write returned %v, want an error that Is os.ErrDeadlineExceeded", err)
			}
		}
		if err := c.Close(); err != first {
			t.Fatalf("Close returned %v, want what reading returned, %v", err, first)
		}
		if err := c.CloseNow(); err != nil {
			t.Fatalf("CloseNow returned %v, want nil: it has nothing to do", err)
		}
	}
}

// A wayToWait makes a writer of c wait and returns where its result will be.
type wayToWait struct {
	name string
	wait func(t *testing.T, c *Conn) <-chan error
}

var waysToWait = []wayToWait{
	{"in a frame", func(t *testing.T, c *Conn) <-chan error { return stuckWriter(t, c) }},
	{"in a frame of NextWriter", func(t *testing.T, c *Conn) <-chan error {
		w, err := c.NextWriter(OpBinary)
		if err != nil {
			t.Fatal(err)
		}
		result := async(func() error {
			_, err := w.Write(make([]byte, tooLarge))
			return err
		})
		waitUntil(t, "the writer has begun", inState(c, func(out *writeHalf) bool { return out.flushing }))
		return result
	}},
	{"behind an open NextWriter", func(t *testing.T, c *Conn) <-chan error {
		if _, err := c.NextWriter(OpBinary); err != nil {
			t.Fatal(err)
		}
		result := async(func() error { return c.WriteMessage(OpBinary, nil) })
		waitUntil(t, "the writer waits", waiting(c, 1))
		return result
	}},
	{"for another writer's frame", func(t *testing.T, c *Conn) <-chan error {
		stuckWriter(t, c)
		result := async(func() error { return c.WriteMessage(OpBinary, make([]byte, 40<<10)) })
		waitUntil(t, "the writer waits", waiting(c, 1))
		return result
	}},
	{"behind one that waits", func(t *testing.T, c *Conn) <-chan error {
		stuckWriter(t, c)
		async(func() error { return c.WriteMessage(OpBinary, make([]byte, 40<<10)) })
		waitUntil(t, "a writer waits", waiting(c, 1))
		result := async(func() error { _, err := c.NextWriter(OpBinary); return err })
		waitUntil(t, "two writers wait", waiting(c, 2))
		return result
	}},
}

// TestWriteDeadlineWhileWaiting sets the deadline from another goroutine while
// a writer waits, and a reader too.
func TestWriteDeadlineWhileWaiting(t *testing.T) {
	for _, way := range waysToWait {
		t.Run(way.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
				c, _ := newPeer(t, narrow(connect), connConfig{client: client})
				reader := readError(c)
				result := way.wait(t, c)
				if err := c.SetWriteDeadline(longPast); err != nil {
					t.Fatal(err)
				}
				if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("the writer got %v, want an error that Is os.ErrDeadlineExceeded", err)
				}
				err := <-reader
				wantWriteTimedOut(t, c)
				if _, _, again := c.ReadMessage(nil); again != err {
					t.Fatalf("the reader that waited got %v, later ones %v, want the same", err, again)
				}
			})
		})
	}
}

// TestWriteDeadlineTimely sets the deadline before, and moves it while the
// writer waits: it strikes when the last one has come.
func TestWriteDeadlineTimely(t *testing.T) {
	for _, way := range waysToWait {
		t.Run(way.name, func(t *testing.T) {
			inBothRoles(t, func(t *testing.T, client bool) {
				synctest.Test(t, func(t *testing.T) {
					c, _ := newPeer(t, overPipe, connConfig{client: client, writeTimeout: time.Hour})
					start := time.Now()
					c.SetWriteDeadline(start.Add(10 * time.Second))
					result := way.wait(t, c)
					synctest.Wait()
					time.Sleep(5 * time.Second)
					c.SetWriteDeadline(start.Add(20 * time.Second))
					time.Sleep(10 * time.Second)
					synctest.Wait()
					select {
					case err := <-result:
						t.Fatalf("the writer got %v after 15 seconds, want to wait until 20", err)
					default:
					}
					if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 20*time.Second {
						t.Fatalf("the writer got %v after %v, want os.ErrDeadlineExceeded at its deadline", err, time.Since(start))
					}
					wantWriteTimedOut(t, c)
				})
			})
		})
	}
}

// TestWriteDeadlinePassedBefore: a write that begins after the deadline fails.
func TestWriteDeadlinePassedBefore(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, _ := newPeer(t, connect, connConfig{client: client})
		c.SetDeadline(longPast)
		if err := c.WriteMessage(OpText, []byte("late")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("WriteMessage returned %v, want os.ErrDeadlineExceeded", err)
		}
		wantWriteTimedOut(t, c)
	})

	// Also where it would not have to wait for anything.
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, _, _ := heldReply(t, client)
			c.SetWriteDeadline(longPast)
			if err := c.WriteMessage(OpText, []byte("late")); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("WriteMessage returned %v, want os.ErrDeadlineExceeded", err)
			}
			wantWriteTimedOut(t, c)
		})
	})
}

// TestWriteTimeout: no write takes longer than that, however often the
// application moves its own deadline meanwhile. The same goes for what the
// library writes.
func TestWriteTimeout(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := newPeer(t, overPipe, connConfig{client: client, writeTimeout: 10 * time.Second})
			reader := readError(c)
			time.Sleep(time.Minute) // it does not count while nothing is written
			start := time.Now()
			result := stuckWriter(t, c)
			for range 3 {
				time.Sleep(3 * time.Second)
				c.SetWriteDeadline(time.Now().Add(time.Hour))
			}
			if err := <-result; !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 10*time.Second {
				t.Fatalf("the writer got %v after %v, want os.ErrDeadlineExceeded after the write timeout of 10 seconds", err, time.Since(start))
			}
			<-reader
			wantWriteTimedOut(t, c)
		})
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, overPipe, connConfig{client: client, writeTimeout: 10 * time.Second})
			start := time.Now()
			p.send(p.frame(true, OpPing, ""))
			if err := <-readError(c); time.Since(start) != 10*time.Second {
				t.Fatalf("reading ended with %v after %v, want the failed write of a Pong to end it after 10 seconds", err, time.Since(start))
			}
			wantWriteTimedOut(t, c)
		})
		t.Run("tcp", func(t *testing.T) {
			c, _ := newPeer(t, narrow(overTCP), connConfig{client: client, writeTimeout: time.Millisecond})
			if err := c.WriteMessage(OpBinary, make([]byte, tooLarge)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("the writer got %v, want os.ErrDeadlineExceeded", err)
			}
			wantWriteTimedOut(t, c)
		})
	})
}

// TestStaleWriteDeadline: what the library sends of its own accord is not
// failed by a deadline that had passed before, nor is the connection.
func TestStaleWriteDeadline(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		for _, used := range []bool{false, true} {
			c.SetWriteDeadline(longPast)
			if used {
				// It was still to come when it was set below, for a write.
				c.SetWriteDeadline(time.Now().Add(time.Hour))
				written := async(func() error { return c.WriteMessage(OpText, []byte("in time")) })
				p.wantFrame(OpText, "in time", "the deadline is still to come")
				if err := <-written; err != nil {
					t.Fatal(err)
				}
				c.out.mu.Lock()
				c.out.deadline = momentOf(longPast)
				c.armWrite(c.out.deadline)
				c.out.mu.Unlock()
			}
			p.send(p.frame(true, OpPing, "late"), p.frame(true, OpText, "x"))
			read := readError(c)
			p.wantFrame(OpPong, "late", "a Ping is answered")
			if err := <-read; err != nil {
				t.Fatal(err)
			}
		}
		c.SetWriteDeadline(time.Time{})
		written := async(func() error { return c.WriteMessage(OpText, []byte("well")) })
		p.wantFrame(OpText, "well", "there is no deadline any more")
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		c.SetWriteDeadline(longPast)
		closed := async(c.Close)
		p.wantClose(StatusNormalClosure, "a stale deadline does not count for the Close frame")
		p.send(p.frame(true, OpClose, "\x03\xe8"))
		p.waitSent()
		p.close()
		if err := <-closed; err != nil {
			t.Fatalf("Close returned %v, want nil", err)
		}
	})
}

// TestWriteDeadlinePassesInReader: a deadline that passes just when the reader
// flushes, inside the callback of its RawConn, does not fail what the reader
// sends; and nothing waits there for the callback itself.
func TestWriteDeadlinePassesInReader(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		c, p := newPeer(t, overTCP, connConfig{client: client})
		// What the Conn takes for a deadline to come is over below.
		c.out.armed = after(time.Hour)
		c.nc.SetWriteDeadline(longPast)
		read := readError(c)
		p.send(p.frame(true, OpPing, "now"))
		p.wantFrame(OpPong, "now", "a Ping is answered")
		p.send(p.frame(true, OpText, ""))
		if err := <-read; err != nil {
			t.Fatalf("reading failed: %v", err)
		}
	})
}

// TestReadDeadlineAndWriting: a read deadline is nothing to writers.
func TestReadDeadlineAndWriting(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		for range 3 {
			c.SetReadDeadline(longPast)
			_, _, err := c.ReadMessage(nil)
			var timeout net.Error
			if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
				t.Fatalf("reading returned %v, want an error that Is os.ErrDeadlineExceeded and a net.Error", err)
			}
			written := async(func() error { return c.WriteMessage(OpText, []byte("hello")) })
			p.wantFrame(OpText, "hello", "writing is not affected")
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			c.SetReadDeadline(time.Time{})
			p.send(p.frame(true, OpText, "and back"))
			wantMessage(t, c, OpText, "and back", "a read deadline is not for good")
		}
	})
}

// TestPongBeforeDeadlineReturns: when a read gives up because of a deadline
// that had passed before, the Pongs it owed are on their way all the same.
func TestPongBeforeDeadlineReturns(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		p.send(append(p.frame(true, OpText, "a"), p.frame(true, OpPing, "b")...))
		p.waitSentOrRead(c)
		wantMessage(t, c, OpText, "a", "it was sent")
		c.SetReadDeadline(longPast)
		if _, _, err := c.ReadMessage(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("reading returned %v, want os.ErrDeadlineExceeded", err)
		}
		p.wantFrame(OpPong, "b", "nobody reads any more, but the Ping has been read")
	})
}

// waitSentOrRead waits until all has been sent, where that does not need c to
// read.
func (p *peer) waitSentOrRead(c *Conn) {
	if c.raw != nil {
		p.waitSent()
	}
}

// TestDeadlineTimerLetsGo: the timer that a far deadline needs while a writer
// waits does not keep the connection in memory afterwards.
func TestDeadlineTimerLetsGo(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		c, p := newPeer(t, overTCP, connConfig{client: client})
		c.SetWriteDeadline(time.Now().Add(time.Hour))
		w, err := c.NextWriter(OpText)
		if err != nil {
			t.Fatal(err)
		}
		waiter := async(func() error { return c.WriteMessage(OpText, []byte("second")) })
		waitUntil(t, "a writer waits", waiting(c, 1))
		if err := errors.Join(w.Close(), <-waiter); err != nil {
			t.Fatal(err)
		}
		p.wantFrame(OpText, "", "it was begun first")
		p.wantFrame(OpText, "second", "it waited")
		if c.out.backlog.timeout.Stop() {
			t.Fatal("the timer still runs, though nobody waits")
		}
	})
}

// TestDeadlineLongAgo: however far in the past a deadline is, it strikes, also by
// synctest's clock, which stands before the beginning of the program.
func TestDeadlineLongAgo(t *testing.T) {
	for name, when := range map[string]time.Time{"1970": longPast, "year 1": time.Time{}.Add(1)} {
		t.Run(name, func(t *testing.T) {
			inBothRoles(t, func(t *testing.T, client bool) {
				synctest.Test(t, func(t *testing.T) {
					c, _ := newPeer(t, overPipe, connConfig{client: client})
					if _, err := c.NextWriter(OpBinary); err != nil {
						t.Fatal(err)
					}
					inLine := async(func() error { return c.WriteMessage(OpText, []byte("x")) })
					synctest.Wait()
					c.SetDeadline(when)
					for call, result := range map[string]<-chan error{"ReadMessage": readError(c), "WriteMessage": inLine} {
						select {
						case err := <-result:
							if !errors.Is(err, os.ErrDeadlineExceeded) && !errors.Is(err, &CloseError{Code: StatusAbnormalClosure}) {
								t.Errorf("%s returned %v, want what a deadline does", call, err)
							}
						case <-time.After(time.Hour):
							t.Errorf("%s still waits an hour after a deadline in the past", call)
						}
					}
					c.CloseNow()
				})
			})
			onEvery(t, func(t *testing.T, connect connectFunc) {
				c, _ := newPeer(t, connect, connConfig{})
				if _, err := c.NextWriter(OpBinary); err != nil {
					t.Fatal(err)
				}
				inLine := async(func() error { return c.WriteMessage(OpText, []byte("x")) })
				waitUntil(t, "it waits in line", waiting(c, 1))
				c.SetWriteDeadline(when)
				if err := <-inLine; !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("WriteMessage returned %v, want an error that Is os.ErrDeadlineExceeded", err)
				}
			})
		})
	}
}

// TestMoments: no time and no duration is so far away that it is taken for
// another side of now.
func TestMoments(t *testing.T) {
	check := func(t *testing.T) {
		for _, d := range []time.Duration{math.MinInt64, -time.Hour, -1, 0, 1, time.Hour, math.MaxInt64} {
			m := after(d)
			if m == 0 {
				t.Errorf("%v from now is no moment", d)
			}
			if passed := d <= 0; m.passed() != passed && d != 1 {
				t.Errorf("%v from now has passed: %v, want %v", d, m.passed(), passed)
			}
			if left := m.until(); d > 1 && left <= 0 || d < 0 && left >= 0 {
				t.Errorf("%v from now is %v from now", d, left)
			}
			if left := time.Until(m.time()); d > 1 && left <= 0 || d < 0 && left >= 0 {
				t.Errorf("%v from now is %v from now as a time.Time", d, left)
			}
		}
		if momentOf(time.Time{}) != 0 || !moment(0).time().IsZero() {
			t.Error("no time is some moment")
		}
	}
	check(t)
	synctest.Test(t, check)
}
