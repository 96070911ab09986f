package websocket

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// pingFlood returns n Pings with payloads of size bytes that count from 0.
func (p *peer) pingFlood(n, size int) (wire []byte, payloads []string) {
	for i := range n {
		payload := fmt.Sprintf("%0*d", size, i)
		payloads = append(payloads, payload)
		wire = append(wire, p.frame(true, OpPing, payload)...)
	}
	return wire, payloads
}

// pongSize is the size of an answer of c to a Ping with size bytes of payload.
func pongSize(c *Conn, size int) int {
	return len(rawFrame(FrameHeader{Fin: true, Opcode: OpPong}, strings.Repeat("x", size), c.client))
}

// TestManyPingsAnswered: every Ping of one packet is answered, in order, while
// the Pongs are fewer than 4 KiB; and they leave before the message behind the
// Pings is returned, although the application writes nothing.
func TestManyPingsAnswered(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for _, size := range []int{1, 4, 40, 125} {
			c, p := newPeer(t, connect, connConfig{client: client})
			n := min((maxPongs-1)/pongSize(c, size), 9*size*size)
			wire, payloads := p.pingFlood(n, size)
			read := readError(c)
			p.send(append(wire, p.frame(true, OpText, "behind")...))
			for i, payload := range payloads {
				p.wantFrame(OpPong, payload, fmt.Sprintf("Ping %d of %d is answered", i, n))
			}
			if err := <-read; err != nil {
				t.Fatal(err)
			}
		}
	})
}

// holdLittle has the kernel hold little of what nc sends. The receiver's buffer
// is left as it is: one that shrinks under way makes TCP drop what had been
// allowed for, the acknowledgements in it too.
func holdLittle(nc net.Conn) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	if t, ok := nc.(*net.TCPConn); ok {
		t.SetWriteBuffer(64 << 10)
	}
}

// TestPingFloodUnread: a peer sends Pings and reads nothing. The message
// behind them is read all the same, the Pongs that wait are bounded, and the
// latest Ping is answered when the peer reads again (5.5.3).
func TestPingFloodUnread(t *testing.T) {
	const n, size = 10_000, 125
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		holdLittle(c.nc)
		wire, payloads := p.pingFlood(n, size)
		p.send(append(wire, p.frame(true, OpText, "behind")...))
		wantMessage(t, c, OpText, "behind", "reading does not wait for the peer to read")

		c.out.mu.Lock()
		waiting, most := len(c.out.frames()), maxPongs+3*pongSize(c, size)
		c.out.mu.Unlock()
		if waiting > most {
			t.Errorf("%d bytes of Pongs wait, want at most %d", waiting, most)
		}

		next := 0
		for {
			h, payload, err := p.readFrame()
			if err != nil || h.Opcode != OpPong {
				t.Fatalf("the peer got a %v frame, %v, before the latest Pong", h.Opcode, err)
			}
			var i int
			fmt.Sscan(strings.TrimLeft(string(payload[:size-1]), "0")+string(payload[size-1:]), &i)
			if i < next || i >= n || string(payload) != payloads[i] {
				t.Fatalf("the peer got a Pong %q, want the answer to a Ping from number %d on", payload, next)
			}
			if next = i + 1; next == n {
				break
			}
		}
		p.send(p.frame(true, OpPing, "again"))
		read := readError(c)
		p.wantFrame(OpPong, "again", "Pings are answered as before")
		p.send(p.frame(true, OpText, ""))
		if err := <-read; err != nil {
			t.Fatal(err)
		}
	})
}

// TestControlFlood: without a message between them, so many control frames are
// taken as come at once, and then so many a second; one more is refused. A
// message begins the count anew.
func TestControlFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, p := newPeer(t, overPipe, connConfig{})
		flood := func(n int) []byte { return bytes.Repeat(p.frame(true, OpPong, ""), n) }
		p.send(flood(maxControlBurst), p.frame(true, OpText, "behind"))
		wantMessage(t, c, OpText, "behind", "a burst is no flood")

		ended := readError(c) // and a message begins the count anew
		p.send(flood(maxControlBurst))
		p.waitSent()
		time.Sleep(time.Second)
		p.send(flood(maxControlRate))
		p.waitSent()
		synctest.Wait()
		select {
		case err := <-ended:
			t.Fatalf("the read returned %v, want it to go on: so many a second are allowed", err)
		default:
		}
		p.send(flood(1))
		p.wantClose(StatusPolicyViolation, "that is one control frame too many")
		p.close()
		wantProtocolError(t, <-ended, StatusPolicyViolation, "that is one control frame too many")
	})
}

// TestManyFragments: a message may have 1,024 fragments of any size; beyond
// that they must have 16 bytes each on average. Nothing is stored for a
// fragment but its payload.
func TestManyFragments(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for _, test := range []struct {
			size int // payload of a fragment
			most int // fragments that are taken
		}{
			{0, 1024},
			{1, 1024 + 68}, // 1092 bytes are 16 for each of 68 fragments
			{15, 1024 * 16},
			{16, 20_000}, // no end
		} {
			fragments := func(p *peer, n int, payload string) (wire []byte) {
				for i := range n {
					op := OpContinuation
					if i == 0 {
						op = OpBinary
					}
					wire = append(wire, p.frame(false, op, payload)...)
				}
				return wire
			}
			payload := strings.Repeat("x", test.size)
			for _, way := range waysToRead {
				c, p := newPeer(t, connect, connConfig{client: client})
				wire := fragments(p, test.most-1, payload)
				wire = append(wire, p.frame(true, OpContinuation, payload)...)
				p.send(wire, p.frame(true, OpText, "behind"))
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				op, got, err := c.ReadMessage(nil)
				runtime.ReadMemStats(&after)
				if op != OpBinary || len(got) != test.size*test.most || err != nil {
					t.Fatalf("ReadMessage returned a %v message of %d bytes, %v, want %d fragments of %d bytes", op, len(got), err, test.most, test.size)
				}
				// The race detector has pools forget their buffers.
				if took, most := after.TotalAlloc-before.TotalAlloc, uint64(1<<20+8*len(got)); took > most && !raceDetector {
					t.Errorf("%d fragments of %d bytes took %d bytes of memory, want at most %d", test.most, test.size, took, most)
				}
				wantMessage(t, c, OpText, "behind")
				if test.size >= minFragmentSize {
					continue
				}
				wantFailed(t, c, p, way.read, fragments(p, test.most+1, payload), StatusPolicyViolation,
					fmt.Sprintf("%d fragments of %d bytes are too many, with %s", test.most+1, test.size, way.name))
			}
		}
	})
}
