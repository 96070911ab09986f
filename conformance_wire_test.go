package websocket

import (
	"bufio"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"unicode/utf8"
)

// This file is the wire as the conformance cases see it. It shares no code
// with the library: what it writes may be wrong on purpose, and what it reads
// is judged by its own reading of the RFC.

// A chunk is a stretch of bytes to send.
type chunk struct {
	b        []byte
	frameEnd bool // the last of a frame
	flush    bool // the next chunk belongs into another write
	hold     bool // the Close frame must come before the next chunk goes out
}

// appendWire appends the encoding of f to chunks. A client masks.
func (f *vectorFrame) appendWire(chunks []chunk, client bool, rnd *rand.Rand) []chunk {
	if f.fragments == 0 {
		return f.appendFrame(chunks, f.opcode, f.more, f.payload, client, rnd)
	}
	payload := f.joined()
	op, frame := f.opcode, *f
	for {
		n := min(f.fragments, len(payload))
		item := payloadItem{kind: '"', unit: payload[:n], n: 1}
		more := f.more || n < len(payload)
		chunks = frame.appendFrame(chunks, op, more, []payloadItem{item}, client, rnd)
		if f.deflate {
			frame.rsv = 0 // RFC 7692, 6.1: the bit is set on the first frame only
		}
		if payload, op = payload[n:], 0; len(payload) == 0 {
			return chunks
		}
	}
}

func (f *vectorFrame) appendFrame(chunks []chunk, op byte, more bool, payload []payloadItem, client bool, rnd *rand.Rand) []chunk {
	size := 0
	pieces := make([][]byte, len(payload))
	for i, it := range payload {
		pieces[i] = it.bytes()
		size += len(pieces[i])
	}
	var (
		b      = make([]byte, 0, 14+size)
		masked = client && f.mask == 0 || f.mask > 0
		key    [4]byte
		length = uint64(size)
	)
	if f.declare != nil {
		length = *f.declare
	}
	if !f.raw {
		if !more {
			op |= 0x80
		}
		var second byte
		if masked {
			second = 0x80
		}
		b = append(b, op|f.rsv)
		switch {
		case f.form == 64 || f.form == 0 && length > 0xFFFF:
			b = binary.BigEndian.AppendUint64(append(b, second|127), length)
		case f.form == 16 || f.form == 0 && length > 125:
			b = binary.BigEndian.AppendUint16(append(b, second|126), uint16(length))
		default:
			b = append(b, second|byte(length))
		}
		if masked {
			if binary.BigEndian.PutUint32(key[:], rnd.Uint32()); f.key != nil {
				key = *f.key
			}
			b = append(b, key[:]...)
		}
	}
	pos, from := 0, 0
	for i, piece := range pieces {
		start := len(b)
		if b = b[:start+len(piece)]; masked && !f.raw {
			pos = xorMask(b[start:], piece, key, pos)
		} else {
			copy(b[start:], piece)
		}
		if k := payload[i].kind; k == '|' || k == 'h' {
			chunks = append(chunks, chunk{b: b[from:], flush: true, hold: k == 'h'})
			from = len(b)
		}
	}
	return append(chunks, chunk{b: b[from:], frameEnd: true})
}

// xorMask is section 5.3 from b to dst, a stretch at a time because of the
// megabytes.
func xorMask(dst, b []byte, key [4]byte, pos int) int {
	var pattern [1024]byte
	for i := range key {
		pattern[i] = key[(pos+i)%4]
	}
	for n := 4; n < min(len(b), len(pattern)); n *= 2 {
		copy(pattern[n:], pattern[:n])
	}
	for done := 0; done < len(b); {
		done += subtle.XORBytes(dst[done:], b[done:], pattern[:])
	}
	return (pos + len(b)) % 4
}

// A wireEvent is something that came from the endpoint under test.
type wireEvent struct {
	kind    wireEventKind
	opcode  byte   // of eventMessage
	payload []byte // of eventMessage, eventPing, eventPong; the reason of eventClose
	code    int    // of eventClose, 0 for none
	err     error  // of eventViolation and eventLost
}

type wireEventKind int

