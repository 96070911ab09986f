package websocket

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
)

func (r *inflateReader) Read(p []byte) (int, error) {
	b, err := r.next(len(p))
	return copy(p, b), err
}

// skip reads the rest of the message. Its error is nil at the end.
func (r *inflateReader) skip() error {
	for {
		if _, err := r.next(inflateRoom); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// TestInflateExamples has the examples of RFC 7692, section 7.2.3, and what
// else is a whole message.
func TestInflateExamples(t *testing.T) {
	for _, test := range []struct {
		name     string
		messages []string
		want     []string
	}{
		{"7.2.3.1: one block", []string{"f2 48 cd c9 c9 07 00"}, []string{"Hello"}},
		{"7.2.3.2: the second refers to the first", []string{"f2 48 cd c9 c9 07 00", "f2 00 11 00 00"}, []string{"Hello", "Hello"}},
		{"7.2.3.3: without compression", []string{"00 05 00 fa ff 48 65 6c 6c 6f 00"}, []string{"Hello"}},
		{"7.2.3.4: BFINAL set", []string{"f3 48 cd c9 c9 07 00 00"}, []string{"Hello"}},
		{"7.2.3.5: two blocks", []string{"f2 48 05 00 00 00 ff ff ca c9 c9 07 00"}, []string{"Hello"}},
		{"7.2.3.6: empty", []string{"00"}, []string{""}},
		{"empty block with BFINAL at the end", []string{"00 05 00 fa ff 48 65 6c 6c 6f 01"}, []string{"Hello"}},
		{"BFINAL set and nothing after it", []string{"f3 48 cd c9 c9 07 00"}, []string{"Hello"}},
		{"BFINAL set twice", []string{"f3 48 cd c9 c9 07 00 f3 48 cd c9 c9 07 00 00"}, []string{"HelloHello"}},
		{"BFINAL set, then a reference across it", []string{"f3 48 cd c9 c9 07 00 f2 00 11 00 00"}, []string{"HelloHello"}},
		{"BFINAL set in the first message", []string{"f3 48 cd c9 c9 07 00 00", "f2 00 11 00 00"}, []string{"Hello", "Hello"}},
		{"empty messages between", []string{"f2 48 cd c9 c9 07 00", "00", "f2 00 11 00 00"}, []string{"Hello", "", "Hello"}},
		{"several empty blocks", []string{"00 00 00 ff ff 00 00 00 ff ff 00"}, []string{""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, stream := newInflater(15), newInflater(15)
			for i, m := range test.messages {
				got, err := f.appendMessage([]byte("before "), unhex(t, m), 100)
				if err != nil || string(got) != "before "+test.want[i] {
					t.Errorf("message %d: %q appended, %v, want %q", i, got, err, test.want[i])
				}
				got, err = io.ReadAll(iotest.OneByteReader(stream.open(unhex(t, m), 100)))
				if err != nil || string(got) != test.want[i] {
					t.Errorf("message %d as a stream: %q, %v, want %q", i, got, err, test.want[i])
				}
			}
		})
	}
}

// asSent returns, in hexadecimal digits, bits that are given in the order in
// which they are sent.
func asSent(digits string) string {
	var b []byte
	n := 0
	for _, c := range strings.ReplaceAll(digits, " ", "") {
		if n%8 == 0 {
			b = append(b, 0)
		}
		b[n/8] |= byte(c-'0') << (n % 8)
		n++
	}
	return hex.EncodeToString(b)
}

// TestInflateFailures has what is not a whole message. None of it ends without
// an error.
func TestInflateFailures(t *testing.T) {
	for _, test := range []struct {
		name, message string
		want          error
	}{
		{"no byte", "", errDeflateTruncated},
		{"block type 3", "06", errDeflateInvalid},
		{"block type 3 after a block with BFINAL", "f3 48 cd c9 c9 07 00 07", errDeflateInvalid},
		{"without the empty block", "f2 48 cd c9 c9 07", errDeflateTruncated},
		{"inside a block", "f2 48 cd c9", errDeflateTruncated},
		{"inside a header", "05", errDeflateTruncated},
		{"LEN cut", "00 05", errDeflateTruncated},
		{"NLEN cut", "00 05 00 fa", errDeflateTruncated},
		{"NLEN wrong", "00 05 00 fa fe 48 65 6c 6c 6f 00", errDeflateInvalid},
		{"stored bytes cut", "00 05 00 fa ff 48 65 6c 6c", errDeflateTruncated},
		{"stored block that 00 00 ff ff would complete", "00 05 00 fa ff 48", errDeflateTruncated},
		{"stored block of 4 bytes without any", "00 04 00 fb ff", errDeflateTruncated},
		{"stored bytes without the empty block", "00 05 00 fa ff 48 65 6c 6c 6f", errDeflateTruncated},
		{"distance before the beginning", asSent("0 10 0000001 00000 0000000 0 00"), errDeflateInvalid},
		{"distance one too far", asSent("0 10 10010001 0000001 00001 0000000 0 00"), errDeflateInvalid},
		{"length symbol 286", asSent("0 10 10010001 11000110 00000 0000000 0 00"), errDeflateInvalid},
		{"distance symbol 30", asSent("0 10 10010001 0000001 11110 0000000 0 00"), errDeflateInvalid},
		{"reference without history", "f2 00 11 00 00", errDeflateInvalid},
		{"287 literal codes", asSent("0 01 01111 00000 0000" + strings.Repeat("0", 64)), errDeflateInvalid},
		{"31 distance codes", asSent("0 01 00000 01111 0000" + strings.Repeat("0", 64)), errDeflateInvalid},
		{"no code for the lengths", asSent("0 01 00000 00000 0000" + strings.Repeat("0", 64)), errDeflateInvalid},
		{"too many short codes for the lengths", asSent("0 01 00000 00000 0000 100 100 100 100" + strings.Repeat("0", 64)), errDeflateInvalid},
		{"codes for the lengths that leave one unused", asSent("0 01 00000 00000 0000 010 010 010 000" + strings.Repeat("0", 64)), errDeflateInvalid},
		{"repetition of no length", asSent("0 01 00000 00000 0000 100 100 000 000 0" + strings.Repeat("0", 64)), errDeflateInvalid},
		{"repetition beyond the last length", asSent("0 01 00000 00000 0000 000 000 100 100 1 1111111 1 1111111 0" + strings.Repeat("0", 64)), errDeflateInvalid},
		{"no code for the end of the block", asSent("0 01 00000 00000 0000 000 000 100 100 1 1111111 1 0101011 1 0000000" + strings.Repeat("0", 64)), errDeflateInvalid},
	} {
		t.Run(test.name, func(t *testing.T) {
			dst := []byte("before")
			got, err := new(inflater).appendMessage(dst, unhex(t, test.message), 100)
			if err != test.want || string(got) != "before" {
				t.Errorf("appended %q, %v, want nothing and: %v", got, err, test.want)
			}
			_, err = io.ReadAll(new(inflater).open(unhex(t, test.message), 100))
			if err != test.want {
				t.Errorf("as a stream: %v, want %v", err, test.want)
			}
			var p *ProtocolError
			if !errors.As(err, &p) || p.Code != StatusInvalidPayload {
				t.Errorf("%v is not a *ProtocolError of code 1007", err)
			}
			if _, _, err := oracleInflate(nil, unhex(t, test.message)); err == nil {
				t.Errorf("the oracle inflates this: the case is wrong")
			}
		})
	}
}

// TestInflateCut cuts messages at every byte: none is taken for a shorter one.
func TestInflateCut(t *testing.T) {
	c := newCorpus(3)
	for _, size := range []int{60, 300, 1024} {
		for _, level := range []int{1, 9} {
			message := newDeflater(level, 15).appendMessage(nil, c.message(size))
			for cut := range message {
				if got, err := new(inflater).appendMessage(nil, message[:cut], math.MaxInt64); err != errDeflateTruncated {
					t.Fatalf("%d of %d bytes: inflated to %d bytes, %v, want %v", cut, len(message), len(got), err, errDeflateTruncated)
				}
			}
		}
	}
}

// TestInflateLimit: as many bytes as the limit are a message, one more is not.
func TestInflateLimit(t *testing.T) {
	for _, size := range []int{0, 1, 5, 511, 512, 513, 32 << 10, 64 << 10, 64<<10 + 1, 200_000} {
		for name, p := range map[string][]byte{"zeroes": make([]byte, size), "noise": corpusNoise(uint64(size), size)} {
			message := newDeflater(defaultLevel, 15).appendMessage(nil, p)
			for _, test := range []struct {
				limit int
				want  error
			}{{size - 1, errMessageTooBig}, {size, nil}, {size + 1, nil}, {0, errMessageTooBig}, {math.MaxInt, nil}} {
				if test.limit < 0 || test.limit == 0 && size == 0 {
					continue
				}
				got, err := new(inflater).appendMessage(nil, message, int64(test.limit))
				if err != test.want || err == nil && !bytes.Equal(got, p) {
					t.Errorf("%d %s, limit %d: %d bytes, %v, want %v", size, name, test.limit, len(got), err, test.want)
				}
				got, err = io.ReadAll(new(inflater).open(message, int64(test.limit)))
				if err != test.want || !bytes.Equal(got, p[:min(size, test.limit)]) {
					t.Errorf("%d %s as a stream, limit %d: %d bytes, %v, want %v", size, name, test.limit, len(got), err, test.want)
				}
			}
		}
	}
}

// TestInflateBomb: 8 KiB that stand for 8 MiB cost no more than the limit lets
// them.
func TestInflateBomb(t *testing.T) {
	bomb := newDeflater(9, 15).appendMessage(nil, make([]byte, 8<<20))
	if len(bomb) > 10<<10 {
		t.Fatalf("the bomb has %d bytes, want about 8 KiB", len(bomb))
	}
	const limit = 64 << 10
	for name, inflate := range map[string]func() error{
		"appendMessage": func() error { _, err := newInflater(15).appendMessage(nil, bomb, limit); return err },
		"stream":        func() error { return newInflater(15).open(bomb, limit).skip() },
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		err := inflate()
		runtime.ReadMemStats(&after)
		if err != errMessageTooBig {
			t.Errorf("%s: %v, want %v", name, err, errMessageTooBig)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
			t.Errorf("%s: %d bytes were allocated, want less than 1 MiB", name, got)
		}
	}
}

// TestInflateHistory: no more is kept than the peer's window, with some room
// for the next message, and no more than there has been.
func TestInflateHistory(t *testing.T) {
	for windowBits := minWindowBits; windowBits <= maxWindowBits; windowBits++ {
		d, f := newDeflater(defaultLevel, windowBits), newInflater(windowBits)
		c := newCorpus(uint64(windowBits))
		if cap(f.history) != 0 {
			t.Error("memory is taken before the first message")
		}
		total := 0
		for range 200 {
			p := c.message(700)
			got, err := f.appendMessage(nil, d.appendMessage(nil, p), 1<<20)
			if err != nil || !bytes.Equal(got, p) {
				t.Fatalf("%d bits: %v, want the message back", windowBits, err)
			}
			total += len(p)
			window := 1 << max(windowBits, 9)
			if most := min(window+window/4, 2*total); cap(f.history) > most {
				t.Fatalf("%d bits: %d bytes are kept after %d, want at most %d", windowBits, cap(f.history), total, most)
			}
		}
	}
}

// TestInflateSkip: what is skipped is part of the history.
func TestInflateSkip(t *testing.T) {
	d, f := newDeflater(defaultLevel, 15), newInflater(15)
	c := newCorpus(4)
	for i := range 30 {
		p := c.message(10_000)
		message := d.appendMessage(nil, p)
		r := f.open(message, 1<<20)
		if i%3 == 2 {
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, p) {
				t.Fatalf("message %d: %d bytes, %v, want %d", i, len(got), err, len(p))
			}
			continue
		}
		io.ReadFull(r, make([]byte, i*100))
		if err := r.skip(); err != nil {
			t.Fatalf("message %d: %v when skipped", i, err)
		}
		if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("message %d: after skipping %d bytes are read, %v, want the end", i, n, err)
		}
	}
}

