//go:build linux && (amd64 || arm64) && !purego && !race && !msan && !asan

package websocket

import (
	"errors"
	"net"
	"syscall"
	"testing"
)

// TestBlockingSocket: a system call that the scheduler does not know about
// returns at once even where somebody has made the socket a blocking one.
func TestBlockingSocket(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		c, p := newPeer(t, overTCP, connConfig{client: client})
		c.raw.Control(func(fd uintptr) { syscall.SetNonblock(int(fd), false) })
		p.send(p.frame(true, OpText, "message"))
		wantMessage(t, c, OpText, "message", "it was sent")
		ended := readError(c)
		waitUntil(t, "the reader waits", goroutineIn(".readRaw(", "runtime_pollWait"))
		c.CloseNow()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("the read returned %v, want net.ErrClosed", err)
		}
	})
}
