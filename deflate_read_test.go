package websocket

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// What a Conn makes of compressed messages. The conversation in deflatedTalk
// has them cut at every place, with deadlines and without.

// TestDeflateSkip: what a reader has left of a compressed message is skipped by
// the next read, which a deadline may interrupt. With context takeover the next
// message refers to it.
func TestDeflateSkip(t *testing.T) {
	const message = "the quick brown fox jumps over the lazy dog, and the dog over the quick fox"
	inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
		for i, read := range []int{-1, 0, 1, 40, len(message), len(message) + 1} {
			c, p := newDeflatePeer(t, connect, connConfig{client: client}, o)
			wire := p.compressed(OpText, message, 20)
			last := wire[len(wire)-2:]
			p.send(p.frame(true, OpText, "before"), wire[:len(wire)-2])
			wantMessage(t, c, OpText, "before")
			_, r, err := c.NextReader()
			if err != nil {
				t.Fatal(err)
			}
			strike := func() {
				t.Helper()
				c.SetReadDeadline(time.Now().Add(time.Millisecond))
				if _, _, err := c.ReadMessage(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("ReadMessage returned %v, want an error that Is os.ErrDeadlineExceeded: the message before has not ended", err)
				}
				c.SetReadDeadline(time.Time{})
			}
			if read < 0 {
				strike()
			}
			p.send(last, p.compressed(OpBinary, message, 0), p.compressed(OpText, message+"!", 7))
			if read >= 0 {
				b, err := io.ReadAll(io.LimitReader(r, int64(read)))
				if want := message[:min(read, len(message))]; string(b) != want || err != nil {
					t.Fatalf("the reader yields %q, %v, want %q", b, err, want)
				}
			}
			if i%2 == 0 {
				wantMessage(t, c, OpBinary, message, fmt.Sprintf("%d bytes of the message before have been read", read))
			} else {
				_, next, err := c.NextReader()
				if err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(next); string(b) != message || err != nil {
					t.Fatalf("the next reader yields %q, %v, want %q", b, err, message)
				}
			}
			if n, err := r.Read(make([]byte, 1)); n != 0 || err != errStaleReader {
				t.Fatalf("the reader of the message before returned %d, %v, want %v", n, err, errStaleReader)
			}
			wantMessage(t, c, OpText, message+"!", "it came behind")
			if !o.ContextTakeover {
				wantNoDeflate(t, c, "all messages have been read")
			}
			c.CloseNow()
		}
	})
}

// TestDeflateDeadlineThenReader: a compressed message that ReadMessage had
// begun when a deadline struck comes from NextReader, and after that is skipped
// like any other.
func TestDeflateDeadlineThenReader(t *testing.T) {
	const message = "0123456789, 0123456789 and again 0123456789"
	inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
		for _, read := range []int{0, 5, len(message)} {
			c, p := newDeflatePeer(t, connect, connConfig{client: client}, o)
			wire := p.compressed(OpText, message, 6)
			p.send(wire[:len(wire)-1])
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			for range 3 {
				if _, b, err := c.ReadMessage([]byte("kept")); !errors.Is(err, os.ErrDeadlineExceeded) || string(b) != "kept" {
					t.Fatalf("ReadMessage returned %q, %v, want its slice as it was and an error that Is os.ErrDeadlineExceeded", b, err)
				}
			}
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			_, r, err := c.NextReader()
			if err != nil {
				// The first deadlines may have struck before the first header came.
				c.SetReadDeadline(time.Time{})
				_, r, err = c.NextReader()
			}
			if err != nil {
				t.Fatal(err)
			}
			c.SetReadDeadline(past)
			if n, err := r.Read(make([]byte, 100)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("the reader returned %d, %v, want no bytes and an error that Is os.ErrDeadlineExceeded", n, err)
			}
			c.SetReadDeadline(time.Time{})
			p.send(wire[len(wire)-1:], p.compressed(OpText, "next: "+message, 0))
			if b, err := io.ReadAll(io.LimitReader(r, int64(read))); string(b) != message[:read] || err != nil {
				t.Fatalf("the reader yields %q, %v, want %q", b, err, message[:read])
			}
			wantMessage(t, c, OpText, "next: "+message, fmt.Sprintf("%d bytes of the message before have been read", read))
			c.CloseNow()
		}
	})
}

