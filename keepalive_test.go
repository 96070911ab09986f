package websocket

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const (
	testInterval = 10 * time.Second
	testTimeout  = 3 * time.Second
)

// inBubbles runs test in both roles, each in a synctest bubble, on a Conn with
// keepalive and its peer over a pipe.
func inBubbles(t *testing.T, test func(t *testing.T, c *Conn, p *peer)) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, overPipe, connConfig{client: client, pingInterval: testInterval, pongTimeout: testTimeout})
			test(t, c, p)
		})
	})
}

// wantPing: the next frame is a Ping. It returns its payload.
func (p *peer) wantPing(because string) string {
	p.t.Helper()
	h, payload, err := p.readFrame()
	if err != nil || h.Opcode != OpPing || !h.Fin {
		p.t.Fatalf("the peer got a %v frame %s, error %v, want a Ping: %s", h.Opcode, brief(payload), err, because)
	}
	p.checkHeader(h)
	return string(payload)
}

// wantSilent: err is what a read or write returns after keepalive's verdict.
func wantSilent(t testing.TB, err error, what string) {
	t.Helper()
	wantCloseError(t, err, StatusAbnormalClosure, "", what+" says that the peer was silent")
	if !errors.Is(err, ErrPeerSilent) || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%s returned %v, want an error that Is ErrPeerSilent and never os.ErrDeadlineExceeded", what, err)
	}
}

// TestKeepalivePings: a Ping goes out exactly after the interval without input,
// whatever the input was.
func TestKeepalivePings(t *testing.T) {
	inBubbles(t, func(t *testing.T, c *Conn, p *peer) {
		go func() {
			for {
				if _, _, err := c.ReadMessage(nil); err != nil {
					return
				}
			}
		}()
		heard := time.Now()
		wantPingAt := func(at time.Time, because string) (payload string) {
			t.Helper()
			payload = p.wantPing(because)
			if got := time.Now(); !got.Equal(at) {
				t.Fatalf("the Ping came %v after the last input, want %v: %s", got.Sub(heard), at.Sub(heard), because)
			}
			return payload
		}
		after := func(d time.Duration, input []byte) {
			time.Sleep(d)
			p.send(input)
			p.waitSent()
			synctest.Wait()
			heard = time.Now()
		}

		payload := wantPingAt(heard.Add(testInterval), "there was no input since the beginning")
		after(2*time.Second, p.frame(true, OpPong, payload))
		payload = wantPingAt(heard.Add(testInterval), "there was none since the Pong")
		after(time.Second, p.frame(true, OpPong, payload))
		after(9*time.Second, p.frame(true, OpText, "hello"))
		wantPingAt(heard.Add(testInterval), "there was none since the message")

		// Any byte is an answer, also one that is a part of something.
		text := p.frame(true, OpText, "in pieces")
		for i := range text {
			after(testTimeout-1, text[i:i+1])
			if i < len(text)-1 {
				wantPingAt(heard.Add(testInterval), "there was none since the last byte")
			}
		}
		payload = wantPingAt(heard.Add(testInterval), "there was none since the message in pieces")
		after(0, p.frame(true, OpPong, "not that one"))
		wantPingAt(heard.Add(testInterval), "a Pong of the peer's own is input too")
		after(0, p.frame(true, OpPing, "mine"))
		p.wantFrame(OpPong, "mine", "Pings of the peer are answered")
		wantPingAt(heard.Add(testInterval), "so is its Ping")
	})
}

