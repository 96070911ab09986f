package websocket

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

// What bounds a compressed message.

// TestDeflateReadLimit: a message that inflates to the read limit is read, and
// one byte more is refused, however little of it was on the wire.
func TestDeflateReadLimit(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for i, limit := range []int{1, 10, 125, 1000, 65536, 300_000} {
			o := Compression{ContextTakeover: i%2 == 0}
			text := strings.Repeat("0123456789", limit/10+1)
			for _, way := range waysToRead {
				c, p := newDeflatePeer(t, connect, connConfig{client: client, readLimit: int64(limit)}, o)
				for _, size := range []int{0, 1 + limit/20} {
					p.send(p.compressed(OpText, text[:limit], size))
					wantMessage(t, c, OpText, text[:limit], "it is exactly as long as the limit")
				}
				p.send(p.compressed(OpBinary, text[:limit], 0))
				_, r, err := c.NextReader()
				if err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(r); string(b) != text[:limit] || err != nil {
					t.Fatalf("a reader yields %s, %v, want the message that is exactly as long as the limit", brief(b), err)
				}
				wire := p.compressed(OpText, text[:limit+1], i*30)
				wantTooBig(t, wantFailed(t, c, p.peer, way.read, wire, StatusMessageTooBig, "one byte more than the limit"), way.name)
			}
		}
	})
}

// TestDeflateNoReadLimit: -1 is no limit for compressed messages either, and a
// limit that is set counts.
func TestDeflateNoReadLimit(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newDeflatePeer(t, connect, connConfig{client: client, readLimit: -1}, Compression{})
		text := strings.Repeat("0123456789", 300_000)
		p.send(p.compressed(OpText, text, 1000))
		wantMessage(t, c, OpText, text, "there is no limit")
		c.SetReadLimit(10)
		p.send(p.compressed(OpText, text[:10], 0))
		wantMessage(t, c, OpText, text[:10], "it is as long as the limit")
		c.SetReadLimit(-1)
		p.send(p.compressed(OpText, text, 0))
		wantMessage(t, c, OpText, text, "there is no limit again")
		c.SetReadLimit(9)
		wantTooBig(t, wantFailed(t, c, p.peer, readAllMessages, p.compressed(OpText, text[:10], 0), StatusMessageTooBig, "10 bytes"), "")
	})
}

// TestDeflateLimitOfNoise: what cannot be compressed becomes longer, and may all
// the same be as long as the limit.
func TestDeflateLimitOfNoise(t *testing.T) {
	onEvery(t, func(t *testing.T, connect connectFunc) {
		for _, size := range []int{1, 10, 100, 1000, 70_000, 1 << 20} {
			noise := corpusNoise(uint64(size), size)
			client, server := newDeflatePair(t, connect, &Compression{ContextTakeover: true, Threshold: -1}, &Compression{ContextTakeover: true})
			server.SetReadLimit(int64(size))
			sent := async(func() error { return client.WriteMessage(OpBinary, noise) })
			wantMessage(t, server, OpBinary, string(noise), "it is as long as the limit")
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			if s := server.Stats(); s.CompressedBytesReceived <= s.BytesReceived {
				t.Errorf("%d bytes have become %d, want more", s.BytesReceived, s.CompressedBytesReceived)
			}

			// The longest form that an encoder would choose: fixed codes of 9 bits.
			bits := "0 10"
			for i := range min(size, 1000) {
				noise[i] = 0xFF
				bits += "111111111"
			}
			c, p := newDeflatePeer(t, connect, connConfig{client: true, readLimit: int64(min(size, 1000))}, Compression{})
			p.send(p.inFrames(OpBinary, string(unhex(t, asSent(bits+"0000000 0 00"))), 0))
			wantMessage(t, c, OpBinary, strings.Repeat("\xff", min(size, 1000)), "it is as long as the limit")
		}
	})
}