// TestDeflateRefusesText: text is checked as it was before it was compressed,
// also where it is skipped.
func TestDeflateRefusesText(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for i, bad := range append(notUTF8, struct{ begun, impossible, why string }{"\xe2\x82", "", "ends inside a character"}) {
			text := "κόσμε " + bad.begun + bad.impossible
			if bad.impossible != "" {
				text += " and more"
			}
			for j, size := range []int{0, 1, 5} {
				way := waysToRead[(i+j)%len(waysToRead)]
				c, p := newDeflatePeer(t, connect, connConfig{client: client}, Compression{ContextTakeover: j > 0})
				wire := append(p.compressed(OpText, "κόσμε", 0), p.compressed(OpText, text, size)...)
				err := wantFailed(t, c, p.peer, way.read, wire, StatusInvalidPayload, "8.1: "+bad.why+", with "+way.name)
				if !errors.Is(err, ErrInvalidUTF8) {
					t.Fatalf("%s: the error is %v, want one that Is ErrInvalidUTF8", way.name, err)
				}
			}
		}
	})
}

// TestDeflateText: a reader cuts characters anywhere, and one message has
// nothing to do with the next.
func TestDeflateText(t *testing.T) {
	inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
		c, p := newDeflatePeer(t, connect, connConfig{client: client}, o)
		const text = "äöü€𝄞 äöü€𝄞"
		p.send(p.compressed(OpText, text, 3), p.compressed(OpBinary, text[:len(text)-1], 0),
			p.compressed(OpText, text, 0), p.frame(true, OpText, text))
		for _, want := range []string{text, text[:len(text)-1], text, text} {
			_, r, err := c.NextReader()
			if err != nil {
				t.Fatal(err)
			}
			if b, err := io.ReadAll(iotest.OneByteReader(r)); string(b) != want || err != nil {
				t.Fatalf("the reader yields %q, %v, want %q", b, err, want)
			}
		}
		p.send(p.compressed(OpText, text, 0))
		if _, b, err := c.ReadMessage([]byte("\xff")); string(b) != "\xff"+text || err != nil {
			t.Fatalf("ReadMessage appends %q, %v, want %q: what was there before need not be text", b, err, text)
		}
	})
}

// TestDeflateInvalid: what is not the whole of a compressed message fails the
// connection with 1007, be it read or skipped, and whatever else is wrong.
func TestDeflateInvalid(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		i := 0
		for name, payload := range map[string]string{
			"nothing":                     "",
			"a reserved type of block":    "06",
			"the first byte of a message": "f2",
			"a message cut":               "f2 48 cd c9 c9",
			"a message less a byte":       "f2 48 cd c9 c9 07",
			"garbage":                     "ff ff ff ff ff ff ff ff",
			"a reference to nothing":      "f2 00 11 00 00",
			"a stored block cut":          "00 05 00 fa ff 48 65 6c",
			"a message and garbage":       "f3 48 cd c9 c9 07 00 ff",
		} {
			for _, size := range []int{0, 1} {
				i++
				way := waysToRead[i%len(waysToRead)]
				c, p := newDeflatePeer(t, connect, connConfig{client: client}, Compression{})
				wire := append(p.compressed(OpText, "Hello", 0), p.inFrames(OpBinary, string(unhex(t, payload)), size)...)
				err := wantFailed(t, c, p.peer, way.read, wire, StatusInvalidPayload, "RFC 7692, 6.2: "+name+" with "+way.name)
				if errors.Is(err, ErrInvalidUTF8) {
					t.Fatalf("%s: the error is %v, want one about compressed data", name, err)
				}
			}
		}
	})
}

// TestDeflateBit: RSV1 is for the first frame of a message and nothing else,
// and only where the extension has been agreed upon.
func TestDeflateBit(t *testing.T) {
	const hello = "f2 48 cd c9 c9 07 00"
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for i, test := range []struct{ frames, why string }{
			{"c9 00", "on a Ping"},
			{"ca 00", "on a Pong"},
			{"c8 02 03e8", "on a Close"},
			{"01 01 61 | c0 01 62", "on a continuation"},
			{"41 03 f2 48 cd | c0 04 c9 c9 07 00", "on a continuation of a compressed message"},
			{"41 03 f2 48 cd | 40 01 c9 | 80 03 c9 07 00", "on a fragment between"},
			{"41 03 f2 48 cd | c9 00", "on a Ping inside a compressed message"},
			{"c3 07 " + hello, "on a reserved opcode"},
			{"cb 00", "on a reserved control opcode"},
			{"e1 07 " + hello, "with RSV2"},
			{"d1 07 " + hello, "with RSV3"},
			{"a1 00", "not set, but RSV2"},
			{"c1 07 " + hello + " | 41 00 | 81 01 61", "on a message, with another inside it"},
		} {
			for _, way := range waysToRead {
				c, p := newDeflatePeer(t, connect, connConfig{client: client}, Compression{ContextTakeover: i%2 == 0})
				wantFailed(t, c, p.peer, way.read, p.wire(test.frames), StatusProtocolError, "RFC 7692, 6: RSV1 "+test.why+", with "+way.name)
			}
		}
		c, p := newPeer(t, connect, connConfig{client: client})
		wantFailed(t, c, p, readAllMessages, p.wire("c1 07 "+hello), StatusProtocolError, "5.2: RSV1 without an extension")
	})
}

