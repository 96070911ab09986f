package websocket

import (
	"encoding/binary"
	"math/bits"
	"sync"
)

// The DEFLATE encoder of RFC 1951, made for messages. compress/flate needs
// some hundred KiB for each connection that keeps its history, or has to
// compress the history again for every message; and where it is shared, to
// reset it costs more than to compress a message of 1 KiB. What is kept here
// between messages is the window and a table of hints; all else is pooled.
//
// This file finds what to refer back to (RFC 1951, section 4), huffman.go
// writes the blocks.

const (
	minMatch = 4   // 3 is allowed (3.2.5), but does not pay
	maxMatch = 258 // 3.2.5

	minWindowBits = 8 // RFC 7692, section 7.1.2
	maxWindowBits = 15

	maxStep = 128 // how far findMatches goes at a time where it finds none

	// largeRoom is what a pooled buffer has beside the window: a message
	// is compressed in pieces of it.
	largeRoom   = 64 << 10
	largeBuffer = 1<<maxWindowBits + largeRoom
)

// A matcherLevel says how hard to look for matches.
type matcherLevel struct {
	ways   int  // candidates to compare, of the 4 in a bucket
	lazy   int  // look one byte further for a longer match than a shorter one than this
	nice   int  // a match of this length needs no better one
	insert int  // in a match, every how many bytes are remembered
	skip   uint // after 1<<skip bytes without a match, look at every second one, and so on
}

// Compression.Level, from 1 to 9.
var matcherLevels = [10]matcherLevel{
	1: {ways: 1, lazy: 0, nice: 16, insert: 4, skip: 5},
	2: {ways: 2, lazy: 0, nice: 24, insert: 3, skip: 5},
	3: {ways: 2, lazy: 8, nice: 32, insert: 2, skip: 6},
	4: {ways: 3, lazy: 12, nice: 32, insert: 2, skip: 6},
	5: {ways: 3, lazy: 16, nice: 64, insert: 1, skip: 7},
	6: {ways: 4, lazy: 32, nice: 128, insert: 1, skip: 8},
	7: {ways: 4, lazy: 64, nice: 258, insert: 1, skip: 9},
	8: {ways: 4, lazy: 128, nice: 258, insert: 1, skip: 10},
	9: {ways: 4, lazy: 258, nice: 258, insert: 1, skip: 31},
}

const defaultLevel = 3

// A deflater compresses messages one after another. With context takeover it
// belongs to a connection, otherwise it may be used for any message.
//
// The table has, for a hash of four bytes, the four latest positions where
// they may be found, in 16 bits each: a bucket is a word, the latest lowest.
// Positions count modulo 1<<16 all through the life of a deflater, which never
// overflow therefore. What a bucket says is but a hint: a distance beyond the
// history is not looked at, and bytes are compared before they are referred
// to. So neither history that is forgotten nor positions that have come round
// again call for clearing the table.
type deflater struct {
	level    matcherLevel
	window   int // the longest distance
	takeover bool

	// buf has the history, the bytes of the block under way and bytes that
	// have not been looked at.
	//
	//	start <= block <= next <= len(buf)
	//	history before next beyond window bytes is not referred to
	buf   []byte
	start int    // references do not go before this byte
	block int    // where the block under way begins
	next  int    // the first byte that has not been looked at
	base  uint16 // position of buf[0]
	fresh int    // without context takeover, how many positions have not been used

	large   *buffer  // the pooled one that buf is in, inside a long message
	small   []byte   // what buf is between messages then
	table   []uint64 // see above
	shift   uint     // from 32 bits of hash to an index of table
	encoder *blockEncoder
}

// newDeflater returns a deflater whose history goes on from message to
// message, with a window of 1<<windowBits bytes.
func newDeflater(level, windowBits int) *deflater {
	d := &deflater{takeover: true}
	d.configure(level, windowBits)
	return d
}

// deflaters are those without context takeover. Each has its large buffer.
var deflaters = sync.Pool{New: func() any {
	d := &deflater{buf: make([]byte, 0, largeBuffer)}
	d.makeTable(maxWindowBits)
	return d
}}

// getDeflater returns a deflater for messages without context takeover.
func getDeflater(level, windowBits int) *deflater {
	d := deflaters.Get().(*deflater)
	d.configure(level, windowBits)
	return d
}

// putDeflater gives back what getDeflater returned, between two messages.
func putDeflater(d *deflater) {
	overwrite(d.buf[:cap(d.buf)])
	deflaters.Put(d)
}

