package websocket

import (
	"bytes"
	"fmt"
	"testing"
	"time"
)

// TestUnsent goes through every place at which a write may have stopped.
func TestUnsent(t *testing.T) {
	head, p := []byte("header"), []byte("payload")
	all := "headerpayload"
	for sent := range len(all) + 1 {
		h, rest := unsent(head, p, sent)
		if got := string(h) + string(rest); got != all[sent:] {
			t.Errorf("after %d bytes %q is left, want %q", sent, got, all[sent:])
		}
		if sent <= len(head) && len(rest) != len(p) {
			t.Errorf("after %d bytes %q is left of the payload, want all of it", sent, rest)
		}
	}
}

// TestMessagesInPieces writes messages of the sizes that leave with their header
// in one system call, of smaller and of larger ones, to a peer that reads so
// late that some calls are cut in the middle.
func TestMessagesInPieces(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, narrow(connect), connConfig{client: client})
		sizes := []int{maxHeld - 1, maxHeld, 16 << 10, 32<<10 + 1, 64<<10 - 4, 64 << 10, 100, 200 << 10}
		const rounds = 30
		written := async(func() error {
			for i := range rounds * len(sizes) {
				if err := c.WriteMessage(OpBinary, numbered(1, i, sizes[i%len(sizes)])); err != nil {
					return fmt.Errorf("message %d: %w", i, err)
				}
			}
			return nil
		})
		for i := range rounds * len(sizes) {
			if i%len(sizes) == 0 {
				time.Sleep(5 * time.Millisecond) // the writer fills what there is
			}
			h, payload, err := p.readFrame()
			if err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
			if h.Opcode != OpBinary || !bytes.Equal(payload, numbered(1, i, sizes[i%len(sizes)])) {
				t.Fatalf("message %d of %d bytes came as %v of %d bytes, or changed", i, sizes[i%len(sizes)], h.Opcode, len(payload))
			}
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
	})
}
