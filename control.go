package websocket

import (
	"context"
	"encoding/binary"
	"slices"
)

// maxPongs bounds the Pongs that wait to be sent, in bytes of frames.
const maxPongs = 4 << 10

// handleControl deals with a control frame (section 5.5). A Close is returned
// as the *CloseError that reading ends with.
func (c *Conn) handleControl(op Opcode, payload []byte) error {
	switch op {
	case OpPing:
		c.queuePong(payload)
	case OpPong:
		c.resolvePings(payload)
	case OpClose:
		code, reason, err := parseClosePayload(payload)
		if err != nil {
			return err
		}
		return &CloseError{Code: code, Reason: reason}
	}
	return nil
}

// queuePong queues the answer to a Ping. The reader sends it before it waits
// or returns. Every Ping is answered while few Pongs wait; where the peer
// floods us and does not read, only the latest is, as section 5.5.3 allows.
func (c *Conn) queuePong(payload []byte) {
	out := &c.out
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.err != nil {
		return
	}
	if out.pongs >= maxPongs {
		out.latestPong = append(out.latestPong[:0], payload...)
		out.hasLatestPong = true
		return
	}
	before := len(out.frames())
	c.appendFrame(FrameHeader{Fin: true, Opcode: OpPong}, payload)
	out.pongs += len(out.frames()) - before
	c.in.owes, c.in.hasReplied = true, true
}

// A ping is a Ping that waits for its Pong.
type ping struct {
	id   uint64
	done chan struct{} // closed when it is answered or never will be
	err  error
}

// Ping sends a Ping and returns when its Pong is back. The peer has then read
// all that was written before the Ping. Any number of goroutines may have one
// under way; as section 5.5.3 allows, a Pong counts for all Pings before its
// own. Somebody has to be reading, or the Pong is never seen.
//
// It fails with the cause of ctx when that ends first, without harm to the
// connection, or with what a write would return when the connection ends.
func (c *Conn) Ping(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	out := &c.out
	out.mu.Lock()
	for out.err == nil && len(out.frames()) > maxPending {
		changed := out.watch()
		out.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		out.mu.Lock()
	}
	if out.err != nil {
		defer out.mu.Unlock()
		return out.err
	}
	out.pingID++
	p := &ping{id: out.pingID, done: make(chan struct{})}
	out.pings = append(out.pings, p)
	c.appendFrame(FrameHeader{Fin: true, Opcode: OpPing}, binary.BigEndian.AppendUint64(nil, p.id))
	c.flushAside()
	out.mu.Unlock()

	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		out.mu.Lock()
		out.pings = slices.DeleteFunc(out.pings, func(q *ping) bool { return q == p })
		out.mu.Unlock()
		return context.Cause(ctx)
	}
}

// resolvePings ends the wait of the Ping that a Pong answers and of those
// before it. Other Pongs mean nothing (section 5.5.3).
func (c *Conn) resolvePings(payload []byte) {
	if len(payload) != 8 {
		return
	}
	id := binary.BigEndian.Uint64(payload)
	out := &c.out
	out.mu.Lock()
	defer out.mu.Unlock()
	if id > out.pingID {
		return
	}
	n := 0
	for n < len(out.pings) && out.pings[n].id <= id {
		close(out.pings[n].done)
		n++
	}
	out.pings = out.pings[n:]
	if len(out.pings) == 0 {
		out.pings = nil
	}
}
