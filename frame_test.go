package websocket

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// unhex decodes hexadecimal digits; spaces are ignored.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestOpcode(t *testing.T) {
	names := map[Opcode]string{
		0x0: "continuation", 0x1: "text", 0x2: "binary",
		0x8: "close", 0x9: "ping", 0xA: "pong",
	}
	for o := Opcode(0); o < 16; o++ {
		want, defined := names[o]
		if !defined {
			want = fmt.Sprintf("opcode %d", int(o))
		}
		if got := o.String(); got != want {
			t.Errorf("Opcode(%d).String() = %q, want %q", int(o), got, want)
		}
		if got, want := o.IsControl(), o >= 8; got != want {
			t.Errorf("Opcode(%d).IsControl() = %v: section 5.5 makes 8 to 15 control opcodes", int(o), got)
		}
	}
}

// TestFrameHeaderExamples decodes and encodes the headers of section 5.7.
func TestFrameHeaderExamples(t *testing.T) {
	key := [4]byte{0x37, 0xfa, 0x21, 0x3d}
	for _, test := range []struct {
		name string
		wire string
		want FrameHeader
	}{
		{"single-frame unmasked text", "81 05", FrameHeader{Fin: true, Opcode: OpText, Length: 5}},
		{"single-frame masked text", "81 85 37fa213d", FrameHeader{Fin: true, Opcode: OpText, Masked: true, MaskKey: key, Length: 5}},
		{"first fragment of a text", "01 03", FrameHeader{Opcode: OpText, Length: 3}},
		{"last fragment of a text", "80 02", FrameHeader{Fin: true, Opcode: OpContinuation, Length: 2}},
		{"unmasked Ping", "89 05", FrameHeader{Fin: true, Opcode: OpPing, Length: 5}},
		{"masked Pong", "8a 85 37fa213d", FrameHeader{Fin: true, Opcode: OpPong, Masked: true, MaskKey: key, Length: 5}},
		{"256 bytes of binary data", "82 7e 0100", FrameHeader{Fin: true, Opcode: OpBinary, Length: 256}},
		{"64 KiB of binary data", "82 7f 0000000000010000", FrameHeader{Fin: true, Opcode: OpBinary, Length: 65536}},
		{"every reserved bit", "f1 00", FrameHeader{Fin: true, RSV1: true, RSV2: true, RSV3: true, Opcode: OpText}},
		{"RSV1", "41 00", FrameHeader{RSV1: true, Opcode: OpText}},
		{"RSV2", "21 00", FrameHeader{RSV2: true, Opcode: OpText}},
		{"RSV3", "11 00", FrameHeader{RSV3: true, Opcode: OpText}},
	} {
		wire := unhex(t, test.wire)
		h, n, err := ParseFrameHeader(wire)
		if h != test.want || n != len(wire) || err != nil {
			t.Errorf("%s: ParseFrameHeader(% x) = %+v, %d, %v\nwant %+v, %d", test.name, wire, h, n, err, test.want, len(wire))
		}
		if got := test.want.Append(nil); !bytes.Equal(got, wire) {
			t.Errorf("%s: Append wrote % x, want % x", test.name, got, wire)
		}
	}
}

// lengthVectors are the payload lengths on both sides of every boundary, with
// the bytes that section 5.2 asks for.
var lengthVectors = []struct {
	length int64
	wire   string // the second byte, MASK clear, and what follows it
}{
	{0, "00"},
	{1, "01"},
	{125, "7d"},
	{126, "7e 007e"},
	{127, "7e 007f"},
	{128, "7e 0080"},
	{65535, "7e ffff"},
	{65536, "7f 0000000000010000"},
	{math.MaxInt32, "7f 000000007fffffff"},
	{math.MaxInt32 + 1, "7f 0000000080000000"},
	{math.MaxUint32, "7f 00000000ffffffff"},
	{math.MaxUint32 + 1, "7f 0000000100000000"},
	{math.MaxInt64, "7f 7fffffffffffffff"},
}