// TestKeepaliveSilence: where nothing comes back everything ends with the same
// error, and not before it should.
func TestKeepaliveSilence(t *testing.T) {
	inBubbles(t, func(t *testing.T, c *Conn, p *peer) {
		began := time.Now()
		ended := readError(c)
		pinged := async(func() error { return c.Ping(t.Context()) })
		p.wantPing("the application's own")
		p.wantPing("keepalive's")
		written := async(func() error { return c.WriteMessage(OpBinary, make([]byte, 1<<20)) }) // the peer does not read it
		waiting := async(func() error { return c.WriteMessage(OpBinary, make([]byte, 1<<20)) })

		err := <-ended
		wantSilent(t, err, "reading")
		took := time.Since(began)
		if least, most := testInterval+testTimeout, testInterval+testTimeout+probeTime; took < least || took > most {
			t.Fatalf("the verdict came after %v of silence, want it between %v and %v", took, least, most)
		}
		wantSilent(t, <-written, "the write under way")
		wantSilent(t, <-waiting, "the write that waited")
		wantSilent(t, <-pinged, "Ping")
		for range 3 {
			_, _, again := c.ReadMessage(nil)
			if again != err {
				t.Fatalf("a later read returned %v, want the same error for good: %v", again, err)
			}
			wantSilent(t, c.WriteMessage(OpText, nil), "a later write")
			_, err := c.NextWriter(OpText)
			wantSilent(t, err, "a later NextWriter")
			m, _ := NewPreparedMessage(OpText, nil)
			wantSilent(t, c.Enqueue(m), "a later Enqueue")
			wantSilent(t, c.Ping(t.Context()), "a later Ping")
			wantSilent(t, c.Close(), "Close")
		}
		if err := c.CloseNow(); err != nil {
			t.Fatalf("CloseNow returned %v after the end, want nil", err)
		}
	})
}

// TestKeepaliveDefaults: without a timeout the interval is the timeout, too;
// without an interval there is no keepalive.
func TestKeepaliveDefaults(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, overPipe, connConfig{client: client, pingInterval: time.Minute})
			began := time.Now()
			ended := readError(c)
			p.wantPing("keepalive's")
			wantSilent(t, <-ended, "reading")
			if took := time.Since(began); took != 2*time.Minute+probeTime {
				t.Fatalf("the verdict came after %v, want twice the interval and the last look", took)
			}
		})
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, overPipe, connConfig{client: client, pongTimeout: time.Second})
			ended := readError(c)
			time.Sleep(1000 * time.Hour)
			p.send(p.frame(true, OpClose, "\x03\xe8"))
			p.wantClose(StatusNormalClosure, "nothing came before it: there is no keepalive without an interval")
			p.close()
			wantCloseError(t, <-ended, StatusNormalClosure, "", "the peer closed")
		})
	})
}

// TestKeepaliveSlowApplication: an application that is slow to read is not
// taken for a peer that is silent, wherever it was when it stopped.
func TestKeepaliveSlowApplication(t *testing.T) {
	const long = 100 * (testInterval + testTimeout)
	for _, stop := range []struct {
		name  string
		after time.Duration
	}{
		{"at once", 0},
		{"before the Ping", testInterval / 2},
		{"with the Ping", testInterval},
		{"after the Ping", testInterval + testTimeout/2},
		{"when the Pong is due", testInterval + testTimeout},
		{"during the last look", testInterval + testTimeout + probeTime/4},
	} {
		t.Run(stop.name, func(t *testing.T) {
			inBubbles(t, func(t *testing.T, c *Conn, p *peer) {
				go func() { // takes the Pings, says nothing
					for {
						if _, _, err := p.readFrame(); err != nil {
							return
						}
					}
				}()
				c.SetReadDeadline(time.Now().Add(stop.after))
				if _, _, err := c.ReadMessage(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Fatalf("reading returned %v, want os.ErrDeadlineExceeded: it is the application's deadline", err)
				}
				p.send(p.frame(true, OpText, "an answer"))
				time.Sleep(long)
				c.SetReadDeadline(time.Time{})
				wantMessage(t, c, OpText, "an answer", "the peer sent it long ago")
			})
		})
	}
}

// TestKeepaliveSlowApplicationOverTCP is the same where the answer is in the
// socket, over a connection that can be waited for and over TLS.
func TestKeepaliveSlowApplicationOverTCP(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for name, connect := range map[string]connectFunc{"tcp": overTCP, "tls": overTLS} {
			for state, k := range map[string]keepalive{
				"before the Ping":      {},
				"after the Ping":       {pinged: true},
				"during the last look": {pinged: true, probing: true},
				"before the verdict":   {pinged: true, probing: true, foundEmpty: true},
			} {
				t.Run(name+" "+state, func(t *testing.T) {
					c, p := newPeer(t, connect, connConfig{client: client, pingInterval: time.Minute})
					p.send(p.frame(true, OpText, "an answer"))
					p.waitSent()
					// The application has come back after an hour.
					past := after(-time.Hour)
					k.interval, k.timeout, k.heardAt, k.probeBy = time.Minute, time.Minute, past, past
					c.in.keepalive = &k
					c.watchSilence(past)
					wantMessage(t, c, OpText, "an answer", "it had come before the application looked")
				})
			}
		}
	})
}

