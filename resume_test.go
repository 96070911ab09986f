package websocket

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// onWait has f called whenever the reader of c has found nothing on a
// connection that can be waited for, and is about to wait.
func onWait(t testing.TB, c *Conn, f func()) {
	if c.raw == nil {
		t.Skip("connections cannot be waited for here")
	}
	attempt := c.in.attempt.callback
	c.in.attempt.callback = func(fd uintptr) bool {
		done := attempt(fd)
		if !done {
			f()
		}
		return done
	}
}

var past = time.Unix(1, 0)

// TestReadDeadlineAnywhere has a read deadline strike after every single byte
// of a conversation and, in other runs, after one of them. What is read and
// answered is the same as without.
func TestReadDeadlineAnywhere(t *testing.T) {
	for name, talk := range talks {
		t.Run(name, func(t *testing.T) {
			inBothRoles(t, func(t *testing.T, client bool) {
				for _, way := range readings {
					size := len(talk.wire(&peer{t: t, client: !client}))
					for cut := -1; cut < size; cut++ {
						how := "deadline after byte " + strconv.Itoa(cut) + " with " + way.name
						if cut < 0 {
							how = "deadlines after every byte with " + way.name
						}
						talk.resumePipe(t, client, cut, how, way.read)
						talk.resumeTCP(t, client, cut, how, way.read)
					}
				}
			})
		})
	}
}

// pieces cuts wire at one place or, where that is negative, everywhere.
func pieces(wire []byte, cut int) (all [][]byte) {
	if cut >= 0 {
		return [][]byte{wire[:cut], wire[cut:]}
	}
	for i := range wire {
		all = append(all, wire[i:i+1])
	}
	return all
}

func (v conversation) resumePipe(t *testing.T, client bool, cut int, how string, read func(*reading) error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c, p := newPeer(t, overPipe, v.config(client))
		left := pieces(v.wire(p), cut)
		next := func() {
			c.SetReadDeadline(time.Now().Add(time.Minute))
			if len(left) > 0 {
				p.send(left[0])
				left = left[1:]
			}
		}
		next()
		r := &reading{c: c, deadline: next}
		want := len(left)
		ended := async(func() error { return read(r) })
		v.answers(p, how)
		p.close()
		v.check(t, r, <-ended, how)
		if r.struck != want {
			t.Fatalf("%s: %d deadlines struck, want %d", how, r.struck, want)
		}
	})
}

func (v conversation) resumeTCP(t *testing.T, client bool, cut int, how string, read func(*reading) error) {
	t.Helper()
	c, p := newPeer(t, overTCP, v.config(client))
	left := pieces(v.wire(p), cut)
	// The deadline strikes when all that was sent has been read.
	arm := func() {
		c.SetReadDeadline(time.Time{})
		if len(left) > 0 {
			p.nc.Write(left[0])
			left = left[1:]
		}
	}
	onWait(t, c, func() {
		if len(left) > 0 {
			c.nc.SetReadDeadline(past)
		}
	})
	arm()
	r := &reading{c: c, deadline: arm}
	want := len(left)
	ended := async(func() error { return read(r) })
	v.answers(p, how)
	p.close()
	v.check(t, r, <-ended, how)
	if r.struck != want {
		t.Fatalf("%s: %d deadlines struck, want %d", how, r.struck, want)
	}
	c.CloseNow()
	p.close()
}

// TestReadDeadlineError: it is a timeout, in the words of package net too, and
// comes again until the deadline is moved.
func TestReadDeadlineError(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		c.SetReadDeadline(past)
		for range 3 {
			_, _, err := c.ReadMessage(nil)
			var ne net.Error
			if !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &ne) || !ne.Timeout() {
				t.Fatalf("ReadMessage returned %v, want an error that Is os.ErrDeadlineExceeded and a net.Error that is a timeout", err)
			}
			if _, _, err := c.NextReader(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("NextReader returned %v, want an error that Is os.ErrDeadlineExceeded", err)
			}
		}
		written := async(func() error { return c.WriteMessage(OpText, []byte("unharmed")) })
		p.wantFrame(OpText, "unharmed", "a read deadline does not count for writing")
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		c.SetReadDeadline(time.Time{})
		p.send(p.frame(true, OpText, "Hello"))
		wantMessage(t, c, OpText, "Hello", "the deadline has been removed")
	})
}

