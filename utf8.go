package websocket

import "unicode/utf8"

// A textChecker checks UTF-8 that arrives in pieces (section 8.1). The zero
// value is ready for a message.
//
// It fails at the first byte after which no continuation could be valid, so a
// peer that sends garbage is told so at once and not when its message ends.
type textChecker struct {
	carry [utf8.UTFMax]byte // the beginning of a character that was cut
	n     uint8             // bytes in carry, at most 3 between calls
}

// write checks the next piece of text. After false the text is lost: no call
// may follow but reset.
func (t *textChecker) write(p []byte) bool {
	for t.n > 0 && len(p) > 0 {
		t.carry[t.n] = p[0]
		t.n++
		p = p[1:]
		// FullRune calls a sequence full as soon as it is complete or can
		// no longer become valid.
		if char := t.carry[:t.n]; utf8.FullRune(char) {
			if !utf8.Valid(char) {
				return false
			}
			t.n = 0
		}
	}
	cut := cutCharacter(p)
	if !utf8.Valid(p[:len(p)-cut]) {
		return false
	}
	if cut > 0 {
		t.n = uint8(copy(t.carry[:], p[len(p)-cut:]))
	}
	return true
}

// complete reports whether the text so far ends with a whole character.
func (t *textChecker) complete() bool { return t.n == 0 }

// reset makes t ready for another message.
func (t *textChecker) reset() { t.n = 0 }

// cutCharacter returns how many bytes at the end of p, 0 to 3, begin a
// character that more bytes could complete.
func cutCharacter(p []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(p); n++ {
		if tail := p[len(p)-n:]; utf8.RuneStart(tail[0]) {
			if utf8.FullRune(tail) {
				return 0
			}
			return n
		}
	}
	return 0
}
