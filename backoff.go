package websocket

import (
	"math/rand/v2"
	"time"
)

// A Backoff says how long to wait before connecting again, so that the clients
// of a server that went away do not all come back at once (section 7.2.3). The
// delays are random and grow exponentially:
//
//	the first     between 0 and First
//	the second    between First and twice First
//	each further  between the bounds of the one before, doubled
//
// until they are between half of Max and Max, where they stay. The zero value is
// ready for use. It is for one goroutine at a time.
type Backoff struct {
	// First bounds the first delay. 0 means 5 seconds.
	First time.Duration

	// Max bounds every delay. 0 means 2 minutes; less than First means First.
	Max time.Duration

	bound time.Duration // of the last delay; 0: there was none
}

// What a zero field of Backoff means. Section 7.2.3 calls the first one
// reasonable.
const (
	defaultBackoffFirst = 5 * time.Second
	defaultBackoffMax   = 2 * time.Minute
)

// Next returns the next delay, never a negative one.
func (b *Backoff) Next() time.Duration {
	first, most := b.First, b.Max
	if first <= 0 {
		first = defaultBackoffFirst
	}
	if most <= 0 {
		most = defaultBackoffMax
	}
	most = max(most, first)
	if b.bound == 0 {
		b.bound = first
		return rand.N(first)
	}
	if b.bound > most/2 {
		b.bound = most
	} else {
		b.bound *= 2
	}
	return b.bound/2 + rand.N(b.bound-b.bound/2)
}

// Reset makes the next delay a first one: for when a connection has worked.
func (b *Backoff) Reset() { b.bound = 0 }
