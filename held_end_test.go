package websocket

import (
	"errors"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestHeldReplyBeforeEOF: a peer that sends no Close frame and ends its
// direction still gets the reply that was held when its end was read.
func TestHeldReplyBeforeEOF(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		c, p := newPeer(t, overTCP, connConfig{client: client})
		if c.raw == nil {
			t.Skip("no RawConn on this system")
		}
		p.send(p.burst(2, 1))
		p.waitSent()
		p.closeWrite()
		wantMessage(t, c, OpText, "0", "it was sent")
		if err := c.WriteMessage(OpText, []byte("reply")); err != nil {
			t.Fatal(err)
		}
		wantMessage(t, c, OpText, "1", "it was sent, and needs no reply")
		_, _, err := c.ReadMessage(nil)
		broke(io.ErrUnexpectedEOF)(t, err)
		p.wantFrame(OpText, "reply", "writing it has returned nil")
	})
}

// TestWriteTimeoutWhileNobodyWrites: the write timeout also bounds what no
// writer waits for. The reader hears why, and so does everyone after.
func TestWriteTimeoutWhileNobodyWrites(t *testing.T) {
	const timeout = 10 * time.Second
	for _, way := range []struct {
		name  string
		after time.Duration // until the write begins
		begin func(t *testing.T, c *Conn, p *peer)
	}{
		{"a held reply", holdTime, func(t *testing.T, c *Conn, p *peer) {
			p.send(p.burst(2, 1))
			wantMessage(t, c, OpText, "0", "it was sent")
			if err := c.WriteMessage(OpText, []byte("reply")); err != nil {
				t.Fatal(err)
			}
		}},
		{"behind another write", 0, func(t *testing.T, c *Conn, p *peer) {
			first := async(func() error { return c.WriteMessage(OpText, []byte("first")) })
			synctest.Wait()
			for range 3 {
				if err := c.WriteMessage(OpText, []byte("second")); err != nil {
					t.Fatal(err)
				}
			}
			p.wantFrame(OpText, "first", "it was written")
			isNil(t, <-first)
		}},
		{"a Pong", 0, func(t *testing.T, c *Conn, p *peer) {
			p.send(p.frame(true, OpPing, ""), p.frame(true, OpText, ""))
			wantMessage(t, c, OpText, "", "it was sent")
		}},
		{"an enqueued message", 0, func(t *testing.T, c *Conn, p *peer) {
			if err := c.Enqueue(prepared(t, OpBinary, make([]byte, 100_000))); err != nil {
				t.Fatal(err)
			}
		}},
		{"a message enqueued behind a streamed one", 0, func(t *testing.T, c *Conn, p *peer) {
			w, err := c.NextWriter(OpText)
			if err == nil {
				err = c.Enqueue(prepared(t, OpBinary, make([]byte, 100_000)))
			}
			if err != nil {
				t.Fatal(err)
			}
			go w.Close() // which may send the other with its own
			p.wantFrame(OpText, "", "the message is empty")
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			inBothRoles(t, func(t *testing.T, client bool) {
				synctest.Test(t, func(t *testing.T) {
					c, p := newPeer(t, overPipe, connConfig{client: client, writeTimeout: timeout})
					time.Sleep(time.Hour)
					began := time.Now()
					way.begin(t, c, p)
					var err error
					for err == nil {
						_, _, err = c.ReadMessage(nil)
					}
					if took := time.Since(began); took > way.after+timeout || took < timeout {
						t.Errorf("reading ended with %v after %v, want the write timeout %v after the write began", err, took, timeout)
					}
					wantWriteTimedOut(t, c)
				})
			})
		})
	}
	// Where an attempt is made first, and leaves a rest.
	inBothRoles(t, func(t *testing.T, client bool) {
		for _, connect := range []connectFunc{overTCP, overTLS} {
			c, _ := newPeer(t, narrow(connect), connConfig{client: client, writeTimeout: time.Millisecond, maxQueued: 2 * tooLarge})
			read := readError(c)
			m := prepared(t, OpBinary, make([]byte, tooLarge))
			if err := c.Enqueue(m); err != nil {
				t.Fatal(err)
			}
			broke(errWriteTimedOut)(t, <-read)
			if err := c.Enqueue(m); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a later Enqueue returned %v, want an error that Is os.ErrDeadlineExceeded", err)
			}
			wantWriteTimedOut(t, c)
		}
	})
}
