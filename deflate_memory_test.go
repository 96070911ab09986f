package websocket

import (
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"testing"
)

// What compression costs a connection, and how far back it refers.

// TestDeflateWindow: over a conversation of many messages in all ways, with all
// windows, no reference goes further back than was agreed upon. The peer
// inflates with exactly that much.
func TestDeflateWindow(t *testing.T) {
	for _, takeover := range []bool{false, true} {
		for _, bits := range []int{8, 9, 10, 12, 15} {
			t.Run(fmt.Sprintf("takeover=%v/%d bits", takeover, bits), func(t *testing.T) {
				inBothRoles(t, func(t *testing.T, client bool) {
					o := Compression{ContextTakeover: takeover, WindowBits: bits}
					c, p := newDeflatePeer(t, overTCP, connConfig{client: client}, o)
					texts := newCorpus(uint64(bits))
					for i := range 150 {
						size := []int{40, 300, 300, 1000, 4000}[i%5]
						if i%50 == 49 {
							size = 60_000
						}
						text := texts.message(size)
						way := waysToSend[i%len(waysToSend)]
						if i%20 < 10 {
							way = waysToSend[0] // many in a row that may refer to each other
						}
						sent := async(func() error { return way.send(c, OpText, text) })
						m := p.readMessage(way.name)
						if string(m.payload) != string(text) {
							t.Fatalf("message %d, with %s, is %s, want %s", i, way.name, brief(m.payload), brief(text))
						}
						if err := <-sent; err != nil {
							t.Fatal(err)
						}
					}
					if p.farthest > 1<<bits || p.farthest < 1<<bits*3/4 {
						t.Errorf("the farthest reference goes %d bytes back, want as much as is allowed, %d", p.farthest, 1<<bits)
					}
				})
			})
		}
	}
}

// An idleConn brings its input and then nothing.
type idleConn struct {
	memoryConn
	left int // bytes to come
}

func (c *idleConn) Read(p []byte) (int, error) {
	if c.left == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := c.memoryConn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

func (c *idleConn) LocalAddr() net.Addr { return nil }

// TestDeflateIdleMemory: what connections hold after messages both ways, beyond
// what those without compression do.
func TestDeflateIdleMemory(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector takes memory of its own")
	}
	const conns = 1000
	// Enough to fill windows, in messages of all sizes.
	var messages [][]byte
	for i, size := range []int{100, 1000, 1000, 12_000, 40_000, 1000} {
		messages = append(messages, newCorpus(uint64(i)).message(size))
	}
	perConn := func(t *testing.T, o *Compression) int64 {
		var wire []byte // the same for all
		if o == nil {
			p := &peer{t: t}
			for _, m := range messages {
				wire = append(wire, p.frame(true, OpText, string(m))...)
			}
		} else {
			z := newDeflater(defaultLevel, o.windowBits())
			for _, m := range messages {
				if !o.ContextTakeover {
					z.forget()
				}
				wire = append(wire, rawFrame(FrameHeader{Fin: true, RSV1: true, Opcode: OpText}, string(z.appendMessage(nil, m)), false)...)
			}
		}
		idle := make([]*Conn, conns)
		before := idleHeap()
		for i := range idle {
			c := newConn(&idleConn{memoryConn{input: wire}, len(wire)}, connConfig{client: true, deflate: agreed(o, true)})
			idle[i] = c
			for j, m := range messages {
				if j%2 == 0 {
					wantMessage(t, c, OpText, string(m))
				} else if _, _, err := c.NextReader(); err != nil { // and skip it
					t.Fatal(err)
				}
				if err := waysToSend[j%3].send(c, OpText, m); err != nil {
					t.Fatal(err)
				}
			}
			if _, _, err := c.ReadMessage(nil); err != errReadDeadline {
				t.Fatalf("when all was read reading returned %v, want that nothing comes", err)
			}
		}
		took := idleHeap() - before
		runtime.KeepAlive(idle)
		return took / conns
	}
	plain := perConn(t, nil)
	t.Logf("without compression a connection takes %d bytes", plain)
	for _, test := range []struct {
		o    Compression
		most int64
	}{
		{Compression{}, 1 << 10},
		{Compression{ContextTakeover: true}, 100 << 10},
		{Compression{ContextTakeover: true, WindowBits: 12}, 24 << 10},
	} {
		more := perConn(t, &test.o) - plain
		t.Logf("with takeover %v and windows of %d bits it takes %d more", test.o.ContextTakeover, test.o.windowBits(), more)
		if more > test.most {
			t.Errorf("with takeover %v and windows of %d bits a connection takes %d bytes more than without compression, want at most %d",
				test.o.ContextTakeover, test.o.windowBits(), more, test.most)
		}
	}
}

// idleHeap returns the bytes on the heap when pools have been emptied.
func idleHeap() int64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestDeflateAllocations: a compressed message that is read into a kept buffer,
// and one that is written, costs no allocation.
func TestDeflateAllocations(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	for mode, o := range bothModes {
		for name, connect := range map[string]connectFunc{"tcp": overTCP, "wrapped": overWrapper} {
			for _, size := range []int{128, 1 << 10, 16 << 10, 256 << 10} {
				t.Run(fmt.Sprintf("%s/%s/%d", mode, name, size), func(t *testing.T) {
					client, server := newDeflatePair(t, connect, &o, &o)
					message := newCorpus(1).message(size)
					for _, pair := range [][2]*Conn{{client, server}, {server, client}} {
						from, to := pair[0], pair[1]
						read := make(chan int)
						go func() {
							defer close(read)
							buf := make([]byte, 0, 2*size)
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
							if err := from.WriteMessage(OpText, message); err != nil {
								t.Fatal(err)
							}
							if n := <-read; n != len(message) {
								t.Fatalf("a message of %d bytes came, want %d", n, len(message))
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
}

// TestDeflateIdleHoldsNothing: without context takeover a connection holds
// nothing for the extension once a message has been written or read, in
// whatever way.
func TestDeflateIdleHoldsNothing(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newDeflatePeer(t, connect, connConfig{client: client}, Compression{})
		text := repetitive(1, 50_000)
		for i, way := range append(waysToSend, waysToSend...) {
			sent := async(func() error { return way.send(c, OpText, []byte(text)) })
			p.want(OpText, true, text, way.name)
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			wantNoDeflate(t, c, "a message was written with "+way.name)
			p.send(p.compressed(OpText, text, i*20))
			if i%2 == 0 {
				wantMessage(t, c, OpText, text)
			} else {
				_, r, err := c.NextReader()
				if err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(r); string(b) != text || err != nil {
					t.Fatalf("a reader yields %s, %v, want the message", brief(b), err)
				}
			}
			wantNoDeflate(t, c, "a message was read")
		}
	})
}
