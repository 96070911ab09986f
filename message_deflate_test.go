package websocket

import (
	"io"
	"strings"
	"testing"
)

// agreed returns the extension's part of a Conn where both ends have options o.
func agreed(o *Compression, client bool) *messageDeflate {
	if o == nil {
		return nil
	}
	return newMessageDeflate(o, o.respond(*o.offer()), client)
}

// wantNoDeflate: c holds no memory for the extension.
func wantNoDeflate(t testing.TB, c *Conn, because string) {
	t.Helper()
	d := c.deflate
	if d == nil {
		return
	}
	c.in.lock()
	reading := d.collected != nil || d.payload != nil || d.inflating != nil || d.size != 0 || d.inflater.history != nil
	c.in.unlock()
	c.out.mu.Lock()
	writing := d.deflater != nil || !queueEmpty(&c.out)
	c.out.mu.Unlock()
	if reading || writing {
		t.Fatalf("memory is held for compression, reading %v, writing %v, want none: %s", reading, writing, because)
	}
}

// A deflatePeer is a peer that compresses with compress/flate and inflates bit
// by bit.
type deflatePeer struct {
	*peer
	takeover  bool
	window    int    // in bytes, of the Conn
	sent, got []byte // what messages may refer to
	farthest  int    // the longest distance that has come
}

// newDeflatePeer returns a Conn with permessage-deflate and the peer that it is
// connected with, both with options o.
func newDeflatePeer(t testing.TB, connect connectFunc, cfg connConfig, o Compression) (*Conn, *deflatePeer) {
	cfg.deflate = agreed(&o, cfg.client)
	c, p := newPeer(t, connect, cfg)
	return c, &deflatePeer{peer: p, takeover: o.ContextTakeover, window: 1 << o.windowBits()}
}

// compressed returns a compressed message in frames of size bytes of payload, or
// in one if that is 0.
func (p *deflatePeer) compressed(op Opcode, message string, size int) []byte {
	payload := flateDeflate(p.sent, []byte(message))
	if p.takeover {
		p.sent = append(p.sent, message...)
		p.sent = p.sent[max(0, len(p.sent)-1<<15):]
	}
	return p.inFrames(op, string(payload), size)
}

// inFrames returns the frames of a message whose payload is compressed.
func (p *deflatePeer) inFrames(op Opcode, payload string, size int) (wire []byte) {
	h := FrameHeader{RSV1: true, Opcode: op}
	for size > 0 && len(payload) > size {
		wire = append(wire, rawFrame(h, payload[:size], p.client)...)
		payload, h = payload[size:], FrameHeader{}
	}
	h.Fin = true
	return append(wire, rawFrame(h, payload, p.client)...)
}

// A wireMessage is what came of a message.
type wireMessage struct {
	op         Opcode
	compressed bool
	frames     int
	most       int // in a frame
	size       int // of all payload
	payload    []byte
}

// readMessage returns the next message. No control frame is to come before it.
func (p *deflatePeer) readMessage(because string) (m wireMessage) {
	p.t.Helper()
	var payload []byte
	for {
		h, part, err := p.readFrame()
		if err != nil || (h.Opcode == OpContinuation) != (m.frames > 0) || h.Opcode.IsControl() {
			p.t.Fatalf("the peer got a %v frame %s, error %v\nwant frame %d of a message: %s", h.Opcode, brief(part), err, m.frames+1, because)
		}
		p.checkHeader(h)
		if m.frames == 0 {
			m.op, m.compressed = h.Opcode, h.RSV1
		}
		m.frames++
		m.most = max(m.most, len(part))
		payload = append(payload, part...)
		if h.Fin {
			break
		}
	}
	m.size, m.payload = len(payload), payload
	if !m.compressed {
		return m
	}
	var err error
	if m.payload, err = flateInflate(p.got, payload); err == nil && len(m.payload) <= 64<<10 {
		var farthest int
		m.payload, farthest, err = oracleInflate(p.got, payload)
		p.farthest = max(p.farthest, farthest)
	}
	if err != nil {
		p.t.Fatalf("the peer cannot inflate %s: %v: %s", brief(payload), err, because)
	}
	if p.takeover {
		p.got = append(p.got, m.payload...)
		p.got = p.got[max(0, len(p.got)-p.window):]
	}
	return m
}