// TestFrameHeaderRoundTrip goes through every first byte, every length at a
// boundary, masked and not: the header is encoded as section 5.2 says, decodes
// to itself whatever follows it, and needs its last byte.
func TestFrameHeaderRoundTrip(t *testing.T) {
	key := [4]byte{0x80, 0x01, 0xff, 0x7e}
	for b0 := range 256 {
		for _, v := range lengthVectors {
			for _, masked := range []bool{false, true} {
				h := FrameHeader{
					Fin:    b0 >= 128,
					RSV1:   b0/64%2 == 1,
					RSV2:   b0/32%2 == 1,
					RSV3:   b0/16%2 == 1,
					Opcode: Opcode(b0 % 16),
					Length: v.length,
				}
				want := append([]byte{byte(b0)}, unhex(t, v.wire)...)
				if masked {
					h.Masked, h.MaskKey = true, key
					want[1] += 0x80
					want = append(want, key[:]...)
				}

				dst := []byte("before")
				got := h.Append(dst)
				if !bytes.Equal(got, append(dst, want...)) {
					t.Fatalf("%+v was appended as % x, want % x after the bytes already there", h, got, want)
				}
				if len(want) > maxHeaderSize {
					t.Fatalf("%+v takes %d bytes, more than maxHeaderSize", h, len(want))
				}

				parsed, n, err := ParseFrameHeader(append(want, 0xff, 0xff))
				if parsed != h || n != len(want) || err != nil {
					t.Fatalf("ParseFrameHeader(% x ff ff) = %+v, %d, %v\nwant %+v, %d", want, parsed, n, err, h, len(want))
				}
				for cut := range want {
					parsed, n, err := ParseFrameHeader(want[:cut])
					if parsed != (FrameHeader{}) || n != 0 || err != nil {
						t.Fatalf("the first %d bytes of % x gave %+v, %d, %v\nwant a request for more bytes", cut, want, parsed, n, err)
					}
				}
			}
		}
	}
}

// TestFrameHeaderIgnoresWhatHasNoPlace: a key without the MASK bit is not on
// the wire, and the high bits of an opcode do not reach the RSV bits.
func TestFrameHeaderIgnoresWhatHasNoPlace(t *testing.T) {
	h := FrameHeader{Opcode: 0xF1, MaskKey: [4]byte{1, 2, 3, 4}}
	if got, want := h.Append(nil), []byte{0x01, 0x00}; !bytes.Equal(got, want) {
		t.Errorf("%+v was appended as % x, want % x: no key without MASK, and four bits of opcode", h, got, want)
	}
}

func TestFrameHeaderAppendNegativeLength(t *testing.T) {
	for _, length := range []int64{-1, -128, math.MinInt64} {
		for _, masked := range []bool{false, true} {
			wire := FrameHeader{Fin: true, Opcode: OpBinary, Masked: masked, Length: length}.Append(nil)
			if got := wire[1]&maskBit != 0; got != masked {
				t.Errorf("length %d, masked %v: appended as % x, whose MASK bit says %v", length, masked, wire, got)
			}
			if h, n, err := ParseFrameHeader(wire); err != errLengthTopBit || n != 0 {
				t.Errorf("length %d, masked %v: appended as % x, which parses as %+v, %d, %v\nwant a length that every receiver refuses",
					length, masked, wire, h, n, err)
			}
		}
	}
}

// TestParseFrameHeaderErrors: section 5.2 demands "the minimal number of bytes"
// for the length and, in 64 bits, "the most significant bit MUST be 0".
func TestParseFrameHeaderErrors(t *testing.T) {
	for _, test := range []struct {
		name   string
		length string // the second byte, MASK clear, and what follows it
		want   error
	}{
		{"0 in 16 bits", "7e 0000", errLengthNotMinimal},
		{"1 in 16 bits", "7e 0001", errLengthNotMinimal},
		{"125 in 16 bits", "7e 007d", errLengthNotMinimal},
		{"0 in 64 bits", "7f 0000000000000000", errLengthNotMinimal},
		{"125 in 64 bits", "7f 000000000000007d", errLengthNotMinimal},
		{"126 in 64 bits", "7f 000000000000007e", errLengthNotMinimal},
		{"65535 in 64 bits", "7f 000000000000ffff", errLengthNotMinimal},
		{"2^63", "7f 8000000000000000", errLengthTopBit},
		{"2^63 and 125", "7f 800000000000007d", errLengthTopBit},
		{"2^64-1", "7f ffffffffffffffff", errLengthTopBit},
	} {
		for _, masked := range []bool{false, true} {
			wire := append([]byte{0x82}, unhex(t, test.length)...)
			known := len(wire) // with these bytes the length is known
			if masked {
				wire[1] |= maskBit
				wire = append(wire, "key!"...)
			}
			for cut := range len(wire) + 1 {
				want := test.want
				if cut < known {
					want = nil
				}
				h, n, err := ParseFrameHeader(wire[:cut])
				if h != (FrameHeader{}) || n != 0 || err != want {
					t.Errorf("%s, masked %v: %d of %d bytes gave %+v, %d, %v\nwant a zero header and error %v",
						test.name, masked, cut, len(wire), h, n, err, want)
				}
			}
		}
		assertProtocolError(t, test.want)
	}
}

