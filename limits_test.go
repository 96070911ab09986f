package websocket

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// fragments returns frames of a binary message with the given lengths of
// payload. The last has FIN set if the message is whole.
func (p *peer) fragments(whole bool, lengths ...int) []byte {
	var b []byte
	op := OpBinary
	for i, n := range lengths {
		b = append(b, p.frame(whole && i == len(lengths)-1, op, strings.Repeat("x", n))...)
		op = OpContinuation
	}
	return b
}

// TestFragmentLimit: beyond the first 1,024 a message's fragments have 16 bytes
// on average, or it is refused with 1008 at the first that falls short.
func TestFragmentLimit(t *testing.T) {
	empty := make([]int, freeFragments)
	full := bytes.Repeat([]byte{minFragmentSize}, 3*freeFragments)
	lengths := func(first []int, rest ...int) []int { return append(append([]int{}, first...), rest...) }
	var even []int
	for _, n := range full {
		even = append(even, int(n))
	}
	for _, test := range []struct {
		name    string
		lengths []int
		refused bool
	}{
		{"1,024 empty ones", empty, false},
		{"an empty one more", lengths(empty, 0), true},
		{"one more that is a byte short", lengths(empty, minFragmentSize-1), true},
		{"one more of the average", lengths(empty, minFragmentSize), false},
		{"two more", lengths(empty, 2*minFragmentSize, 0), false},
		{"two more that are a byte short", lengths(empty, 2*minFragmentSize-1, 0), true},
		{"many of the average", even, false},
		{"a large one and thousands of empty ones", lengths([]int{3 * freeFragments * minFragmentSize}, make([]int, 4*freeFragments-1)...), false},
		{"a large one and one too many", lengths([]int{3 * freeFragments * minFragmentSize}, make([]int, 4*freeFragments)...), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			inBothRoles(t, func(t *testing.T, client bool) {
				total := 0
				for _, n := range test.lengths {
					total += n
				}
				c, p := newPeer(t, overTCP, connConfig{client: client})
				// The message before counts for nothing.
				p.send(p.fragments(true, empty...), p.fragments(!test.refused, test.lengths...))
				wantMessage(t, c, OpBinary, "", "all fragments are empty and not too many")
				if !test.refused {
					wantMessage(t, c, OpBinary, strings.Repeat("x", total), "the fragments are large enough")
					return
				}
				read := readError(c)
				p.wantClose(StatusPolicyViolation, "the fragments are too small")
				p.close()
				wantProtocolError(t, <-read, StatusPolicyViolation, "the fragments are too small")
			})
		})
	}
}

// TestFragmentLimitWhileSkipping: it counts for a message that is skipped, too.
func TestFragmentLimitWhileSkipping(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		c, p := newPeer(t, overTCP, connConfig{client: client})
		p.send(p.fragments(false, make([]int, freeFragments+1)...))
		if _, _, err := c.NextReader(); err != nil {
			t.Fatal(err)
		}
		read := readError(c)
		p.wantClose(StatusPolicyViolation, "the fragments are too small")
		p.close()
		wantProtocolError(t, <-read, StatusPolicyViolation, "the fragments are too small")
	})
}

// TestControlFloodBounds: control frames without a message between them are refused
// with 1008 past the first 65,536 and 10,000 a second since the first of them.
func TestControlFloodBounds(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for _, test := range []struct {
			name   string
			before func(c *Conn, p *peer, frames func(n int))
			left   int // until it is too many
		}{
			{"at once", func(c *Conn, p *peer, frames func(int)) {}, maxControlBurst},
			{"in time", func(c *Conn, p *peer, frames func(int)) {
				frames(maxControlBurst)
				time.Sleep(3 * time.Second)
			}, 3 * maxControlRate},
			{"after a pause", func(c *Conn, p *peer, frames func(int)) {
				frames(1)
				time.Sleep(time.Second)
			}, maxControlBurst + maxControlRate - 1},
			{"after a message", func(c *Conn, p *peer, frames func(int)) {
				frames(maxControlBurst)
				p.send(p.frame(true, OpText, ""))
				p.waitSent()
			}, maxControlBurst},
			{"inside a message", func(c *Conn, p *peer, frames func(int)) {
				p.send(p.frame(false, OpText, ""))
				p.waitSent()
			}, maxControlBurst},
			{"after the end of a message that had begun before", func(c *Conn, p *peer, frames func(int)) {
				p.send(p.frame(false, OpText, ""))
				frames(maxControlBurst)
				p.send(p.frame(true, OpContinuation, ""))
				p.waitSent()
			}, maxControlBurst},
		} {
			t.Run(test.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c, p := newPeer(t, overPipe, connConfig{client: client})
					ended := async(func() error {
						for {
							if _, _, err := c.ReadMessage(nil); err != nil {
								return err
							}
						}
					})
					pong := p.frame(true, OpPong, "an unsolicited Pong") // larger than what a wait reads
					frames := func(n int) {
						p.send(bytes.Repeat(pong, n))
						p.waitSent()
						synctest.Wait()
					}
					test.before(c, p, frames)
					frames(test.left)
					if len(ended) > 0 {
						t.Fatalf("reading ended with %v, want it to go on: the control frames are not too many", <-ended)
					}
					p.send(p.frame(true, OpPong, "one more"))
					p.wantClose(StatusPolicyViolation, "it is one too many")
					p.close()
					wantProtocolError(t, <-ended, StatusPolicyViolation, "there are too many control frames")
				})
			})
		}
	})
}

// TestControlFloodForever: a connection may have all the control frames that the
// rate allows for years, and still not more than the burst at once.
func TestControlFloodForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var in readHalf
		for range 1000 {
			for range maxControlBurst {
				if err := in.countControl(); err != nil {
					t.Fatalf("a burst after so much silence was refused: %v", err)
				}
			}
			time.Sleep(365 * 24 * time.Hour / 100)
		}
		n := 0
		for ; in.countControl() == nil; n++ {
		}
		if n > maxControlBurst {
			t.Errorf("%d control frames came at once, want %d at most", n, maxControlBurst)
		}
	})
}
