package websocket

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// checkInflates inflates message, which was made of p with history before it,
// with all that inflates here.
func checkInflates(t *testing.T, history, p, message []byte, windowBits int) {
	t.Helper()
	history = history[max(0, len(history)-1<<windowBits):]
	got, err := flateInflate(history, message)
	if err != nil || !bytes.Equal(got, p) {
		t.Fatalf("compress/flate inflates %d bytes to %d, %v, want %d", len(message), len(got), err, len(p))
	}
	f := &inflater{window: 1 << windowBits, history: bytes.Clone(history)}
	got, err = f.appendMessage(nil, message, int64(len(p)))
	if err != nil || !bytes.Equal(got, p) {
		t.Fatalf("%d bytes were inflated to %d, %v, want %d", len(message), len(got), err, len(p))
	}
	got, farthest, err := oracleInflate(history, message)
	if err != nil || !bytes.Equal(got, p) {
		t.Fatalf("the oracle inflates %d bytes to %d, %v, want %d", len(message), len(got), err, len(p))
	}
	if farthest > 1<<windowBits {
		t.Fatalf("a reference goes %d bytes back, want at most %d", farthest, 1<<windowBits)
	}
}

// TestDeflate compresses a long conversation at every level with every window,
// with and without context takeover.
func TestDeflate(t *testing.T) {
	c := newCorpus(1)
	r := rand.New(rand.NewPCG(1, 2))
	var messages [][]byte
	for _, size := range []int{0, 1, 2, 3, 4, 5, 100, 257, 258, 259, 1000, 5000} {
		messages = append(messages, c.message(size), make([]byte, size), corpusNoise(uint64(size), size))
	}
	for range 40 {
		messages = append(messages, c.message(r.IntN(3000)))
	}
	messages = append(messages, bytes.Repeat([]byte("abcde"), 9000), c.message(100_000), corpusNoise(9, 70_000))
	for range 20 {
		messages = append(messages, c.message(200))
	}
	for windowBits := minWindowBits; windowBits <= maxWindowBits; windowBits++ {
		for level := 1; level <= 9; level++ {
			if testing.Short() && (level+windowBits)%4 > 0 {
				continue
			}
			t.Run(fmt.Sprintf("%d bits, level %d", windowBits, level), func(t *testing.T) {
				t.Parallel()
				d := newDeflater(level, windowBits)
				var history []byte
				for _, p := range messages {
					before := bytes.Clone(p)
					message := d.appendMessage([]byte("before"), p)
					if !bytes.HasPrefix(message, []byte("before")) {
						t.Fatal("what was in dst has been changed")
					}
					checkInflates(t, history, p, message[6:], windowBits)

					pooled := getDeflater(level, windowBits)
					message = pooled.appendMessage(nil, p)
					putDeflater(pooled)
					checkInflates(t, nil, p, message, windowBits)
					if !bytes.Equal(p, before) {
						t.Fatal("the message itself has been changed")
					}
					history = append(history, p...)
					history = history[max(0, len(history)-1<<15):]
				}
			})
		}
	}
}

// TestDeflateSizes compresses messages of up to 1 MiB one after another.
func TestDeflateSizes(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	c := newCorpus(2)
	for _, windowBits := range []int{8, 11, 15} {
		d, f := newDeflater(defaultLevel, windowBits), newInflater(windowBits)
		for range 60 {
			size := r.IntN(1 << r.IntN(21))
			p := [][]byte{c.message(size), corpusNoise(uint64(size), size), make([]byte, size)}[r.IntN(3)]
			message := d.appendMessage(nil, p)
			got, err := f.appendMessage(nil, message, int64(len(p)))
			if err != nil || !bytes.Equal(got, p) {
				t.Fatalf("%d bits: %d of %d bytes, %v, want the message back", windowBits, len(got), len(p), err)
			}
		}
	}
}

// TestDeflateExpansion: what cannot be compressed grows by 5 bytes for each
// block, and one for the message.
func TestDeflateExpansion(t *testing.T) {
	for _, size := range []int{0, 1, 10, 100, 1000, 10_000, maxBlock, maxStored, 1 << 20} {
		d := newDeflater(defaultLevel, 15)
		got := len(d.appendMessage(nil, corpusNoise(5, size)))
		if most := size + 5*(2*size/maxBlock+1) + 1; got > most {
			t.Errorf("%d bytes that cannot be compressed became %d, want at most %d", size, got, most)
		}
	}
}

