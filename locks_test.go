package websocket

import (
	"errors"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"
)

// waitUntil waits for an event that shows in the state of a Conn and nowhere
// else.
func waitUntil(t testing.TB, event string, happened func() bool) {
	t.Helper()
	for limit := time.Now().Add(20 * time.Second); !happened(); runtime.Gosched() {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain until %s", event)
		}
	}
}

// inState reports a condition on the writeHalf of c.
func inState(c *Conn, condition func(out *writeHalf) bool) func() bool {
	return func() bool {
		c.out.mu.Lock()
		defer c.out.mu.Unlock()
		return condition(&c.out)
	}
}

// goroutineIn reports whether a goroutine is in all of these functions.
func goroutineIn(functions ...string) func() bool {
	return func() bool {
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
	stacks:
		for stack := range strings.SplitSeq(string(buf), "\n\n") {
			for _, f := range functions {
				if !strings.Contains(stack, f) {
					continue stacks
				}
			}
			return true
		}
		return false
	}
}

// TestCloseNowWhileReaderFlushes calls CloseNow at the moment when the reader,
// inside the callback of its RawConn, waits for the lock of the writing half.
// To close a socket waits for such callbacks, so that it must not be done with
// the lock held.
func TestCloseNowWhileReaderFlushes(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for range 20 {
			c, p := newPeer(t, overTCP, connConfig{client: client})
			if c.raw == nil {
				t.Skip("no RawConn on this system")
			}
			p.send(append(p.frame(true, OpText, "a"), p.frame(true, OpText, "b")...))
			p.waitSent()
			wantMessage(t, c, OpText, "a", "it was sent")
			wantMessage(t, c, OpText, "b", "it was sent") // the reader owes a flush now
			c.out.mu.Lock()
			ended := readError(c)
			waitUntil(t, "the reader is about to flush", goroutineIn(".attemptRead(", ".settleDebts(", "sync.(*Mutex).Lock"))
			c.out.mu.Unlock()
			c.CloseNow() // has the lock before the reader has been woken
			if err := <-ended; !errors.Is(err, net.ErrClosed) {
				t.Fatalf("the reader got %v, want net.ErrClosed: CloseNow was called", err)
			}
		}
	})
}