// TestDeflateTooLong: compressed bytes that are more than any message within the
// limit has are refused by their header.
func TestDeflateTooLong(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for _, test := range []struct {
			limit  int64
			frames string
			why    string
		}{
			{1000, "c2 7e 04a6", "1,190 bytes for a limit of 1,000"},
			{1000, "42 7e 04a5" + strings.Repeat("00", 1189) + " | 80 01", "1,189 bytes and one more"},
			{1000, "c2 7f 7fffffffffffffff", "2^63-1 bytes"},
			{-1, "42 01 00 | 80 7f 7fffffffffffffff", "2^63 bytes"},
			{1 << 40, "42 01 00 | 80 7f 7fffffffffffffff", "2^63 bytes"},
		} {
			for _, way := range waysToRead {
				c, p := newDeflatePeer(t, connect, connConfig{client: client, readLimit: test.limit}, Compression{})
				wantTooBig(t, wantFailed(t, c, p.peer, way.read, p.wire(test.frames), StatusMessageTooBig, test.why), way.name)
			}
		}
		// One byte less is read, to find out that it is no message.
		c, p := newDeflatePeer(t, connect, connConfig{client: client, readLimit: 1000}, Compression{})
		wantFailed(t, c, p.peer, readAllMessages, p.wire("c2 7e 04a5"+strings.Repeat("07", 1189)), StatusInvalidPayload, "as long as can be")
	})
}

// TestDeflateBomb: 8 KiB that inflate to 8 MiB fail the connection and cost
// little more than the read limit.
func TestDeflateBomb(t *testing.T) {
	bomb := string(flateDeflate(nil, make([]byte, 8<<20)))
	if len(bomb) > 10<<10 {
		t.Fatalf("the bomb has %d bytes, want about 8 KiB", len(bomb))
	}
	inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
		for _, way := range waysToRead {
			c, p := newDeflatePeer(t, connect, connConfig{client: client, readLimit: 64 << 10}, o)
			took := allocated(t, c, p.peer, way.read, p.inFrames(OpBinary, bomb, 0), func(err error) { wantTooBig(t, err, way.name) })
			if most := uint64(1 << 20); took > most && !raceDetector {
				t.Errorf("%s: the bomb took %d bytes of memory, want less than 1 MiB", way.name, took)
			}
		}
	})
}

// TestDeflateDeclaredLength: memory grows with what has come and not with what
// was announced.
func TestDeflateDeclaredLength(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for _, payload := range []int{0, 1000, 300 << 10} {
			for _, way := range waysToRead {
				c, p := newDeflatePeer(t, connect, connConfig{client: client, readLimit: 1 << 30}, Compression{})
				wire := append(p.wire("c2 7f 0000000040000000"), make([]byte, payload)...)
				took := allocated(t, c, p.peer, way.read, wire, func(err error) { wantBroken(t, err, way.name) })
				if most := uint64(256<<10 + 7*payload); took > most && !raceDetector {
					t.Errorf("%s: a header for 1 GiB with %d bytes of payload took %d bytes of memory, want at most %d", way.name, payload, took, most)
				}
			}
		}
	})
}

// allocated sends wire and the end of input, and returns how much memory was
// allocated until reading has ended with an error, which is checked.
func allocated(t *testing.T, c *Conn, p *peer, read func(*Conn) error, wire []byte, check func(error)) uint64 {
	t.Helper()
	answers := async(func() error { _, err := io.Copy(io.Discard, p.nc); return err })
	var before, after runtime.MemStats
	ended := make(chan error, 1)
	runtime.ReadMemStats(&before)
	go func() {
		err := read(c)
		runtime.ReadMemStats(&after)
		ended <- err
	}()
	p.send(wire)
	p.waitSent()
	if c.raw != nil {
		p.closeWrite()
	} else {
		p.close()
	}
	check(<-ended)
	p.close()
	<-answers
	return after.TotalAlloc - before.TotalAlloc
}

// TestDeflateManyFragments: the rule about fragments counts for compressed
// messages, whose empty ones cost nothing.
func TestDeflateManyFragments(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		c, p := newDeflatePeer(t, overTCP, connConfig{client: client}, Compression{})
		text := strings.Repeat("Hello ", 50)
		wire := p.inFrames(OpText, string(flateDeflate(nil, []byte(text))), 1)
		empty := p.frame(false, OpContinuation, "")
		first := len(rawFrame(FrameHeader{}, "x", p.client))
		p.send(wire[:first], bytes.Repeat(empty, 1000), wire[first:])
		wantMessage(t, c, OpText, text, "there are no more than 1,024 fragments")
		read := readError(c)
		p.send(wire[:first], bytes.Repeat(empty, 1024))
		p.wantClose(StatusPolicyViolation, "there are 1,025 fragments with one byte")
		p.close()
		wantProtocolError(t, <-read, StatusPolicyViolation, fmt.Sprint("1,025 fragments"))
	})
}