const (
	eventMessage   wireEventKind = iota
	eventPing                    // a Ping of the peer's own accord
	eventPong                    // an answer, or unasked for
	eventClose                   // a Close frame
	eventEOF                     // the peer has closed the connection
	eventLost                    // the connection broke
	eventSilence                 // time ran out
	eventViolation               // the endpoint itself broke a rule
)

func (e wireEvent) String() string {
	switch e.kind {
	case eventMessage:
		word := "text"
		if e.opcode == 2 {
			word = "binary"
		}
		return word + " " + abbreviate(e.payload)
	case eventPing:
		return "ping " + abbreviate(e.payload)
	case eventPong:
		return "pong " + abbreviate(e.payload)
	case eventClose:
		if e.code == 0 {
			return "close without a code"
		}
		return fmt.Sprintf("close %d %q", e.code, e.payload)
	case eventEOF:
		return "end of the TCP connection"
	case eventLost:
		return "loss of the TCP connection: " + e.err.Error()
	case eventSilence:
		return "silence"
	}
	return "violation: " + e.err.Error()
}

// abbreviate shows short text as text, other bytes in hex, and of many only
// the first.
func abbreviate(b []byte) string {
	if len(b) <= 40 && utf8.Valid(b) {
		return fmt.Sprintf("%q", b)
	}
	if len(b) <= 32 {
		return fmt.Sprintf("%x", b)
	}
	return fmt.Sprintf("%x… (%d bytes)", b[:24], len(b))
}

// A wireViolation is a rule that the endpoint under test broke in what it sent.
type wireViolation string

func (v wireViolation) Error() string { return string(v) }

// A wireReader reads what the endpoint under test sends.
type wireReader struct {
	br         *bufio.Reader
	fromClient bool
	deflate    *wireDeflate // nil: nothing is compressed
	room       int          // for a message that comes in fragments, to begin with

	opcode   byte // of the message whose fragments are being read, 0 for none
	message  []byte
	deflated bool // it is compressed
	closed   bool
	keys     [][4]byte // the last masking keys, newest first
}

// wireMaxMessage bounds what a broken endpoint can make us hold.
const wireMaxMessage = 64 << 20

// last reports whether nothing can follow e.
func (e wireEvent) last() bool { return e.kind >= eventEOF }

// next reads up to the next event.
func (r *wireReader) next() wireEvent {
	for {
		e, ok, err := r.frame()
		var v wireViolation
		switch {
		case err == io.EOF:
			return wireEvent{kind: eventEOF}
		case errors.As(err, &v):
			return wireEvent{kind: eventViolation, err: v}
		case errors.Is(err, os.ErrDeadlineExceeded):
			return wireEvent{kind: eventSilence}
		case err != nil:
			return wireEvent{kind: eventLost, err: err}
		case ok:
			return e
		}
	}
}

