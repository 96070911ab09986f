package websocket

import (
	"sync"
	"sync/atomic"
)

// A turn is a mutex for what may take for ever. It is one atomic instruction
// for whoever does not meet another, and needs no memory until two do. Who
// waits does so on a channel, which synctest knows for what it is.
type turn struct {
	n      atomic.Int32 // who has the turn, and who wants it
	mu     sync.Mutex   // guards handed
	handed chan struct{}
}

func (t *turn) lock() {
	if t.n.Add(1) > 1 {
		<-t.hand()
	}
}

func (t *turn) unlock() {
	if t.n.Add(-1) > 0 {
		t.hand() <- struct{}{} // has room: there is one turn only
	}
}

// hand returns the channel through which the turn is handed over.
func (t *turn) hand() chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.handed == nil {
		t.handed = make(chan struct{}, 1)
	}
	return t.handed
}
