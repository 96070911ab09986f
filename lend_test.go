package websocket

import (
	"bytes"
	"math/rand/v2"
	"runtime"
	"testing"
	"weak"
)

// lengthy returns a message in frames of the given lengths, and its payload.
func lengthy(p *peer, seed byte, lengths ...int) (wire, payload []byte) {
	op := OpBinary
	for i, n := range lengths {
		part := make([]byte, n)
		for j := range part {
			part[j] = seed + byte(j*j>>8) + byte(j)
		}
		payload = append(payload, part...)
		wire = append(wire, p.frame(i == len(lengths)-1, op, string(part))...)
		op = OpContinuation
	}
	return wire, payload
}

// TestLent reads long and short messages in a loop that hands its memory back,
// which is where they are read to. They come whole, in pieces and many at once,
// and what lies behind one in the memory is not lost when that is used for
// something else.
func TestLent(t *testing.T) {
	messages := [][]int{
		{16 << 10}, {16 << 10}, {16 << 10}, {16<<10 + 1}, {16 << 10}, {3}, {16 << 10}, {0}, {0}, {200},
		{9 << 10}, {9 << 10}, {5000, 0, 5000}, {10000}, {1, 9000, 1}, {40 << 10}, {40 << 10}, {100 << 10},
		{100 << 10}, {50, 50}, {minLent}, {minLent}, {minLent - 1}, {minLent}, {20 << 10}, {30 << 10, 30 << 10}, {60 << 10}, {7},
	}
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for _, most := range []int{1 << 20, 20 << 10, 5000, 333} {
			c, p := newPeer(t, connect, connConfig{client: client})
			var all []byte
			var want [][]byte
			for i, lengths := range messages {
				wire, payload := lengthy(p, byte(i), lengths...)
				all, want = append(all, wire...), append(want, payload)
			}
			random := rand.New(rand.NewPCG(uint64(most), 0))
			var pieces [][]byte
			for len(all) > 0 {
				n := min(len(all), 1+random.IntN(most))
				pieces, all = append(pieces, all[:n]), all[n:]
			}
			p.send(pieces...)
			var memory []byte
			lent := 0
			for i := range want {
				if c.lend(memory[:0]) != nil {
					lent++
				}
				_, got, err := c.ReadMessage(memory[:0])
				if err != nil {
					t.Fatalf("message %d: %v", i, err)
				}
				if !bytes.Equal(got, want[i]) {
					t.Fatalf("message %d in pieces of at most %d bytes: %d bytes that differ from the %d sent", i, most, len(got), len(want[i]))
				}
				memory = got[:cap(got)]
				for j := range memory {
					memory[j] = 0xDB // whoever still needs it gets this
				}
			}
			if lent < len(want)/3 {
				t.Fatalf("memory was lent for %d of %d messages, want a third at least", lent, len(want))
			}
			c.CloseNow()
			p.close()
		}
	})
}

// TestLentRoom: after long messages the caller comes with little room, or
// with much and something in it.
func TestLentRoom(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		const size = 16 << 10
		before := []byte("what stands before")
		for i, room := range []int{0, 1, size - 1, size, size + maxHeaderSize - 1, size + maxHeaderSize, 1 << 20} {
			wire, want := lengthy(p, byte(i), size)
			p.send(wire, p.frame(true, OpText, "behind"))
			dst := append(make([]byte, 0, len(before)+room), before...)
			_, got, err := c.ReadMessage(dst)
			if err != nil || !bytes.Equal(got, append(before[:len(before):len(before)], want...)) {
				t.Fatalf("with %d bytes of room: %d bytes that are not what was sent, %v", room, len(got), err)
			}
			wantMessage(t, c, OpText, "behind", "it came right behind")
			c.in.size = size // as if there had been no other message
		}
	})
}

// TestLentNotKept: nothing is left that keeps the caller's memory from the
// garbage collector.
func TestLentNotKept(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		wire, _ := lengthy(p, 0, 16<<10)
		p.send(wire)
		if _, _, err := c.ReadMessage(nil); err != nil {
			t.Fatal(err)
		}
		memory := new([20 << 10]byte)
		if c.lend(memory[:0]) == nil {
			t.Fatal("memory with room for another message like the last is not lent")
		}
		seen := weak.Make(memory)
		p.send(wire)
		if _, _, err := c.ReadMessage(memory[:0]); err != nil {
			t.Fatal(err)
		}
		runtime.GC()
		if seen.Value() != nil {
			t.Error("the caller's memory is kept after ReadMessage has returned")
		}
		runtime.KeepAlive(c)
	})
}