func assertProtocolError(t *testing.T, err error) {
	t.Helper()
	var pe *ProtocolError
	if !errors.As(err, &pe) || pe.Code != StatusProtocolError {
		t.Errorf("%#v is not a *ProtocolError with code 1002", err)
	}
}

// headerRules are the rules for a header, each on its own and in the RFC's
// terms.
var headerRules = []struct {
	section string
	rule    string
	err     error
	broken  func(h FrameHeader, ctx frameContext) bool
}{
	{"5.2", "RSV1, RSV2 and RSV3 are 0 without an extension", errReservedBits,
		func(h FrameHeader, ctx frameContext) bool { return h.RSV1 && !ctx.compressed || h.RSV2 || h.RSV3 }},
	{"RFC 7692, 6.1", "RSV1 is set on the first frame of a message only", errCompressedBit,
		func(h FrameHeader, ctx frameContext) bool {
			return ctx.compressed && h.RSV1 && (h.Opcode == 0 || h.Opcode >= 8)
		}},
	{"5.2", "opcodes 3 to 7 and 11 to 15 are reserved", errReservedOpcode,
		func(h FrameHeader, _ frameContext) bool {
			return bytes.IndexByte([]byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15}, byte(h.Opcode)) >= 0
		}},
	{"5.1", "a server does not mask", errMasked,
		func(h FrameHeader, ctx frameContext) bool { return !ctx.toServer && h.Masked }},
	{"5.1", "a client masks", errNotMasked,
		func(h FrameHeader, ctx frameContext) bool { return ctx.toServer && !h.Masked }},
	{"5.5", "a control frame is not fragmented", errControlFragmented,
		func(h FrameHeader, _ frameContext) bool { return h.Opcode >= 8 && !h.Fin }},
	{"5.5", "a control frame has at most 125 bytes of payload", errControlTooLong,
		func(h FrameHeader, _ frameContext) bool { return h.Opcode >= 8 && h.Length >= 126 }},
	{"5.4", "a continuation continues a message", errNothingToContinue,
		func(h FrameHeader, ctx frameContext) bool { return h.Opcode == 0 && !ctx.fragmented }},
	{"5.4", "fragments of two messages are not interleaved", errMessageInsideMessage,
		func(h FrameHeader, ctx frameContext) bool { return (h.Opcode == 1 || h.Opcode == 2) && ctx.fragmented }},
}

// brokenRules returns the errors of all rules that h breaks.
func brokenRules(h FrameHeader, ctx frameContext) (broken []error) {
	for _, r := range headerRules {
		if r.broken(h, ctx) {
			broken = append(broken, r.err)
		}
	}
	return broken
}

