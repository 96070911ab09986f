package websocket

import (
	"bytes"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// beginnings holds every byte sequence that is not yet a character but can
// become one: the proper prefixes of the encodings of all characters, found by
// writing out all characters.
var beginnings = sync.OnceValue(func() map[string]bool {
	set := map[string]bool{}
	for r := rune(0); r <= utf8.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		char := utf8.AppendRune(nil, r)
		for n := 1; n < len(char); n++ {
			if !set[string(char[:n])] {
				set[string(char[:n])] = true
			}
		}
	}
	return set
})

// walkText returns the index of the first byte of text after which no
// continuation is valid, or len(text), and for every place up to there whether
// the text before it ends with a whole character.
func walkText(text []byte) (first int, whole []bool) {
	start := 0 // of the character that text[i] belongs to
	whole = append(whole, true)
	for i := range text {
		char := text[start : i+1]
		if utf8.Valid(char) {
			start = i + 1
		} else if !beginnings()[string(char)] {
			return i, whole
		}
		whole = append(whole, start == i+1)
	}
	return len(text), whole
}

// checkPieces writes text to a textChecker in pieces of the given sizes, over
// and over. Each must be accepted but the one with the first impossible byte.
func checkPieces(t *testing.T, text []byte, sizes ...int) {
	t.Helper()
	first, whole := walkText(text)
	var c textChecker
	for at, i := 0, 0; at < len(text); i++ {
		size := len(text) - at
		if len(sizes) > 0 && i < 10*len(text) { // the sizes may all be 0
			size = min(size, sizes[i%len(sizes)])
		}
		ok := c.write(text[at : at+size])
		at += size
		if want := first >= at; ok != want {
			t.Fatalf("%q in pieces of %v: write gave %v for the piece that ends at %d, and the first impossible byte is %d", text, sizes, ok, at, first)
		}
		if !ok {
			return
		}
		if c.complete() != whole[at] {
			t.Fatalf("%q in pieces of %v: complete() = %v at %d, want %v", text, sizes, c.complete(), at, whole[at])
		}
	}
	if c.complete() != utf8.Valid(text) {
		t.Fatalf("%q in pieces of %v: accepted and complete() = %v, unlike utf8.Valid", text, sizes, c.complete())
	}
}

func TestTextChecker(t *testing.T) {
	for _, test := range []struct {
		name  string
		text  string
		first int // index of the first impossible byte, or -1
		whole bool
	}{
		{"empty", "", -1, true},
		{"ASCII with NUL", "a\x00\x7f", -1, true},
		{"first and last of two bytes", "\u0080\u07ff", -1, true},
		{"first and last of three bytes", "\u0800\uffff", -1, true},
		{"first and last of four bytes", "\U00010000\U0010ffff", -1, true},
		{"beside the surrogates", "\ud7ff\ue000", -1, true},
		{"byte order mark and noncharacter", "\ufeff\ufffe", -1, true},
		{"one of two bytes", "x\xc2", -1, false},
		{"one of three bytes", "x\xe2", -1, false},
		{"two of three bytes", "x\xe2\x82", -1, false},
		{"one of four bytes", "x\xf0", -1, false},
		{"two of four bytes", "x\xf0\x9f", -1, false},
		{"three of four bytes", "x\xf0\x9f\x98", -1, false},
		{"continuation byte alone", "x\x80", 1, false},
		{"continuation byte too many", "\u00e9\xbf", 2, false},
		{"two bytes cut short by ASCII", "\xc3a", 1, false},
		{"three bytes cut short by ASCII", "\xe2\x82a", 2, false},
		{"four bytes cut short by ASCII", "\xf0\x9f\x98a", 3, false},
		{"four bytes cut short by a character", "\xf0\x9f\x98\u00e9", 3, false},
		{"overlong NUL", "\xc0\x80", 0, false},
		{"overlong slash in two bytes", "\xc1\xaf", 0, false},
		{"overlong in three bytes", "\xe0\x9f\xbf", 1, false},
		{"overlong in four bytes", "\xf0\x8f\xbf\xbf", 1, false},
		{"first surrogate", "\xed\xa0\x80", 1, false},
		{"last surrogate", "\xed\xbf\xbf", 1, false},
		{"surrogate pair", "\xed\xa0\xbd\xed\xb8\x80", 1, false},
		{"U+110000", "\xf4\x90\x80\x80", 1, false},
		{"lead byte F5", "\xf5\x80\x80\x80", 0, false},
		{"five bytes", "\xf8\x88\x80\x80\x80", 0, false},
		{"FE", "\xfe", 0, false},
		{"FF", "\xff", 0, false},
		{"far into a text", strings.Repeat("\u00e9\u20ac", 12) + "\xed\xa0", 61, false},
	} {
		text := []byte(test.text)
		first, whole := walkText(text)
		if first == len(text) {
			first = -1
		}
		if first != test.first || first < 0 && whole[len(text)] != test.whole {
			t.Fatalf("%s: the test itself finds byte %d impossible and whole characters at %v, want byte %d", test.name, first, whole, test.first)
		}
		// Cut in three at every pair of places.
		for i := range len(text) + 1 {
			for j := i; j <= len(text); j++ {
				checkPieces(t, text, i, j-i, len(text)-j)
			}
		}
	}
}