// TestReadDeadlineWhileWaiting sets a deadline that has passed while a read
// waits: it ends at once.
func TestReadDeadlineWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newPeer(t, overPipe, connConfig{})
		ended := readError(c)
		synctest.Wait()
		c.SetReadDeadline(past)
		if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the waiting read returned %v, want an error that Is os.ErrDeadlineExceeded", err)
		}
	})
	c, _ := newPeer(t, overTCP, connConfig{})
	waits := make(chan struct{}, 1)
	onWait(t, c, func() { waits <- struct{}{} })
	ended := readError(c)
	<-waits
	c.SetReadDeadline(past)
	if err := <-ended; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the waiting read returned %v, want an error that Is os.ErrDeadlineExceeded", err)
	}
}

// halfRead leaves ReadMessage inside the message "0123456789": its first six
// bytes have been read when a deadline strikes.
func halfRead(t *testing.T, client bool, connect connectFunc) (*Conn, *peer, []byte) {
	t.Helper()
	c, p := newPeer(t, connect, connConfig{client: client})
	wire := p.frame(true, OpText, "0123456789")
	cut := len(wire) - 4
	p.send(wire[:cut])
	if c.raw != nil {
		p.waitSent()
	}
	// Bytes of payload come in pieces of any size: try until all six are in.
	for len(c.in.saved) < 6 {
		c.SetReadDeadline(time.Now().Add(time.Millisecond))
		if _, _, err := c.ReadMessage(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("ReadMessage returned %v, want an error that Is os.ErrDeadlineExceeded", err)
		}
	}
	c.SetReadDeadline(time.Time{})
	return c, p, wire[cut:]
}

// TestDeadlineInsideMessage: what ReadMessage had read of a message is kept, and
// the next ReadMessage or NextReader begins with it.
func TestDeadlineInsideMessage(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p, rest := halfRead(t, client, connect)
		p.send(rest, p.frame(true, OpText, "next"))
		wantMessage(t, c, OpText, "0123456789", "ReadMessage goes on where it stopped")
		wantMessage(t, c, OpText, "next")

		c, p, rest = halfRead(t, client, connect)
		op, m, err := c.NextReader()
		if op != OpText || err != nil {
			t.Fatalf("NextReader returned %v, %v, want the text that ReadMessage had begun", op, err)
		}
		buf := make([]byte, 4)
		if n, err := io.ReadFull(m, buf); string(buf) != "0123" || err != nil {
			t.Fatalf("the reader yields %q, %v\nwant the first bytes of what ReadMessage had read", buf[:n], err)
		}
		p.send(rest, p.frame(true, OpText, "next"))
		if b, err := io.ReadAll(m); string(b) != "456789" || err != nil {
			t.Fatalf("the reader goes on with %q, %v\nwant the rest of the message", b, err)
		}
		wantMessage(t, c, OpText, "next")

		// A message that a reader has been returned for is not to come again.
		c, p, rest = halfRead(t, client, connect)
		if _, _, err := c.NextReader(); err != nil {
			t.Fatal(err)
		}
		p.send(rest, p.frame(true, OpText, "next"))
		wantMessage(t, c, OpText, "next", "the message of the last reader is skipped, with what had been kept of it")
	})
}