// TestFrameHeaderCheck has the cases by hand. Each breaks its rule and no
// other, as received by a server and, MASK turned over, by a client.
func TestFrameHeaderCheck(t *testing.T) {
	fresh, fragmented := frameContext{}, frameContext{fragmented: true}
	deflate, inDeflate := frameContext{compressed: true}, frameContext{compressed: true, fragmented: true}
	for _, test := range []struct {
		section string
		name    string
		h       FrameHeader
		ctx     frameContext
		want    error
	}{
		{"5.2", "text in one frame", FrameHeader{Fin: true, Opcode: OpText, Length: 5}, fresh, nil},
		{"5.2", "binary of the greatest length", FrameHeader{Fin: true, Opcode: OpBinary, Length: math.MaxInt64}, fresh, nil},
		{"5.4", "first fragment of a text", FrameHeader{Opcode: OpText}, fresh, nil},
		{"5.4", "first fragment of binary data", FrameHeader{Opcode: OpBinary}, fresh, nil},
		{"5.4", "fragment in the middle", FrameHeader{Opcode: OpContinuation}, fragmented, nil},
		{"5.4", "last fragment", FrameHeader{Fin: true, Opcode: OpContinuation}, fragmented, nil},
		{"5.5", "Close with 125 bytes", FrameHeader{Fin: true, Opcode: OpClose, Length: 125}, fresh, nil},
		{"5.5", "Ping without payload", FrameHeader{Fin: true, Opcode: OpPing}, fresh, nil},
		{"5.5", "Close between fragments", FrameHeader{Fin: true, Opcode: OpClose}, fragmented, nil},
		{"5.5", "Ping between fragments", FrameHeader{Fin: true, Opcode: OpPing}, fragmented, nil},
		{"5.5", "Pong between fragments", FrameHeader{Fin: true, Opcode: OpPong}, fragmented, nil},
		{"RFC 7692, 6", "compressed text in one frame", FrameHeader{Fin: true, RSV1: true, Opcode: OpText}, deflate, nil},
		{"RFC 7692, 6", "first fragment of compressed binary data", FrameHeader{RSV1: true, Opcode: OpBinary}, deflate, nil},
		{"RFC 7692, 6", "text that is not compressed", FrameHeader{Fin: true, Opcode: OpText}, deflate, nil},
		{"RFC 7692, 6", "continuation", FrameHeader{Opcode: OpContinuation}, inDeflate, nil},
		{"RFC 7692, 6", "Ping between fragments", FrameHeader{Fin: true, Opcode: OpPing}, inDeflate, nil},

		{"5.2", "RSV1", FrameHeader{Fin: true, RSV1: true, Opcode: OpText}, fresh, errReservedBits},
		{"5.2", "RSV2", FrameHeader{Fin: true, RSV2: true, Opcode: OpText}, fresh, errReservedBits},
		{"5.2", "RSV3", FrameHeader{Fin: true, RSV3: true, Opcode: OpText}, fresh, errReservedBits},
		{"5.2", "RSV1 on a continuation", FrameHeader{Fin: true, RSV1: true}, fragmented, errReservedBits},
		{"5.2", "RSV1 on a Ping", FrameHeader{Fin: true, RSV1: true, Opcode: OpPing}, fresh, errReservedBits},
		{"5.2", "RSV2 with compression", FrameHeader{Fin: true, RSV2: true, Opcode: OpText}, deflate, errReservedBits},
		{"5.2", "RSV1 and RSV3 with compression", FrameHeader{Fin: true, RSV1: true, RSV3: true, Opcode: OpText}, deflate, errReservedBits},
		{"RFC 7692, 6.1", "RSV1 on a continuation", FrameHeader{RSV1: true}, inDeflate, errCompressedBit},
		{"RFC 7692, 6.1", "RSV1 on the last continuation", FrameHeader{Fin: true, RSV1: true}, inDeflate, errCompressedBit},
		{"RFC 7692, 6", "RSV1 on a Close", FrameHeader{Fin: true, RSV1: true, Opcode: OpClose}, deflate, errCompressedBit},
		{"RFC 7692, 6", "RSV1 on a Ping", FrameHeader{Fin: true, RSV1: true, Opcode: OpPing}, deflate, errCompressedBit},
		{"RFC 7692, 6", "RSV1 on a Pong between fragments", FrameHeader{Fin: true, RSV1: true, Opcode: OpPong}, inDeflate, errCompressedBit},
		{"5.2", "opcode 3 with RSV1", FrameHeader{Fin: true, RSV1: true, Opcode: 3}, deflate, errReservedOpcode},
		{"5.4", "compressed text inside a message", FrameHeader{Fin: true, RSV1: true, Opcode: OpText}, inDeflate, errMessageInsideMessage},
		{"5.2", "opcode 3", FrameHeader{Fin: true, Opcode: 3}, fresh, errReservedOpcode},
		{"5.2", "opcode 3 inside a message", FrameHeader{Fin: true, Opcode: 3}, fragmented, errReservedOpcode},
		{"5.2", "opcode 7", FrameHeader{Fin: true, Opcode: 7}, fresh, errReservedOpcode},
		{"5.2", "opcode 11", FrameHeader{Fin: true, Opcode: 11}, fresh, errReservedOpcode},
		{"5.2", "opcode 15", FrameHeader{Fin: true, Opcode: 15}, fresh, errReservedOpcode},
		{"5.5", "fragmented Close", FrameHeader{Opcode: OpClose}, fresh, errControlFragmented},
		{"5.5", "fragmented Ping", FrameHeader{Opcode: OpPing}, fresh, errControlFragmented},
		{"5.5", "fragmented Pong inside a message", FrameHeader{Opcode: OpPong}, fragmented, errControlFragmented},
		{"5.5", "Close with 126 bytes", FrameHeader{Fin: true, Opcode: OpClose, Length: 126}, fresh, errControlTooLong},
		{"5.5", "Ping with 126 bytes", FrameHeader{Fin: true, Opcode: OpPing, Length: 126}, fresh, errControlTooLong},
		{"5.5", "Pong with 65536 bytes", FrameHeader{Fin: true, Opcode: OpPong, Length: 65536}, fresh, errControlTooLong},
		{"5.4", "continuation after nothing", FrameHeader{Opcode: OpContinuation}, fresh, errNothingToContinue},
		{"5.4", "last continuation after nothing", FrameHeader{Fin: true, Opcode: OpContinuation}, fresh, errNothingToContinue},
		{"5.4", "text inside a message", FrameHeader{Fin: true, Opcode: OpText}, fragmented, errMessageInsideMessage},
		{"5.4", "binary fragment inside a message", FrameHeader{Opcode: OpBinary}, fragmented, errMessageInsideMessage},
	} {
		for _, toServer := range []bool{true, false} {
			h, ctx := test.h, test.ctx
			ctx.toServer, h.Masked = toServer, toServer
			assertRule(t, test.section, test.name, h, ctx, test.want)
			if test.want != nil {
				continue
			}
			// 5.1: what is legal otherwise is refused with MASK turned over.
			h.Masked = !toServer
			if toServer {
				assertRule(t, "5.1", test.name+", not masked", h, ctx, errNotMasked)
			} else {
				assertRule(t, "5.1", test.name+", masked", h, ctx, errMasked)
			}
		}
	}
}