func TestInflateReleased(t *testing.T) {
	r := new(inflater).open(unhex(t, "f2 48 cd c9 c9 07 00"), 10)
	r.Read(make([]byte, 2))
	r.release()
	if n, err := r.Read(make([]byte, 2)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("reading after the memory has been given back: %d bytes, %v, want an error", n, err)
	}
}

// TestInflateAllocs: inflating into memory that is there allocates nothing.
func TestInflateAllocs(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	p := newCorpus(5).message(1024)
	message := newDeflater(defaultLevel, 15).appendMessage(nil, p)
	for name, f := range map[string]*inflater{"no takeover": {}, "takeover": newInflater(10)} {
		dst := make([]byte, 0, 2048)
		got := testing.AllocsPerRun(100, func() {
			if _, err := f.appendMessage(dst, message, 1<<20); err != nil {
				t.Fatal(err)
			}
		})
		if got >= 1 {
			t.Errorf("%s: %v allocations for a message, want none", name, got)
		}
	}
}

// FuzzInflate: what the oracle inflates is inflated alike, whole and as a
// stream, and compress/flate agrees; all else is refused.
func FuzzInflate(f *testing.F) {
	for _, s := range []string{"f2 48 cd c9 c9 07 00", "f3 48 cd c9 c9 07 00 f2 00 11 00 00", "00 05 00 fa ff 48 65 6c 6c 6f 00", "00", "f2 00 11 00 00"} {
		f.Add([]byte("Hello"), unhex(f, s))
	}
	f.Add([]byte{}, unhex(f, asSent("0 10 10010001 0000001 11110 0000000 0 00"))) // a distance that means nothing
	c := newCorpus(6)
	for i, level := range []int{1, 3, 9} {
		f.Add([]byte{}, newDeflater(level, 15).appendMessage(nil, c.message(100<<(2*i))))
	}
	f.Fuzz(func(t *testing.T, history, message []byte) {
		const limit = 1 << 20
		want, _, wantErr := oracleInflate(history, message)
		if wantErr == nil && len(want) > limit {
			t.Skip("over the limit")
		}
		whole := &inflater{window: 1 << 15, history: bytes.Clone(history[max(0, len(history)-1<<15):])}
		stream := &inflater{window: 1 << 15, history: bytes.Clone(whole.history)}
		got, err := whole.appendMessage(nil, message, limit)
		if (err == nil) != (wantErr == nil) && err != errMessageTooBig { // the oracle goes up to 4 MiB
			t.Fatalf("%x: %v, the oracle has %v", message, err, wantErr)
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%x:\n got %x\nwant %x", message, got, want)
		}
		got, streamErr := io.ReadAll(stream.open(message, limit))
		if streamErr != err {
			t.Fatalf("%x: %v as a stream, %v whole", message, streamErr, err)
		}
		if err != nil {
			return
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%x as a stream:\n got %x\nwant %x", message, got, want)
		}
		if !bytes.Equal(whole.recent(), stream.recent()) {
			t.Fatalf("%x: %d bytes of history after the message as a stream, not those of the whole", message, len(stream.recent()))
		}
		if got, err := flateInflate(history, message); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%x: compress/flate has %x, %v\nwant %x", message, got, err, want)
		}
	})
}

func BenchmarkInflate(b *testing.B) {
	for _, takeover := range []bool{false, true} {
		for _, size := range []int{256, 1 << 10, 64 << 10} {
			b.Run(fmt.Sprintf("takeover=%t/%dB", takeover, size), func(b *testing.B) {
				var compressed [][]byte
				d := newDeflater(defaultLevel, 15)
				total := 0
				for _, p := range newCorpus(1).messages(64+128<<10/size, size) {
					if !takeover {
						d.forget()
					}
					compressed = append(compressed, d.appendMessage(nil, p))
					total += len(p)
				}
				b.SetBytes(int64(total / len(compressed)))
				b.ReportAllocs()
				f := new(inflater)
				var dst []byte
				for i := 0; b.Loop(); i++ {
					if i %= len(compressed); i == 0 && takeover {
						f.window, f.history = 1<<15, f.history[:0]
					}
					var err error
					if dst, err = f.appendMessage(dst[:0], compressed[i], 1<<20); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