// TestDeflateSmall: an empty message is an empty block (RFC 7692, section
// 7.2.3.6), a short one is as in section 7.2.3.1, and refers to the one before
// it (7.2.3.2).
func TestDeflateSmall(t *testing.T) {
	d := newDeflater(defaultLevel, 15)
	for _, test := range []struct{ p, want string }{
		{"", "00"},
		{"Hello", "f2 48 cd c9 c9 07 00"},
		{"Hello", "02 13 00 00"}, // all five bytes by one reference
		{"", "00"},
	} {
		if got := d.appendMessage(nil, []byte(test.p)); !bytes.Equal(got, unhex(t, test.want)) {
			t.Errorf("%q became % x, want %s", test.p, got, test.want)
		}
	}
}

// TestDeflateStream: a message written in pieces leaves as it comes, and is
// whole.
func TestDeflateStream(t *testing.T) {
	c := newCorpus(7)
	r := rand.New(rand.NewPCG(5, 6))
	for _, takeover := range []bool{false, true} {
		for _, windowBits := range []int{8, 12, 15} {
			kept := newDeflater(defaultLevel, windowBits)
			f := &inflater{}
			if takeover {
				f = newInflater(windowBits)
			}
			for i := range 40 {
				p := c.message(r.IntN(1 << (4 + i%16)))
				d := kept
				if !takeover {
					d = getDeflater(defaultLevel, windowBits)
				}
				d.begin(-1)
				var message []byte
				begun := 0 // bytes written when the first ones came out
				for rest := p; len(rest) > 0; {
					n := min(len(rest), 1+r.IntN(1<<r.IntN(18)))
					message = d.write(message, rest[:n])
					rest = rest[n:]
					if len(message) > 0 && begun == 0 {
						begun = len(p) - len(rest)
					}
				}
				message = d.finish(message)
				if !takeover {
					putDeflater(d)
				}
				if len(p) > 2*largeBuffer && begun == 0 {
					t.Errorf("nothing came out before the end of %d bytes", len(p))
				}
				got, err := f.appendMessage(nil, message, int64(len(p)))
				if err != nil || !bytes.Equal(got, p) {
					t.Fatalf("takeover %t, %d bits, message %d: %d of %d bytes, %v", takeover, windowBits, i, len(got), len(p), err)
				}
			}
		}
	}
}

// TestDeflateForget: after forget a message is inflated without those before.
func TestDeflateForget(t *testing.T) {
	d := newDeflater(defaultLevel, 15)
	c := newCorpus(8)
	var history []byte
	for i := range 100 {
		if i%3 == 0 {
			d.forget()
			history = nil
		}
		p := c.message(i * 30)
		checkInflates(t, history, p, d.appendMessage(nil, p), 15)
		history = append(history, p...)
	}
}

// TestDeflateRepeats: without context takeover equal messages become equal
// bytes, whatever was compressed before them.
func TestDeflateRepeats(t *testing.T) {
	c := newCorpus(9)
	for _, size := range []int{50, 1000, 30_000, 70_000, 100_000} {
		p := c.message(size)
		var want []byte
		between := c.messages(50, 1500) // positions come round every 40
		for i := range 100 {
			d := getDeflater(defaultLevel, 15)
			got := d.appendMessage(nil, p)
			if i == 0 {
				want = got
			} else if !bytes.Equal(got, want) {
				t.Fatalf("%d bytes, time %d: %d bytes came out, want the same as the first time, %d", size, i, len(got), len(want))
			}
			d.appendMessage(nil, between[i%len(between)])
			putDeflater(d)
		}
	}
}

// TestDeflateRatio: messages that resemble each other become as small as they
// should. It would fail if matches were lost, which no other test sees.
func TestDeflateRatio(t *testing.T) {
	messages := newCorpus(1).messages(200, 1024)
	for _, test := range []struct {
		level    int
		takeover bool
		want     float64
	}{
		{1, false, 0.415}, {1, true, 0.30}, {defaultLevel, false, 0.395}, {defaultLevel, true, 0.27}, {9, false, 0.392}, {9, true, 0.255},
	} {
		d := newDeflater(test.level, 15)
		in, out := 0, 0
		for _, p := range messages {
			if !test.takeover {
				d.forget()
			}
			in += len(p)
			out += len(d.appendMessage(nil, p))
		}
		if got := float64(out) / float64(in); got > test.want {
			t.Errorf("level %d, takeover %t: %.4f of the size, want at most %.4f", test.level, test.takeover, got, test.want)
		}
	}
}

