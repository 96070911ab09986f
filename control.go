package websocket

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"time"
)

// maxPongs bounds the Pongs that wait to be sent, in bytes of frames.
const maxPongs = 4 << 10

// handleControl deals with a control frame (section 5.5). A Close is returned
// as the *CloseError that reading ends with.
func (c *Conn) handleControl(op Opcode, payload []byte) error {
	if err := c.in.countControl(); err != nil {
		return err
	}
	switch op {
	case OpPing:
		c.in.stats.pings.Add(1)
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
		b := out.needBacklog()
		if b.latestPong == nil {
			b.latestPong = make([]byte, 0, maxControlPayload)
		}
		b.latestPong = append(b.latestPong[:0], payload...)
		return
	}
	before := len(out.frames())
	c.appendFrame(FrameHeader{Fin: true, Opcode: OpPong}, payload)
	out.pongs += len(out.frames()) - before
	c.in.owes, c.in.hasReplied = true, true
}

// Without a message between them this many control frames may come at once,
// and this many a second after that: far more than anyone needs.
const (
	maxControlBurst = 64 << 10
	maxControlRate  = 10_000
)

// countControl counts a control frame, and a flood of them as what it is: work
// that has no other purpose (section 10.4).
func (in *readHalf) countControl() error {
	if in.controls == 0 {
		in.controlsSince = now()
	}
	in.controls++
	if in.controls <= maxControlBurst {
		return nil
	}
	// The burst is used up: what the rate allows is given back.
	const each = time.Second / maxControlRate
	allowed := int64(-in.controlsSince.until() / each)
	if allowed == 0 {
		return errControlFlood
	}
	in.controls = int32(max(int64(in.controls)-allowed, 1))
	in.controlsSince = in.controlsSince.add(time.Duration(allowed) * each)
	return nil
}

// A ping is a Ping that waits for its Pong.
type ping struct {
	id   uint64
	sent time.Time
	done chan struct{} // closed when it is answered or never will be
	err  error
	next *ping // sent later
}

// Ping sends a Ping and returns when its Pong is back. The peer has then read
// all that was written before the Ping, and all that was given to Enqueue but
// for what waits until a NextWriter is closed. Any number of goroutines may have
// one under way; as section 5.5.3 allows, a Pong counts for all Pings before its
// own. Somebody has to be reading, or the Pong is never seen.
//
// It fails with the cause of ctx when that ends first, without harm to the
// connection, or with what a write would return when the connection ends.
func (c *Conn) Ping(ctx context.Context) error {
	if c.browser {
		return errBrowserPing
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	out := &c.out
	out.mu.Lock()
	turn := out.turns()
	for out.err == nil && (len(out.frames()) > maxPending || out.turns() == turn && out.queued() > 0 && !out.streaming) {
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
	p := c.sendPing()
	out.mu.Unlock()

	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
		out.mu.Lock()
		out.forgetPing(p)
		out.mu.Unlock()
		return context.Cause(ctx)
	}
}

// forgetPing gives up waiting for the Pong of p, if it waits at all.
func (out *writeHalf) forgetPing(p *ping) {
	for at := &out.pings; *at != nil; at = &(*at).next {
		if *at == p {
			*at, p.next = p.next, nil
			return
		}
	}
}

// endPing ends the wait of the first Ping.
func (out *writeHalf) endPing(err error) {
	p := out.pings
	out.pings, p.next = p.next, nil
	p.err = err
	close(p.done)
}

// sendPing sends a Ping without waiting. The caller holds mu.
func (c *Conn) sendPing() *ping {
	out := &c.out
	out.pingID++
	p := &ping{id: out.pingID, sent: time.Now(), done: make(chan struct{})}
	last := &out.pings
	for *last != nil {
		last = &(*last).next
	}
	*last = p
	out.stats.pings++
	c.appendFrame(FrameHeader{Fin: true, Opcode: OpPing}, binary.BigEndian.AppendUint64(nil, p.id))
	c.flushAside()
	return p
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
	for p := out.pings; p != nil && p.id <= id; p = out.pings {
		if p.id == id {
			out.stats.roundTrip = time.Since(p.sent)
		}
		out.endPing(nil)
	}
}

// keepalive finds out whether a silent peer is still there. It is driven by the
// read that waits, through the deadline that watchSilence sets, and costs
// neither a goroutine nor a timer:
//
//	input          nothing is done but to note when
//	the interval   without input: a Ping goes out
//	the timeout    after it: the socket is read once more, since our own
//	               application may have been slow to read what has come
//	nothing there  the peer is gone
type keepalive struct {
	interval   time.Duration
	timeout    time.Duration
	heardAt    moment
	pinged     bool // since heardAt
	ping       *ping
	probing    bool // the read under way is the last before the verdict
	probeBy    moment
	foundEmpty bool          // it has looked and found nothing
	looked     time.Duration // how long such reads have looked, where they do not say what they find
}

// probeTime bounds the read before the verdict. A probe that ends this much
// later than it should, or that found no time to look, says more about us than
// about the peer and is made again.
const probeTime = 100 * time.Millisecond

func (c *Conn) startKeepalive(interval, timeout time.Duration) {
	if interval <= 0 {
		return
	}
	if timeout <= 0 {
		timeout = interval
	}
	k := &keepalive{interval: interval, timeout: timeout, heardAt: now()}
	c.in.keepalive = k
	c.watchSilence(k.heardAt.add(interval))
}

// heard notes that there was input.
func (c *Conn) heard() {
	k := c.in.keepalive
	answered := k.pinged
	k.heardAt, k.pinged, k.probing, k.looked = now(), false, false, 0
	if answered {
		c.watchSilence(k.heardAt.add(k.interval)) // the timeout may be longer
	}
}

// probeBegins and probeEnds stand around a read of a connection that does not
// say whether it has looked for input. It has if it took its time, if not in one
// go: the application may have deadlines that come sooner.
func (k *keepalive) probeBegins() (began moment) {
	if k != nil && k.probing {
		began = now()
	}
	return began
}

func (k *keepalive) probeEnds(began moment) {
	if k != nil && k.probing {
		k.looked -= began.until()
		k.foundEmpty = k.looked >= probeTime/2
	}
}

// keepAlive takes keepalive's next step where err says that it is due, and
// reports whether to read again. It returns ErrPeerSilent as the verdict.
func (c *Conn) keepAlive(err error) (again bool, verdict error) {
	k := c.in.keepalive
	if k == nil || !errors.Is(err, os.ErrDeadlineExceeded) || c.ending.Load() {
		return false, nil
	}
	app, silence, own := c.in.deadline.passed()
	now := now()
	if k.probing && now >= k.probeBy.add(probeTime) {
		k.foundEmpty, k.looked = false, 0 // that was long ago
	}
	next := now.add(probeTime)
	switch {
	case own || !app && !silence:
		k.probing = false
		return false, nil
	case k.probing && k.foundEmpty:
		return false, ErrPeerSilent
	case app:
		if k.probing {
			k.probing = false
			c.watchSilence(now) // the next read goes on with it
		}
		return false, nil
	case !k.pinged && now < k.heardAt.add(k.interval):
		next = k.heardAt.add(k.interval)
	case !k.pinged:
		k.pinged = true
		next = now.add(k.timeout)
		out := &c.out
		out.mu.Lock()
		if out.err == nil {
			out.forgetPing(k.ping) // the peer may never answer, and still talk
			k.ping = c.sendPing()
		}
		out.mu.Unlock()
	default:
		k.probing, k.probeBy, k.foundEmpty = true, next, false
	}
	c.watchSilence(next)
	return true, nil
}
