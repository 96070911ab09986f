package websocket

import (
	"slices"
	"unicode/utf8"
)

const defaultMaxQueued = 1 << 20

// A PreparedMessage is a message for many connections: it is checked, and where
// connections compress also compressed, once for all of them. It may be used by
// any number of goroutines.
type PreparedMessage struct {
	op      Opcode
	payload []byte
}

// NewPreparedMessage returns a message of the given opcode, [OpText] or
// [OpBinary], with a copy of p, which has to be UTF-8 for text.
func NewPreparedMessage(op Opcode, p []byte) (*PreparedMessage, error) {
	switch {
	case op != OpText && op != OpBinary:
		return nil, errBadMessageOpcode
	case op == OpText && !utf8.Valid(p):
		return nil, errBadText
	}
	return &PreparedMessage{op: op, payload: slices.Clone(p)}, nil
}

// valid reports whether m was made by NewPreparedMessage.
func (m *PreparedMessage) valid() bool { return m != nil && m.op != 0 }

// header returns the header of the message's only frame.
func (m *PreparedMessage) header() FrameHeader { return FrameHeader{Fin: true, Opcode: m.op} }

// WritePrepared sends m as [Conn.WriteMessage] does.
func (c *Conn) WritePrepared(m *PreparedMessage) error {
	if !m.valid() {
		return errBadMessageOpcode
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if err := c.takeLine(); err != nil {
		return err
	}
	return c.writeFrame(m.header(), m.payload)
}

// Enqueue sends m without ever waiting. What cannot be sent at once stays
// queued, in the order of calls to Enqueue and WriteMessage, and is sent as the
// peer reads, also by [Conn.Close]. Where more than MaxQueued bytes would be
// waiting then, whoever wrote them, nothing is queued and the error is
// [ErrQueueFull]; a message larger than MaxQueued is always refused.
//
// It is made for broadcasts, in which one slow client must not delay the
// others: drop the message for that client, or the client.
func (c *Conn) Enqueue(m *PreparedMessage) error {
	if !m.valid() {
		return errBadMessageOpcode
	}
	out := &c.out
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.err != nil {
		return out.err
	}
	waiting := int64(len(out.frames())) + out.leaving + out.queued
	if waiting+int64(len(m.payload)) > out.maxQueued {
		return ErrQueueFull
	}
	if out.streaming {
		out.queue = append(out.queue, m)
		out.queued += int64(maxHeaderSize + len(m.payload))
		return nil
	}
	c.appendMessage(m)
	if !out.flushing && c.more.Load() && len(out.frames()) < maxHeld {
		c.hold()
	} else {
		c.flushAside()
	}
	return nil
}

// appendMessage appends a message to the pending buffer, of whatever size.
func (c *Conn) appendMessage(m *PreparedMessage) {
	c.out.count(m.header(), len(m.payload))
	c.appendFrame(m.header(), m.payload)
}
