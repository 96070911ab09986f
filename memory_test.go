package websocket

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"unsafe"
)

// TestNoBufferWhileWaiting has the reader wait after every single byte of a
// conversation, and of a message longer than the read buffer: it holds no
// pooled buffer then.
func TestNoBufferWhileWaiting(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for i := range 2 * len(readings) {
			way, talk := readings[i/2], talks[[]string{"plain", "compressed"}[i%2]]
			c, p := newPeer(t, overTCP, talk.config(client))
			large := p.frame(true, OpBinary, strings.Repeat("x", 3*readBufferSize))
			end := len(large) - 2*readBufferSize
			left := append([][]byte{large[:end], large[end : end+readBufferSize], large[end+readBufferSize:]}, pieces(talk.wire(p), -1)...)
			waits := 0
			onWait(t, c, func() {
				if c.in.buf != nil || len(c.in.data) > 0 {
					t.Errorf("the reader waits with a buffer of its own after piece %d", waits)
				}
				if waits++; len(left) > 0 {
					p.nc.Write(left[0])
					left = left[1:]
				}
			})
			want := len(left)
			r := &reading{c: c}
			ended := async(func() error { return way.read(r) })
			talk.answers(p, way.name)
			p.close()
			wantCloseError(t, <-ended, talk.code, talk.reason, way.name)
			if waits < want {
				t.Errorf("with %s the reader has waited %d times, want %d: before every piece", way.name, waits, want)
			}
		}
	})
}

// TestNoBufferBetweenFrames is the same where a connection can only be waited
// for by reading. Inside of a short frame it may keep its buffer.
func TestNoBufferBetweenFrames(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for i := range 2 * len(readings) {
			way, talk := readings[i/2], talks[[]string{"plain", "compressed"}[i%2]]
			synctest.Test(t, func(t *testing.T) {
				c, p := newPeer(t, overPipe, talk.config(client))
				ended := async(func() error { return way.read(&reading{c: c}) })
				answers := async(func() error { _, err := io.Copy(io.Discard, p.nc); return err })
				between := 0
				large := p.frame(true, OpBinary, strings.Repeat("x", 3*readBufferSize))
				for _, b := range slices.Concat(pieces(large, len(large)-2*readBufferSize), pieces(talk.wire(p), -1)) {
					p.send(b)
					synctest.Wait()
					if in := &c.in; in.err == nil && in.remaining == 0 && !in.inControl {
						between++
						if in.buf != nil {
							t.Error("the reader waits between frames with a buffer of its own")
						}
					}
				}
				if between < len(talk.frames) {
					t.Errorf("the reader was seen %d times between frames, want that after each of %d", between, len(talk.frames))
				}
				p.close()
				<-ended
				<-answers
			})
		}
	})
}

// TestMessagesStayApart reads from connections in turn, at random, with all
// their buffers from the same pools, which are overwritten when they are given
// back. No byte of one shows up in another, and no message changes after it
// has been returned.
func TestMessagesStayApart(t *testing.T) {
	const seed = 6455
	onEvery(t, func(t *testing.T, connect connectFunc) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		type end struct {
			c    *Conn
			p    *peer
			name byte
			sent [][]byte // and not read
			kept [][]byte // a message as it was sent, and as it was read
		}
		var ends []*end
		for i := range 4 {
			c, p := newPeer(t, connect, connConfig{client: i%2 == 1})
			ends = append(ends, &end{c: c, p: p, name: byte('a' + i)})
		}
		for range 400 {
			e := ends[rnd.IntN(len(ends))]
			for range rnd.IntN(4) {
				payload := bytes.Repeat([]byte{e.name}, 1+rnd.IntN([]int{10, 200, 5000, 100_000}[rnd.IntN(4)]))
				for i := range payload {
					payload[i] += byte(len(e.sent)+i%7) & 3 << 5
				}
				e.sent = append(e.sent, payload)
				wire := e.p.frame(true, OpBinary, string(payload))
				cut := rnd.IntN(len(wire))
				e.p.send(wire[:cut], wire[cut:])
			}
			if len(e.sent) == 0 {
				continue
			}
			var p []byte
			var err error
			if rnd.IntN(2) == 0 {
				_, p, err = e.c.ReadMessage(nil)
			} else {
				var r io.Reader
				if _, r, err = e.c.NextReader(); err == nil {
					p, err = io.ReadAll(r)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			e.kept = append(e.kept, e.sent[0], p)
			e.sent = e.sent[1:]
		}
		for _, e := range ends {
			for i := 0; i < len(e.kept); i += 2 {
				if want, got := e.kept[i], e.kept[i+1]; !bytes.Equal(got, want) {
					t.Fatalf("seed %d: message %d of connection %c is %s\nwant %s", seed, i/2, e.name, brief(got), brief(want))
				}
			}
			e.p.close()
		}
	})
}

// TestConnSize: memory comes in sizes, of which the one that a Conn fits into is
// a large part of what an idle connection costs. A word more would cost the next
// one, 64 bytes larger.
func TestConnSize(t *testing.T) {
	const class, mallocHeader = 704, 8
	if n := unsafe.Sizeof(Conn{}); unsafe.Sizeof(uintptr(0)) == 8 && n > class-mallocHeader {
		t.Errorf("a Conn has %d bytes, want at most %d: what most connections do not need belongs elsewhere", n, class-mallocHeader)
	}
}

// TestAllocations: a message that is read into a kept buffer, and one that is
// written, costs no allocation, at either end, be the connection one that can
// be waited for or not.
func TestAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	for name, connect := range map[string]connectFunc{"tcp": overTCP, "wrapped": overWrapper} {
		for _, size := range []int{0, 128, 16 << 10, 1 << 20} {
			t.Run(fmt.Sprintf("%s/%d", name, size), func(t *testing.T) {
				client, server := newPair(t, connect, connConfig{})
				for _, pair := range [][2]*Conn{{client, server}, {server, client}} {
					from, to := pair[0], pair[1]
					message := make([]byte, size)
					read := make(chan int)
					go func() {
						defer close(read)
						var buf []byte
						for {
							_, p, err := to.ReadMessage(buf[:0])
							if err != nil || len(p) == 1 {
								return
							}
							read <- len(p)
							buf = p
						}
					}()
					allocs := testing.AllocsPerRun(200, func() {
						if err := from.WriteMessage(OpBinary, message); err != nil {
							t.Fatal(err)
						}
						if n := <-read; n != size {
							t.Fatalf("a message of %d bytes came, want %d", n, size)
						}
					})
					if allocs != 0 {
						t.Errorf("a message costs %v allocations, client %v, want none to write and read it", allocs, from.client)
					}
					from.WriteMessage(OpBinary, []byte{1})
					<-read
				}
			})
		}
	}
}

// overWrapper connects through TCP in a way that hides it.
func overWrapper(t testing.TB) (client, server net.Conn) {
	client, server = overTCP(t)
	return struct{ net.Conn }{client}, struct{ net.Conn }{server}
}
