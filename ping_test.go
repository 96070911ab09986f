package websocket

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// wantPending: a call has not returned. The other goroutines have had the
// chance to let it, since something has been sent and received meanwhile.
func wantPending(t testing.TB, result <-chan error, because string) {
	t.Helper()
	select {
	case err := <-result:
		t.Fatalf("the call returned %v, want it to wait: %s", err, because)
	default:
	}
}

// TestPingIsBarrier: when Ping returns, the peer has read all that was written
// before.
func TestPingIsBarrier(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		a, b := newPair(t, narrow(connect), connConfig{readLimit: -1})
		if !client {
			a, b = b, a
		}
		go readError(a)
		received := make(chan int, 1000)
		go func() {
			for {
				_, p, err := b.ReadMessage(nil)
				if err != nil {
					return
				}
				_, number, _ := parseNumbered(p)
				received <- number
			}
		}()
		for i := range 20 {
			for _, size := range []int{10, 100 << 10, 500} {
				if err := a.WriteMessage(OpBinary, numbered(0, i, size)); err != nil {
					t.Fatal(err)
				}
			}
			if err := a.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			// The last of them may be on its way from ReadMessage to us.
			if len(received) < 2 {
				t.Fatalf("%d messages had been read when Ping returned, want all 3", len(received))
			}
			for range 3 {
				if number := <-received; number != i {
					t.Fatalf("message %d came, want %d", number, i)
				}
			}
		}
	})
}

// TestPongResolvesEarlierPings: a Pong counts for its own Ping and all before
// it, and for none behind it (5.5.3).
func TestPongResolvesEarlierPings(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		go readError(c)
		var results []<-chan error
		var payloads []string
		for range 5 {
			results = append(results, async(func() error { return c.Ping(t.Context()) }))
			payloads = append(payloads, p.wantPing("Ping was called"))
		}
		p.send(p.frame(true, OpPong, payloads[2]))
		for i, result := range results[:3] {
			if err := <-result; err != nil {
				t.Errorf("Ping %d returned %v, want nil: it or a later one was answered", i, err)
			}
		}
		// Unsolicited Pongs, old, forged and malformed ones mean nothing.
		for _, payload := range []string{payloads[0], payloads[2], "", "x", "12345678", strings.Repeat("\xff", 8),
			strings.Repeat("\x00", 8), "\x00\x00\x00\x00\x00\x00\x00\x06", payloads[4] + "\x00", strings.Repeat("y", 125)} {
			p.send(p.frame(true, OpPong, payload))
		}
		p.send(p.frame(true, OpPing, "seen?"))
		p.wantFrame(OpPong, "seen?", "all Pongs before have been read")
		for _, result := range results[3:] {
			wantPending(t, result, "its Pong has not come")
		}
		p.send(p.frame(true, OpPong, payloads[4]))
		for _, result := range results[3:] {
			if err := <-result; err != nil {
				t.Errorf("Ping returned %v, want nil", err)
			}
		}
	})
}

// TestManyPings has many goroutines ping at the same time.
func TestManyPings(t *testing.T) {
	onEvery(t, func(t *testing.T, connect connectFunc) {
		client, server := newPair(t, connect, connConfig{})
		go readError(client)
		go readError(server)
		var results []<-chan error
		for _, c := range []*Conn{client, server} {
			for range 64 {
				results = append(results, async(func() error {
					for range 10 {
						if err := c.Ping(t.Context()); err != nil {
							return err
						}
					}
					return nil
				}))
			}
		}
		for _, result := range results {
			if err := <-result; err != nil {
				t.Fatalf("Ping returned %v, want nil", err)
			}
		}
		for _, c := range []*Conn{client, server} {
			if !inState(c, func(out *writeHalf) bool { return out.pings == nil })() {
				t.Fatal("Pings are remembered after they have been answered")
			}
		}
	})
}

// TestPingCancelled: Ping returns the cause of its context, forgets about the
// Ping, and the connection is none the worse.
func TestPingCancelled(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		go readError(c)
		cause := errors.New("no patience")
		ctx, cancel := context.WithCancelCause(t.Context())
		first := async(func() error { return c.Ping(t.Context()) })
		p.wantPing("Ping was called")
		second := async(func() error { return c.Ping(ctx) })
		payload := p.wantPing("Ping was called")
		cancel(cause)
		if err := <-second; err != cause {
			t.Fatalf("Ping returned %v, want the cause of its context, %v", err, cause)
		}
		if err := c.Ping(ctx); err != cause {
			t.Fatalf("Ping with a context that has ended returned %v, want its cause, %v", err, cause)
		}
		if !inState(c, func(out *writeHalf) bool { return out.pings != nil && out.pings.next == nil })() {
			t.Fatal("a Ping is remembered that nobody waits for")
		}
		wantPending(t, first, "it has a context of its own")
		p.send(p.frame(true, OpPong, payload))
		if err := <-first; err != nil {
			t.Fatalf("the first Ping returned %v, want nil: a later one was answered", err)
		}
		third := async(func() error { return c.Ping(t.Context()) })
		p.send(p.frame(true, OpPong, p.wantPing("the connection is as before, and nothing was sent for the ended context")))
		if err := <-third; err != nil {
			t.Fatal(err)
		}
	})
}

