package websocket

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"testing"
)

// maskByteByByte is section 5.3 to the letter: octet i of the payload is XORed
// with octet i modulo 4 of the key.
func maskByteByByte(payload []byte, key [4]byte, pos int) []byte {
	masked := make([]byte, len(payload))
	for i, b := range payload {
		masked[i] = b ^ key[(pos+i)%4]
	}
	return masked
}

// TestMaskExample is the masked text of section 5.7.
func TestMaskExample(t *testing.T) {
	b := []byte("Hello")
	if next := Mask(b, [4]byte{0x37, 0xfa, 0x21, 0x3d}, 0); next != 1 {
		t.Errorf("the place after five bytes is %d, want 1", next)
	}
	if want := []byte{0x7f, 0x9f, 0x4d, 0x51, 0x58}; !bytes.Equal(b, want) {
		t.Errorf(`"Hello" was masked as % x, want % x`, b, want)
	}
}

// TestMask compares with the byte loop for every length around the sizes the
// loops work in, every alignment and every place, and looks at the bytes
// beside the slice.
func TestMask(t *testing.T) {
	key := [4]byte{0x01, 0x20, 0x44, 0x8f}
	const room = 8
	memory := make([]byte, room+300+room)
	for length := range 300 {
		for offset := range room {
			for pos := range 4 {
				for i := range memory {
					memory[i] = byte(i * 7)
				}
				before := bytes.Clone(memory)
				end := offset + length
				next := Mask(memory[offset:end], key, pos)

				if want := (pos + length) % 4; next != want {
					t.Fatalf("%d bytes from place %d end at place %d, want %d", length, pos, next, want)
				}
				if want := maskByteByByte(before[offset:end], key, pos); !bytes.Equal(memory[offset:end], want) {
					t.Fatalf("%d bytes at offset %d from place %d:\n got % x\nwant % x", length, offset, pos, memory[offset:end], want)
				}
				if !bytes.Equal(memory[:offset], before[:offset]) || !bytes.Equal(memory[end:], before[end:]) {
					t.Fatalf("masking %d bytes at offset %d changed bytes beside them", length, offset)
				}
			}
		}
	}
}

// TestMaskInto compares masking into other memory, and into memory that begins a
// little before, as a frame's header does, with the byte loop.
func TestMaskInto(t *testing.T) {
	key := [4]byte{0x01, 0x20, 0x44, 0x8f}
	for length := range 300 {
		for before := range 2*maxHeaderSize + 1 {
			for pos := range 4 {
				memory := make([]byte, before+length)
				for i := range memory {
					memory[i] = byte(i * 7)
				}
				src := memory[before:]
				want := maskByteByByte(src, key, pos)
				apart := bytes.Repeat([]byte{0xDB}, length+1)
				for name, dst := range map[string][]byte{"memory apart": apart, "memory that overlaps": memory} {
					if next := maskInto(dst, src, key, pos); next != (pos+length)%4 {
						t.Fatalf("%d bytes from place %d end at place %d, want %d", length, pos, next, (pos+length)%4)
					}
					if !bytes.Equal(dst[:length], want) {
						t.Fatalf("%d bytes into %s, %d bytes before, from place %d:\n got % x\nwant % x", length, name, before, pos, dst[:length], want)
					}
					copy(src, maskByteByByte(want, key, pos)) // as it was
				}
				if apart[length] != 0xDB {
					t.Fatalf("masking %d bytes wrote beyond them", length)
				}
			}
		}
	}
}

// TestMaskPlaceModulo4: any int is a place, also the whole count of the bytes
// before.
func TestMaskPlaceModulo4(t *testing.T) {
	const maxInt = int(^uint(0) >> 1)
	key := [4]byte{1, 2, 3, 4}
	for _, test := range []struct{ pos, modulo4 int }{
		{4, 0}, {7, 3}, {1 << 20, 0}, {maxInt, 3}, {-1, 3}, {-4, 0}, {-maxInt - 1, 0},
	} {
		b := make([]byte, 11)
		next := Mask(b, key, test.pos)
		if want := maskByteByByte(make([]byte, 11), key, test.modulo4); !bytes.Equal(b, want) {
			t.Errorf("place %d: % x, want % x as from place %d", test.pos, b, want, test.modulo4)
		}
		if want := (test.modulo4 + 11) % 4; next != want {
			t.Errorf("place %d: the place after 11 bytes is %d, want %d", test.pos, next, want)
		}
	}
}