// TestDeflateMemory: what an idle connection keeps for both directions.
func TestDeflateMemory(t *testing.T) {
	for _, test := range []struct{ windowBits, most int }{{8, 3 << 10}, {12, 12 << 10}, {15, 96 << 10}} {
		d, f := newDeflater(defaultLevel, test.windowBits), newInflater(test.windowBits)
		if d.buf != nil || d.table != nil {
			t.Error("memory is taken before the first message")
		}
		c := newCorpus(10)
		for i := range 60 {
			p := c.message((i % 30) * (i % 30) * 30)
			if _, err := f.appendMessage(nil, d.appendMessage(nil, p), 1<<20); err != nil {
				t.Fatal(err)
			}
			if d.large != nil || d.small != nil || d.encoder != nil {
				t.Fatal("pooled memory is kept between messages")
			}
		}
		kept := cap(d.buf) + 8*len(d.table) + cap(f.history)
		t.Logf("%d bits: %d bytes", test.windowBits, kept)
		if kept > test.most {
			t.Errorf("%d bits: %d bytes are kept, want at most %d", test.windowBits, kept, test.most)
		}
	}
}

// TestDeflateAllocs: compressing into memory that is there allocates nothing.
func TestDeflateAllocs(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector allocates")
	}
	p := newCorpus(11).message(1024)
	kept := newDeflater(defaultLevel, 15)
	for name, deflate := range map[string]func(dst []byte){
		"takeover": func(dst []byte) { kept.appendMessage(dst, p) },
		"no takeover": func(dst []byte) {
			d := getDeflater(defaultLevel, 15)
			d.appendMessage(dst, p)
			putDeflater(d)
		},
	} {
		dst := make([]byte, 0, 2048)
		for range 100 {
			deflate(dst)
		}
		if got := testing.AllocsPerRun(100, func() { deflate(dst) }); got >= 1 {
			t.Errorf("%s: %v allocations for a message, want none", name, got)
		}
	}
}

// FuzzDeflate cuts data into messages and compresses them with all that can be
// chosen.
func FuzzDeflate(f *testing.F) {
	c := newCorpus(12)
	f.Add(c.message(3000), uint8(3), uint8(15), uint8(3), true)
	f.Add(c.message(3000), uint8(9), uint8(8), uint8(200), false)
	f.Add(bytes.Repeat([]byte{0}, 2000), uint8(1), uint8(9), uint8(1), true)
	f.Add(corpusNoise(1, 600), uint8(5), uint8(10), uint8(0), true)
	f.Fuzz(func(t *testing.T, data []byte, level, windowBits, cut uint8, whole bool) {
		level = 1 + level%9
		bits := minWindowBits + int(windowBits%8)
		d := newDeflater(int(level), bits)
		var history []byte
		for rest := data; ; {
			n := min(len(rest), int(cut)*(1+len(history)%7)+len(data)/32+1)
			p := rest[:n]
			rest = rest[n:]
			var message []byte
			if whole {
				message = d.appendMessage(nil, p)
			} else {
				d.begin(-1)
				message = d.write(d.write(nil, p[:n/2]), p[n/2:])
				message = d.finish(message)
			}
			checkInflates(t, history, p, message, bits)
			history = append(history, p...)
			if len(rest) == 0 {
				break
			}
		}
		pooled := getDeflater(int(level), bits)
		message := pooled.appendMessage(nil, data)
		putDeflater(pooled)
		checkInflates(t, nil, data, message, bits)
	})
}

// BenchmarkDeflate reports what fraction of the size remains as ratio.
func BenchmarkDeflate(b *testing.B) {
	for _, size := range []int{256, 1 << 10, 64 << 10} {
		messages := newCorpus(1).messages(64+128<<10/size, size) // none comes again within the window
		for _, takeover := range []bool{false, true} {
			for _, level := range []int{1, defaultLevel, 6, 9} {
				b.Run(fmt.Sprintf("%dB/takeover=%t/level=%d", size, takeover, level), func(b *testing.B) {
					b.ReportAllocs()
					kept := newDeflater(level, 15)
					var dst []byte
					in, out := 0, 0
					for i := 0; b.Loop(); i++ {
						p := messages[i%len(messages)]
						if takeover {
							dst = kept.appendMessage(dst[:0], p)
						} else {
							d := getDeflater(level, 15)
							dst = d.appendMessage(dst[:0], p)
							deflaters.Put(d) // without poisoning
						}
						in += len(p)
						out += len(dst)
					}
					b.SetBytes(int64(in / b.N))
					b.ReportMetric(float64(out)/float64(in), "ratio")
				})
			}
		}
	}
}