// TestKeepaliveOverTCP waits out the real time, over connections that bubbles
// do not know.
func TestKeepaliveOverTCP(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for name, connect := range map[string]connectFunc{"tcp": overTCP, "tls": overTLS} {
			t.Run(name, func(t *testing.T) {
				c, p := newPeer(t, connect, connConfig{client: client, pingInterval: 10 * time.Millisecond})
				ended := readError(c)
				for range 3 {
					p.send(p.frame(true, OpPong, p.wantPing("there is no input")))
				}
				p.wantPing("there is none again")
				err := <-ended
				wantSilent(t, err, "reading")
				wantSilent(t, c.WriteMessage(OpText, nil), "writing")
				wantSilent(t, c.Close(), "Close")
			})
		}
	})
}

// TestKeepaliveAfterFailedWrite: what the peer had sent is read after writing
// has failed, and the verdict is that failure.
func TestKeepaliveAfterFailedWrite(t *testing.T) {
	inBubbles(t, func(t *testing.T, c *Conn, p *peer) {
		broken := errors.New("the network is gone")
		c.nc = failingWrites{c.nc, broken}
		if err := c.WriteMessage(OpText, []byte("x")); !errors.Is(err, broken) {
			t.Fatalf("writing returned %v, want one that Is the error of the connection below", err)
		}
		p.send(p.frame(true, OpText, "sent before"))
		wantMessage(t, c, OpText, "sent before", "reading goes on")
		_, _, err := c.ReadMessage(nil)
		wantCloseError(t, err, StatusAbnormalClosure, "", "the connection broke")
		if !errors.Is(err, broken) || errors.Is(err, ErrPeerSilent) {
			t.Fatalf("reading ended with %v, want what broke the connection first", err)
		}
	})
}

type failingWrites struct {
	net.Conn
	err error
}

func (c failingWrites) Write([]byte) (int, error) { return 0, c.err }

// TestKeepaliveForgetsPings: a peer that talks but never answers does not make
// us remember all the Pings that it has not answered.
func TestKeepaliveForgetsPings(t *testing.T) {
	inBubbles(t, func(t *testing.T, c *Conn, p *peer) {
		go func() {
			for {
				if _, _, err := c.ReadMessage(nil); err != nil {
					return
				}
			}
		}()
		for range 100 {
			p.wantPing("there was no input")
			p.send(p.frame(true, OpText, "something else"))
		}
		synctest.Wait()
		c.out.mu.Lock()
		defer c.out.mu.Unlock()
		if p := c.out.pings; p != nil && p.next != nil {
			t.Fatal("several Pings are waiting, want only the last")
		}
	})
}

// TestKeepaliveAndDeadlines moves the application's read deadline at random
// from another goroutine. It has to strike when it is due and at no other time,
// keepalive has to ping at its own times, and never to give the peer up that
// answers.
func TestKeepaliveAndDeadlines(t *testing.T) {
	for seed := range uint64(5) {
		inBubbles(t, func(t *testing.T, c *Conn, p *peer) {
			testKeepaliveAndDeadlines(t, c, p, seed)
		})
	}
}