// TestDeflateReaderInBuffer leaves a reader inside of a compressed message that
// is still in the read buffer, has something else happen to the connection, and
// reads on. Buffers that are given back are overwritten.
func TestDeflateReaderInBuffer(t *testing.T) {
	message := strings.Repeat("what is in the read buffer stays there. ", 200)
	for name, meanwhile := range map[string]struct {
		do   func(c *Conn, p *deflatePeer) error
		ends bool // there is nothing more to read then
	}{
		"nothing":   {do: func(*Conn, *deflatePeer) error { return nil }},
		"CloseNow":  {do: func(c *Conn, _ *deflatePeer) error { return c.CloseNow() }},
		"a message": {do: func(c *Conn, p *deflatePeer) error { return c.WriteMessage(OpText, []byte(message)) }},
		"Close": {do: func(c *Conn, p *deflatePeer) error {
			closed := async(c.Close)
			p.waitSent()
			p.closeWrite() // what a client waits for
			<-closed
			return nil
		}, ends: true},
		"a past deadline": {do: func(c *Conn, _ *deflatePeer) error { return c.SetReadDeadline(past) }},
		"a lower limit":   {do: func(c *Conn, _ *deflatePeer) error { c.SetReadLimit(10); return nil }},
		"a broken write": {do: func(c *Conn, p *deflatePeer) error {
			c.SetWriteDeadline(past)
			if err := c.WriteMessage(OpText, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
				return fmt.Errorf("writing after its deadline returned %v", err)
			}
			return nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
				c, p := newDeflatePeer(t, connect, connConfig{client: client, closeTimeout: time.Second}, o)
				go io.Copy(io.Discard, p.nc)
				p.send(append(p.compressed(OpText, message, 0), p.frame(true, OpClose, "\x03\xe8")...))
				_, r, err := c.NextReader()
				if err != nil {
					t.Fatal(err)
				}
				first := make([]byte, 50)
				if _, err := io.ReadFull(r, first); err != nil || string(first) != message[:50] {
					t.Fatalf("the reader yields %q, %v, want the beginning of the message", first, err)
				}
				// Others take buffers, and leave something else in them.
				other, otherPeer := newDeflatePeer(t, connect, connConfig{client: !client}, o)
				otherPeer.send(otherPeer.compressed(OpText, strings.ToUpper(message), 0))
				wantMessage(t, other, OpText, strings.ToUpper(message))
				if err := meanwhile.do(c, p); err != nil {
					t.Fatal(err)
				}
				rest, err := io.ReadAll(r)
				switch {
				case meanwhile.ends:
					is(net.ErrClosed)(t, err)
				case err != nil || string(rest) != message[50:]:
					t.Fatalf("after that the reader yields %s, %v, want the rest of the message", brief(rest), err)
				}
				c.CloseNow()
				p.close()
				ended := <-readError(c)
				if _, err := r.Read(first); err != ended {
					t.Fatalf("after the end the reader returned %v, want the connection's error, %v", err, ended)
				}
				wantNoDeflate(t, c, "the connection has ended")
			})
		})
	}
}

// TestDeflateRepliesTogether: the replies to 16 compressed messages that come
// together leave with one write.
func TestDeflateRepliesTogether(t *testing.T) {
	const messages, size = 16, 500
	texts := newCorpus(1)
	inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
		c, p := newDeflatePeer(t, connect, connConfig{client: client}, o)
		writes := countWrites(c)
		ended := async(func() error { return echo(c) })
		for range 100 {
			before := writes.Load()
			var burst []byte
			var sent []string
			for range messages {
				sent = append(sent, string(texts.message(size)))
				burst = append(burst, p.compressed(OpText, sent[len(sent)-1], 0)...)
			}
			p.send(burst)
			for _, text := range sent {
				p.want(OpText, true, text, "every message is answered")
			}
			// In real time the hold timer may strike in between; but not always.
			if writes.Load()-before == 1 {
				p.close()
				<-ended
				return
			}
		}
		t.Fatal("the replies to messages that came together never left with one write")
	})
}