// TestPingTimesOut: the cause of a context that runs out is its own.
func TestPingTimesOut(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, overPipe, connConfig{client: client})
			go readError(c)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			result := async(func() error { return c.Ping(ctx) })
			p.wantPing("Ping was called")
			if err := <-result; err != context.DeadlineExceeded || time.Since(start) != time.Minute {
				t.Fatalf("Ping returned %v after %v, want context.DeadlineExceeded after a minute", err, time.Since(start))
			}
		})
	})
}

// TestPingBehindStuckWriter: where too much is pending, Ping waits for room,
// for the end of its context, or for the end of the connection.
func TestPingBehindStuckWriter(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, narrow(connect), connConfig{client: client})
		reader := readError(c)
		writer := stuckWriter(t, c)
		small := 0
		for ; inState(c, func(out *writeHalf) bool { return len(out.frames()) <= maxPending })(); small++ {
			if err := c.WriteMessage(OpBinary, make([]byte, 10_000)); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		watched := inState(c, func(out *writeHalf) bool { return out.changed != nil })
		cancelled := async(func() error { return c.Ping(ctx) })
		waitUntil(t, "Ping waits", watched)
		patient := async(func() error { return c.Ping(t.Context()) })
		cancel()
		if err := <-cancelled; err != context.Canceled {
			t.Fatalf("Ping returned %v, want context.Canceled", err)
		}
		p.wantFrame(OpBinary, string(make([]byte, tooLarge)), "it was written first")
		for range small {
			p.wantFrame(OpBinary, string(make([]byte, 10_000)), "it was written before Ping was called")
		}
		p.send(p.frame(true, OpPong, p.wantPing("there is room for it")))
		if err := errors.Join(<-writer, <-patient); err != nil {
			t.Fatal(err)
		}

		writer = stuckWriter(t, c)
		for inState(c, func(out *writeHalf) bool { return len(out.frames()) <= maxPending })() {
			if err := c.WriteMessage(OpBinary, make([]byte, 10_000)); err != nil {
				t.Fatal(err)
			}
		}
		waits := async(func() error { return c.Ping(t.Context()) })
		waitUntil(t, "Ping waits", watched)
		c.CloseNow()
		for _, err := range []error{<-waits, <-writer, <-reader} {
			is(net.ErrClosed)(t, err)
		}
	})
}

// TestPingAtTheEnd: when the connection ends, Ping returns what a write does.
func TestPingAtTheEnd(t *testing.T) {
	for name, end := range map[string]func(c *Conn, p *peer){
		"the peer breaks off": func(_ *Conn, p *peer) { p.close() },
		"the peer closes": func(_ *Conn, p *peer) {
			p.send(p.frame(true, OpClose, ""))
			p.wantClose(StatusNoStatusReceived, "the peer closed")
			p.close()
		},
		"Close":            func(c *Conn, _ *peer) { go c.Close() },
		"CloseNow":         func(c *Conn, _ *peer) { c.CloseNow() },
		"a write deadline": func(c *Conn, _ *peer) { c.SetWriteDeadline(longPast); c.WriteMessage(OpText, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
				c, p := newPeer(t, connect, connConfig{client: client})
				reader := readError(c)
				var pings []<-chan error
				for range 3 {
					pings = append(pings, async(func() error { return c.Ping(t.Context()) }))
					p.wantPing("Ping was called")
				}
				end(c, p)
				for _, ping := range pings {
					if got, want := <-ping, c.WriteMessage(OpText, nil); got != want || got == nil {
						t.Fatalf("Ping returned %v, want what a write returns, %v", got, want)
					}
				}
				p.close()
				<-reader
			})
		})
	}
}

// TestPingFlood: a peer that sends Pings and reads nothing makes no more than
// a few KiB of Pongs wait. What it gets when it reads at last are the first
// ones, and the last.
func TestPingFlood(t *testing.T) {
	const pings = 20_000
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, narrow(connect), connConfig{client: client})
		writer := stuckWriter(t, c)
		reader := readError(c)
		payload := func(i int) string {
			return string(binary.BigEndian.AppendUint32(make([]byte, 60), uint32(i)))
		}
		for i := range pings {
			p.send(p.frame(true, OpPing, payload(i)))
		}
		p.send(p.frame(true, OpText, "done"))
		if err := <-reader; err != nil {
			t.Fatalf("reading failed: %v", err)
		}
		if !inState(c, func(out *writeHalf) bool {
			return len(out.frames()) <= maxPongs+2*maxControlPayload && (out.backlog == nil || cap(out.backlog.latestPong) < 1000)
		})() {
			t.Fatalf("%d bytes are pending, want about %d", len(c.out.frames()), maxPongs)
		}
		p.wantFrame(OpBinary, string(make([]byte, tooLarge)), "it was written first")
		last := -1
		for answered := 0; last < pings-1; answered++ {
			h, got, err := p.readFrame()
			if err != nil || h.Opcode != OpPong || len(got) != 64 {
				t.Fatalf("the peer got a %v frame of %d bytes, error %v, want a Pong", h.Opcode, len(got), err)
			}
			i := int(binary.BigEndian.Uint32(got[60:]))
			if i <= last || i != answered && i != pings-1 {
				t.Fatalf("Pong %d came after %d, want the Pongs to the first Pings and then to the last", i, last)
			}
			last = i
		}
		if err := <-writer; err != nil {
			t.Fatal(err)
		}
	})
}