func testKeepaliveAndDeadlines(t *testing.T, c *Conn, p *peer, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	silent := make(chan struct{})
	peerEnded := async(func() error {
		r := rand.New(rand.NewPCG(seed, 2))
		heard := time.Now()
		for {
			h, payload, err := p.readFrame()
			if err != nil {
				return err
			}
			if h.Opcode != OpPing {
				return fmt.Errorf("a %v frame came, want Pings only", h.Opcode)
			}
			// The reader may have been kept from reading, but not longer than
			// the rest that the schedule below puts between two deadlines.
			if waited := time.Since(heard); waited < testInterval || waited > testInterval+time.Second {
				return fmt.Errorf("a Ping came %v after the last input, want %v", waited, testInterval)
			}
			select {
			case <-silent:
				continue
			case <-time.After(time.Duration(r.Int64N(int64(testTimeout)))):
			}
			heard = time.Now()
			p.nc.Write(p.frame(true, OpPong, string(payload)))
		}
	})

	// The deadlines set, the one in effect last. A read that strikes has to
	// find one that has passed among them.
	var mu sync.Mutex
	var current time.Time
	var strikes atomic.Int64
	moved := make(chan struct{}, 1)
	ended := async(func() error {
		for {
			_, _, err := c.ReadMessage(nil)
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				return err
			}
			mu.Lock()
			due := !current.IsZero() && !time.Now().Before(current)
			mu.Unlock()
			strikes.Add(1)
			if !due {
				return errors.New("a read deadline struck that nobody had set")
			}
			<-moved
		}
	})
	set := func(at time.Time) {
		mu.Lock()
		current = at
		mu.Unlock()
		c.SetReadDeadline(at)
		select {
		case moved <- struct{}{}:
		default:
		}
	}
	for range 300 {
		at := time.Now().Add(time.Duration(r.Int64N(int64(3 * testInterval))))
		if r.IntN(4) == 0 {
			at = time.Time{}
		}
		set(at)
		synctest.Wait()
		before := strikes.Load()
		rest := time.Duration(r.Int64N(int64(2 * testInterval)))
		if !at.IsZero() && r.IntN(2) == 0 {
			rest = time.Until(at) // let it strike
		}
		// The reader stays away for a while at most, so that its Pings come
		// nearly in time.
		if left := time.Until(at); !at.IsZero() && rest > left {
			rest = left
		}
		time.Sleep(rest)
		synctest.Wait()
		struck := strikes.Load() > before
		if due := !at.IsZero() && !time.Now().Before(at); due != struck {
			t.Fatalf("the deadline was due: %v, and struck: %v", due, struck)
		}
		select {
		case err := <-ended:
			t.Fatalf("reading ended with %v, want it to go on: the peer answers", err)
		default:
		}
		time.Sleep(time.Duration(r.Int64N(int64(time.Second / 2))))
	}
	set(time.Time{})
	close(silent)
	wantSilent(t, <-ended, "reading")
	c.CloseNow()
	if err := <-peerEnded; err != nil && !strings.Contains(err.Error(), "EOF") && !strings.Contains(err.Error(), "closed pipe") {
		t.Fatal(err)
	}
}

// TestKeepaliveCostsNothing: an idle connection has neither a goroutine nor a
// timer for it.
func TestKeepaliveCostsNothing(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		const n = 50
		before := runtime.NumGoroutine()
		var conns []*Conn
		var peers []*peer
		for range n {
			c, p := newPeer(t, overTCP, connConfig{client: client, pingInterval: time.Hour})
			conns, peers = append(conns, c), append(peers, p)
		}
		if after := runtime.NumGoroutine(); after > before {
			t.Fatalf("there are %d goroutines more with %d connections with keepalive, want none", after-before, n)
		}
		var ended []<-chan error
		for i, c := range conns {
			ended = append(ended, readError(c))
			peers[i].send(peers[i].frame(true, OpPing, "a"))
			peers[i].wantFrame(OpPong, "a", "the reader is at work")
		}
		buf := make([]byte, 4<<20)
		buf = buf[:runtime.Stack(buf, true)]
		if readers := bytes.Count(buf, []byte("(*Conn).ReadMessage(")); readers != n {
			t.Fatalf("%d goroutines read, want %d", readers, n)
		}
		for _, method := range []string{"flushRest", "keepAlive", "lineTimeout", "holdTimeout"} {
			if bytes.Contains(buf, []byte("(*Conn)."+method+"(")) {
				t.Errorf("a goroutine is in %s of an idle connection", method)
			}
		}
		for i, c := range conns {
			c.out.mu.Lock()
			if c.out.hold != nil || c.out.backlog != nil {
				t.Error("an idle connection has a timer, want only the deadline that its read has")
			}
			c.out.mu.Unlock()
			c.CloseNow()
			<-ended[i]
		}
	})
}
