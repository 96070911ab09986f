package websocket

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
)

// What a Conn sends where compression is agreed upon. The peer inflates with
// exactly what has been in its window.

// A wayToSend sends a message.
type wayToSend struct {
	name string
	send func(c *Conn, op Opcode, p []byte) error
}

var waysToSend = []wayToSend{
	{"WriteMessage", (*Conn).WriteMessage},
	{"NextWriter", func(c *Conn, op Opcode, p []byte) error { return writeInPieces(c, op, p, max(len(p), 1)) }},
	{"NextWriter, in pieces", func(c *Conn, op Opcode, p []byte) error { return writeInPieces(c, op, p, 1000) }},
	{"WritePrepared", func(c *Conn, op Opcode, p []byte) error {
		m, err := NewPreparedMessage(op, p)
		return errors.Join(err, c.WritePrepared(m))
	}},
	{"Enqueue", func(c *Conn, op Opcode, p []byte) error {
		m, err := NewPreparedMessage(op, p)
		return errors.Join(err, c.Enqueue(m))
	}},
}

// repetitive returns size bytes of text that are different for each n and can
// be compressed.
func repetitive(n, size int) string {
	line := fmt.Sprintf("%d bottles of beer on the wall, %d bottles of beer. ", n, n)
	return strings.Repeat(line, size/len(line)+1)[:size]
}

// hexNoise returns text of 2*n bytes, at most 2 MiB, that compression makes half
// as long.
func hexNoise(n int) string { return allHexNoise()[:2*n] }

var allHexNoise = sync.OnceValue(func() string { return hex.EncodeToString(corpusNoise(1, 1<<20)) })

