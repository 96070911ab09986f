package websocket

import (
	"errors"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// longTimeout is more than the time between two Pings.
const longTimeout = 6 * testInterval

// TestKeepalivePingsWhileTimeoutIsLong: the time that a Ping was given does not
// put off the next one, once something has come.
func TestKeepalivePingsWhileTimeoutIsLong(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, overPipe, connConfig{client: client, pingInterval: testInterval, pongTimeout: longTimeout})
			go readError(c)
			for _, late := range []time.Duration{0, testInterval / 2, 3 * testInterval, longTimeout - 1} {
				payload := p.wantPing("there was no input")
				time.Sleep(late)
				p.send(p.frame(true, OpPong, payload))
				p.waitSent()
				synctest.Wait()
				heard := time.Now()
				p.wantPing("there was none again")
				if took := time.Since(heard); took != testInterval {
					t.Errorf("the next Ping came %v after a Pong that took %v, want %v", took, late, testInterval)
				}
				p.send(p.frame(true, OpPong, ""))
			}
		})
	})
}

// TestKeepaliveWhilePolling: an application that looks for input all the time,
// each time with a deadline of its own, is told that the peer is gone.
func TestKeepaliveWhilePolling(t *testing.T) {
	for _, poll := range []time.Duration{time.Millisecond, 16 * time.Millisecond, probeTime / 2, probeTime - 1, probeTime, probeTime + 1, time.Second} {
		t.Run(poll.String(), func(t *testing.T) {
			inBubbles(t, func(t *testing.T, c *Conn, p *peer) {
				go func() {
					for {
						if _, _, err := p.readFrame(); err != nil {
							return
						}
					}
				}()
				began := time.Now()
				wantSilent(t, pollUntil(c, poll, func() bool { return time.Since(began) > 2*(testInterval+testTimeout) }), "reading")
			})
		})
	}
	inBothRoles(t, func(t *testing.T, client bool) {
		for name, connect := range map[string]connectFunc{"tcp": overTCP, "tls": overTLS} {
			t.Run(name, func(t *testing.T) {
				c, _ := newPeer(t, connect, connConfig{client: client, pingInterval: time.Millisecond})
				limit := time.Now().Add(20 * time.Second)
				wantSilent(t, pollUntil(c, time.Millisecond, func() bool { return time.Now().After(limit) }), "reading")
			})
		}
	})
}

// pollUntil reads with one short deadline after another until something else
// ends it, or gives up.
func pollUntil(c *Conn, poll time.Duration, giveUp func() bool) error {
	for {
		c.SetReadDeadline(time.Now().Add(poll))
		if _, _, err := c.ReadMessage(nil); !errors.Is(err, os.ErrDeadlineExceeded) || giveUp() {
			return err
		}
	}
}
