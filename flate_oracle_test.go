package websocket

import (
	"bytes"
	"compress/flate"
	"errors"
	"io"
	"slices"
	"sync"
)

// What the codec is checked against: a decoder that follows RFC 1951 bit by
// bit, which knows how far a message reaches back, and compress/flate.

var errOracle = errors.New("not a whole message")

// An oracle inflates one message.
type oracle struct {
	in       []byte
	pos      int // in bits
	out      []byte
	history  []byte
	limit    int // of bytes in out
	farthest int // the longest distance
}

// oracleInflate inflates a message that follows history, up to 4 MiB.
func oracleInflate(history, message []byte) (out []byte, farthest int, err error) {
	return oracleInflateUpTo(4<<20, history, message)
}

func oracleInflateUpTo(limit int, history, message []byte) (out []byte, farthest int, err error) {
	o := &oracle{in: message, history: history, limit: limit}
	defer func() {
		if r := recover(); r != nil {
			if r != errOracle {
				panic(r)
			}
			out, err = nil, errOracle
		}
	}()
	for !o.block() {
	}
	return o.out, o.farthest, nil
}

func (o *oracle) check(ok bool) {
	if !ok {
		panic(errOracle)
	}
}

func (o *oracle) bits(n int) (v int) {
	for i := range n {
		o.check(o.pos < 8*len(o.in))
		v |= int(o.in[o.pos/8]>>(o.pos%8)&1) << i
		o.pos++
	}
	return v
}

// atEnd goes on to the next byte and reports whether it is beyond the last.
func (o *oracle) atEnd() bool {
	o.pos = (o.pos + 7) / 8 * 8
	return o.pos == 8*len(o.in)
}

// block reads a block and reports whether the message has ended.
func (o *oracle) block() bool {
	final := o.bits(1) == 1
	switch o.bits(2) {
	case 0:
		if o.atEnd() {
			return true
		}
		n, complement := o.bits(16), o.bits(16)
		o.check(n == complement^0xFFFF && n <= len(o.in)-o.pos/8)
		o.out = append(o.out, o.in[o.pos/8:o.pos/8+n]...)
		o.pos += 8 * n
	case 1:
		lengths := make([]int, 288+30)
		for i := range lengths {
			switch {
			case i < 144:
				lengths[i] = 8
			case i < 256:
				lengths[i] = 9
			case i < 280:
				lengths[i] = 7
			case i < 288:
				lengths[i] = 8
			default:
				lengths[i] = 5
			}
		}
		o.codes(newOracleCode(o, lengths[:288]), newOracleCode(o, append(lengths[288:], 5, 5)))
	case 2:
		nliteral, ndistance, n := 257+o.bits(5), 1+o.bits(5), 4+o.bits(4)
		o.check(nliteral <= 286 && ndistance <= 30)
		var lengths [19]int
		for _, s := range []int{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}[:n] {
			lengths[s] = o.bits(3)
		}
		code := newOracleCode(o, lengths[:])
		var all []int
		for len(all) < nliteral+ndistance {
			switch s := code.next(o); s {
			case 16:
				o.check(len(all) > 0)
				for range 3 + o.bits(2) {
					all = append(all, all[len(all)-1])
				}
			case 17:
				all = append(all, make([]int, 3+o.bits(3))...)
			case 18:
				all = append(all, make([]int, 11+o.bits(7))...)
			default:
				all = append(all, s)
			}
		}
		o.check(len(all) == nliteral+ndistance && all[256] > 0)
		o.codes(newOracleCode(o, all[:nliteral]), newOracleCode(o, all[nliteral:]))
	default:
		o.check(false)
	}
	return final && o.atEnd()
}

// codes reads symbols up to the end of the block.
func (o *oracle) codes(literal, distance oracleCode) {
	for {
		s := literal.next(o)
		if s == 256 {
			return
		}
		if s < 256 {
			o.out = append(o.out, byte(s))
			continue
		}
		o.check(s <= 285)
		length := 258
		if s < 285 {
			base, extra := 3, 0
			for i := 257; i < s; i++ {
				base += 1 << extra
				extra = max(0, (i+1-257)/4-1)
			}
			length = base + o.bits(extra)
		}
		s = distance.next(o)
		o.check(s < 30)
		base, extra := 1, 0
		for i := range s {
			base += 1 << extra
			extra = max(0, (i+1)/2-1)
		}
		d := base + o.bits(extra)
		o.check(d <= len(o.history)+len(o.out) && len(o.out) < o.limit)
		o.farthest = max(o.farthest, d)
		for range length {
			if i := len(o.out) - d; i >= 0 {
				o.out = append(o.out, o.out[i])
			} else {
				o.out = append(o.out, o.history[len(o.history)+i])
			}
		}
	}
}

// An oracleCode has for each length the first code and the symbols of that
// one and those after it.
type oracleCode [16]struct {
	first   int
	symbols []int
}

func newOracleCode(o *oracle, lengths []int) (c oracleCode) {
	code, space, all := 0, 0, 0
	for n := 1; n <= 15; n++ {
		code <<= 1
		c[n].first = code
		for s, l := range lengths {
			if l == n {
				o.check(code < 1<<n)
				c[n].symbols = append(c[n].symbols, s)
				code++
				all++
				space += 1 << (15 - n)
			}
		}
	}
	o.check(space == 1<<15 || all == 0 || all == 1 && space == 1<<14)
	return c
}

func (c *oracleCode) next(o *oracle) int {
	code := 0
	for n := 1; n <= 15; n++ {
		code = code<<1 | o.bits(1)
		if i := code - c[n].first; i < len(c[n].symbols) {
			return c[n].symbols[i]
		}
	}
	o.check(false)
	return 0
}

// flateDeflate compresses a message that follows history with compress/flate, as
// RFC 7692, section 7.2.1, has it.
func flateDeflate(history, message []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriterDict(&b, flate.BestCompression, history[max(0, len(history)-1<<15):])
	if err != nil {
		panic(err)
	}
	w.Write(message)
	w.Flush()
	return bytes.TrimSuffix(b.Bytes(), []byte("\x00\x00\xff\xff"))
}

// flateReaders have their windows, which are most of what one costs.
var flateReaders = sync.Pool{New: func() any { return flate.NewReader(bytes.NewReader(nil)) }}

// flateInflate inflates a message that follows history with compress/flate,
// as RFC 7692, section 7.2.2, has it. After the bytes that a message leaves
// out, another empty block ends the data for good: the end of a message inside a
// block, which would take those bytes for something else, shows by that.
func flateInflate(history, message []byte) ([]byte, error) {
	const tail = "\x00\x00\xff\xff\x01\x00\x00\xff\xff"
	in := bytes.NewReader(slices.Concat(message, []byte(tail)))
	r := flateReaders.Get().(io.Reader)
	defer flateReaders.Put(r)
	var all []byte
	for {
		before := history
		if len(all) > 0 {
			before = slices.Concat(history, all)
		}
		r.(flate.Resetter).Reset(in, before[max(0, len(before)-1<<15):])
		out, err := io.ReadAll(r)
		all = append(all, out...)
		// What is left is nothing, or all of the tail after a block with BFINAL.
		if err != nil || in.Len() == 0 || in.Len() == len(tail) {
			return all, err
		}
	}
}