// TestDeflateSends sends messages of many sizes in every way, in turn: they are
// compressed, with references to those before with context takeover, and in one
// frame each.
func TestDeflateSends(t *testing.T) {
	inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
		c, p := newDeflatePeer(t, connect, connConfig{client: client}, o)
		go readError(c)
		i := 0
		for _, size := range []int{300, 1000, 5000, 32 << 10, 32<<10 + 1, 100_000} {
			for _, way := range waysToSend {
				for range 2 {
					i++
					op, text := []Opcode{OpText, OpBinary}[i%2], repetitive(i, size)
					sent := async(func() error { return way.send(c, op, []byte(text)) })
					m := p.want(op, true, text, way.name)
					if m.frames != 1 {
						t.Fatalf("%s: a message of %d bytes, %d of them on the wire, came in %d frames, want one", way.name, size, m.size, m.frames)
					}
					if m.size > 50+size/8 {
						t.Fatalf("%s: a message of %d bytes has %d on the wire, want an eighth", way.name, size, m.size)
					}
					if err := <-sent; err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	})
}

// TestDeflateLargeFrames: what WriteMessage sends is one frame however long it
// is, and NextWriter begins another after 256 KiB of compressed payload, though
// all was given to it at once.
func TestDeflateLargeFrames(t *testing.T) {
	text := hexNoise(600_000)
	inBothRoles(t, func(t *testing.T, client bool) {
		c, p := newDeflatePeer(t, overTCP, connConfig{client: client}, Compression{ContextTakeover: client})
		for _, way := range waysToSend[:4] {
			sent := async(func() error { return way.send(c, OpText, []byte(text)) })
			m := p.want(OpText, true, text, way.name)
			if m.size < 2*maxDeflated {
				t.Fatalf("the message has %d bytes on the wire, the test needs more", m.size)
			}
			switch whole := m.frames == 1; {
			case whole == strings.HasPrefix(way.name, "NextWriter"):
				t.Errorf("%s: %d bytes came in %d frames", way.name, m.size, m.frames)
			case !whole && (m.most < maxDeflated || m.most > maxDeflated+64<<10):
				t.Errorf("%s: there are %d bytes in a frame, want a few more than 256 KiB", way.name, m.most)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestDeflateThreshold: a message is compressed from a length on, whatever the
// way to send it. What is not compressed is not in the window.
func TestDeflateThreshold(t *testing.T) {
	for _, test := range []struct {
		o    Compression
		want int
	}{
		{Compression{}, 256},
		{Compression{ContextTakeover: true}, 32},
		{Compression{Threshold: 100}, 100},
		{Compression{Threshold: 5000, ContextTakeover: true}, 5000},
		{Compression{Threshold: 32 << 10}, 32 << 10},
		{Compression{Threshold: 40_000}, 40_000},
	} {
		inBothRoles(t, func(t *testing.T, client bool) {
			c, p := newDeflatePeer(t, overTCP, connConfig{client: client}, test.o)
			for i, way := range append(waysToSend, waysToSend...) {
				for _, size := range []int{test.want - 1, test.want} {
					if size >= maxAppend && way.name == "NextWriter, in pieces" {
						continue // see Compression.Threshold
					}
					text := strings.Repeat(string(rune('a'+i)), size)
					sent := async(func() error { return way.send(c, OpText, []byte(text)) })
					m := p.want(OpText, size == test.want, text, fmt.Sprintf("%s of %d bytes, the threshold is %d", way.name, size, test.want))
					if err := <-sent; err != nil || m.frames > 1 && m.compressed {
						t.Fatalf("%s: %d frames, error %v", way.name, m.frames, err)
					}
				}
			}
		})
	}
}

// TestDeflateThresholdOfStream: of a message of NextWriter counts what has been
// written when 32 KiB are exceeded.
func TestDeflateThresholdOfStream(t *testing.T) {
	for _, test := range []struct {
		threshold, size, piece int
		compressed             bool
	}{
		{100, 100, 1, true},
		{100, 99, 1, false},
		{32 << 10, 32 << 10, 1 << 10, true},
		{32<<10 + 1, 32<<10 + 1, 1 << 10, true},
		{33<<10 + 1, 200_000, 1 << 10, false},
		{100_000, 200_000, 100_000, true},
		{100_000, 200_000, 99_999, false},
		{1 << 30, 200_000, 50_000, false},
	} {
		inBothRoles(t, func(t *testing.T, client bool) {
			c, p := newDeflatePeer(t, overTCP, connConfig{client: client}, Compression{Threshold: test.threshold})
			text := repetitive(1, test.size)
			sent := async(func() error { return writeInPieces(c, OpText, []byte(text), test.piece) })
			p.want(OpText, test.compressed, text, fmt.Sprintf("%d bytes in pieces of %d, the threshold is %d", test.size, test.piece, test.threshold))
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestDeflateBegunPlain: a message of which a part has left is not compressed any
// more, however long it becomes.
func TestDeflateBegunPlain(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		c, p := newDeflatePeer(t, overTCP, connConfig{client: client}, Compression{Threshold: 50_000})
		text := repetitive(1, 200_000)
		w := nextWriter(t, c, OpText)
		<-writing(t, w, text[:40_000])
		<-writing(t, w, text[40_000:150_000])
		<-writing(t, w, text[150_000:])
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		p.want(OpText, false, text, "its first frame was not compressed")
	})
}

// TestDeflateEmpty: where every message is compressed, those of few bytes are
// so with context takeover, and sent as they are where that is shorter.
func TestDeflateEmpty(t *testing.T) {
	inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
		o.Threshold = -1
		c, p := newDeflatePeer(t, connect, connConfig{client: client}, o)
		for _, way := range waysToSend {
			for _, text := range []string{"", "a", "ab", ""} {
				sent := async(func() error { return way.send(c, OpText, []byte(text)) })
				prepared := strings.HasSuffix(way.name, "Prepared") || way.name == "Enqueue"
				p.want(OpText, o.ContextTakeover && !prepared, text, way.name)
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// TestDeflateNoise: a message that does not become shorter is sent as it is.
// With context takeover it is in the window already, and sent compressed.
func TestDeflateNoise(t *testing.T) {
	inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
		c, p := newDeflatePeer(t, connect, connConfig{client: client}, o)
		for i, size := range []int{300, 5000, 32 << 10, 40_000} {
			for _, way := range waysToSend {
				noise := string(corpusNoise(uint64(i), size)) // the same for each way
				sent := async(func() error { return way.send(c, OpBinary, []byte(noise)) })
				prepared := way.name == "WritePrepared" || way.name == "Enqueue"
				compressed := o.ContextTakeover && !prepared
				if size > maxAppend && !prepared && way.name != "WriteMessage" {
					compressed = true // a part of it has been, before the end was known
				}
				p.want(OpBinary, compressed, noise, way.name)
				text := repetitive(i, 400) // and the window is what it was
				behind := async(func() error { return c.WriteMessage(OpText, []byte(text)) })
				p.want(OpText, true, text, "it came behind")
				if err := errors.Join(<-sent, <-behind); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// TestDeflateShorter: without context takeover a message is sent compressed if
// that is shorter, and not if it is as long.
func TestDeflateShorter(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		c, p := newDeflatePeer(t, overTCP, connConfig{client: client}, Compression{Threshold: -1})
		asLong := 0
		for n := range 40 {
			text := strings.Repeat("ab", n/4) + hexNoise(20)[:n]
			size := len(appendDeflated(nil, []byte(text), defaultLevel, maxWindowBits))
			if size == len(text) {
				asLong++
			}
			for _, way := range waysToSend {
				sent := async(func() error { return way.send(c, OpText, []byte(text)) })
				p.want(OpText, size < len(text), text, fmt.Sprintf("%s of %d bytes, compressed %d", way.name, len(text), size))
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
			}
		}
		if asLong == 0 {
			t.Error("no message is as long as its compressed form: the test needs one")
		}
	})
}

// TestDeflateRefersBack: with context takeover a message that is like the one
// before costs next to nothing, whatever was sent between the two that is not in
// the window. Behind a prepared message it costs what it did at first.
func TestDeflateRefersBack(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newDeflatePeer(t, connect, connConfig{client: client}, Compression{ContextTakeover: true})
		text := string(newCorpus(1).message(1000))
		send := func(way wayToSend, op Opcode, compressed bool, text string) int {
			t.Helper()
			sent := async(func() error { return way.send(c, op, []byte(text)) })
			m := p.want(op, compressed, text, way.name)
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			return m.size
		}
		first := send(waysToSend[0], OpText, true, text)
		short := func(because string) {
			t.Helper()
			for _, way := range waysToSend[:3] {
				if size := send(way, OpText, true, text); size > first/10 {
					t.Errorf("%s: the message has %d bytes on the wire, the first time %d, want a tenth: %s", way.name, size, first, because)
				}
			}
		}
		short("it was sent before")
		for _, way := range waysToSend {
			send(way, OpText, false, "short")
			short("only an uncompressed message was sent since")
		}
		noise := string(corpusNoise(1, 500))
		for _, way := range waysToSend[3:] {
			send(way, OpBinary, false, noise)
			short("only a prepared message was sent since, as it is")
		}
		for _, way := range waysToSend[3:] {
			send(way, OpText, true, text)
			if size := send(waysToSend[0], OpText, true, text); size != first {
				t.Errorf("behind a prepared message the message has %d bytes on the wire, want %d", size, first)
			}
			short("it was sent since the prepared one")
		}
	})
}

// TestDeflateAbandoned: text that is closed inside a character is not sent, and
// what of it has been compressed is not referred to.
func TestDeflateAbandoned(t *testing.T) {
	inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
		o.Threshold = 100
		c, p := newDeflatePeer(t, connect, connConfig{client: client}, o)
		send := func(text string) {
			t.Helper()
			sent := async(func() error { return c.WriteMessage(OpText, []byte(text)) })
			p.want(OpText, true, text, "it was written")
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
		for _, size := range []int{100, 5000, 50_000, 200_000} {
			before, lost := repetitive(1, 1000), repetitive(2, size)
			send(before)
			w := nextWriter(t, c, OpText)
			<-writing(t, w, lost)
			<-writing(t, w, "\xe2\x82")
			if err := w.Close(); !errors.Is(err, ErrInvalidUTF8) {
				t.Fatalf("Close inside a character returned %v, want ErrInvalidUTF8", err)
			}
			if w.buf != nil || w.deflated != nil {
				t.Fatal("a message that was given up keeps its buffers")
			}
			send(lost[:min(size, 1000)])
			send(before)
		}

		// Where a part of it has been sent there is no other way than to close.
		w := nextWriter(t, c, OpText)
		written := writing(t, w, hexNoise(400_000))
		h, _, err := p.readFrame()
		if err != nil || h.Fin || !h.RSV1 {
			t.Fatalf("the peer got %+v, error %v, want the first frame of a compressed message", h, err)
		}
		<-written
		<-writing(t, w, "\xe2")
		closed := async(w.Close)
		p.wantClose(StatusInternalError, "a part of a message that cannot be ended has been sent")
		p.close()
		if err := <-closed; !errors.Is(err, ErrInvalidUTF8) {
			t.Fatalf("Close inside a character returned %v, want ErrInvalidUTF8", err)
		}
	})
}

// TestDeflatePreparedOnce: a prepared message is compressed once for all
// connections with the same parameters, by however many goroutines it is sent.
func TestDeflatePreparedOnce(t *testing.T) {
	text := repetitive(1, 10_000)
	m := prepared(t, OpText, []byte(text))
	forms := map[*byte]bool{}
	for i, o := range []Compression{
		{}, {ContextTakeover: true}, {Level: defaultLevel, Threshold: 10_000}, // one
		{Level: 9}, {Level: 9, ContextTakeover: true}, // another
		{WindowBits: 9}, {WindowBits: 9, Threshold: -1}, // a third
		{Threshold: 10_001}, // not at all
	} {
		var payloads []<-chan preparedFrame
		for j := range 8 {
			payloads = append(payloads, async(func() preparedFrame { return m.frame(agreed(&o, j%2 == 0)) }))
		}
		for _, payload := range payloads {
			f := <-payload
			forms[&f.p[0]] = true
			if f.size != len(text) || f.h.RSV1 != (i < 7) {
				t.Errorf("with %+v a frame is %+v for a message of %d bytes, want %d and RSV1 where it is long enough", o, f.h, f.size, len(text))
			}
			if got, err := flateInflate(nil, f.p); f.h.RSV1 && (err != nil || string(got) != text) {
				t.Errorf("with %+v the prepared payload inflates to %s, %v, want the message", o, brief(got), err)
			}
			if cap(f.p) > len(f.p)+len(f.p)/2 {
				t.Errorf("%d bytes are kept in memory for %d", len(f.p), cap(f.p))
			}
		}
	}
	if len(forms) != 4 || len(m.deflated) != 3 {
		t.Errorf("the message has %d forms, %d of them compressed, want 4 and 3", len(forms), len(m.deflated))
	}
	// Nor is it compressed again where that had no use.
	m = prepared(t, OpBinary, corpusNoise(1, 10_000))
	for range 2 {
		if f := m.frame(agreed(&Compression{}, false)); f.h.RSV1 || &f.p[0] != &m.payload[0] {
			t.Error("noise is sent compressed, want it as it is")
		}
	}
	if p, ok := m.deflated[deflateForm{defaultLevel, 15}]; p != nil || !ok {
		t.Errorf("kept for noise: %s, %v, want that there is no use in compressing it", brief(p), ok)
	}
}

// TestDeflateQueueBytes: MaxQueued bounds what is sent, in whatever form.
func TestDeflateQueueBytes(t *testing.T) {
	const maxQueued = 2000
	inBothRoles(t, func(t *testing.T, client bool) {
		for _, streaming := range []bool{false, true} {
			c, p := newDeflatePeer(t, overTCP, connConfig{client: client, maxQueued: maxQueued}, Compression{})
			var w *messageWriter
			if streaming {
				w = nextWriter(t, c, OpText)
			}
			if err := c.Enqueue(prepared(t, OpBinary, corpusNoise(1, maxQueued+1))); err != ErrQueueFull {
				t.Errorf("Enqueue of %d bytes that cannot be compressed returned %v, want ErrQueueFull", maxQueued+1, err)
			}
			large := repetitive(1, 100_000)
			if err := c.Enqueue(prepared(t, OpText, []byte(large))); err != nil {
				t.Fatalf("Enqueue of a message that is compressed to less than MaxQueued returned %v", err)
			}
			if streaming {
				closed := async(w.Close)
				p.want(OpText, false, "", "it was begun first")
				if err := <-closed; err != nil {
					t.Fatal(err)
				}
			}
			p.want(OpText, true, large, "it was enqueued")
		}
	})
}

// TestDeflateCallersSlice: what is compressed is neither changed nor kept.
func TestDeflateCallersSlice(t *testing.T) {
	inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
		c, p := newDeflatePeer(t, connect, connConfig{client: client}, o)
		for _, size := range []int{400, 10_000, 100_000} {
			for i, way := range waysToSend {
				text := []byte(repetitive(i, size))
				before := string(text)
				sent := async(func() error {
					err := way.send(c, OpText, text)
					if string(text) != before {
						err = errors.Join(err, errors.New("the caller's slice was changed"))
					}
					clear(text)
					return err
				})
				p.want(OpText, true, before, way.name)
				if err := <-sent; err != nil {
					t.Fatalf("%s: %v", way.name, err)
				}
			}
		}
	})
}

// TestDeflateClosedWriter: a NextWriter of which something has been compressed
// hears of the end of the connection like others.
func TestDeflateClosedWriter(t *testing.T) {
	for name, end := range map[string]func(c *Conn, p *deflatePeer){
		"Close": func(c *Conn, p *deflatePeer) {
			closed := async(c.Close)
			p.wantClose(StatusNormalClosure, "nothing of the message has been sent")
			p.close()
			<-closed
		},
		"CloseNow": func(c *Conn, _ *deflatePeer) { c.CloseNow() },
		"the peer": func(c *Conn, p *deflatePeer) {
			read := readError(c)
			p.send(p.frame(true, OpClose, "\x03\xe8"))
			p.wantClose(StatusNormalClosure, "the peer has closed")
			p.close()
			<-read
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
				for _, size := range []int{400, 50_000} {
					c, p := newDeflatePeer(t, connect, connConfig{client: client}, o)
					w := nextWriter(t, c, OpText)
					<-writing(t, w, repetitive(1, size))
					if compressed := w.deflater != nil; compressed != (size > maxAppend) {
						t.Fatalf("of %d bytes something has been compressed: %v", size, compressed)
					}
					end(c, p)
					_, err := w.Write([]byte(repetitive(2, 50_000)))
					for what, err := range map[string]error{"Write": err, "Close": w.Close()} {
						if !errors.Is(err, net.ErrClosed) {
							t.Errorf("%s returned %v, want net.ErrClosed", what, err)
						}
					}
					if err := w.Close(); err != nil {
						t.Errorf("a second Close returned %v, want nil", err)
					}
					c.CloseNow()
					<-readError(c)
					wantNoDeflate(t, c, "the connection has ended")
				}
			})
		})
	}
}
