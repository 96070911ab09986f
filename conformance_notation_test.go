package websocket

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// The notation of endings and frames in testdata/conformance.

func parseEnding(s string) (vectorEnding, error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return vectorEnding{}, errors.New("empty ending")
	}
	e := vectorEnding{kind: words[0]}
	for _, w := range words[1:] {
		n, err := strconv.Atoi(w)
		if err != nil && w != "none" {
			return e, err
		}
		e.codes = append(e.codes, n)
	}
	want, ok := map[string]bool{"close": true, "reply": true, "fail": true, "eof": false, "lost": false, "refused": false, "accepted": false}[e.kind]
	if !ok || want != (len(e.codes) > 0) {
		return e, fmt.Errorf("unknown ending %q", s)
	}
	return e, nil
}

var opcodeWords = map[string]byte{"cont": 0, "text": 1, "binary": 2, "close": 8, "ping": 9, "pong": 10}

func parseVectorFrame(s string) (f vectorFrame, err error) {
	words, err := splitWords(s)
	if err != nil || len(words) == 0 {
		return f, fmt.Errorf("%w: %q", errors.Join(err, errors.New("no frame")), s)
	}
	next := func() string {
		if len(words) == 0 {
			err = errors.Join(err, errors.New("a word is missing at the end"))
			return "0"
		}
		w := words[0]
		words = words[1:]
		return w
	}
	number := func() uint64 {
		n, e := strconv.ParseUint(next(), 10, 64)
		err = errors.Join(err, e)
		return n
	}
	f.times = 1
	kind := next()
	op, ok := opcodeWords[kind]
	switch {
	case ok:
		f.opcode = op
	case kind == "op":
		f.opcode = byte(number()) & 0xF
	case kind == "raw":
		f.raw = true
	default:
		return f, fmt.Errorf("unknown frame %q", kind)
	}
	if kind == "close" && len(words) > 0 && strings.Trim(words[0], "0123456789") == "" {
		code := number()
		f.payload = append(f.payload, payloadItem{kind: '"', unit: []byte{byte(code >> 8), byte(code)}, n: 1})
	}
	for len(words) > 0 && err == nil {
		switch w := next(); w {
		case "more":
			f.more = true
		case "last":
			f.last = true
		case "rsv1", "rsv2", "rsv3":
			f.rsv |= 0x40 >> (w[3] - '1')
		case "masked":
			f.mask = +1
		case "unmasked":
			f.mask = -1
		case "key":
			b, e := hex.DecodeString(next())
			if err = errors.Join(err, e); len(b) == 4 {
				f.key = (*[4]byte)(b)
			} else {
				err = errors.Join(err, errors.New("want a key of four bytes"))
			}
		case "len16":
			f.form = 16
		case "len64":
			f.form = 64
		case "declare":
			n := number()
			f.declare = &n
		case "deflate":
			f.deflate = true
		case "fragments":
			f.fragments = int(number())
		case "times":
			f.times = int(number())
		case "|":
			f.payload = append(f.payload, payloadItem{kind: '|'})
		case "||":
			f.payload = append(f.payload, payloadItem{kind: 'h'})
		case "noise", "prose":
			f.payload = append(f.payload, payloadItem{kind: w[0], n: int(number())})
		case "json", "bitmap", "tale", "html", "document":
			f.payload = append(f.payload, payloadItem{kind: 'd', n: int(number()), doc: w})
		case "repeat":
			n := int(number())
			unit, e := literal(next(), next)
			f.payload, err = append(f.payload, payloadItem{kind: '"', unit: unit, n: n}), errors.Join(err, e)
		default:
			unit, e := literal(w, next)
			f.payload, err = append(f.payload, payloadItem{kind: '"', unit: unit, n: 1}), errors.Join(err, e)
		}
	}
	return f, err
}

// literal reads "text" or hex DIGITS.
func literal(w string, next func() string) ([]byte, error) {
	if w == "hex" {
		return hex.DecodeString(next())
	}
	if !strings.HasPrefix(w, `"`) {
		return nil, fmt.Errorf("unknown word %q", w)
	}
	s, err := strconv.Unquote(w)
	return []byte(s), err
}

// splitWords cuts s at blanks outside of quotes.
func splitWords(s string) (words []string, err error) {
	for s = strings.TrimLeft(s, " "); s != ""; s = strings.TrimLeft(s, " ") {
		w, _, _ := strings.Cut(s, " ")
		if s[0] == '"' {
			if w, err = strconv.QuotedPrefix(s); err != nil {
				return nil, err
			}
		}
		words = append(words, w)
		s = s[len(w):]
	}
	return words, nil
}