// assertRule checks that h breaks exactly the rule with the error want, or
// none, and that check says so.
func assertRule(t *testing.T, section, name string, h FrameHeader, ctx frameContext, want error) {
	t.Helper()
	broken := brokenRules(h, ctx)
	if want == nil && len(broken) != 0 || want != nil && (len(broken) != 1 || broken[0] != want) {
		t.Errorf("section %s, %s: this case is to break only %v, but it breaks %v", section, name, want, broken)
	}
	if got := h.check(ctx); got != want {
		t.Errorf("section %s, %s: %+v in %+v gave %v, want %v", section, name, h, ctx, got, want)
	}
}

// TestFrameHeaderCheckExhaustive compares check with headerRules for every
// first byte, MASK bit, length at a boundary and context.
func TestFrameHeaderCheckExhaustive(t *testing.T) {
	alone := map[error]int{} // how often a rule was broken without any other
	for b0 := range 256 {
		for _, v := range lengthVectors {
			for bits := range 16 {
				ctx := frameContext{toServer: bits&1 != 0, fragmented: bits&2 != 0, compressed: bits&8 != 0}
				h, _, _ := ParseFrameHeader([]byte{byte(b0), 0})
				h.Masked, h.Length = bits&4 != 0, v.length

				broken, got := brokenRules(h, ctx), h.check(ctx)
				switch len(broken) {
				case 0:
					if got != nil {
						t.Fatalf("%+v in %+v breaks no rule, but gave %v", h, ctx, got)
					}
					continue
				case 1:
					alone[got]++
				}
				found := false
				for _, err := range broken {
					found = found || err == got
				}
				if !found {
					t.Fatalf("%+v in %+v gave %v, want one of %v", h, ctx, got, broken)
				}
			}
		}
	}
	for _, r := range headerRules {
		if alone[r.err] == 0 {
			t.Errorf("section %s: no header broke only the rule %q", r.section, r.rule)
		}
		assertProtocolError(t, r.err)
	}
}

func TestFrameHeaderAllocations(t *testing.T) {
	header := FrameHeader{Fin: true, Opcode: OpBinary, Masked: true, Length: 1 << 20}
	wire := header.Append(nil)
	bad := []byte{0x82, 0x7e, 0, 0}
	dst := make([]byte, 0, maxHeaderSize)
	allocs := testing.AllocsPerRun(100, func() {
		h, _, _ := ParseFrameHeader(wire)
		if err := h.check(frameContext{toServer: true}); err != nil {
			t.Error(err)
		}
		h.Append(dst)
		if _, _, err := ParseFrameHeader(bad); err == nil {
			t.Error("a length of 0 in 16 bits was accepted")
		}
	})
	if allocs != 0 {
		t.Errorf("parsing, checking and appending a header allocated %v times, want never", allocs)
	}
}

