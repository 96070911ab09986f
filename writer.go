package websocket

import (
	"errors"
	"io"
	"slices"
)

// NextWriter begins a message and returns a writer of its payload. op is
// [OpText] or [OpBinary]. The message leaves in frames of up to 32 KiB as the
// payload is written, or in larger ones for larger writes; compressed it leaves
// in one frame, but for one of more than 256 KiB. Close sends what is left with
// the last frame, and has to be called.
//
// Until then only control frames pass: other messages wait. NextWriter itself
// waits like [Conn.WriteMessage] does. The writer is for one goroutine at a
// time. It refuses text that is not UTF-8 with [ErrInvalidUTF8], having taken
// nothing of that write. A text message closed inside a character is not sent;
// where a part of it has been sent already the connection is closed with
// [StatusInternalError], since there is no other way to take it back.
func (c *Conn) NextWriter(op Opcode) (io.WriteCloser, error) {
	if op != OpText && op != OpBinary {
		return nil, errBadMessageOpcode
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if _, err := c.takeLine(nil); err != nil {
		return nil, err
	}
	c.out.queueing, c.out.streaming = true, true
	return &messageWriter{c: c, op: op, text: op == OpText}, nil
}

// A messageWriter is the head of the line until it is closed.
type messageWriter struct {
	c       *Conn
	op      Opcode // of the next frame
	text    bool
	checker textChecker
	buf     *buffer // payload that has not been sent, nor compressed
	closed  bool

	deflater *deflater // nil: not compressed, or not yet
	deflated *buffer   // what it has made and has not been sent
	size     int       // bytes of the message in it
}

// maxDeflated is how much compressed payload there may be before it is sent.
const maxDeflated = maxPooledWrite

var errWriterClosed = errors.New("websocket: write to a message that has been closed")

func (w *messageWriter) Write(p []byte) (int, error) {
	if w.closed {
		return 0, errWriterClosed
	}
	if w.text {
		checker := w.checker
		if !checker.write(p) {
			return 0, errBadText
		}
		w.checker = checker
	}
	buffered := 0
	if w.buf != nil {
		buffered = len(w.buf.b)
	}
	if buffered+len(p) > maxAppend {
		if !w.begun() && w.c.deflate.compresses(buffered+len(p)) {
			w.compress(-1)
		}
		if buffered > 0 {
			if err := w.sendPart(w.buf.b); err != nil {
				return 0, err
			}
			w.buf.b = w.buf.b[:0]
		}
		if len(p) > maxAppend {
			if err := w.sendPart(p); err != nil {
				return 0, err
			}
			return len(p), nil
		}
	}
	if w.buf == nil {
		w.buf = getWriteBuffer()
	}
	w.buf.b = append(w.buf.b, p...)
	return len(p), w.err()
}

// Close sends the last frame. To call it again does nothing.
func (w *messageWriter) Close() error {
	if w.closed {
		return nil
	}
	w.closed = true
	defer w.release()
	var rest []byte
	if w.buf != nil {
		rest = w.buf.b
	}
	if w.text && !w.checker.complete() {
		w.abandon()
		return errBadText
	}
	d := w.c.deflate
	whole := !w.begun()
	if whole && d.compresses(len(rest)) {
		w.compress(len(rest))
	}
	if w.deflater == nil {
		return w.send(true, rest, len(rest))
	}
	w.deflated.b = w.deflater.finish(w.deflater.write(w.deflated.b, rest))
	w.c.out.mu.Lock()
	w.c.giveDeflater(w.deflater)
	w.c.out.mu.Unlock()
	if whole && !d.pays(len(w.deflated.b), len(rest)) {
		w.deflater = nil
		return w.send(true, rest, len(rest))
	}
	return w.send(true, w.deflated.b, w.size+len(rest))
}

// begun reports whether something of the message has been sent or compressed.
func (w *messageWriter) begun() bool { return w.op == OpContinuation || w.deflater != nil }

// compress begins to compress the message, of the given size or of any size if
// that is negative.
func (w *messageWriter) compress(size int) {
	w.c.out.mu.Lock()
	w.deflater = w.c.takeDeflater()
	w.c.out.mu.Unlock()
	w.deflater.begin(size)
	w.deflated = getWriteBuffer()
}

// sendPart sends p, which is not the last of the message, or compresses it.
func (w *messageWriter) sendPart(p []byte) error {
	if w.deflater == nil {
		return w.send(false, p, len(p))
	}
	for part := range slices.Chunk(p, maxAppend) {
		w.deflated.b = w.deflater.write(w.deflated.b, part)
		w.size += len(part)
		if len(w.deflated.b) <= maxDeflated {
			continue
		}
		if err := w.send(false, w.deflated.b, w.size); err != nil {
			return err
		}
		w.deflated.b, w.size = w.deflated.b[:0], 0
	}
	return w.err()
}

// send sends a frame of the message.
func (w *messageWriter) send(fin bool, p []byte, size int) error {
	out := &w.c.out
	out.mu.Lock()
	defer out.mu.Unlock()
	if out.err != nil {
		return out.err
	}
	h := FrameHeader{Fin: fin, Opcode: w.op}
	h.RSV1 = w.deflater != nil && w.op != OpContinuation
	w.op = OpContinuation
	return w.c.writeFrame(&preparedFrame{h, p, size})
}

// release gives back the buffers of a message that has ended.
func (w *messageWriter) release() {
	for _, b := range []*buffer{w.buf, w.deflated} {
		if b != nil {
			putWriteBuffer(b)
		}
	}
	w.buf, w.deflated = nil, nil
}

// abandon gives up the message.
func (w *messageWriter) abandon() {
	c := w.c
	c.out.mu.Lock()
	begun := w.op == OpContinuation
	if !begun && c.out.err == nil {
		c.leaveLine()
		c.flushAside()
	}
	c.out.mu.Unlock()
	if begun {
		c.closeWith(StatusInternalError, "message abandoned")
	}
}

// err returns what a write to the connection would.
func (w *messageWriter) err() error {
	out := &w.c.out
	out.mu.Lock()
	defer out.mu.Unlock()
	return out.err
}