// TestSkipRest: what a reader has left of its message is skipped by the next
// read, which a deadline may interrupt.
func TestSkipRest(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for _, read := range []int{0, 1, 3, 6, 7, 10} {
			c, p := newPeer(t, connect, connConfig{client: client})
			last := p.frame(true, OpContinuation, "789")
			p.send(p.frame(false, OpText, "012"), p.frame(false, OpContinuation, "3456"), last[:len(last)-1])
			_, m, err := c.NextReader()
			if err != nil {
				t.Fatal(err)
			}
			if read < 10 {
				b := make([]byte, read)
				if _, err := io.ReadFull(m, b); string(b) != "0123456789"[:read] || err != nil {
					t.Fatalf("the reader yields %q, %v, want %q", b, err, "0123456789"[:read])
				}
			}
			c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, _, err := c.ReadMessage(nil); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("ReadMessage returned %v, want an error that Is os.ErrDeadlineExceeded: the message before has not ended", err)
			}
			c.SetReadDeadline(time.Time{})
			p.send(last[len(last)-1:], p.frame(true, OpBinary, "next"))
			wantMessage(t, c, OpBinary, "next", "the rest of the message before is skipped")
			if n, err := m.Read(make([]byte, 1)); n != 0 || err != errStaleReader {
				t.Fatalf("the reader of the message before returned %d, %v, want %v", n, err, errStaleReader)
			}
		}
	})
}

// TestSkipChecks: what is skipped is held against the same rules.
func TestSkipChecks(t *testing.T) {
	for _, test := range []struct {
		rest string
		code StatusCode
		why  string
	}{
		{"80 02 c3 28", StatusInvalidPayload, "8.1: text that is not UTF-8"},
		{"80 01 c3", StatusInvalidPayload, "8.1: text that ends inside a character"},
		{"80 65 " + strings.Repeat("61", 101), StatusMessageTooBig, "the read limit of 100 bytes"},
		{"81 00", StatusProtocolError, "5.4: a message inside a message"},
		{"89 00 | 80 01 c3", StatusInvalidPayload, "8.1: text that ends inside a character, after a Ping"},
	} {
		everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
			c, p := newPeer(t, connect, connConfig{client: client, readLimit: 100})
			p.send(p.wire("01 03 616263"))
			if _, _, err := c.NextReader(); err != nil {
				t.Fatal(err)
			}
			ended := readError(c)
			p.send(p.wire(test.rest))
			if strings.HasPrefix(test.rest, "89") {
				p.wantFrame(OpPong, "", "5.5.2: a Ping inside a message that is skipped")
			}
			p.wantClose(test.code, test.why)
			p.close()
			wantProtocolError(t, <-ended, test.code, test.why)
		})
	}
}

// TestStaleReader: a reader is of no use once the next message has begun, and
// does no harm to that.
func TestStaleReader(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		p.send(p.frame(true, OpText, "first"), p.frame(true, OpText, "second"))
		_, first, err := c.NextReader()
		if err != nil {
			t.Fatal(err)
		}
		_, second, err := c.NextReader()
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 3)
		if n, err := first.Read(buf); n != 0 || err != errStaleReader {
			t.Fatalf("the first reader returned %d, %v, want %v", n, err, errStaleReader)
		}
		if b, err := io.ReadAll(second); string(b) != "second" || err != nil {
			t.Fatalf("the second reader yields %q, %v, want its whole message", b, err)
		}
		for range 3 {
			if n, err := second.Read(buf); n != 0 || err != io.EOF {
				t.Fatalf("after its end the second reader returned %d, %v, want io.EOF", n, err)
			}
		}

		// The end of the connection tells more than that the reader is stale.
		p.send(p.wire("83 00"))
		ended := readError(c)
		p.wantClose(StatusProtocolError, "5.2: opcode 3")
		p.close()
		failure := <-ended
		for _, r := range []io.Reader{first, second} {
			if n, err := r.Read(buf); n != 0 || err != failure {
				t.Errorf("after the connection has failed a reader returned %d, %v, want %v", n, err, failure)
			}
		}
	})
}