// TestTextCheckerFailFast walks, byte by byte, every sequence that begins a
// character, with each of the 256 bytes after it.
func TestTextCheckerFailFast(t *testing.T) {
	characters := 0
	var walk func(c textChecker, begun []byte)
	walk = func(c textChecker, begun []byte) {
		for b := range 256 {
			seen, next := append(begun, byte(b)), c
			ok := next.write(seen[len(seen)-1:])
			switch {
			case utf8.Valid(seen):
				characters++
				if !ok || !next.complete() {
					t.Fatalf("% x is a character, but write gave %v and complete %v", seen, ok, next.complete())
				}
			case beginnings()[string(seen)]:
				if !ok || next.complete() {
					t.Fatalf("% x begins a character, but write gave %v and complete %v", seen, ok, next.complete())
				}
				walk(next, seen)
			case ok:
				t.Fatalf("% x was accepted, but nothing that follows can make it valid", seen)
			}
		}
	}
	walk(textChecker{}, make([]byte, 0, utf8.UTFMax))
	if want := 0x110000 - 0x800; characters != want {
		t.Errorf("%d characters were accepted, want %d: all code points but the surrogates", characters, want)
	}
}

func TestTextCheckerReset(t *testing.T) {
	var c textChecker
	for _, text := range []string{"\xe2\x82", "\xe2\x82\xff", "\xff"} {
		c.write([]byte(text))
		c.reset()
		if !c.complete() {
			t.Errorf("after %q and reset the text is not complete", text)
		}
		if !c.write([]byte("\u20ac")) || !c.complete() {
			t.Errorf("after %q and reset a valid text was refused", text)
		}
		c.reset()
	}
}

func TestTextCheckerAllocations(t *testing.T) {
	text := []byte(strings.Repeat("a\u00e9\u20ac\U0001f600", 50))
	allocs := testing.AllocsPerRun(100, func() {
		var c textChecker
		for i := 0; i < len(text); i += 7 {
			if !c.write(text[i:min(i+7, len(text))]) {
				t.Error("a valid text was refused")
			}
		}
	})
	if allocs != 0 {
		t.Errorf("checking text in pieces allocated %v times, want never", allocs)
	}
}

// FuzzTextChecker gives text in pieces, whose sizes are the bytes of cuts over
// and over, and byte by byte: a text is refused in the piece that holds its
// first impossible byte, and a whole one is what utf8.Valid says.
func FuzzTextChecker(f *testing.F) {
	f.Add([]byte("Hello"), []byte{2})
	f.Add([]byte("κόσμε \u20ac\U0001f600"), []byte{1})
	f.Add([]byte("κόσμε \u20ac\U0001f600"), []byte{3, 0, 2})
	f.Add([]byte("\u20ac\xed\xa0\x80edited"), []byte{4, 1})
	f.Add([]byte("\xf4\x90\x80\x80"), []byte{1, 1, 1, 1})
	f.Add([]byte("\xf0\x9f\x98"), []byte{})
	f.Add([]byte("\xe0\x80\xf8\x80\xc0"), []byte{0, 0, 200})
	f.Fuzz(func(t *testing.T, text, cuts []byte) {
		sizes := make([]int, len(cuts))
		for i, cut := range cuts {
			sizes[i] = int(cut)
		}
		before := bytes.Clone(text)
		checkPieces(t, text, sizes...)
		checkPieces(t, text, 1)
		if !bytes.Equal(text, before) {
			t.Fatalf("checking changed %q to %q", before, text)
		}
	})
}

// benchmarkTexts are texts of about the given size.
func benchmarkTexts(size int) map[string][]byte {
	repeat := func(s string) []byte { return bytes.Repeat([]byte(s), size/len(s)) }
	return map[string][]byte{
		"ASCII": repeat("The quick brown fox jumps over the lazy dog. "),
		"2byte": repeat("съешь ещё этих мягких французских булок "),
		"3byte": repeat("いろはにほへと 散りぬるを, 10 € "),
	}
}

// BenchmarkTextChecker checks 16 KiB in one piece (whole), in pieces that cut
// characters (1001B), and with utf8.Valid alone (valid) as the limit.
func BenchmarkTextChecker(b *testing.B) {
	texts := benchmarkTexts(16 << 10)
	for _, name := range []string{"ASCII", "2byte", "3byte"} {
		text := texts[name]
		b.Run(name+"/valid", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if !utf8.Valid(text) {
					b.Fatal("a valid text was refused")
				}
			}
		})
		for _, size := range []int{len(text), 1001} {
			label := "whole"
			if size < len(text) {
				label = strconv.Itoa(size) + "B"
			}
			b.Run(name+"/"+label, func(b *testing.B) {
				b.SetBytes(int64(len(text)))
				b.ReportAllocs()
				for b.Loop() {
					var c textChecker
					for at := 0; at < len(text); at += size {
						if !c.write(text[at:min(at+size, len(text))]) {
							b.Fatal("a valid text was refused")
						}
					}
				}
			})
		}
	}
}

// BenchmarkTextCheckerShort checks the text of a small message.
func BenchmarkTextCheckerShort(b *testing.B) {
	texts := benchmarkTexts(128)
	for _, name := range []string{"ASCII", "2byte", "3byte"} {
		text := texts[name]
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				var c textChecker
				if !c.write(text) || !c.complete() {
					b.Fatal("a valid text was refused")
				}
			}
		})
		b.Run(name+"/valid", func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if !utf8.Valid(text) {
					b.Fatal("a valid text was refused")
				}
			}
		})
	}
}