// appendDeflated appends p to dst as the payload of a compressed message that
// refers to none before it.
func appendDeflated(dst, p []byte, level, windowBits int) []byte {
	d := getDeflater(level, windowBits)
	dst = d.appendMessage(dst, p)
	putDeflater(d)
	return dst
}

func (d *deflater) configure(level, windowBits int) {
	d.level = matcherLevels[level]
	d.window = 1 << windowBits
}

// makeTable makes a table with room for a quarter of the positions of a
// window. It is half as large as the window.
func (d *deflater) makeTable(windowBits int) {
	tableBits := windowBits - 4
	d.table = make([]uint64, 1<<tableBits)
	d.shift = uint(32 - tableBits)
}

// appendMessage appends p to dst as the payload of a compressed message (RFC
// 7692, section 7.2.1).
func (d *deflater) appendMessage(dst, p []byte) []byte {
	d.begin(len(p))
	return d.finish(d.write(dst, p))
}

// begin begins a message of size bytes, or of any size if that is negative.
// Then write is called any number of times, and finish. A deflater must not be
// used again, nor given back, after a message that was not finished.
func (d *deflater) begin(size int) {
	d.encoder = blockEncoders.Get().(*blockEncoder)
	if d.takeover {
		if d.table == nil {
			d.makeTable(bits.Len(uint(d.window)) - 1)
		}
		return
	}
	// As long as positions have not come round, the table has none from
	// messages before that could be taken for one in this message, and need
	// not be cleared. It is for that alone, that equal messages are compressed
	// to equal bytes.
	d.forget()
	if size < 0 || size > d.fresh {
		clear(d.table)
		d.base, d.fresh = 1, 1<<16-1
	}
	if size < 0 || size > d.fresh {
		d.fresh = 0
	} else {
		d.fresh -= size
	}
}

// write compresses p, which is not kept, and appends what is complete to dst.
func (d *deflater) write(dst, p []byte) []byte {
	for {
		if len(p) > cap(d.buf)-len(d.buf) {
			dst = d.makeRoom(dst, len(p))
		}
		n := min(len(p), cap(d.buf)-len(d.buf))
		d.buf = append(d.buf, p[:n]...)
		p = p[n:]
		if len(p) == 0 {
			return dst
		}
	}
}

// finish ends the message and appends the rest of it to dst.
func (d *deflater) finish(dst []byte) []byte {
	dst = d.compress(dst, len(d.buf))
	dst = d.endBlock(dst)
	// An empty block without compression, BFINAL and BTYPE all zero, ends the
	// message at a whole byte. Its LEN and NLEN are left out.
	dst = d.encoder.align(dst)
	blockEncoders.Put(d.encoder)
	d.encoder = nil
	if d.large != nil {
		d.slide(d.small[:0])
		d.large.poison()
		largeBuffers.Put(d.large)
		d.large, d.small = nil, nil
	}
	return dst
}

// forget drops the history. What comes next can be inflated without it.
func (d *deflater) forget() {
	d.base += uint16(len(d.buf))
	d.buf = d.buf[:0]
	d.start, d.block, d.next = 0, 0, 0
}

// largeBuffers serve connections with context takeover while they compress a
// message that does not fit beside their window.
var largeBuffers = sync.Pool{New: func() any {
	return &buffer{b: make([]byte, 0, largeBuffer)}
}}

// makeRoom makes room for at least one byte, and for n if that is little.
func (d *deflater) makeRoom(dst []byte, n int) []byte {
	room := d.window / 4 // what is kept beside the window between messages
	switch history := min(d.next, d.window); {
	case cap(d.buf) == largeBuffer:
		// Matches may go beyond the end of what is compressed now.
		dst = d.endBlock(d.compress(dst, len(d.buf)-maxMatch))
		d.slide(d.buf)
	case d.block == len(d.buf) && n <= cap(d.buf)-history:
		d.slide(d.buf) // before a message's first byte
	case d.block == len(d.buf) && n <= d.window+room-history:
		grown := max(history+n, min(2*cap(d.buf), d.window+room))
		d.slide(make([]byte, 0, grown))
	default:
		d.small = d.buf
		if cap(d.small) < d.window {
			d.small = make([]byte, 0, min(d.window, max(512, 2*cap(d.small), len(d.buf)+n)))
		}
		d.large = largeBuffers.Get().(*buffer)
		d.slide(d.large.b)
	}
	return dst
}