// TestEveryPingAnswered: where the peer reads, every Ping is answered, also
// between the fragments of a message and from inside a streamed one, and before
// the application gets what came behind it.
func TestEveryPingAnswered(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		var all []byte
		for i := range 20 {
			all = append(all, p.frame(true, OpPing, fmt.Sprint("before ", i))...)
		}
		all = append(all, p.frame(false, OpText, "a")...)
		all = append(all, p.frame(true, OpPing, "inside")...)
		all = append(all, p.frame(false, OpContinuation, "bc")...)
		all = append(all, p.frame(true, OpPing, "not reached")...)
		p.send(all)
		opened := async(func() *messageReader {
			_, r, err := c.NextReader()
			if err != nil {
				t.Errorf("NextReader returned %v, want nil", err)
			}
			return r.(*messageReader)
		})
		for i := range 20 {
			p.wantFrame(OpPong, fmt.Sprint("before ", i), "a Ping is answered")
		}
		r := <-opened
		read := func(want string) {
			t.Helper()
			b := make([]byte, 1)
			if n, err := r.Read(b); n != 1 || string(b) != want || err != nil {
				t.Fatalf("Read returned %q, %v, want %q and nil", b[:n], err, want)
			}
		}
		read("a")
		second := async(func() error { read("b"); return nil })
		p.wantFrame(OpPong, "inside", "a Ping between fragments has been read, though the application reads no further")
		<-second
	})
}

// TestPingBehindQueue: what was enqueued while a message was being compressed is
// on its way before Ping is. It does not wait for those that come later, nor for
// a NextWriter to be closed, which may be up to the one who calls Ping.
func TestPingBehindQueue(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, overPipe, connConfig{client: client})
			go readError(c)
			out := &c.out
			out.mu.Lock()
			c.takeLine(nil)
			out.queueing = true // as WriteMessage has it while it compresses
			out.mu.Unlock()
			if err := c.Enqueue(prepared(t, OpText, []byte("before"))); err != nil {
				t.Fatal(err)
			}
			first := async(func() error { return c.Ping(t.Context()) })
			synctest.Wait()
			out.mu.Lock()
			c.leaveLine()
			c.flushAside()
			out.busy, out.queueing = true, true // another, before the Ping has the lock
			b := out.needBacklog()
			b.queue = append(b.queue, prepared(t, OpText, []byte("after")).frame(nil))
			out.mu.Unlock()
			p.wantFrame(OpText, "before", "it was enqueued before Ping was called")
			p.send(p.frame(true, OpPong, p.wantPing("all is on its way that was enqueued before")))
			isNil(t, <-first)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if err := c.Ping(ctx); err != context.DeadlineExceeded {
				t.Errorf("Ping returned %v, want the cause of its context: a message waits", err)
			}
			last := async(func() error { return c.Ping(t.Context()) })
			synctest.Wait()
			c.CloseNow()
			is(net.ErrClosed)(t, <-last)
		})
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, overPipe, connConfig{client: client})
			go readError(c)
			w, err := c.NextWriter(OpText)
			if err == nil {
				err = c.Enqueue(prepared(t, OpText, []byte("behind")))
			}
			if err != nil {
				t.Fatal(err)
			}
			ping := async(func() error { return c.Ping(t.Context()) })
			p.send(p.frame(true, OpPong, p.wantPing("control frames may come inside a message")))
			isNil(t, <-ping)
			closed := async(w.Close)
			p.wantFrame(OpText, "", "the writer was closed")
			p.wantFrame(OpText, "behind", "it was enqueued")
			isNil(t, <-closed)
		})
	})
}

// TestAnsweredPingsNotKept: Pings of which each is sent before the last one has
// been answered do not hold on to one another.
func TestAnsweredPingsNotKept(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, overPipe, connConfig{client: client, pingInterval: time.Minute})
			go readError(c)
			last := p.wantPing("there was no input")
			for range 10 {
				go c.Ping(t.Context())
				next := p.wantPing("of Ping")
				p.send(p.frame(true, OpPong, last))
				synctest.Wait()
				last = next
			}
			p.send(p.frame(true, OpPong, last))
			synctest.Wait()
			if c.out.pings != nil {
				t.Error("a Ping still waits, want none after the last Pong")
			}
			if k := c.in.keepalive; k.ping.next != nil {
				t.Error("a Ping that has been answered keeps a later one")
			}
			c.CloseNow()
		})
	})
}
