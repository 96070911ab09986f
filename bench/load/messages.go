// Package load is the other side of every measurement: a client without a
// WebSocket library that sends ready-made frames over raw sockets and knows
// each byte that must come back, and the accounts that the operating system
// keeps of the processes it loads.
package load

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
)

// A Payload is what messages are made of.
type Payload string

const (
	Binary Payload = "binary" // random bytes
	ASCII  Payload = "ascii"  // text of one-byte characters
	Mixed  Payload = "mixed"  // text of one- to four-byte characters
)

// Set makes a Payload a command line flag.
func (p *Payload) Set(s string) error {
	switch Payload(s) {
	case Binary, ASCII, Mixed:
		*p = Payload(s)
		return nil
	}
	return fmt.Errorf("there are %s, %s and %s", Binary, ASCII, Mixed)
}

func (p *Payload) String() string { return string(*p) }

// IsText reports whether p goes into text messages.
func (p Payload) IsText() bool { return p != Binary }

// fill overwrites b with a random payload.
func (p Payload) fill(b []byte) {
	rand.Read(b)
	switch p {
	case ASCII:
		for i := range b {
			b[i] = ' ' + b[i]%('~'-' ')
		}
	case Mixed:
		for i := 0; i < len(b); {
			char := mixed[int(b[i])%len(mixed)]
			if len(char) > len(b)-i {
				char = "."
			}
			i += copy(b[i:], char)
		}
	}
}

var mixed = []string{"a", " ", "é", "ß", "漢", "字", "€", "😀"}

// Messages are frames to be sent over and over, in a circle, and what an echo
// answers to them. All have the same length.
type Messages struct {
	Count, Size int

	// Out holds the frames to be sent, and once more the first of them, so
	// that as many as are ever sent at once lie one behind the other.
	Out      []byte
	OutLen   int // the length of each
	OutCycle int // the length of Count frames

	In    []byte // the Count frames that must come back
	InLen int
}

// NewMessages makes count messages with size bytes of random payload, of which
// up to atOnce are sent together. Sent by a client they are masked, in a plain
// TCP echo they come back as they are.
func NewMessages(count, atOnce, size int, kind Payload, client bool) *Messages {
	m := &Messages{Count: count, Size: size}
	opcode := byte(2)
	if kind.IsText() {
		opcode = 1
	}
	payload := make([]byte, size)
	for range count {
		kind.fill(payload)
		m.In = appendFrame(m.In, opcode, payload, false)
		m.Out = appendFrame(m.Out, opcode, payload, client)
	}
	m.OutCycle = len(m.Out)
	m.OutLen, m.InLen = len(m.Out)/count, len(m.In)/count
	m.Out = append(m.Out, m.Out[:atOnce*m.OutLen]...)
	return m
}

// appendFrame appends a whole message in one frame (RFC 6455, section 5.2).
func appendFrame(dst []byte, opcode byte, payload []byte, masked bool) []byte {
	var mask byte
	if masked {
		mask = 0x80
	}
	dst = append(dst, 0x80|opcode)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, mask|byte(n))
	case n < 1<<16:
		dst = append(dst, mask|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	default:
		dst = append(dst, mask|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	if !masked {
		return append(dst, payload...)
	}
	var key [4]byte
	rand.Read(key[:])
	dst = append(dst, key[:]...)
	for i, b := range payload {
		dst = append(dst, b^key[i&3])
	}
	return dst
}
