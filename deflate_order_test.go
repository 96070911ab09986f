package websocket

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
)

// With context takeover a message has to arrive in the order in which it was
// compressed, whatever else is sent at the same time.

// compressedHead returns a Conn in a bubble, with context takeover, in which a
// large message has been compressed and waits for a small one to leave.
func compressedHead(t *testing.T, client bool) (c *Conn, p *deflatePeer, small, large string, written <-chan error) {
	t.Helper()
	c, p = newDeflatePeer(t, overPipe, connConfig{client: client}, Compression{ContextTakeover: true})
	small, large = repetitive(1, 100), hexNoise(50_000)
	first := async(func() error { return c.WriteMessage(OpText, []byte(small)) })
	synctest.Wait()
	written = async(func() error { return errors.Join(c.WriteMessage(OpText, []byte(large)), <-first) })
	synctest.Wait()
	if !waiting(c, 1)() || !c.out.queueing {
		t.Fatal("the large message does not wait")
	}
	return c, p, small, large, written
}

// TestDeflateEnqueueBehindCompressed: what is enqueued when a message has been
// compressed comes behind it, before those who wait, and they refer to neither.
func TestDeflateEnqueueBehindCompressed(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, p, small, large, written := compressedHead(t, client)
			last := async(func() error { return c.WriteMessage(OpText, []byte(large[:1000]+small)) })
			synctest.Wait()
			for n := range 3 {
				if err := c.Enqueue(prepared(t, OpText, []byte(repetitive(n, 300)))); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Enqueue(prepared(t, OpText, []byte("short"))); err != nil {
				t.Fatal(err)
			}
			read := readError(c)
			p.send(p.frame(true, OpPing, "now"))
			p.waitSent()
			synctest.Wait()
			p.want(OpText, true, small, "it was sent first")
			p.wantFrame(OpPong, "now", "a Pong does not wait for messages")
			p.want(OpText, true, large, "it was compressed first")
			for n := range 3 {
				p.want(OpText, true, repetitive(n, 300), "it was enqueued meanwhile")
			}
			p.want(OpText, false, "short", "it was enqueued last")
			p.want(OpText, true, large[:1000]+small, "it has waited")
			if err := errors.Join(<-written, <-last); err != nil {
				t.Fatal(err)
			}
			c.CloseNow()
			<-read
		})
	})
}

// TestDeflateCloseSendsQueue: what was enqueued comes before the Close frame,
// though the message that it has waited for does not come at all.
func TestDeflateCloseSendsQueue(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, p, small, _, written := compressedHead(t, client)
			wantQueueSent(t, c, p, func() { p.want(OpText, true, small, "it was sent first") })
			if err := <-written; !errors.Is(err, net.ErrClosed) {
				t.Errorf("the message that had not left got %v, want net.ErrClosed", err)
			}
		})
		for _, size := range []int{0, 1000, 50_000} {
			synctest.Test(t, func(t *testing.T) {
				c, p := newDeflatePeer(t, overPipe, connConfig{client: client}, Compression{ContextTakeover: true})
				w := nextWriter(t, c, OpText)
				<-writing(t, w, repetitive(1, size))
				wantQueueSent(t, c, p, func() {})
				if err := w.Close(); !errors.Is(err, net.ErrClosed) {
					t.Errorf("the message that had not left got %v, want net.ErrClosed", err)
				}
			})
		}
	})
}

func wantQueueSent(t *testing.T, c *Conn, p *deflatePeer, before func()) {
	t.Helper()
	for n := range 3 {
		if err := c.Enqueue(prepared(t, OpText, []byte(repetitive(n, 300)))); err != nil {
			t.Fatal(err)
		}
	}
	closed := async(c.Close)
	synctest.Wait() // the Close frame waits
	before()
	for n := range 3 {
		p.want(OpText, true, repetitive(n, 300), "it was enqueued before Close")
	}
	p.wantClose(StatusNormalClosure, "Close was called")
	p.send(p.frame(true, OpClose, "\x03\xe8"))
	p.waitSent()
	p.close()
	if err := <-closed; err != nil {
		t.Errorf("Close returned %v, want nil", err)
	}
	wantNoDeflate(t, c, "the connection has ended")
}

