package websocket

import (
	"sync"
	"sync/atomic"
	"testing"
)

// TestLineLeavesTogether: small messages that wait while a NextWriter is open
// leave with its last frame in one write, in the order of the calls. A large one
// among them is not copied to its place, and holds up those behind it.
func TestLineLeavesTogether(t *testing.T) {
	for _, test := range []struct {
		name   string
		sizes  []int
		writes int64
	}{
		{"small ones", []int{10, 0, 125, 1000, maxAppend, 20}, 1},
		{"a large one among them", []int{10, 20, maxAppend + 1, 30, 40}, 3},
		{"one that leaves in two pieces", []int{10, 20, maxPiece + 1, 30, 40}, 4},
		{"more than may be pending", []int{maxAppend, maxAppend, maxAppend, 10}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBothRoles(t, func(t *testing.T, client bool) {
				a, b := newPair(t, overPipe, connConfig{})
				if !client {
					a, b = b, a
				}
				w, err := a.NextWriter(OpBinary)
				if err != nil {
					t.Fatal(err)
				}
				var results []<-chan error
				for i, size := range test.sizes {
					p := make([]byte, size)
					results = append(results, async(func() error { return a.WriteMessage(OpBinary, p) }))
					waitUntil(t, "a writer waits", waiting(a, i+1))
				}
				writes := countWrites(a)
				closed := async(w.Close)
				for i, want := range append([]int{0}, test.sizes...) {
					if _, p, err := b.ReadMessage(nil); err != nil || len(p) != want {
						t.Fatalf("message %d has %d bytes, error %v, want %d bytes: first come, first served", i, len(p), err, want)
					}
				}
				for i, result := range append(results, closed) {
					if err := <-result; err != nil {
						t.Errorf("writer %d got %v, want nil", i, err)
					}
				}
				if n := writes.Load(); n != test.writes {
					t.Errorf("they left with %d writes, want %d", n, test.writes)
				}
			})
		})
	}
}

// TestConcurrentWritersShareWrites: goroutines that write all the time have
// their messages leave together, once one has been seen by another; on a single
// CPU that takes until the scheduler interrupts one of them in a write.
func TestConcurrentWritersShareWrites(t *testing.T) {
	const writers, window, most, together = 8, 10_000, 500_000, 20
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		a, b := newPair(t, connect, connConfig{})
		if !client {
			a, b = b, a
		}
		writes := countWrites(a)
		var stop atomic.Bool
		var all sync.WaitGroup
		for range writers {
			all.Go(func() {
				for !stop.Load() {
					if err := a.WriteMessage(OpBinary, make([]byte, 128)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		closed := async(func() error {
			all.Wait()
			return a.Close()
		})
		var buf []byte
		before := int64(0)
		for n := 1; ; n++ {
			var err error
			if _, buf, err = b.ReadMessage(buf[:0]); err != nil {
				break // Close was called
			}
			if n%window > 0 || stop.Load() {
				continue
			}
			now := writes.Load()
			if now-before < window/together {
				stop.Store(true)
			} else if n == most {
				t.Errorf("%d messages have left with %d writes at last, want fewer than %d", window, now-before, window/together)
				stop.Store(true)
			}
			before = now
		}
		if err := <-closed; err != nil {
			t.Fatalf("Close returned %v, want nil", err)
		}
	})
}

// TestLoneWriterDoesNotGather: where no other goroutine writes, none is waited
// for.
func TestLoneWriterDoesNotGather(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		ended := async(func() error { return echo(c) })
		crowded := inState(c, func(out *writeHalf) bool { return out.crowded })
		for range 100 {
			p.send(p.burst(3, 10))
			for i := range 3 {
				p.wantFrame(OpText, burstMessage(i, 10), "every message is answered")
			}
			if crowded() {
				t.Fatal("the only writer takes itself for one of many")
			}
		}
		p.close()
		<-ended
	})
}
