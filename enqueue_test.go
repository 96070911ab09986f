package websocket

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func prepared(t testing.TB, op Opcode, p []byte) *PreparedMessage {
	t.Helper()
	m, err := NewPreparedMessage(op, p)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// frameSize is the size of an unfragmented frame that c sends.
func frameSize(c *Conn, payload int) int {
	return len(FrameHeader{Masked: c.client, Length: int64(payload)}.Append(nil)) + payload
}

// fillQueue enqueues messages of size bytes until one is refused, and returns
// how many were taken.
func fillQueue(t testing.TB, c *Conn, size int) (n int) {
	t.Helper()
	for {
		switch err := c.Enqueue(prepared(t, OpBinary, numbered(0, n, size))); {
		case err == ErrQueueFull:
			return n
		case err != nil:
			t.Fatalf("Enqueue returned %v after %d messages, want nil or ErrQueueFull", err, n)
		}
		n++
	}
}

// wantNumbered: the next messages are those of a writer from number first up
// to and without end.
func (p *peer) wantNumbered(writer, first, end int) {
	p.t.Helper()
	for want := first; want < end; want++ {
		h, payload, err := p.readFrame()
		if err != nil || h.Opcode != OpBinary || !h.Fin {
			p.t.Fatalf("the peer got a %v frame, error %v, want message %d of writer %d", h.Opcode, err, want, writer)
		}
		p.checkHeader(h)
		if w, n, err := parseNumbered(payload); err != nil || w != writer || n != want&0xFFFF {
			p.t.Fatalf("the peer got message %d of writer %d, error %v, want message %d of writer %d", n, w, err, want, writer)
		}
	}
}

// TestEnqueueNeverBlocks enqueues to a peer that does not read, until the queue
// is full. All that was taken comes, in order, once the peer reads again.
func TestEnqueueNeverBlocks(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for _, size := range []int{200, 5000, 40_000} {
			const maxQueued = 128 << 10
			c, p := newPeer(t, narrow(connect), connConfig{client: client, maxQueued: maxQueued})
			n := fillQueue(t, c, size)
			if least := maxQueued / frameSize(c, size); n < least {
				t.Fatalf("%d messages of %d bytes were taken, want at least the %d that the queue has room for", n, size, least)
			}
			c.out.mu.Lock()
			waiting, room := len(c.out.frames())+int(c.out.leaving), 0
			if c.out.pending != nil {
				room = cap(c.out.pending.b)
			}
			c.out.mu.Unlock()
			if waiting > maxQueued+maxHeaderSize || room > maxQueued+maxHeaderSize {
				t.Fatalf("%d bytes wait in a buffer of %d, want no more than MaxQueued", waiting, room)
			}
			// All else goes on: the Conn reads, and its writers wait their turn.
			p.send(p.frame(true, OpText, "hello"))
			wantMessage(t, c, OpText, "hello", "reading does not wait for the queue")
			written := async(func() error { return c.WriteMessage(OpBinary, numbered(1, 0, 4)) })

			p.wantNumbered(0, 0, n)
			p.wantNumbered(1, 0, 1)
			if err := <-written; err != nil {
				t.Fatal(err)
			}
			waitUntil(t, "nobody writes", inState(c, func(out *writeHalf) bool { return !out.flushing && out.pending == nil }))
			if err := c.Enqueue(prepared(t, OpBinary, numbered(0, n, size))); err != nil {
				t.Fatalf("Enqueue returned %v, want nil: the queue is empty again", err)
			}
			p.wantNumbered(0, n, n+1)
			c.CloseNow()
		}
	})
}

// TestEnqueueBounds: a message larger than MaxQueued is refused whatever waits,
// one of just that size taken when nothing does.
func TestEnqueueBounds(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for _, maxQueued := range []int64{0, 1, 100, 100_000, 3 << 20} {
			most := int(maxQueued)
			if most == 0 {
				most = 1 << 20
			}
			synctest.Test(t, func(t *testing.T) {
				c, p := newPeer(t, overPipe, connConfig{client: client, maxQueued: maxQueued})
				if err := c.Enqueue(prepared(t, OpBinary, make([]byte, most+1))); err != ErrQueueFull {
					t.Fatalf("Enqueue of %d bytes returned %v, want ErrQueueFull: MaxQueued is %d", most+1, err, most)
				}
				for range 3 {
					if err := c.Enqueue(prepared(t, OpBinary, make([]byte, most))); err != nil {
						t.Fatalf("Enqueue of %d bytes returned %v, want nil: nothing waits", most, err)
					}
					if err := c.Enqueue(prepared(t, OpBinary, nil)); err != ErrQueueFull {
						t.Fatalf("Enqueue returned %v, want ErrQueueFull: nothing has left", err)
					}
					if err := c.Enqueue(prepared(t, OpBinary, make([]byte, most+1))); err != ErrQueueFull {
						t.Fatalf("Enqueue of %d bytes returned %v, want ErrQueueFull", most+1, err)
					}
					p.wantFrame(OpBinary, string(make([]byte, most)), "it was enqueued")
					synctest.Wait()
				}
			})
		}
	})
}