// want: the next message is this one, compressed or not.
func (p *deflatePeer) want(op Opcode, compressed bool, payload, because string) wireMessage {
	p.t.Helper()
	m := p.readMessage(because)
	if m.op != op || m.compressed != compressed || string(m.payload) != payload {
		p.t.Fatalf("the peer got a %v message %s, compressed: %v\nwant a %v message %s, compressed: %v: %s",
			m.op, brief(m.payload), m.compressed, op, brief([]byte(payload)), compressed, because)
	}
	return m
}

// bothModes are the options without context takeover and with it.
var bothModes = map[string]Compression{"no takeover": {}, "takeover": {ContextTakeover: true}}

// inBothModes runs test in both roles over every kind of connection, without
// context takeover and with it.
func inBothModes(t *testing.T, test func(t *testing.T, client bool, connect connectFunc, o Compression)) {
	for name, o := range bothModes {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, client bool, connect connectFunc) { test(t, client, connect, o) })
		})
	}
}

// newDeflatePair returns two ends that have agreed on permessage-deflate.
func newDeflatePair(t testing.TB, connect connectFunc, client, server *Compression) (*Conn, *Conn) {
	t.Helper()
	response := server.accept(extensionList(t, client.offer().String()))
	if response == nil {
		t.Fatalf("want %+v to accept %q", server, client.offer())
	}
	agreed, err := checkAccepted(client.offer(), extensionList(t, response.String()))
	if err != nil {
		t.Fatal(err)
	}
	nc, ns := connect(t)
	c := newConn(nc, connConfig{client: true, deflate: newMessageDeflate(client, *agreed, true)})
	s := newConn(ns, connConfig{deflate: newMessageDeflate(server, *response, false)})
	t.Cleanup(func() {
		c.CloseNow()
		s.CloseNow()
	})
	return c, s
}

// TestDeflateMessages sends messages both ways by each part of the API, and
// sees that they arrive and were compressed.
func TestDeflateMessages(t *testing.T) {
	for _, o := range []Compression{{}, {ContextTakeover: true}, {ContextTakeover: true, WindowBits: 9}, {WindowBits: 8}, {Threshold: -1}} {
		onEvery(t, func(t *testing.T, connect connectFunc) {
			client, server := newDeflatePair(t, connect, &o, &o)
			done := async(func() error { return echo(server) })
			for i, size := range []int{0, 1, 10, 300, 5000, 32 << 10, 100 << 10, 1 << 20, 0, 300, 300} {
				text := strings.Repeat("All work and no play makes Jack a dull boy. ", size/44+1)[:size]
				sent := async(func() error {
					if i%2 == 0 {
						return client.WriteMessage(OpText, []byte(text))
					}
					w, err := client.NextWriter(OpText)
					if err != nil {
						return err
					}
					for p := text; p != ""; {
						n := min(len(p), 7000)
						if _, err := io.WriteString(w, p[:n]); err != nil {
							return err
						}
						p = p[n:]
					}
					return w.Close()
				})
				if i%3 == 0 {
					op, r, err := client.NextReader()
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(r)
					if err != nil || op != OpText || string(got) != text {
						t.Fatalf("message %d: got %v of %d bytes, %v, want text of %d bytes", i, op, len(got), err, size)
					}
				} else {
					wantMessage(t, client, OpText, text)
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range []*Conn{client, server} {
				if s := c.Stats(); s.CompressedBytesSent > s.BytesSent/10 || s.CompressedBytesReceived > s.BytesReceived/10 || s.BytesSent == 0 {
					t.Errorf("want a tenth of the bytes on the wire, the counts are %+v", s)
				}
			}
			closed := async(client.Close)
			<-readError(client)
			if err := <-closed; err != nil {
				t.Error(err)
			}
			<-done
		})
	}
}
