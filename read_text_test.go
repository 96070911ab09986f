package websocket

import (
	"strconv"
	"testing"
)

// notUTF8 are sequences that no text may have: bytes that may begin a
// character, and the first that makes it impossible.
var notUTF8 = []struct {
	begun, impossible string
	why               string
}{
	{"", "\x80", "continuation byte without a beginning"},
	{"", "\xbf", "continuation byte without a beginning"},
	{"", "\xc0", "overlong form of a character below U+0080"},
	{"", "\xc1", "overlong form of a character below U+0080"},
	{"\xe0", "\x9f", "overlong form of a character below U+0800"},
	{"\xf0", "\x8f", "overlong form of a character below U+10000"},
	{"\xed", "\xa0", "surrogate U+D800"},
	{"\xed", "\xbf", "surrogate U+DFFF"},
	{"\xf4", "\x90", "U+110000, which does not exist"},
	{"", "\xf5", "beyond U+10FFFF"},
	{"", "\xff", "no byte of UTF-8"},
	{"\xc3", "(", "two bytes, cut"},
	{"\xe2\x82", "A", "three bytes, cut"},
	{"\xf0\x9f\x98", "\xf0", "four bytes, cut"},
}

// TestRefusesText sends text that is not UTF-8 in one frame and in two, cut at
// every byte, with a Pong between.
func TestRefusesText(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for i, bad := range notUTF8 {
			text := "κόσμε " + bad.begun + bad.impossible + " and more"
			cuts := []int{0, 5, 11, 12, 13, 14, len(text)}
			for j, cut := range cuts {
				way := waysToRead[(i+j)%len(waysToRead)]
				c, p := newPeer(t, connect, connConfig{client: client})
				wire := append(p.frame(false, OpText, text[:cut]), p.frame(true, OpPong, "")...)
				wire = append(wire, p.frame(true, OpContinuation, text[cut:])...)
				if cut == 0 {
					wire = p.frame(true, OpText, text)
				}
				wantFailed(t, c, p, way.read, wire, StatusInvalidPayload, "8.1: "+bad.why+", cut at "+strconv.Itoa(cut)+", with "+way.name)
			}
		}
	})
}

// TestRefusesTextThatEndsInsideCharacter: only the last frame can tell.
func TestRefusesTextThatEndsInsideCharacter(t *testing.T) {
	testViolations(t, StatusInvalidPayload, connConfig{}, []violation{
		{"81 01 c3", "8.1: one byte of two"},
		{"81 02 e282", "8.1: two bytes of three"},
		{"81 03 f09f98", "8.1: three bytes of four"},
		{"01 02 e282 | 80 00", "8.1: two bytes of three and an empty fragment"},
		{"01 01 f0 | 00 01 9f | 8a 00 | 80 01 98", "8.1: three bytes of four in three fragments"},
		{"81 03 f09f98 | 81 01 80", "8.1: the next message does not complete a character"},
	})
}

// TestTextFailsFast: text is refused at the first byte that makes it
// impossible, while the rest of the frame has not come, and not before.
func TestTextFailsFast(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for i, bad := range notUTF8 {
			// In a frame that is read past the read buffer, too.
			for j, length := range []int{1000, 3 * readBufferSize} {
				way := waysToRead[(i+j)%len(waysToRead)]
				c, p := newPeer(t, connect, connConfig{client: client})
				ended := async(func() error { return way.read(c) })
				p.send(p.frame(false, OpText, "κόσμε "+bad.begun), p.frame(true, OpPing, "valid so far?"))
				p.wantFrame(OpPong, "valid so far?", "text may be cut inside a character")

				rest := p.frame(true, OpContinuation, bad.impossible+string(make([]byte, length)))
				p.send(rest[:len(rest)-length])
				p.wantClose(StatusInvalidPayload, "8.1: "+bad.why+", with "+way.name)
				p.wantEOF("the connection has failed")
				p.close()
				err := <-ended
				wantProtocolError(t, err, StatusInvalidPayload, bad.why)
				wantEnded(t, c, err)
			}
		}
	})
}

// TestBinaryIsNoText: none of that counts for binary messages.
func TestBinaryIsNoText(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		for _, bad := range notUTF8 {
			p.send(p.frame(false, OpBinary, bad.begun), p.frame(true, OpContinuation, bad.impossible))
			wantMessage(t, c, OpBinary, bad.begun+bad.impossible, "binary data has no form")
		}
	})
}