// FuzzFrameHeader: what parses is what Append writes, and every prefix either
// asks for more bytes or gives the same result.
func FuzzFrameHeader(f *testing.F) {
	for _, v := range lengthVectors {
		unmasked := append([]byte{0x82}, unhex(f, v.wire)...)
		f.Add(unmasked)
		masked := append([]byte{0x01}, unhex(f, v.wire)...)
		masked[1] |= maskBit
		f.Add(append(masked, "key!payload"...))
	}
	f.Add([]byte{})
	f.Add(unhex(f, "82 7e 007d"))
	f.Add(unhex(f, "82 7f 8000000000000000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		h, n, err := ParseFrameHeader(b)
		if !bytes.Equal(b, before) {
			t.Fatalf("parsing changed % x to % x", before, b)
		}
		switch {
		case err != nil:
			assertProtocolError(t, err)
			if n != 0 || h != (FrameHeader{}) {
				t.Fatalf("% x gave %+v, %d beside the error %v", b, h, n, err)
			}
		case n == 0:
			if len(b) >= maxHeaderSize || h != (FrameHeader{}) {
				t.Fatalf("% x gave %+v and asks for more bytes", b, h)
			}
		default:
			if n < 2 || n > maxHeaderSize || h.Length < 0 || h.Opcode > 15 {
				t.Fatalf("% x gave %+v, %d", b, h, n)
			}
			if got := h.Append(nil); !bytes.Equal(got, b[:n]) {
				t.Fatalf("% x was parsed as %+v and appended as % x", b[:n], h, got)
			}
		}
		for cut := range min(len(b), maxHeaderSize+1) {
			h1, n1, err1 := ParseFrameHeader(b[:cut])
			more := h1 == (FrameHeader{}) && n1 == 0 && err1 == nil
			same := h1 == h && n1 == n && err1 == err
			if !more && !same {
				t.Fatalf("% x gave %+v, %d, %v; its first %d bytes gave %+v, %d, %v", b, h, n, err, cut, h1, n1, err1)
			}
			if more && n > 0 && cut >= n {
				t.Fatalf("% x holds a header of %d bytes, but its first %d bytes were not enough", b, n, cut)
			}
		}
	})
}

// benchmarkHeaders has one header for each form of the length, as a client
// sends it.
var benchmarkHeaders = []struct {
	name string
	h    FrameHeader
}{
	{"7bit", FrameHeader{Fin: true, Opcode: OpText, Masked: true, MaskKey: [4]byte{1, 2, 3, 4}, Length: 125}},
	{"16bit", FrameHeader{Fin: true, Opcode: OpText, Masked: true, MaskKey: [4]byte{1, 2, 3, 4}, Length: 16 << 10}},
	{"64bit", FrameHeader{Fin: true, Opcode: OpText, Masked: true, MaskKey: [4]byte{1, 2, 3, 4}, Length: 1 << 20}},
}

func BenchmarkParseFrameHeader(b *testing.B) {
	for _, bench := range benchmarkHeaders {
		b.Run(bench.name, func(b *testing.B) {
			wire := bench.h.Append(nil)
			b.SetBytes(int64(len(wire)))
			b.ReportAllocs()
			for b.Loop() {
				if _, n, err := ParseFrameHeader(wire); n != len(wire) || err != nil {
					b.Fatal(n, err)
				}
			}
		})
	}
}

func BenchmarkFrameHeaderAppend(b *testing.B) {
	for _, bench := range benchmarkHeaders {
		b.Run(bench.name, func(b *testing.B) {
			dst := make([]byte, 0, maxHeaderSize)
			b.SetBytes(int64(len(bench.h.Append(nil))))
			b.ReportAllocs()
			for b.Loop() {
				dst = bench.h.Append(dst[:0])
			}
		})
	}
}

func BenchmarkFrameHeaderCheck(b *testing.B) {
	for _, bench := range []struct {
		name string
		h    FrameHeader
		ctx  frameContext
	}{
		{"text", FrameHeader{Fin: true, Opcode: OpText, Masked: true, Length: 125}, frameContext{toServer: true}},
		{"continuation", FrameHeader{Fin: true, Masked: true, Length: 125}, frameContext{toServer: true, fragmented: true}},
		{"ping", FrameHeader{Fin: true, Opcode: OpPing, Masked: true, Length: 125}, frameContext{toServer: true}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := bench.h.check(bench.ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