// TestDeflateCloseInsideMessage: where a part of a message has left nothing but
// the Close frame can follow.
func TestDeflateCloseInsideMessage(t *testing.T) {
	inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
		c, p := newDeflatePeer(t, connect, connConfig{client: client}, o)
		w := nextWriter(t, c, OpText)
		written := writing(t, w, hexNoise(400_000))
		if h, _, err := p.readFrame(); err != nil || h.Fin || !h.RSV1 || h.Opcode != OpText {
			t.Fatalf("the peer got %+v, error %v, want the first frame of a compressed message", h, err)
		}
		<-written
		if err := c.Enqueue(prepared(t, OpText, []byte(repetitive(1, 300)))); err != nil {
			t.Fatal(err)
		}
		closed := async(c.Close)
		p.wantClose(StatusNormalClosure, "Close was called")
		p.send(p.frame(true, OpClose, "\x03\xe8"))
		p.waitSent()
		p.close()
		if err := <-closed; err != nil {
			t.Errorf("Close returned %v, want nil", err)
		}
		if err := w.Close(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the message that was cut got %v, want net.ErrClosed", err)
		}
		wantNoDeflate(t, c, "the connection has ended")
	})
}

// TestDeflateCloseWhileCompressing: a message that is being compressed when the
// Close frame is queued is not sent behind it.
func TestDeflateCloseWhileCompressing(t *testing.T) {
	text := []byte(hexNoise(1 << 20))
	inBothRoles(t, func(t *testing.T, client bool) {
		for range 50 {
			c, p := newDeflatePeer(t, overTCP, connConfig{client: client}, Compression{ContextTakeover: true})
			sent := async(func() error { return c.WriteMessage(OpBinary, text) })
			waitUntil(t, "the message is compressed", inState(c, func(out *writeHalf) bool { return out.queueing }))
			closed := async(c.Close)
			h, _, err := p.readFrame()
			if err != nil {
				t.Fatal(err)
			}
			if h.Opcode == OpBinary {
				c.CloseNow() // it was faster
				<-closed
				<-sent
				continue
			}
			if err := <-sent; !errors.Is(err, net.ErrClosed) {
				t.Fatalf("WriteMessage returned %v, want net.ErrClosed", err)
			}
			p.send(p.frame(true, OpClose, "\x03\xe8"))
			p.waitSent()
			p.closeWrite()
			p.wantEOF("nothing follows a Close frame")
			if err := <-closed; err != nil {
				t.Errorf("Close returned %v, want nil", err)
			}
			wantNoDeflate(t, c, "the connection has ended")
			return
		}
		t.Error("a message of 2 MiB was never being compressed when Close was called")
	})
}

// TestDeflateCloseBesideWriter closes while messages are compressed and others
// enqueued. It is for the race detector.
func TestDeflateCloseBesideWriter(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		text := []byte(repetitive(1, 50_000))
		m := prepared(t, OpText, text)
		for i := range 40 {
			c, p := newDeflatePeer(t, overTCP, connConfig{client: client}, Compression{ContextTakeover: true})
			w := nextWriter(t, c, OpText)
			if err := c.Enqueue(m); err != nil {
				t.Fatal(err)
			}
			read := readError(c)
			var all sync.WaitGroup
			all.Go(func() {
				w.Write(text)
				if i%2 == 0 {
					w.Close()
				}
			})
			all.Go(func() { c.WriteMessage(OpText, text) })
			all.Go(func() { c.Enqueue(m) })
			all.Go(func() {
				if i%3 == 0 {
					c.CloseNow()
				} else {
					c.Close()
				}
			})
			for {
				h, _, err := p.readFrame()
				if err != nil {
					break
				}
				if h.Opcode == OpClose {
					p.send(p.frame(true, OpClose, ""))
					p.waitSent()
					p.close()
					break
				}
			}
			all.Wait()
			<-read
			wantNoDeflate(t, c, "the connection has ended")
		}
	})
}

