package websocket

import (
	"io"
	"strings"
	"testing"
)

// TestReadLimit: a message of exactly the limit is read, whole and in
// fragments, and one byte more is refused before any of the excess has come.
func TestReadLimit(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for i, test := range []struct {
			option, limit int64
		}{
			{0, 1 << 20}, // the default
			{1, 1},
			{125, 125},
			{126, 126},
			{65536, 65536},
		} {
			full := strings.Repeat("x", int(test.limit))
			way := waysToRead[i%len(waysToRead)]
			c, p := newPeer(t, connect, connConfig{client: client, readLimit: test.option})
			p.send(p.frame(true, OpText, full))
			wantMessage(t, c, OpText, full, "it is exactly as long as the limit")
			p.send(p.frame(false, OpText, full[:1]), p.frame(false, OpContinuation, ""),
				p.frame(false, OpContinuation, full[1:]), p.frame(true, OpContinuation, ""))
			wantMessage(t, c, OpText, full, "its fragments are as long as the limit")

			h := FrameHeader{Fin: true, Opcode: OpText, Masked: !client, Length: test.limit + 1}
			wantFailed(t, c, p, way.read, h.Append(nil), StatusMessageTooBig, "one byte more than the limit")

			c, p = newPeer(t, connect, connConfig{client: client, readLimit: test.option})
			last := p.frame(true, OpContinuation, "x")
			wire := append(p.frame(false, OpText, full), last[:len(last)-1]...)
			wantTooBig(t, wantFailed(t, c, p, way.read, wire, StatusMessageTooBig, "fragments add up to one byte more than the limit"), way.name)
		}
	})
}

func TestNoReadLimit(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client, readLimit: -1})
		half := strings.Repeat("x", 1<<20)
		p.send(p.frame(false, OpBinary, half), p.frame(true, OpContinuation, half))
		wantMessage(t, c, OpBinary, half+half, "-1 is no limit")
	})
}

// TestSetReadLimit changes the limit between messages and inside one: it counts
// from the next frame on.
func TestSetReadLimit(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		const half = "0123456789"
		begin := func(limit int64) (*Conn, *peer, io.Reader) {
			c, p := newPeer(t, connect, connConfig{client: client, readLimit: 15})
			p.send(p.frame(false, OpText, half))
			_, m, err := c.NextReader()
			if err != nil {
				t.Fatal(err)
			}
			c.SetReadLimit(limit)
			p.send(p.frame(true, OpContinuation, half))
			return c, p, m
		}
		for _, limit := range []int64{20, 0, -1, 1 << 40} {
			_, _, m := begin(limit)
			if b, err := io.ReadAll(m); string(b) != half+half || err != nil {
				t.Fatalf("with the limit raised to %d the reader yields %q, %v, want the message", limit, b, err)
			}
		}
		for _, limit := range []int64{19, 10, 5} {
			c, p, m := begin(limit)
			ended := async(func() error { _, err := io.ReadAll(m); return err })
			p.wantClose(StatusMessageTooBig, "20 bytes in all are over the new limit")
			p.close()
			err := <-ended
			wantTooBig(t, err, "20 bytes in all are over the new limit")
			wantEnded(t, c, err)
		}

		c, p := newPeer(t, connect, connConfig{client: client})
		c.SetReadLimit(5)
		p.send(p.frame(true, OpText, "Hello"))
		wantMessage(t, c, OpText, "Hello")
		c.SetReadLimit(6)
		p.send(p.frame(true, OpText, "Hello!"))
		wantMessage(t, c, OpText, "Hello!", "the limit has been raised between messages")
		c.SetReadLimit(0)
		megabyte := strings.Repeat("x", 1<<20)
		p.send(p.frame(true, OpText, megabyte))
		wantMessage(t, c, OpText, megabyte, "0 is the default, also when it is set later")
	})
}