// TestEnqueueCountsAll: whatever waits counts, whoever wrote it.
func TestEnqueueCountsAll(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for _, excess := range []int{0, 1} {
			synctest.Test(t, func(t *testing.T) {
				const maxQueued = 50_000
				c, p := newPeer(t, overPipe, connConfig{client: client, maxQueued: maxQueued})
				left := maxQueued
				first := async(func() error { return c.WriteMessage(OpBinary, numbered(1, 0, 9000)) })
				synctest.Wait() // it is being written
				left -= frameSize(c, 9000)
				if err := c.WriteMessage(OpBinary, numbered(1, 1, 9000)); err != nil {
					t.Fatal(err)
				}
				left -= frameSize(c, 9000)
				if err := c.Enqueue(prepared(t, OpBinary, numbered(1, 2, 9000))); err != nil {
					t.Fatal(err)
				}
				left -= frameSize(c, 9000)
				read := readError(c)
				p.send(p.frame(true, OpPing, "hello"))
				p.waitSent()
				synctest.Wait()
				left -= frameSize(c, 5)

				err := c.Enqueue(prepared(t, OpBinary, numbered(1, 3, left+excess)))
				if excess == 0 && err != nil || excess > 0 && err != ErrQueueFull {
					t.Errorf("Enqueue with %d bytes more than there is room for returned %v", excess, err)
				}
				p.wantNumbered(1, 0, 3)
				p.wantFrame(OpPong, "hello", "a Ping was sent")
				if excess == 0 {
					p.wantNumbered(1, 3, 4)
				}
				if err := <-first; err != nil {
					t.Error(err)
				}
				c.CloseNow()
				<-read
			})
		}
	})
}

// TestEnqueueOrder: messages come in the order of the calls, whatever the
// method.
func TestEnqueueOrder(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		a, b := newPair(t, narrow(connect), connConfig{readLimit: -1, maxQueued: 16 << 20})
		if !client {
			a, b = b, a
		}
		const n = 200
		sizes := []int{4, 100, 5000, 32 << 10, 32<<10 + 1, 100_000}
		written := async(func() error {
			for i := range n {
				p := numbered(0, i, sizes[i*7%len(sizes)])
				var err error
				switch i * 5 % 7 {
				case 0, 1, 2:
					err = a.Enqueue(prepared(t, OpBinary, p))
				case 3:
					err = a.WritePrepared(prepared(t, OpBinary, p))
				case 4:
					err = writeInPieces(a, OpBinary, p, 1000)
				default:
					err = a.WriteMessage(OpBinary, p)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		answers := readError(a)
		for want := range n {
			_, p, err := b.ReadMessage(nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, got, err := parseNumbered(p); err != nil || got != want {
				t.Fatalf("message %d came, error %v, want message %d", got, err, want)
			}
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		a.CloseNow()
		<-answers
	})
}

// TestEnqueueBehindNextWriter: what is enqueued while a message is being
// written comes behind it, before those who wait, and counts for the queue.
func TestEnqueueBehindNextWriter(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for _, last := range []int{0, 10, 100_000} {
			c, p := newPeer(t, narrow(connect), connConfig{client: client, maxQueued: 64 << 10})
			w, err := c.NextWriter(OpText)
			if err != nil {
				t.Fatal(err)
			}
			waits := async(func() error { return c.WriteMessage(OpBinary, numbered(1, 0, 4)) })
			waitUntil(t, "a writer waits", waiting(c, 1))
			n := fillQueue(t, c, 1000)
			if most := 64 << 10 / 1000; n < most*9/10 || n > most {
				t.Fatalf("%d messages of 1000 bytes were taken, want about %d", n, most)
			}
			if err := c.Enqueue(prepared(t, OpBinary, make([]byte, 64<<10+1))); err != ErrQueueFull {
				t.Fatalf("Enqueue returned %v, want ErrQueueFull", err)
			}
			text := strings.Repeat("x", last)
			closed := async(func() error {
				_, err := w.Write([]byte(text))
				return errors.Join(err, w.Close())
			})
			var got []byte
			for fin := false; !fin; {
				h, payload, err := p.readFrame()
				if err != nil {
					t.Fatal(err)
				}
				if first := len(got) == 0 && h.Opcode == OpText; !first && h.Opcode != OpContinuation {
					t.Fatalf("a %v frame came inside a message", h.Opcode)
				}
				got, fin = append(got, payload...), h.Fin
			}
			if string(got) != text {
				t.Fatalf("the message is %s, want %s", brief(got), brief([]byte(text)))
			}
			p.wantNumbered(0, 0, n)
			p.wantNumbered(1, 0, 1)
			if err := errors.Join(<-closed, <-waits); err != nil {
				t.Fatal(err)
			}
			waitUntil(t, "nobody writes", inState(c, func(out *writeHalf) bool { return !out.flushing && out.pending == nil }))
			if err := c.Enqueue(prepared(t, OpBinary, numbered(0, n, 64<<10))); err != nil {
				t.Fatalf("Enqueue returned %v, want nil: the queue is empty again", err)
			}
			p.wantNumbered(0, n, n+1)
			c.CloseNow()
		}
	})
}

// TestEnqueueDrainedByClose: the Close frame comes behind all that was
// enqueued.
func TestEnqueueDrainedByClose(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, narrow(connect), connConfig{client: client, maxQueued: 1 << 20})
		n := fillQueue(t, c, 10_000)
		closed := async(c.Close)
		p.wantNumbered(0, 0, n)
		p.wantClose(StatusNormalClosure, "Close was called")
		p.send(p.frame(true, OpClose, "\x03\xe8"))
		p.waitSent()
		p.close()
		if err := <-closed; err != nil {
			t.Fatalf("Close returned %v, want nil", err)
		}
		if err := c.Enqueue(prepared(t, OpText, nil)); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("Enqueue returned %v, want an error that Is net.ErrClosed", err)
		}
	})
}

