package websocket

import (
	"slices"
	"sync"
	"unicode/utf8"
)

const defaultMaxQueued = 1 << 20

// A PreparedMessage is a message for many connections: it is checked, and where
// connections compress also compressed, once for all of them. Compressed it refers
// to no other message, and with context takeover the one after it does neither.
// It may be used by any number of goroutines.
type PreparedMessage struct {
	op      Opcode
	payload []byte

	mu       sync.Mutex
	deflated map[deflateForm][]byte // nil where that is no shorter
}

// A deflateForm is what the compressed form of a message depends on, as long
// as it refers to nothing before it.
type deflateForm struct{ level, windowBits int }

// A preparedFrame is a data frame as it is sent on a connection, most often a
// whole message.
type preparedFrame struct {
	h    FrameHeader
	p    []byte
	size int // bytes of the message in it: those of p or, with RSV1, p compressed
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

// frame returns m as it is sent on a connection with the given extension, nil
// for none. It compresses m where no connection like that has had it.
func (m *PreparedMessage) frame(d *messageDeflate) preparedFrame {
	f := preparedFrame{FrameHeader{Fin: true, Opcode: m.op}, m.payload, len(m.payload)}
	if d.compresses(f.size) {
		if p := m.deflate(deflateForm{d.level, d.write.windowBits}); p != nil {
			f.p, f.h.RSV1 = p, true
		}
	}
	return f
}

func (m *PreparedMessage) deflate(form deflateForm) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.deflated[form]
	if ok {
		return p
	}
	b := getWriteBuffer()
	defer putWriteBuffer(b)
	b.b = appendDeflated(b.b, m.payload, form.level, form.windowBits)
	if len(b.b) < len(m.payload) {
		p = slices.Clone(b.b) // kept, so without room to spare
	}
	if m.deflated == nil {
		m.deflated = make(map[deflateForm][]byte)
	}
	m.deflated[form] = p
	return p
}

// WritePrepared sends m as [Conn.WriteMessage] does.
func (c *Conn) WritePrepared(m *PreparedMessage) error {
	if !m.valid() {
		return errBadMessageOpcode
	}
	f := m.frame(c.deflate)
	return c.writeWhole(&f)
}

// windowMoves notes that f enters the window of the peer past our deflater.
func (c *Conn) windowMoves(f *preparedFrame) {
	if f.h.RSV1 {
		c.deflate.moved = true
	}
}

// Enqueue sends m without ever waiting. What cannot be sent at once stays
// queued, in the order of calls to Enqueue and WriteMessage, and is sent as the
// peer reads, also by [Conn.Close]. Where more than MaxQueued bytes would be
// waiting then, whoever wrote them, nothing is queued and the error is
// [ErrQueueFull]; a message larger than MaxQueued, compressed where that is
// agreed upon, is always refused.
//
// It is made for broadcasts, in which one slow client must not delay the
// others: drop the message for that client, or the client.
func (c *Conn) Enqueue(m *PreparedMessage) error {
	if !m.valid() {
		return errBadMessageOpcode
	}
	f := m.frame(c.deflate)
	out := &c.out
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.err != nil {
		return out.err
	}
	waiting := int64(len(out.frames())) + out.leaving + out.queued()
	if waiting+int64(len(f.p)) > out.maxQueued {
		return ErrQueueFull
	}
	if out.queueing {
		b := out.needBacklog()
		b.queue = append(b.queue, f)
		b.queued += int64(maxHeaderSize + len(f.p))
		return nil
	}
	c.appendPrepared(&f)
	if !out.flushing && c.more.Load() && len(out.frames()) < maxHeld {
		c.holdBack()
	} else {
		c.flushAside()
	}
	return nil
}

// appendPrepared appends a message to the pending buffer, of whatever size.
func (c *Conn) appendPrepared(f *preparedFrame) {
	c.windowMoves(f)
	c.out.count(f)
	c.appendFrame(f.h, f.p)
}