func TestMaskAllocations(t *testing.T) {
	b := make([]byte, 1023)
	if n := testing.AllocsPerRun(100, func() { Mask(b, [4]byte{1, 2, 3, 4}, 1) }); n != 0 {
		t.Errorf("Mask allocated %v times, want never", n)
	}
}

// FuzzMask compares with the byte loop at any alignment and place, and a
// payload in pieces with the whole. The bytes of cuts are the pieces' sizes.
func FuzzMask(f *testing.F) {
	f.Add([]byte("Hello"), uint32(0x37fa213d), 0, uint8(0), []byte{3})
	f.Add(bytes.Repeat([]byte("0123456789abcde"), 20), uint32(0x01020304), 3, uint8(5), []byte{1, 0, 64, 63, 65})
	f.Add(make([]byte, 129), uint32(0x80000001), 2, uint8(63), []byte{64})
	f.Add([]byte{}, uint32(0), -1, uint8(1), []byte{})
	f.Fuzz(func(t *testing.T, payload []byte, key32 uint32, pos int, offset uint8, cuts []byte) {
		var key [4]byte
		binary.BigEndian.PutUint32(key[:], key32)
		pos3 := int(uint(pos) % 4)
		want := maskByteByByte(payload, key, pos3)
		wantNext := (pos3 + len(payload)) % 4

		// Between guards, at one of 64 alignments.
		const guard = 0xA5
		before := int(offset%64) + 1
		memory := bytes.Repeat([]byte{guard}, before+len(payload)+64)
		b := memory[before : before+len(payload)]
		copy(b, payload)
		if next := Mask(b, key, pos); next != wantNext || !bytes.Equal(b, want) {
			t.Fatalf("% x with key % x from place %d:\n got % x, then place %d\nwant % x, then place %d",
				payload, key, pos, b, next, want, wantNext)
		}
		beside := append(bytes.Clone(memory[:before]), memory[before+len(payload):]...)
		if bytes.Count(beside, []byte{guard}) != len(beside) {
			t.Fatalf("masking %d bytes changed bytes beside them", len(payload))
		}

		// Unmasking what was masked, in pieces.
		rest, next := b, pos
		for _, cut := range cuts {
			n := min(int(cut), len(rest))
			next = Mask(rest[:n], key, next)
			rest = rest[n:]
		}
		next = Mask(rest, key, next)
		if next != wantNext || !bytes.Equal(b, payload) {
			t.Fatalf("% x was masked whole and unmasked in pieces of %v: % x, then place %d", payload, cuts, b, next)
		}
	})
}

func BenchmarkMask(b *testing.B) {
	for _, bench := range []struct {
		name string
		size int
	}{
		{"16B", 16}, {"128B", 128}, {"1KiB", 1 << 10}, {"16KiB", 16 << 10}, {"1MiB", 1 << 20},
	} {
		b.Run(bench.name, func(b *testing.B) {
			payload := make([]byte, bench.size)
			key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
			b.SetBytes(int64(bench.size))
			b.ReportAllocs()
			for b.Loop() {
				Mask(payload, key, 0)
			}
		})
	}
}

// BenchmarkMaskTail has the lengths that are worst for the loops: the most
// that is left over for the smaller ones.
func BenchmarkMaskTail(b *testing.B) {
	for _, size := range []int{7, 15, 63, 127, 1023} {
		b.Run(strconv.Itoa(size)+"B", func(b *testing.B) {
			payload := make([]byte, size)
			key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				Mask(payload, key, 1)
			}
		})
	}
}