// talker says who sends a message and in which order, in text that is like that
// of others.
func talker(writer, number int) []byte {
	r := rand.New(rand.NewPCG(uint64(writer), uint64(number)))
	size := []int{10, 40, 300, 300, 1000, 5000}[r.IntN(6)]
	if r.IntN(12) == 0 {
		size = 60_000
	}
	text := fmt.Appendf(nil, `{"writer":%d,"number":%d,"text":"`, writer, number)
	for len(text) < size {
		text = append(append(text, pick(r, corpusWords)...), ' ')
	}
	return append(text, `"}`...)
}

// TestDeflateConcurrentWriters has many goroutines write in all ways at the
// same time, with Pings among them, and then closes. Each message arrives
// exactly once and whole, those of one goroutine in its order.
func TestDeflateConcurrentWriters(t *testing.T) {
	const writers = 10
	each := 30
	if raceDetector {
		each = 10
	}
	for name, o := range map[string]Compression{
		"no takeover":    {},
		"takeover":       {ContextTakeover: true},
		"everything":     {ContextTakeover: true, Threshold: -1, WindowBits: 10},
		"a small window": {ContextTakeover: true, WindowBits: 8, Level: 9},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
				a, b := newDeflatePair(t, narrow(connect), &o, &o)
				if !client {
					a, b = b, a
				}
				answers := readError(a) // Pongs
				var all sync.WaitGroup
				for writer := range writers {
					all.Go(func() {
						for number := range each {
							way, p := waysToSend[(writer+number)%len(waysToSend)], talker(writer, number)
							err := way.send(a, OpText, p)
							for err == ErrQueueFull {
								// It is empty when all that was written has been read.
								if err = a.Ping(t.Context()); err == nil {
									err = way.send(a, OpText, p)
								}
							}
							if err == nil && number%7 == 0 {
								err = a.Ping(t.Context())
							}
							if err != nil {
								t.Errorf("writer %d got %v for message %d, want nil", writer, err, number)
								return
							}
						}
					})
				}
				closed := async(func() error {
					all.Wait()
					return a.Close()
				})
				next := make([]int, writers)
				for {
					_, p, err := b.ReadMessage(nil)
					if err != nil {
						wantCloseError(t, err, StatusNormalClosure, "", "all has been written and Close called")
						break
					}
					var writer, number int
					if _, err := fmt.Sscanf(string(p), `{"writer":%d,"number":%d,`, &writer, &number); err != nil || writer >= writers {
						t.Fatalf("a message came that nobody has sent: %s", brief(p))
					}
					if want := talker(writer, next[writer]); !slices.Equal(p, want) {
						t.Fatalf("message %d of writer %d came: %s\nwant %s", number, writer, brief(p), brief(want))
					}
					next[writer]++
				}
				for writer, n := range next {
					if n != each {
						t.Errorf("%d messages of writer %d came, want %d", n, writer, each)
					}
				}
				if err := <-closed; err != nil {
					t.Error(err)
				}
				<-answers
				if s, r := a.Stats(), b.Stats(); s.CompressedBytesSent > s.BytesSent*2/3 || s.CompressedBytesSent != r.CompressedBytesReceived || s.BytesSent != r.BytesReceived {
					t.Errorf("the counts are %+v and %+v, want two thirds of the bytes on the wire at most, and what was sent received", s, r)
				}
				wantNoDeflate(t, a, "the connection has ended")
				wantNoDeflate(t, b, "the connection has ended")
			})
		})
	}
}
