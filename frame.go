package websocket

import (
	"encoding/binary"
	"strconv"
)

// An Opcode says how the payload of a frame is to be interpreted (RFC 6455,
// section 5.2).
type Opcode byte

// The opcodes of section 11.8. All others are reserved, and a frame that
// carries one fails the connection with [StatusProtocolError].
const (
	OpContinuation Opcode = 0x0
	OpText         Opcode = 0x1
	OpBinary       Opcode = 0x2
	OpClose        Opcode = 0x8
	OpPing         Opcode = 0x9
	OpPong         Opcode = 0xA
)

// IsControl reports whether o is the opcode of a control frame, defined or
// reserved: its most significant bit is set (section 5.5).
func (o Opcode) IsControl() bool { return o&0x8 != 0 }

// String returns the RFC's word for o, such as "text" or "close".
func (o Opcode) String() string {
	switch o {
	case OpContinuation:
		return "continuation"
	case OpText:
		return "text"
	case OpBinary:
		return "binary"
	case OpClose:
		return "close"
	case OpPing:
		return "ping"
	case OpPong:
		return "pong"
	}
	return "opcode " + strconv.Itoa(int(o))
}

const (
	// maxHeaderSize is two bytes, an eight-byte length and a masking key.
	maxHeaderSize = 14

	// maxControlPayload bounds the payload of a control frame (section 5.5).
	maxControlPayload = 125
)

// The bits of a header's first two bytes (section 5.2).
const (
	finBit  = 1 << 7
	rsv1Bit = 1 << 6
	rsv2Bit = 1 << 5
	rsv3Bit = 1 << 4
	maskBit = 1 << 7

	length16 = 126 // the payload length is in the following two bytes
	length64 = 127 // the payload length is in the following eight bytes
)

// A FrameHeader is all of a frame but its payload (section 5.2).
type FrameHeader struct {
	Fin              bool // the last, or only, frame of a message
	RSV1, RSV2, RSV3 bool // false unless an extension gives them a meaning
	Opcode           Opcode
	Masked           bool    // the payload is masked with MaskKey
	MaskKey          [4]byte // the masking key (section 5.3)
	Length           int64   // of the payload in bytes, never negative
}

// ParseFrameHeader decodes the header at the start of b and returns it with
// its length n, 2 to 14 bytes. Where b holds only a part of a header, n is 0
// and err is nil: call again with more bytes. It fails with a
// *[ProtocolError] on a length that has its most significant bit set or that
// is not in its shortest form; no other rule is checked.
func ParseFrameHeader(b []byte) (h FrameHeader, n int, err error) {
	if n, err = h.parse(b); n == 0 {
		return FrameHeader{}, 0, err
	}
	return h, n, nil
}

// parse is ParseFrameHeader into h, which without a whole header is left with
// anything.
func (h *FrameHeader) parse(b []byte) (n int, err error) {
	if len(b) < 2 {
		return 0, nil
	}
	*h = FrameHeader{
		Fin:    b[0]&finBit != 0,
		RSV1:   b[0]&rsv1Bit != 0,
		RSV2:   b[0]&rsv2Bit != 0,
		RSV3:   b[0]&rsv3Bit != 0,
		Opcode: Opcode(b[0] & 0xF),
		Masked: b[1]&maskBit != 0,
	}
	length := uint64(b[1] &^ maskBit)
	n = 2
	switch length {
	case length16:
		if len(b) < n+2 {
			return 0, nil
		}
		length = uint64(binary.BigEndian.Uint16(b[n:]))
		n += 2
		if length < length16 {
			return 0, errLengthNotMinimal
		}
	case length64:
		if len(b) < n+8 {
			return 0, nil
		}
		length = binary.BigEndian.Uint64(b[n:])
		n += 8
		if length>>63 != 0 {
			return 0, errLengthTopBit
		}
		if length <= 0xFFFF {
			return 0, errLengthNotMinimal
		}
	}
	h.Length = int64(length)
	if h.Masked {
		if len(b) < n+4 {
			return 0, nil
		}
		h.MaskKey = [4]byte(b[n:])
		n += 4
	}
	return n, nil
}

// Append appends the encoding of h to dst, its length in the shortest form,
// and returns the extended slice. Only the low four bits of h.Opcode count;
// h.Length must not be negative.
func (h FrameHeader) Append(dst []byte) []byte {
	b0 := byte(h.Opcode & 0xF)
	if h.Fin {
		b0 |= finBit
	}
	if h.RSV1 {
		b0 |= rsv1Bit
	}
	if h.RSV2 {
		b0 |= rsv2Bit
	}
	if h.RSV3 {
		b0 |= rsv3Bit
	}
	var b1 byte
	if h.Masked {
		b1 = maskBit
	}
	// As a uint64, a negative length takes the longest form, in which its top
	// bit makes every receiver refuse it.
	switch length := uint64(h.Length); {
	case length < length16:
		dst = append(dst, b0, b1|byte(length))
	case length <= 0xFFFF:
		dst = append(dst, b0, b1|length16)
		dst = binary.BigEndian.AppendUint16(dst, uint16(length))
	default:
		dst = append(dst, b0, b1|length64)
		dst = binary.BigEndian.AppendUint64(dst, length)
	}
	if h.Masked {
		dst = append(dst, h.MaskKey[:]...)
	}
	return dst
}

// A frameContext is what the rules for a header depend on beside the header.
type frameContext struct {
	toServer   bool // the receiver is the server
	fragmented bool // a message has begun and its last frame has not come
	compressed bool // permessage-deflate has been negotiated
}

// check returns the first rule that h breaks in the given context, or nil.
// It needs no byte of the payload, so that a violation is answered before any
// payload has been read.
func (h *FrameHeader) check(ctx frameContext) error {
	switch {
	case h.RSV2 || h.RSV3 || h.RSV1 && !ctx.compressed:
		// 5.2: "MUST be 0 unless an extension is negotiated".
		return errReservedBits
	case h.RSV1 && (h.Opcode.IsControl() || h.Opcode == OpContinuation):
		// RFC 7692, 6: RSV1 is set in the first frame of a message only, which
		// is not a control frame.
		return errCompressedBit
	case h.Opcode > OpBinary && h.Opcode < OpClose:
		// 5.2: 3 to 7 are reserved for further data frames.
		return errReservedOpcode
	case h.Opcode > OpPong:
		// 5.2: 11 to 15 are reserved for further control frames.
		return errReservedOpcode
	case h.Masked && !ctx.toServer:
		// 5.1: "A client MUST close a connection if it detects a masked frame".
		return errMasked
	case !h.Masked && ctx.toServer:
		// 5.1: "The server MUST close the connection upon receiving a frame
		// that is not masked".
		return errNotMasked
	case h.Opcode.IsControl() && !h.Fin:
		// 5.5: control frames "MUST NOT be fragmented".
		return errControlFragmented
	case h.Opcode.IsControl() && h.Length > maxControlPayload:
		// 5.5: "MUST have a payload length of 125 bytes or less".
		return errControlTooLong
	case h.Opcode == OpContinuation && !ctx.fragmented:
		// 5.4: a continuation follows a frame with FIN clear.
		return errNothingToContinue
	case !h.Opcode.IsControl() && h.Opcode != OpContinuation && ctx.fragmented:
		// 5.4: the fragments of two messages must not be interleaved.
		return errMessageInsideMessage
	}
	return nil
}
