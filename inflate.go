package websocket

import (
	"encoding/binary"
	"io"
	"math/bits"
	"sync"
)

// The DEFLATE decoder of RFC 1951, made for messages: from memory to memory.
// It sees where a message ends and whether it ends as it has to, which
// compress/flate does not tell; and since its output is its window, it copies
// no dictionary for each message.
//
// A compressed message is blocks, the last of which is a stored block without
// its LEN and NLEN (RFC 7692, sections 7.2.1 and 7.2.2). Some end with a block
// that has BFINAL set and nothing after it; that is whole, too. Blocks that
// follow one with BFINAL begin at the next byte (RFC 7692, section 7.2.3.4).

const (
	literalTableBits  = 9 // codes that are longer are decoded bit by bit
	distanceTableBits = 8
)

// An entry of a decoding table: in the lowest 4 bits how many bits the code
// has, then 4 bits that say how many extra bits follow, then the literal byte,
// the shortest length or the least distance, and above that what kind it is.
type decoded uint32

const (
	kindLiteral decoded = 1 << 28
	kindEnd     decoded = 2 << 28
	kindValue   decoded = 3 << 28 // a length, a distance or a code length
	kindMask    decoded = 15 << 28
)

func (d decoded) codeBits() int     { return int(d & 15) }
func (d decoded) extraBits() uint   { return uint(d >> 4 & 15) }
func (d decoded) value() int        { return int(d >> 8 & 0xFFFF) }
func (d decoded) is(k decoded) bool { return d&kindMask == k }

// What the symbols of the three alphabets stand for, without code lengths. It
// is 0 for those that never occur (3.2.6).
var (
	literalMeaning  [numLiterals]decoded
	distanceMeaning [numDistance]decoded
	lengthMeaning   [numLengths]decoded
)

func init() {
	for s := range 256 {
		literalMeaning[s] = kindLiteral | decoded(s)<<8
	}
	literalMeaning[endOfBlock] = kindEnd
	for s := range 29 {
		literalMeaning[257+s] = kindValue | decoded(lengthBase[s])<<8 + 3<<8 | decoded(lengthExtra[s])<<4
	}
	for s := range 30 {
		distanceMeaning[s] = kindValue | (decoded(distanceBase[s])+1)<<8 | decoded(distanceExtra[s])<<4
	}
	for s := range numLengths {
		lengthMeaning[s] = kindValue | decoded(s)<<8 | decoded(lengthsExtra[s])<<4
	}
}

// A decodeTable decodes one Huffman code.
type decodeTable struct {
	entries []decoded // by the next bits; 0 where the code is longer
	mask    uint64
	perLen  [maxCodeBits + 1]uint16 // how many codes have which length
	sorted  []decoded               // by code
}

func newDecodeTable(tableBits, symbols int) decodeTable {
	return decodeTable{
		entries: make([]decoded, 1<<tableBits),
		mask:    1<<tableBits - 1,
		sorted:  make([]decoded, symbols),
	}
}

// build makes the table for codes of these lengths (3.2.2). It reports false
// for lengths that no prefix code has, or that leave codes unused; but a single
// code of one bit is allowed (3.2.7), and none at all until one is used.
func (t *decodeTable) build(lengths []uint8, meaning []decoded) bool {
	t.perLen = [maxCodeBits + 1]uint16{}
	for _, n := range lengths {
		t.perLen[n&15]++
	}
	used := len(lengths) - int(t.perLen[0])
	t.perLen[0] = 0
	clear(t.entries)
	if used == 0 {
		return true
	}
	var next, at [maxCodeBits + 1]int // code and place of the next one of each length
	c := 0
	for n := 1; n <= maxCodeBits; n++ {
		at[n] = at[n-1] + int(t.perLen[n-1])
		next[n] = c
		c += int(t.perLen[n])
		if c > 1<<n {
			return false
		}
		c <<= 1
	}
	if c != 2<<maxCodeBits && !(used == 1 && t.perLen[1] == 1) {
		return false
	}
	for s, n := range lengths {
		if n == 0 {
			continue
		}
		d := meaning[s] | decoded(n)
		t.sorted[at[n&15]] = d
		at[n&15]++
		if step := 1 << (n & 15); step <= len(t.entries) {
			for i := int(bits.Reverse16(uint16(next[n&15])) >> (16 - n)); i < len(t.entries); i += step {
				t.entries[i] = d
			}
		}
		next[n&15]++
	}
	return true
}

// long decodes the code that the next bits are where entries does not have it.
// It returns 0 if there is none.
func (t *decodeTable) long(acc uint64) decoded {
	c, first, at := 0, 0, 0
	for n := 1; n <= maxCodeBits; n++ {
		c |= int(acc & 1)
		acc >>= 1
		count := int(t.perLen[n])
		if c-first < count {
			return t.sorted[at+c-first] // first <= c always
		}
		at += count
		first = (first + count) << 1
		c <<= 1
	}
	return 0
}

