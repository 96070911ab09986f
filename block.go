package websocket

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"
)

// The blocks of RFC 1951: stored, with fixed or with dynamic Huffman codes,
// whichever is the shortest.

const (
	maxSequences = 8 << 10   // of a block
	maxBlock     = 64 << 10  // bytes that it stands for, or a few more
	maxStored    = 1<<16 - 1 // bytes of a stored block (3.2.4)
	fewSymbols   = 32        // fewer do not make up for the header of dynamic codes
)

// A sequence is some literal bytes followed by a match: how many bytes in the
// upper half, then the length of the match less 3 and its distance less 1 in
// 16 bits each.
type sequence uint64

func newSequence(literals, length, distance int) sequence {
	return sequence(literals)<<32 | sequence(length-3)<<16 | sequence(distance-1)
}

// A blockEncoder makes blocks. It is pooled, and belongs to a deflater while
// that compresses a message.
type blockEncoder struct {
	// The block under way: its sequences, how many bytes they stand for, and
	// how often each symbol occurs in them and in the literals that follow.
	sequences     [maxSequences]sequence
	n             int
	covered       int
	literalCount  [numLiterals]uint32
	distanceCount [numDistance]uint32

	// Bits that do not make a byte yet, the first one lowest (3.1.1).
	acc  uint64
	nacc uint

	literal  [numLiterals]code
	distance [numDistance]code
	header   blockHeader
	codes    codeMaker
}

var blockEncoders = sync.Pool{New: func() any { return new(blockEncoder) }}

// add adds a match to the block, and the literals before it, which have been
// counted.
func (e *blockEncoder) add(literals, length, distance int) {
	e.sequences[e.n&(maxSequences-1)] = newSequence(literals, length, distance)
	e.n++
	e.covered += literals + length
	e.literalCount[257+uint(lengthSymbol[uint8(length-3)])]++
	e.distanceCount[distanceSymbol(uint32(distance-1))&31]++
}

// appendBlock appends the block, or several where it is stored. raw is what it
// stands for.
func (e *blockEncoder) appendBlock(dst, raw []byte) []byte {
	e.literalCount[endOfBlock] = 1
	fixed, dynamic := e.sizes()
	shortest := min(fixed, dynamic)
	if stored := len(raw)*8 + 32*(len(raw)/maxStored+1); stored < shortest {
		dst = e.appendStored(dst, raw)
	} else {
		dst = slices.Grow(dst, shortest/8+16) // appendSequences writes 8 bytes at a time
		if fixed <= dynamic {
			dst = e.appendBits(dst, 1<<1, 3) // BTYPE 01
			dst = e.appendSequences(dst, raw, &fixedLiteral, &fixedDistance)
		} else {
			dst = e.appendBits(dst, 2<<1, 3) // BTYPE 10
			dst = e.header.append(dst, e)
			dst = e.appendSequences(dst, raw, &e.literal, &e.distance)
		}
	}
	e.n, e.covered = 0, 0
	clear(e.literalCount[:])
	clear(e.distanceCount[:])
	return dst
}

// sizes returns how many bits the block takes with fixed codes and with
// dynamic ones, which it makes.
func (e *blockEncoder) sizes() (fixed, dynamic int) {
	symbols, extra := 0, 0
	for s, n := range e.literalCount {
		symbols += int(n)
		fixed += int(n) * int(fixedLiteral[s].len())
	}
	for s, n := range e.literalCount[257:286] {
		extra += int(n) * int(lengthExtra[s])
	}
	for s, n := range e.distanceCount {
		extra += int(n) * int(distanceExtra[s])
		fixed += int(n) * 5
	}
	fixed += extra
	if symbols < fewSymbols {
		return fixed, math.MaxInt
	}
	dynamic = e.codes.makeCodes(e.literal[:], e.literalCount[:], maxCodeBits)
	dynamic += e.codes.makeCodes(e.distance[:], e.distanceCount[:], maxCodeBits)
	dynamic += e.header.make(&e.codes, &e.literal, &e.distance) + extra
	return fixed, dynamic
}

// appendSequences appends the sequences, the literals that remain and the end
// of the block. dst has room for them and for 8 bytes more.
func (e *blockEncoder) appendSequences(dst, raw []byte, literal *[numLiterals]code, distance *[numDistance]code) []byte {
	acc, nacc := e.acc, e.nacc
	at := len(dst)
	dst = dst[:cap(dst)]
	for i := 0; i <= e.n; i++ {
		literals := len(raw)
		if i < e.n {
			literals = int(e.sequences[i&(maxSequences-1)] >> 32)
		}
		run := raw[:literals]
		for ; len(run) >= 3; run = run[3:] { // 45 bits beside 7 at most
			c0, c1, c2 := literal[run[0]], literal[run[1]], literal[run[2]]
			acc |= c0.bits() << (nacc & 63)
			nacc += c0.len()
			acc |= c1.bits() << (nacc & 63)
			nacc += c1.len()
			acc |= c2.bits() << (nacc & 63)
			nacc += c2.len()
			binary.LittleEndian.PutUint64(dst[at:], acc)
			at += int(nacc >> 3)
			acc >>= nacc & 56
			nacc &= 7
		}
		for _, b := range run {
			c := literal[b]
			acc |= c.bits() << (nacc & 63)
			nacc += c.len()
		}
		binary.LittleEndian.PutUint64(dst[at:], acc)
		at += int(nacc >> 3)
		acc >>= nacc & 56
		nacc &= 7
		if i == e.n {
			break
		}

		// At most 15 and 5 bits for the length, 15 and 13 for the distance.
		s := e.sequences[i&(maxSequences-1)]
		length, d := uint8(s>>16), uint32(s&0xFFFF)
		raw = raw[literals+int(length)+3:]
		ls := lengthSymbol[length] & 31
		c := literal[257+int(ls)]
		acc |= c.bits() << (nacc & 63)
		nacc += c.len()
		acc |= uint64(length-lengthBase[ls]) << (nacc & 63)
		nacc += uint(lengthExtra[ls])
		ds := distanceSymbol(d) & 31
		c = distance[ds]
		acc |= c.bits() << (nacc & 63)
		nacc += c.len()
		acc |= uint64(d-uint32(distanceBase[ds])) << (nacc & 63)
		nacc += uint(distanceExtra[ds])
		binary.LittleEndian.PutUint64(dst[at:], acc)
		at += int(nacc >> 3)
		acc >>= nacc & 56
		nacc &= 7
	}
	e.acc, e.nacc = acc, nacc
	c := literal[endOfBlock]
	return e.appendBits(dst[:at], c.bits(), c.len())
}