// slide moves what is needed of buf to the beginning of memory, which may be
// the same as that of buf, as far as it fits there.
func (d *deflater) slide(memory []byte) {
	from := max(d.next-d.window, d.start)
	from = max(min(from, d.block), len(d.buf)-cap(memory))
	n := copy(memory[:cap(memory)], d.buf[from:])
	d.buf = memory[:n]
	d.start = max(d.start-from, 0)
	d.block -= from
	d.next -= from
	d.base += uint16(from)
}

// compress finds matches in buf up to end or a little further, and ends the
// block where it has grown long.
func (d *deflater) compress(dst []byte, end int) []byte {
	for d.next < end {
		d.findMatches(min(end, d.block+maxBlock))
		if d.encoder.n == maxSequences || d.next-d.block >= maxBlock {
			dst = d.endBlock(dst)
		}
	}
	return dst
}

// endBlock ends the block if there is anything in it.
func (d *deflater) endBlock(dst []byte) []byte {
	if d.next == d.block {
		return dst
	}
	dst = d.encoder.appendBlock(dst, d.buf[d.block:d.next])
	d.block = d.next
	return dst
}

// findMatches finds matches from next to end, until the block is full of
// them.
func (d *deflater) findMatches(end int) {
	b, e, level := d.buf, d.encoder, d.level
	i := d.next
	literals := d.block + e.covered     // where those begin that no match follows yet
	last := min(end, len(b)-minMatch+1) // where there are four bytes

	for i < last && e.n < maxSequences {
		v, bucket := d.remember(b, i)
		length, distance := 0, 0
		if d.inReach(i, uint16(bucket)) {
			length, distance = d.longest(b, i, v, bucket, minMatch-1)
		}
		if length < minMatch {
			step := min(1+(i-max(literals, d.next))>>level.skip, maxStep, last-i)
			for _, c := range b[i : i+step] {
				e.literalCount[c]++
			}
			i += step
			continue
		}
		// Lazy matching (RFC 1951, section 4): a longer match may begin at the
		// next byte.
		seen := i + 1
		for length < level.lazy && i+1 < last {
			v, bucket := d.remember(b, i+1)
			seen = i + 2
			longer, at := d.longest(b, i+1, v, bucket, length)
			if longer <= length {
				break
			}
			e.literalCount[b[i]]++
			i++
			length, distance = longer, at
		}
		e.add(i-literals, length, distance)
		i += length
		literals = i
		for j := seen; j < min(i, last); j += level.insert {
			d.remember(b, j)
		}
	}
	if i >= last {
		for ; i < end; i++ {
			e.literalCount[b[i]]++
		}
	}
	d.next = i
}

// remember puts position i into its bucket. It returns the four bytes there
// and what was in the bucket.
func (d *deflater) remember(b []byte, i int) (v uint32, bucket uint64) {
	v = binary.LittleEndian.Uint32(b[i:])
	slot := &d.table[int(v*hashFactor>>(d.shift&31))&(len(d.table)-1)]
	bucket = *slot
	*slot = bucket<<16 | uint64(d.base+uint16(i))
	return v, bucket
}

// inReach reports whether a position is one that i may refer to, as far as 16
// bits tell.
func (d *deflater) inReach(i int, position uint16) bool {
	distance := uint(d.base + uint16(i) - position)
	return distance-1 < uint(min(d.window, i-d.start)) // 0 is too far
}

const hashFactor = 0x9E3779B1

// longest returns the longest match at i, where b has the bytes v, among the
// positions in bucket, if it is longer than best.
func (d *deflater) longest(b []byte, i int, v uint32, bucket uint64, best int) (length, distance int) {
	pos := d.base + uint16(i)
	reach := uint(min(d.window, i-d.start))
	for ways := d.level.ways; ways > 0; ways-- {
		dist := int(pos - uint16(bucket))
		bucket >>= 16
		if uint(dist-1) >= reach {
			break // and older ones are further away
		}
		j := i - dist
		if binary.LittleEndian.Uint32(b[j:]) != v {
			continue
		}
		limit := min(len(b)-i, maxMatch)
		n := minMatch + commonPrefix(b[j+minMatch:], b[i+minMatch:i+limit])
		if n > best {
			best = n
			length, distance = n, dist
			if n >= d.level.nice {
				break
			}
		}
	}
	return length, distance
}

// commonPrefix returns how many bytes at the beginning of b are those of a,
// which is at least as long.
func commonPrefix(a, b []byte) int {
	n := 0
	for len(b)-n >= 8 {
		if x := binary.LittleEndian.Uint64(a[n:]) ^ binary.LittleEndian.Uint64(b[n:]); x != 0 {
			return n + bits.TrailingZeros64(x)>>3
		}
		n += 8
	}
	for n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}