// The steps of a blockDecoder.
const (
	atHeader = iota
	inStored
	inCodes
	inMatch
	atEnd
)

// A blockDecoder decodes the blocks of a message. It is pooled.
type blockDecoder struct {
	in   []byte
	pos  int    // bytes of in that have been taken
	acc  uint64 // bits of them that have not been used, the next one lowest;
	nacc int    // how many, there may be more of in above them

	step     int
	final    bool
	length   int // of the stored block or the match, what is still to be copied
	distance int // of the match

	literal, dist   *decodeTable // of the block under way
	literals, dists decodeTable
	codes           decodeTable
	lengths         [numLiterals + numDistance]uint8
	out             []byte // for reading as a stream, see inflateReader
}

var blockDecoders = sync.Pool{New: func() any {
	return &blockDecoder{
		literals: newDecodeTable(literalTableBits, numLiterals),
		dists:    newDecodeTable(distanceTableBits, numDistance),
		codes:    newDecodeTable(7, numLengths),
	}
}}

func getBlockDecoder(in []byte) *blockDecoder {
	z := blockDecoders.Get().(*blockDecoder)
	z.in, z.pos, z.acc, z.nacc = in, 0, 0, 0
	z.step, z.final = atHeader, false
	return z
}

func putBlockDecoder(z *blockDecoder) {
	z.in = nil
	overwrite(z.out)
	blockDecoders.Put(z)
}

// The tables of the fixed codes (3.2.6).
var fixedTables = sync.OnceValue(func() *[2]decodeTable {
	tables := &[2]decodeTable{
		newDecodeTable(literalTableBits, numLiterals),
		newDecodeTable(distanceTableBits, numDistance),
	}
	var lengths [numLiterals]uint8
	for s, c := range fixedLiteral {
		lengths[s] = uint8(c.len())
	}
	tables[0].build(lengths[:], literalMeaning[:])
	for s, c := range fixedDistance {
		lengths[s] = uint8(c.len())
	}
	tables[1].build(lengths[:numDistance], distanceMeaning[:])
	return tables
})

// decode decodes into out from n on and returns up to where. err is nil where
// out is full, and io.EOF at the end of the message. history is what came
// before out.
func (z *blockDecoder) decode(history, out []byte, n int) (_ int, err error) {
	for err == nil {
		switch z.step {
		case atHeader:
			err = z.readHeader()
		case inStored:
			copied := copy(out[n:min(len(out), n+z.length)], z.in[z.pos:])
			n += copied
			z.pos += copied
			z.length -= copied
			switch {
			case z.length == 0:
				z.step = atHeader
			case n == len(out):
				return n, nil
			default:
				err = errDeflateTruncated
			}
		case inCodes:
			if n == len(out) {
				return n, nil
			}
			n, err = z.decodeCodes(history, out, n)
		case inMatch:
			copied := min(z.length, len(out)-n)
			copyMatch(history, out[:n+copied], n, z.distance)
			n += copied
			z.length -= copied
			if z.length > 0 {
				return n, nil
			}
			z.step = inCodes
		case atEnd:
			err = io.EOF
		}
	}
	return n, err
}

// refill sees to it that acc has at least 56 bits, or all that remain.
func (z *blockDecoder) refill() {
	if len(z.in)-z.pos >= 8 {
		z.acc |= binary.LittleEndian.Uint64(z.in[z.pos:]) << (z.nacc & 63)
		z.pos += (63 - z.nacc) >> 3
		z.nacc |= 56
		return
	}
	for z.nacc < 56 && z.pos < len(z.in) {
		z.acc |= uint64(z.in[z.pos]) << (z.nacc & 63)
		z.pos++
		z.nacc += 8
	}
}

// take takes n bits, at most 16. Where there are not as many, nacc is negative
// afterwards.
func (z *blockDecoder) take(n uint) int {
	v := int(z.acc & (1<<n - 1))
	z.acc >>= n
	z.nacc -= int(n)
	return v
}

// align drops the rest of the byte of which some bits have been used. No bits
// are in acc then.
func (z *blockDecoder) align() {
	z.pos -= z.nacc >> 3
	z.acc, z.nacc = 0, 0
}

// readHeader reads the header of a block (3.2.3).
func (z *blockDecoder) readHeader() error {
	if z.final {
		z.align()
		if z.pos == len(z.in) {
			z.step = atEnd
			return nil
		}
	}
	z.refill()
	if z.nacc < 3 {
		return errDeflateTruncated
	}
	z.final = z.take(1) == 1
	switch z.take(2) {
	case 0:
		z.align()
		rest := z.in[z.pos:]
		if len(rest) == 0 {
			z.step = atEnd // LEN and NLEN are left out
			return nil
		}
		if len(rest) < 4 {
			return errDeflateTruncated
		}
		length := binary.LittleEndian.Uint16(rest)
		if binary.LittleEndian.Uint16(rest[2:]) != ^length {
			return errDeflateInvalid
		}
		z.pos += 4
		z.length = int(length)
		z.step = inStored
	case 1:
		fixed := fixedTables()
		z.literal, z.dist = &fixed[0], &fixed[1]
		z.step = inCodes
	case 2:
		if err := z.readCodes(); err != nil {
			return err
		}
		z.literal, z.dist = &z.literals, &z.dists
		z.step = inCodes
	default:
		return errDeflateInvalid
	}
	return nil
}

