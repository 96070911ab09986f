package websocket

import (
	"bytes"
	"compress/flate"
	"fmt"
	"math/rand/v2"
	"slices"
)

// This file is permessage-deflate (RFC 7692) as the conformance cases see it.
// Like the rest it shares no code with the library: compress/flate compresses,
// and it inflates, or where smaller windows were agreed upon the decoder in
// flate_oracle_test.go, which knows how far a message reaches back.

// A wireDeflate is what has been agreed upon with an endpoint, and the state
// of both directions.
type wireDeflate struct {
	out, in wireDirection
	level   int

	writer  *flate.Writer // into made
	made    bytes.Buffer
	history []byte // the end of what has been inflated
	count   int    // compressed messages that have come
}

type wireDirection struct {
	takeover bool
	bits     int
}

// newWireDeflate returns what a response means for us as a client or as a
// server.
func newWireDeflate(response wireTerms, client bool, rnd *rand.Rand) *wireDeflate {
	bits := func(n int) int {
		if n == 0 {
			return 15
		}
		return n
	}
	d := &wireDeflate{
		out: wireDirection{!response.serverNoTakeover, bits(response.serverBits)},
		in:  wireDirection{!response.clientNoTakeover, bits(response.clientBits)},
	}
	if client {
		d.out, d.in = d.in, d.out
	}
	d.level = 1 + 4*rnd.IntN(3)
	if d.out.bits < 15 {
		d.level = flate.BestSpeed // which begins anew without clearing its tables
	}
	return d
}

// compress returns the payload of a compressed message (RFC 7692, 7.2.1).
// compress/flate has only windows of 32 KiB: for a smaller one it compresses
// one stretch of that size after the other, as if nothing came before it.
func (d *wireDeflate) compress(p []byte) []byte {
	d.made.Reset()
	if d.writer == nil {
		d.writer, _ = flate.NewWriter(&d.made, d.level)
	}
	stretch, anew := len(p), !d.out.takeover
	if d.out.bits < 15 {
		stretch, anew = 1<<d.out.bits, true
	}
	for first := true; first || len(p) > 0; first = false {
		if anew {
			d.writer.Reset(&d.made)
		}
		n := min(stretch, len(p))
		d.writer.Write(p[:n])
		d.writer.Flush()
		p = p[n:]
	}
	return bytes.Clone(bytes.TrimSuffix(d.made.Bytes(), []byte("\x00\x00\xff\xff")))
}

// inflate inflates the next message that has come (RFC 7692, 7.2.2). The
// peer's references must not reach further than was agreed upon.
func (d *wireDeflate) inflate(message []byte) (p []byte, err error) {
	d.count++
	window := 1 << d.in.bits
	history := d.history[max(0, len(d.history)-window):]
	if d.in.bits == 15 {
		p, err = flateInflate(history, message)
	} else {
		farthest := 0
		if p, farthest, err = oracleInflateUpTo(wireMaxMessage, history, message); farthest > window {
			return nil, wireViolation(fmt.Sprintf("a back reference over %d bytes with a window of %d (RFC 7692, 7.1.2)", farthest, window))
		}
	}
	if err != nil {
		return nil, wireViolation(fmt.Sprintf("compressed data that cannot be inflated (RFC 7692, 7.2.2): %v", err))
	}
	if d.in.takeover {
		d.history = append(d.history, p...)
		if len(d.history) > 4*window {
			d.history = slices.Clone(d.history[len(d.history)-window:])
		}
	}
	return p, nil
}