// TestEnqueueAndWriteTimeout: a queue that does not move fails the connection
// when the write timeout has passed, and everyone hears why.
func TestEnqueueAndWriteTimeout(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := newPeer(t, overPipe, connConfig{client: client, writeTimeout: time.Minute})
			began := time.Now()
			reading := readError(c)
			pinging := async(func() error { return c.Ping(t.Context()) })
			synctest.Wait()
			m := prepared(t, OpBinary, make([]byte, 1000))
			for range 10 {
				if err := c.Enqueue(m); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second) // which does not begin the minute anew
			}
			err := <-reading
			if took := time.Since(began); took != time.Minute {
				t.Errorf("the connection failed after %v, want the write timeout", took)
			}
			wantCloseError(t, err, StatusAbnormalClosure, "", "nothing was written in time")
			if !errors.Is(err, errWriteTimedOut) || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the read returned %v, want that it was a write, and no deadline of its own", err)
			}
			for what, err := range map[string]error{"Enqueue": c.Enqueue(m), "Ping": <-pinging, "WriteMessage": c.WriteMessage(OpText, nil)} {
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s returned %v, want an error that Is os.ErrDeadlineExceeded", what, err)
				}
			}
		})
	})
}

// TestEnqueueAfterStaleDeadline: a write deadline that has passed is for
// whoever writes, not for a queue that nobody waits for.
func TestEnqueueAfterStaleDeadline(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		c.SetWriteDeadline(longPast)
		for n := range 3 {
			if err := c.Enqueue(prepared(t, OpBinary, numbered(0, n, 1000))); err != nil {
				t.Fatalf("Enqueue returned %v, want nil", err)
			}
			p.wantNumbered(0, n, n+1)
		}
	})
}

// TestEnqueueLeavesNothing: when the queue is empty there is neither a
// goroutine nor a buffer for it.
func TestEnqueueLeavesNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, narrow(connect), connConfig{client: client, maxQueued: 256 << 10})
		n := fillQueue(t, c, 1000)
		p.wantNumbered(0, 0, n)
		waitUntil(t, "nobody writes", inState(c, func(out *writeHalf) bool {
			return !out.flushing && out.pending == nil && out.leaving == 0 && queueEmpty(out)
		}))
	})
}

// TestEnqueueLetsGo: when the connection ends, what waited behind a NextWriter
// is let go of, though the application may keep the Conn.
func TestEnqueueLetsGo(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, _ := newPeer(t, connect, connConfig{client: client})
		if _, err := c.NextWriter(OpText); err != nil {
			t.Fatal(err)
		}
		if err := c.Enqueue(prepared(t, OpBinary, make([]byte, 100_000))); err != nil {
			t.Fatal(err)
		}
		c.CloseNow()
		if !inState(c, queueEmpty)() {
			t.Error("a message is kept that will never be sent")
		}
	})
}