// readCodes reads the codes of a block (3.2.7).
func (z *blockDecoder) readCodes() error {
	z.refill()
	nliteral, ndistance, nlengths := z.take(5)+257, z.take(5)+1, z.take(4)+4
	if nliteral > 286 || ndistance > 30 {
		return errDeflateInvalid
	}
	lengths := z.lengths[:]
	clear(lengths[:numLengths])
	for _, s := range lengthOrder[:nlengths] {
		z.refill()
		lengths[s] = uint8(z.take(3))
	}
	if z.nacc < 0 {
		return errDeflateTruncated
	}
	if !z.codes.build(lengths[:numLengths], lengthMeaning[:]) {
		return errDeflateInvalid
	}
	lengths = lengths[:nliteral+ndistance]
	for i := 0; i < len(lengths); {
		z.refill()
		d := z.codes.entries[z.acc&z.codes.mask]
		if d == 0 {
			return errDeflateInvalid
		}
		z.take(uint(d.codeBits()))
		s, extra := d.value(), z.take(d.extraBits())
		if z.nacc < 0 {
			return errDeflateTruncated
		}
		n, run := uint8(s), 1
		switch s {
		case 16:
			if i == 0 {
				return errDeflateInvalid
			}
			n, run = lengths[i-1], 3+extra
		case 17:
			n, run = 0, 3+extra
		case 18:
			n, run = 0, 11+extra
		}
		if run > len(lengths)-i {
			return errDeflateInvalid
		}
		for range run {
			lengths[i] = n
			i++
		}
	}
	if lengths[endOfBlock] == 0 ||
		!z.literals.build(lengths[:nliteral], literalMeaning[:]) ||
		!z.dists.build(lengths[nliteral:], distanceMeaning[:]) {
		return errDeflateInvalid
	}
	return nil
}

// decodeCodes decodes until the block ends or out is full.
func (z *blockDecoder) decodeCodes(history, out []byte, n int) (int, error) {
	in, pos, acc, nacc := z.in, z.pos, z.acc, z.nacc
	literal, dist := z.literal, z.dist
	entries, mask := literal.entries, literal.mask
	for n < len(out) {
		// A length takes at most 20 bits and a distance 28. There are as many,
		// or what is missing shows in nacc.
		if nacc < 48 {
			if len(in)-pos >= 8 {
				acc |= binary.LittleEndian.Uint64(in[pos:]) << (nacc & 63)
				pos += (63 - nacc) >> 3
				nacc |= 56
			} else {
				for nacc < 56 && pos < len(in) {
					acc |= uint64(in[pos]) << (nacc & 63)
					pos++
					nacc += 8
				}
			}
		}
		d := entries[acc&mask]
		if d == 0 {
			d = literal.long(acc)
		}
		acc >>= d & 15
		nacc -= d.codeBits()
		if d.is(kindLiteral) && nacc >= 0 {
			out[n] = byte(d >> 8)
			n++
			continue
		}
		if !d.is(kindValue) {
			switch {
			case nacc < 0:
				return n, errDeflateTruncated
			case !d.is(kindEnd):
				return n, errDeflateInvalid
			}
			z.step = atHeader
			break
		}
		length := d.value() + int(acc&(1<<d.extraBits()-1))
		acc >>= d.extraBits()
		nacc -= int(d.extraBits())

		d = dist.entries[acc&dist.mask]
		if d == 0 {
			d = dist.long(acc)
		}
		acc >>= d & 15
		distance := d.value() + int(acc&(1<<d.extraBits()-1))
		acc >>= d.extraBits()
		nacc -= d.codeBits() + int(d.extraBits())
		switch { // past the end bits are 0, whatever they make
		case nacc < 0:
			return n, errDeflateTruncated
		case !d.is(kindValue) || distance > n+len(history):
			return n, errDeflateInvalid
		case length > len(out)-n:
			z.length, z.distance = length, distance
			z.step = inMatch
			z.pos, z.acc, z.nacc = pos, acc, nacc
			return n, nil
		}
		if distance >= length && distance <= n {
			copy(out[n:n+length], out[n-distance:])
		} else {
			copyMatch(history, out[:n+length], n, distance)
		}
		n += length
	}
	z.pos, z.acc, z.nacc = pos, acc, nacc
	return n, nil
}

// copyMatch fills out from n on with the bytes that are distance before, some
// of which it may write itself (3.2.3). history is what came before out.
func copyMatch(history, out []byte, n, distance int) {
	if distance > n {
		n += copy(out[n:], history[len(history)-(distance-n):])
	}
	for n < len(out) {
		n += copy(out[n:], out[n-distance:n])
	}
}