// frame reads one frame; ok is false if it is a fragment and not the last.
func (r *wireReader) frame() (e wireEvent, ok bool, err error) {
	var h [2]byte
	if _, err = io.ReadFull(r.br, h[:1]); err != nil {
		return e, false, err
	}
	if _, err = io.ReadFull(r.br, h[1:]); err != nil {
		return e, false, endInside(err)
	}
	fin, op, control := h[0]&0x80 != 0, h[0]&0x0F, h[0]&0x08 != 0
	switch {
	case r.closed:
		return e, false, wireViolation("a frame after the Close frame (5.5.1)")
	case h[0]&0x30 != 0 || h[0]&0x40 != 0 && r.deflate == nil:
		return e, false, wireViolation("a reserved bit is set and no extension was agreed on (5.2)")
	case h[0]&0x40 != 0 && (control || op == 0):
		return e, false, wireViolation("RSV1 on a frame that begins no message (RFC 7692, 6)")
	case op > 2 && op < 8 || op > 10:
		return e, false, wireViolation(fmt.Sprintf("reserved opcode %d (5.2)", op))
	case control && !fin:
		return e, false, wireViolation("a fragmented control frame (5.5)")
	case op == 0 && r.opcode == 0:
		return e, false, wireViolation("a continuation with nothing to continue (5.4)")
	case op > 0 && !control && r.opcode != 0:
		return e, false, wireViolation("a message inside a fragmented one (5.4)")
	case h[1]&0x80 != 0 && !r.fromClient:
		return e, false, wireViolation("a server's frame is masked (5.1)")
	case h[1]&0x80 == 0 && r.fromClient:
		return e, false, wireViolation("a client's frame is not masked (5.1)")
	}
	length := uint64(h[1] & 0x7F)
	if extended := map[uint64]int{126: 2, 127: 8}[length]; extended > 0 {
		var x [8]byte
		if _, err = io.ReadFull(r.br, x[8-extended:]); err != nil {
			return e, false, endInside(err)
		}
		shorter := map[int]uint64{2: 125, 8: 0xFFFF}[extended]
		if length = binary.BigEndian.Uint64(x[:]); length <= shorter {
			return e, false, wireViolation(fmt.Sprintf("length %d in %d bytes (5.2)", length, extended))
		}
	}
	if control && length > 125 {
		return e, false, wireViolation("a control frame of more than 125 bytes (5.5)")
	}
	if length > wireMaxMessage-uint64(len(r.message)) {
		return e, false, wireViolation(fmt.Sprintf("a frame of %d bytes that nothing asked for", length))
	}
	var key [4]byte
	if r.fromClient {
		if _, err = io.ReadFull(r.br, key[:]); err != nil {
			return e, false, endInside(err)
		}
		// Three times the same key does not happen by chance.
		if len(r.keys) == 2 && r.keys[0] == key && r.keys[1] == key {
			return e, false, wireViolation(fmt.Sprintf("masking key %x in three frames running (5.3)", key))
		}
		r.keys = append([][4]byte{key}, r.keys[:min(len(r.keys), 1)]...)
	}
	var payload []byte
	if control {
		payload = make([]byte, length)
	} else {
		start := len(r.message)
		if start == 0 && !fin {
			r.message = make([]byte, 0, max(int(length), r.room))
		}
		r.message = slices.Grow(r.message, int(length))[:start+int(length)]
		payload = r.message[start:]
	}
	if _, err = io.ReadFull(r.br, payload); err != nil {
		return e, false, endInside(err)
	}
	if r.fromClient {
		xorMask(payload, payload, key, 0)
	}
	switch op {
	case 8:
		r.closed = true
		e.kind, e.payload = eventClose, payload
		return e, true, e.splitClose()
	case 9:
		return wireEvent{kind: eventPing, payload: payload}, true, nil
	case 10:
		return wireEvent{kind: eventPong, payload: payload}, true, nil
	case 1, 2:
		r.opcode, r.deflated = op, h[0]&0x40 != 0
	}
	if !fin {
		return e, false, nil
	}
	e = wireEvent{kind: eventMessage, opcode: r.opcode, payload: r.message}
	r.opcode, r.message = 0, nil
	if r.deflated {
		if e.payload, err = r.deflate.inflate(e.payload); err != nil {
			return e, false, err
		}
	}
	// A large message will be compared, byte by byte, with one that is UTF-8.
	if e.opcode == 1 && len(e.payload) < 64<<10 && !utf8.Valid(e.payload) {
		return e, false, wireViolation("text that is not UTF-8 (5.6): " + abbreviate(e.payload))
	}
	return e, true, nil
}

// splitClose takes the code off the body of a Close frame.
func (e *wireEvent) splitClose() error {
	switch {
	case len(e.payload) == 0:
		return nil
	case len(e.payload) == 1:
		return wireViolation("a Close frame with a body of one byte (5.5.1)")
	}
	e.code = int(binary.BigEndian.Uint16(e.payload))
	e.payload = e.payload[2:]
	switch c := e.code; {
	// Section 7.4.2 says nothing of those from 5000 on.
	case c < 1000, c == 1004, c == 1005, c == 1006, c > 1014 && c < 3000:
		return wireViolation(fmt.Sprintf("status code %d in a Close frame (7.4)", c))
	case !utf8.Valid(e.payload):
		return wireViolation("a close reason that is not UTF-8 (5.5.1)")
	}
	return nil
}

func endInside(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("the connection ended inside a frame")
	}
	return err
}