// TestEnqueueConcurrently has everything write at the same time.
func TestEnqueueConcurrently(t *testing.T) {
	onEvery(t, func(t *testing.T, connect connectFunc) {
		client, server := newPair(t, narrow(connect), connConfig{readLimit: -1})
		const writers, each = 8, 25
		var wg sync.WaitGroup
		for _, c := range []*Conn{client, server} {
			for w := range writers {
				wg.Go(func() {
					for i := range each {
						m := prepared(t, OpBinary, numbered(w, i, 10+w*5000))
						var err error
						switch w % 4 {
						case 0:
							err = writeInPieces(c, OpBinary, m.payload, 3000)
						case 1:
							err = c.WritePrepared(m)
						default:
							for err = c.Enqueue(m); err == ErrQueueFull; err = c.Enqueue(m) {
								// A full queue is empty when all of it has been read.
								if err := c.Ping(t.Context()); err != nil {
									t.Error(err)
									return
								}
							}
						}
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
		}
		for _, c := range []*Conn{client, server} {
			wg.Go(func() {
				var next [writers]int
				for range writers * each {
					_, p, err := c.ReadMessage(nil)
					if err != nil {
						t.Error(err)
						return
					}
					w, n, err := parseNumbered(p)
					if err != nil || n != next[w] {
						t.Errorf("message %d of writer %d came, error %v, want message %d", n, w, err, next[w])
						return
					}
					next[w]++
				}
				c.ReadMessage(nil) // the Pongs
			})
		}
		waitUntil(t, "all has been read", func() bool {
			a, b := client.Stats(), server.Stats()
			return t.Failed() || a.MessagesReceived == writers*each && b.MessagesReceived == writers*each
		})
		client.Close()
		wg.Wait()
	})
}

// TestPreparedMessage: one is for any number of connections in both roles, and
// is changed by none of them, nor by what happens to the slice it was made of.
func TestPreparedMessage(t *testing.T) {
	onEvery(t, func(t *testing.T, connect connectFunc) {
		for _, size := range []int{4, 125, 126, 32 << 10, 32<<10 + 1, 70_000, 1 << 20} {
			original := numbered(1, 0, size)
			m := prepared(t, OpBinary, original)
			clear(original)
			var wg sync.WaitGroup
			for range 3 {
				client, server := newPair(t, connect, connConfig{})
				for _, each := range []struct{ from, to *Conn }{{client, server}, {server, client}} {
					wg.Go(func() {
						if err := errors.Join(each.from.WritePrepared(m), each.from.Enqueue(m)); err != nil {
							t.Error(err)
						}
					})
					wg.Go(func() {
						for range 2 {
							op, p, err := each.to.ReadMessage(nil)
							if err != nil || op != OpBinary || !bytes.Equal(p, numbered(1, 0, size)) {
								t.Errorf("a %v message %s came, error %v, want the prepared one of %d bytes", op, brief(p), err, size)
							}
						}
					})
				}
			}
			wg.Wait()
		}
	})
}

// TestPreparedMessageRefused: what may not be sent is not prepared, and what
// was not prepared is not sent. None of it harms the connection.
func TestPreparedMessageRefused(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		c, p := newPeer(t, overTCP, connConfig{client: client})
		for _, op := range []Opcode{OpContinuation, OpClose, OpPing, OpPong, 3, 200} {
			if _, err := NewPreparedMessage(op, nil); err == nil {
				t.Errorf("a message with opcode %v was prepared", op)
			}
		}
		if _, err := NewPreparedMessage(OpText, []byte("\xff")); !errors.Is(err, ErrInvalidUTF8) {
			t.Errorf("preparing bad text returned %v, want an error that Is ErrInvalidUTF8", err)
		}
		for _, m := range []*PreparedMessage{nil, {}} {
			if c.Enqueue(m) == nil || c.WritePrepared(m) == nil {
				t.Error("a message was sent that NewPreparedMessage has not made")
			}
		}
		if err := errors.Join(c.Enqueue(prepared(t, OpText, []byte("a"))), c.WritePrepared(prepared(t, OpText, nil))); err != nil {
			t.Error(err)
		}
		p.wantFrame(OpText, "a", "it was enqueued")
		p.wantFrame(OpText, "", "it was written")
	})
}