// appendStored appends raw in blocks without compression (3.2.4).
func (e *blockEncoder) appendStored(dst, raw []byte) []byte {
	dst = slices.Grow(dst, len(raw)+5*(len(raw)/maxStored+1)+8)
	for len(raw) > 0 {
		n := min(len(raw), maxStored)
		dst = e.align(dst)
		dst = binary.LittleEndian.AppendUint16(dst, uint16(n))
		dst = binary.LittleEndian.AppendUint16(dst, ^uint16(n))
		dst = append(dst, raw[:n]...)
		raw = raw[n:]
	}
	return dst
}

// align appends the first three bits of a stored block and what is missing of
// a byte.
func (e *blockEncoder) align(dst []byte) []byte {
	dst = e.appendBits(dst, 0, 3) // BTYPE 00
	if e.nacc > 0 {
		dst = append(dst, byte(e.acc))
		e.acc, e.nacc = 0, 0
	}
	return dst
}

// appendBits appends n bits, at most 32.
func (e *blockEncoder) appendBits(dst []byte, b uint64, n uint) []byte {
	e.acc |= b << (e.nacc & 63)
	e.nacc += n
	for e.nacc >= 8 {
		dst = append(dst, byte(e.acc))
		e.acc >>= 8
		e.nacc -= 8
	}
	return dst
}

// A blockHeader is what a block with dynamic codes begins with: the lengths of
// its codes, run-length encoded and Huffman coded themselves (3.2.7).
type blockHeader struct {
	nliteral, ndistance, nlengths int

	lengths [numLiterals + numDistance]uint8 // of both alphabets, one after the other
	symbols [numLiterals + numDistance]uint8 // what encodes them
	extra   [numLiterals + numDistance]uint8
	n       int // of symbols

	count [numLengths]uint32
	code  [numLengths]code
}

// lengthOrder is in which order the lengths of the code for code lengths are
// sent, and lengthsExtra how many bits follow a code (3.2.7).
var (
	lengthOrder  = [numLengths]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}
	lengthsExtra = [numLengths]uint8{16: 2, 17: 3, 18: 7}
)

// make makes the header for two codes and returns how many bits it takes.
func (h *blockHeader) make(m *codeMaker, literal *[numLiterals]code, distance *[numDistance]code) int {
	h.nliteral, h.ndistance = endOfBlock+1, 1
	for s := 285; s > endOfBlock; s-- {
		if literal[s] != 0 {
			h.nliteral = s + 1
			break
		}
	}
	for s := 29; s > 0; s-- {
		if distance[s] != 0 {
			h.ndistance = s + 1
			break
		}
	}
	lengths := h.lengths[:h.nliteral+h.ndistance]
	for i := range h.nliteral {
		lengths[i] = uint8(literal[i].len())
	}
	for i := range h.ndistance {
		lengths[h.nliteral+i] = uint8(distance[i].len())
	}
	h.encode(lengths)

	m.makeCodes(h.code[:], h.count[:], 7)
	h.nlengths = numLengths
	for h.nlengths > 4 && h.code[lengthOrder[h.nlengths-1]] == 0 {
		h.nlengths--
	}
	size := 5 + 5 + 4 + 3*h.nlengths
	for s, n := range h.count {
		size += int(n) * int(h.code[s].len()+uint(lengthsExtra[s]))
	}
	return size
}

// encode makes the symbols for lengths.
func (h *blockHeader) encode(lengths []uint8) {
	clear(h.count[:])
	h.n = 0
	add := func(symbol uint8, extra int) {
		h.symbols[h.n], h.extra[h.n] = symbol, uint8(extra)
		h.n++
		h.count[symbol]++
	}
	for i := 0; i < len(lengths); {
		n, run := lengths[i], 1
		for i+run < len(lengths) && lengths[i+run] == n {
			run++
		}
		i += run
		if n == 0 {
			for ; run >= 11; run -= min(run, 138) {
				add(18, min(run, 138)-11)
			}
			if run >= 3 {
				add(17, run-3)
				run = 0
			}
		} else {
			add(n, 0)
			for run--; run >= 3; run -= min(run, 6) {
				add(16, min(run, 6)-3)
			}
		}
		for ; run > 0; run-- {
			add(n, 0)
		}
	}
}

// append appends the header to dst.
func (h *blockHeader) append(dst []byte, e *blockEncoder) []byte {
	dst = e.appendBits(dst, uint64(h.nliteral-257)|uint64(h.ndistance-1)<<5|uint64(h.nlengths-4)<<10, 14)
	for _, s := range lengthOrder[:h.nlengths] {
		dst = e.appendBits(dst, uint64(h.code[s].len()), 3)
	}
	for i, s := range h.symbols[:h.n] {
		c := h.code[s]
		dst = e.appendBits(dst, c.bits()|uint64(h.extra[i])<<c.len(), c.len()+uint(lengthsExtra[s]))
	}
	return dst
}
