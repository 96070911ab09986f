package websocket

import (
	"cmp"
	"errors"
	"net"
	"sync"
	"time"
)

// A moment is a point in time in one word, where a [time.Time] takes three: ns
// from the beginning of the program, negative before that and in a bubble of
// synctest, whose clock is behind. 0 is none.
type moment int64

var beginning = time.Now()

// farthest is 146 years after the beginning: as far away as is needed, and so
// that no difference of moments overflows.
const farthest = 1 << 62

func now() moment { return cmp.Or(moment(time.Since(beginning)), 1) }

// add returns the moment d after m, at most the farthest.
func (m moment) add(d time.Duration) moment {
	return cmp.Or(m+min(max(moment(d), -farthest), farthest-m), 1)
}

// after returns the moment that is d from now.
func after(d time.Duration) moment { return now().add(d) }

// momentOf returns when t is, by the clock as it stands now; how long ago that
// was does not matter.
func momentOf(t time.Time) moment {
	if t.IsZero() {
		return 0
	}
	return after(max(time.Until(t), -1))
}

// time returns m as package net wants it.
func (m moment) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return time.Now().Add(m.until())
}

// passed reports whether m is there and not in the future.
func (m moment) passed() bool { return m != 0 && m <= now() }

// until returns how far m is in the future.
func (m moment) until() time.Duration { return time.Duration(m - now()) }

// earlier returns the earlier of two deadlines, of which zero is none.
func earlier(a, b moment) moment {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// SetDeadline sets the read and the write deadline.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets when a read gives up with an error that Is
// [os.ErrDeadlineExceeded]; a zero t means never. It also counts for a read
// that is waiting. Nothing is lost by it: after a new deadline has been set,
// the next read goes on where the last one stopped, be it inside a message.
//
// Once the connection is closing the library's own timeouts take its place.
func (c *Conn) SetReadDeadline(t time.Time) error {
	d := &c.in.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	d.app = momentOf(t)
	return d.apply(c.nc)
}

// SetWriteDeadline sets when writing gives up; a zero t means never. It also
// counts for writes that are waiting. A frame cut short cannot be mended, so
// that a deadline which strikes fails the connection for good, as with TLS:
// this write and every later one returns an error that Is
// [os.ErrDeadlineExceeded]. What the library sends of its own accord, such as
// a Pong, is not failed by a deadline that had passed before.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	out := &c.out
	out.mu.Lock()
	defer out.mu.Unlock()
	out.deadline = momentOf(t)
	c.watchLine()
	if out.flushing {
		return c.armWrite(c.writeDeadline(true))
	}
	return nil
}

// A readDeadline joins the application's deadline for reading with the
// library's own. All changes go through apply, so that none overwrites
// another.
type readDeadline struct {
	mu      sync.Mutex
	ownOnly bool // the connection is closing
	app     moment
	silence moment // keepalive's next step is due
	own     moment // reading has to end
}

// apply sets the earliest on nc. The caller holds mu.
func (d *readDeadline) apply(nc net.Conn) error {
	by := d.own
	if !d.ownOnly {
		by = earlier(d.app, earlier(d.silence, d.own))
	}
	return nc.SetReadDeadline(by.time())
}

// passed reports which of the deadlines have passed.
func (d *readDeadline) passed() (app, silence, own bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.app.passed(), d.silence.passed(), d.own.passed()
}

// watchSilence sets when keepalive's next step is due.
func (c *Conn) watchSilence(by moment) {
	d := &c.in.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silence = by
	d.apply(c.nc)
}

// limitReading bounds all reading from now on. With ownOnly the application's
// deadline does not count any more.
func (c *Conn) limitReading(by moment, ownOnly bool) {
	d := &c.in.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ownOnly && !ownOnly {
		return
	}
	d.own, d.ownOnly = by, ownOnly
	if err := d.apply(c.nc); err != nil && c.raw == nil && !errors.Is(err, net.ErrClosed) {
		// A connection without deadlines, such as a channel of package ssh.
		time.AfterFunc(by.until(), func() { c.dropBelow() })
	}
}
