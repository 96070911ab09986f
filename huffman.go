package websocket

import (
	"math/bits"
	"slices"
)

// Huffman codes and the alphabets of RFC 1951.

const (
	endOfBlock  = 256 // 3.2.5
	numLiterals = 288 // literal bytes, lengths and two that never occur (3.2.6)
	numDistance = 32  // with two that never occur
	numLengths  = 19  // the alphabet for code lengths (3.2.7)
	maxCodeBits = 15  // 3.2.7
)

// The codes for lengths and distances, and their extra bits (3.2.5). Symbol
// 284 with all extra bits set would mean 258 too, but 285 is for that.
var (
	lengthSymbol [256]uint8 // by length-3, less 257
	lengthExtra  [32]uint8  // 29 are used
	lengthBase   [32]uint8  // less 3

	distanceExtra [numDistance]uint8
	distanceBase  [numDistance]uint16 // less 1
)

func init() {
	base := 0
	for s := range 28 {
		if s >= 8 {
			lengthExtra[s] = uint8(s/4 - 1)
		}
		lengthBase[s] = uint8(base)
		for i := range 1 << lengthExtra[s] {
			lengthSymbol[min(base+i, 255)] = uint8(s)
		}
		base += 1 << lengthExtra[s]
	}
	lengthSymbol[255], lengthBase[28] = 28, 255

	base = 0
	for s := range 30 {
		if s >= 4 {
			distanceExtra[s] = uint8(s/2 - 1)
		}
		distanceBase[s] = uint16(base)
		base += 1 << distanceExtra[s]
	}
}

// distanceSymbol returns the code for a distance, given less 1.
func distanceSymbol(d uint32) uint32 {
	if d < 4 {
		return d
	}
	n := uint32(bits.Len32(d)) // the symbol says where the two upper bits are
	return 2*(n-1) + d>>(n-2)&1
}

// A code is a Huffman code: its bits in the order in which they are sent in
// the lower half, how many they are in the upper one.
type code uint32

// newCode returns the code c of n bits, whose most significant bit is sent
// first (3.1.1).
func newCode(c uint16, n uint8) code {
	return code(bits.Reverse16(c)>>(16-n)) | code(n)<<16
}

func (c code) bits() uint64 { return uint64(c & 0xFFFF) }
func (c code) len() uint    { return uint(c >> 16) }

// The fixed codes (3.2.6).
var (
	fixedLiteral  [numLiterals]code
	fixedDistance [numDistance]code
)

func init() {
	for i := range uint16(144) {
		fixedLiteral[i] = newCode(0b00110000+i, 8)
	}
	for i := range uint16(256 - 144) {
		fixedLiteral[144+i] = newCode(0b110010000+i, 9)
	}
	for i := range uint16(280 - 256) {
		fixedLiteral[256+i] = newCode(i, 7)
	}
	for i := range uint16(288 - 280) {
		fixedLiteral[280+i] = newCode(0b11000000+i, 8)
	}
	for i := range uint16(numDistance) {
		fixedDistance[i] = newCode(i, 5)
	}
}

// A codeMaker makes Huffman codes. It is memory to do it in.
type codeMaker struct {
	leaves     [numLiterals]uint32 // count<<9 | symbol
	sorted     [numLiterals]uint32 // the same, ascending
	nodes      [numLiterals]uint32 // counts of the nodes above, ascending
	leafParent [numLiterals]uint16
	nodeParent [numLiterals]uint16
	lengths    [numLiterals]uint8
}

// makeCodes makes codes for symbols that occur count times, of at most limit
// bits, and returns how many bits they take together. The codes of others are
// 0. counts add up to less than 1<<23.
func (m *codeMaker) makeCodes(codes []code, count []uint32, limit int) (size int) {
	n := 0
	for s, c := range count {
		m.leaves[n] = c<<9 | uint32(s)
		if c > 0 {
			n++
		}
	}
	clear(codes)
	if n < 2 {
		// One code of one bit (3.2.7), even for no symbol at all: an alphabet
		// without any code is not understood everywhere.
		s := 0
		if n == 1 {
			s = int(m.leaves[0] & 0x1FF)
		}
		codes[s] = 1 << 16
		return int(count[s])
	}
	leaves := m.leaves[:n]
	sorted := m.sort(leaves)
	perLength := m.countLengths(sorted, limit)
	i := 0
	for length := limit; length > 0; length-- {
		for range perLength[length] {
			leaf := sorted[i]
			m.lengths[leaf&0x1FF] = uint8(length)
			size += length * int(leaf>>9)
			i++
		}
	}
	// Codes of one length are consecutive, in the order of the symbols (3.2.2).
	var next [maxCodeBits + 1]uint16
	for length := 1; length <= limit; length++ {
		next[length] = (next[length-1] + uint16(perLength[length-1])) << 1
	}
	for _, leaf := range leaves {
		s := leaf & 0x1FF
		codes[s] = newCode(next[m.lengths[s]&15], m.lengths[s])
		next[m.lengths[s]&15]++
	}
	return size
}

// sort sorts leaves, without changing them, from the rarest on. Those that
// occur equally often stay in the order of the symbols.
func (m *codeMaker) sort(leaves []uint32) []uint32 {
	sorted := m.sorted[:len(leaves)]
	var first [64]uint16 // of those that occur so often
	for _, leaf := range leaves {
		first[min(leaf>>9, 63)]++
	}
	sum := uint16(0)
	for i, n := range first {
		first[i] = sum
		sum += n
	}
	often := first[63]
	for _, leaf := range leaves {
		i := &first[min(leaf>>9, 63)]
		sorted[*i] = leaf
		*i++
	}
	slices.Sort(sorted[often:])
	return sorted
}

// countLengths returns how many of the codes have which length.
func (m *codeMaker) countLengths(leaves []uint32, limit int) (perLength [maxCodeBits + 1]int) {
	// Huffman's algorithm. Both queues, of leaves and of nodes made of two of
	// either, are in ascending order.
	n := len(leaves)
	leaf, node := 0, 0
	for made := range n - 1 {
		sum := uint32(0)
		for range 2 {
			if node == made || leaf < n && leaves[leaf]>>9 <= m.nodes[node] {
				sum += leaves[leaf] >> 9
				m.leafParent[leaf] = uint16(made)
				leaf++
			} else {
				sum += m.nodes[node]
				m.nodeParent[node] = uint16(made)
				node++
			}
		}
		m.nodes[made] = sum
	}
	// From the root down nodes becomes the depth of each. A leaf too deep is
	// moved up to the limit.
	m.nodes[n-2] = 0
	for i := n - 3; i >= 0; i-- {
		m.nodes[i] = m.nodes[m.nodeParent[i]] + 1
	}
	space := 0 // taken, in units of a code with limit bits
	for i := range leaves {
		depth := min(int(m.nodes[m.leafParent[i]])+1, limit)
		perLength[depth]++
		space += 1 << (limit - depth)
	}
	// While there is not as much space, the longest code shorter than the
	// limit gives way: one bit longer, it makes room for one at the limit.
	for ; space > 1<<limit; space-- {
		length := limit - 1
		for perLength[length] == 0 {
			length--
		}
		perLength[length]--
		perLength[length+1] += 2
		perLength[limit]--
	}
	return perLength
}
