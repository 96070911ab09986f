package websocket

import (
	"bytes"
	"errors"
	"slices"
	"testing"
)

// FuzzDeflateInput is FuzzServerInput and FuzzClientInput where compression has
// been agreed upon.
func FuzzDeflateInput(f *testing.F) {
	for _, client := range []bool{false, true} {
		p := &deflatePeer{peer: &peer{t: f, client: !client}}
		bad := p.inFrames(OpText, string(flateDeflate(nil, []byte("text \xff and more"))), 5)
		large := p.inFrames(OpBinary, string(flateDeflate(nil, bytes.Repeat([]byte("large "), 200))), 0)
		garbage := p.inFrames(OpBinary, "\x2a\xff\x00garbage", 3)
		for _, takeover := range []bool{false, true} {
			f.Add(deflatedTalk.wire(p.peer), []byte{3, 0, 100, 0, 0, 1}, client, takeover)
			f.Add(append(p.compressed(OpText, "Hello, Hello", 4), bad...), []byte{1, 0}, client, takeover)
			f.Add(append(p.compressed(OpText, "Hello, Hello", 0), large...), []byte{0, 2}, client, takeover)
			f.Add(append(p.compressed(OpBinary, "Hello, Hello", 1), garbage...), []byte{255}, client, takeover)
			f.Add(p.wire("c1 07 f248cdc9c90700 | c1 05 f200110000 | c9 00"), []byte{4, 0, 1}, client, takeover)
			f.Add(p.wire("41 03 f248cd | 89 01 61 | 80 04 c9c90700 | 81 02 c328"), []byte{1}, client, takeover)
		}
	}
	f.Fuzz(func(t *testing.T, input, sizes []byte, client, takeover bool) {
		fuzzInput(t, client, &Compression{ContextTakeover: takeover}, input, sizes)
	})
}

// FuzzDeflateConversation has a Conn send messages in all ways, with everything
// that can be chosen, and another one read them from pieces of any size.
//
// A byte of script says how to send a message, the next how long it is; what is
// in it is taken from data, over and over.
func FuzzDeflateConversation(f *testing.F) {
	data := newCorpus(1).message(200)
	script := []byte{0, 200, 1, 100, 2, 255, 3, 60, 9, 200, 0x13, 0, 0, 100, 0x40, 3, 0x41, 10, 0x42, 7, 0x43, 2, 4, 50, 0x80, 9}
	for _, client := range []bool{false, true} {
		for bits := minWindowBits; bits <= maxWindowBits; bits += 3 {
			for _, threshold := range []int{-1, 0, 100} {
				f.Add(script, data, []byte{100, 255, 255, 3, 0, 200}, client, true, bits, bits%10, threshold)
				f.Add(script, corpusNoise(1, 100), []byte{1}, client, true, bits, 0, threshold)
				f.Add(script, data, []byte{}, client, false, bits, 1, threshold)
			}
		}
	}
	f.Fuzz(func(t *testing.T, script, data, sizes []byte, client, takeover bool, bits, level, threshold int) {
		if len(data) == 0 || len(script) > 100 {
			return
		}
		o := Compression{ContextTakeover: takeover, WindowBits: bits, Level: level, Threshold: threshold}
		below := &scriptedConn{}
		c := newConn(below, connConfig{client: client, maxQueued: 1 << 30, deflate: agreed(&o, client)})
		p := &deflatePeer{peer: &peer{t: t, client: !client, rsv1: true}, takeover: takeover, window: 1 << o.windowBits()}
		var sent []string
		var again []*PreparedMessage
		at, large := 0, 0
		for ; len(script) > 1; script = script[2:] {
			size := int(script[1])
			if script[0]&0x40 != 0 && large < 2 {
				size *= 300 // more than is appended, and more than a window
				large++
			}
			payload := make([]byte, size)
			for n := 0; n < size; at = (at + 1) % len(data) {
				n += copy(payload[n:], data[at:])
			}
			var err error
			switch how := script[0] & 0x3F; {
			case how < 3:
				err = waysToSend[how].send(c, OpBinary, payload)
			case how%3 == 0 && len(again) > 0: // one that was sent before
				m := again[int(how)%len(again)]
				payload, err = m.payload, c.WritePrepared(m)
			default:
				m := prepared(t, OpBinary, payload)
				again = append(again, m)
				if how%2 == 0 {
					err = c.Enqueue(m)
				} else {
					err = c.WritePrepared(m)
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			sent = append(sent, "binary "+string(payload))
			if script[0]&0x80 != 0 { // text that is given up inside a character
				w := nextWriter(t, c, OpText)
				w.Write(bytes.Repeat([]byte("lost "), size))
				w.Write([]byte("\xe2"))
				if w.op == OpContinuation {
					c.CloseNow() // there is no way but to close
					return
				}
				if err := w.Close(); !errors.Is(err, ErrInvalidUTF8) {
					t.Fatalf("Close inside a character returned %v, want ErrInvalidUTF8", err)
				}
			}
		}
		wire := below.written(c)
		c.CloseNow()

		p.received = bytes.Clone(wire)
		for i, want := range sent {
			if m := p.readMessage("it was sent"); "binary "+string(m.payload) != want {
				t.Fatalf("message %d is %s, want %s", i, brief(m.payload), brief([]byte(want)))
			}
		}
		if p.farthest > p.window {
			t.Fatalf("a reference goes %d bytes back, want at most %d", p.farthest, p.window)
		}
		if !slices.ContainsFunc(sizes, func(n byte) bool { return n > 0 }) || len(wire) > 5000 {
			sizes = nil // to take time for that is of no use
		}
		for _, way := range readings {
			to := newConn(&scriptedConn{input: bytes.Clone(wire), sizes: sizes}, connConfig{client: !client, deflate: agreed(&o, !client)})
			r := &reading{c: to, deadline: func() {}}
			wantCloseError(t, way.read(r), StatusAbnormalClosure, "", "there is nothing more to read")
			if !slices.Equal(r.messages, sent) {
				t.Fatalf("with %s in pieces of % d bytes %d messages came, want %d, or they are not the same", way.name, sizes, len(r.messages), len(sent))
			}
		}
	})
}
