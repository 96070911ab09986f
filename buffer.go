package websocket

import (
	"slices"
	"sync"
)

// A buffer is pooled memory. Connections hold one only while bytes are in it,
// so that an idle connection costs none.
type buffer struct {
	b     []byte
	write writeAttempt // of b
}

const (
	// readBufferSize is how much one read can bring.
	readBufferSize = 32 << 10

	// maxPooledWrite bounds what a write buffer may have grown to and still
	// be used again.
	maxPooledWrite = 256 << 10
)

var readBuffers = sync.Pool{New: func() any {
	return &buffer{b: make([]byte, readBufferSize)}
}}

var writeBuffers = sync.Pool{New: func() any {
	return &buffer{b: make([]byte, 0, 4<<10)}
}}

// poison is set under test: buffers are overwritten when they are given back,
// so that whoever still looks at one sees it.
var poison bool

func getReadBuffer() *buffer { return readBuffers.Get().(*buffer) }

func putReadBuffer(b *buffer) {
	b.poison()
	readBuffers.Put(b)
}

// getWriteBuffer returns an empty buffer to append to.
func getWriteBuffer() *buffer { return writeBuffers.Get().(*buffer) }

// grow gives b a capacity of at least need. It doubles, but not past most.
func (b *buffer) grow(need, most int) {
	b.b = append(make([]byte, 0, max(need, min(2*cap(b.b), most))), b.b...)
}

// appendMasked appends p, masked with key from its first byte on.
func (b *buffer) appendMasked(p []byte, key [4]byte) {
	n := len(b.b)
	b.b = slices.Grow(b.b, len(p))[:n+len(p)]
	maskInto(b.b[n:], p, key, 0)
}

func putWriteBuffer(b *buffer) {
	b.poison()
	if cap(b.b) > maxPooledWrite {
		return
	}
	b.b = b.b[:0]
	writeBuffers.Put(b)
}

func (b *buffer) poison() { overwrite(b.b[:cap(b.b)]) }

func overwrite(b []byte) {
	if poison {
		for n := copy(b, "\xDB"); n < len(b); n *= 2 {
			copy(b[n:], b[:n])
		}
	}
}
