package websocket

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestClosingHandshake has either end begin, or both at once, with readers at
// work or without.
func TestClosingHandshake(t *testing.T) {
	for _, begins := range []string{"client", "server", "both"} {
		for _, reading := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s begins, reading=%v", begins, reading), func(t *testing.T) {
				onEvery(t, func(t *testing.T, connect connectFunc) {
					client, server := newPair(t, connect, connConfig{})
					reads := map[*Conn]<-chan error{}
					closes := map[*Conn]<-chan error{}
					for _, c := range []*Conn{client, server} {
						begin := begins == "both" || (c == client) == (begins == "client")
						if reading || !begin {
							reads[c] = readError(c)
						}
						if begin {
							closes[c] = async(func() error { return c.CloseWithStatus(4000, "reason") })
						}
					}
					for c, read := range reads {
						err := <-read
						if closes[c] == nil {
							closedBy(4000, "reason")(t, err)
							if again := c.Close(); again != nil {
								t.Errorf("Close of the end that answered returned %v, want nil", again)
							}
						} else if begins != "both" {
							is(net.ErrClosed)(t, err)
						}
					}
					for _, closed := range closes {
						if err := <-closed; err != nil {
							t.Errorf("Close returned %v, want nil", err)
						}
					}
				})
			})
		}
	}
}

// TestManyCloses calls Close from many goroutines. One Close frame is sent,
// and each call returns, when the handshake has ended.
func TestManyCloses(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		reader := readError(c)
		var closes []<-chan error
		for range 8 {
			closes = append(closes, async(c.Close))
		}
		p.wantClose(StatusNormalClosure, "Close was called")
		p.send(p.frame(true, OpClose, "\x03\xe8"))
		p.waitSent()
		_, byHalves := p.nc.(interface{ CloseWrite() error })
		if client {
			p.closeWrite()
		}
		if !client || byHalves {
			p.wantEOF("one Close frame is sent, and a server closes the connection at once (7.1.1)")
		}
		for _, closed := range closes {
			if err := <-closed; err != nil {
				t.Errorf("Close returned %v, want nil", err)
			}
		}
		is(net.ErrClosed)(t, <-reader)
	})
}

// TestCloseInsideMessage calls Close when a message has been read by halves.
// The rest of it is dropped, and so is what follows.
func TestCloseInsideMessage(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for name, rest := range map[string]func(p *peer) []byte{
			"frame": func(p *peer) []byte { return nil },
			"fragments": func(p *peer) []byte {
				return append(p.frame(false, OpContinuation, "more"), p.frame(true, OpContinuation, "\xff is no text")...)
			},
		} {
			c, p := newPeer(t, connect, connConfig{client: client, readLimit: 100})
			frame := p.frame(name == "frame", OpText, "hello, world")
			p.send(frame[:len(frame)-4])
			_, r, err := c.NextReader()
			if err == nil {
				_, err = io.ReadFull(r, make([]byte, 5))
			}
			if err != nil {
				t.Fatal(err)
			}
			closed := async(c.Close)
			p.wantClose(StatusNormalClosure, "Close was called")
			p.send(frame[len(frame)-4:], rest(p), p.frame(true, OpPing, "unanswered"),
				p.frame(true, OpBinary, strings.Repeat("past the limit", 1000)), p.frame(true, OpClose, "\x03\xe8"))
			p.waitSent()
			if client {
				p.close()
			} else {
				p.wantEOF("both Close frames have been sent")
			}
			if err := <-closed; err != nil {
				t.Fatalf("Close returned %v, want nil: data behind our Close frame is dropped, whatever it is", err)
			}
			_, err = r.Read(make([]byte, 1))
			is(net.ErrClosed)(t, err)
		}
	})
}

// TestDataAfterOurClose: a reader at work gets none of the messages that come
// after our Close frame.
func TestDataAfterOurClose(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		reader := readError(c)
		p.send(p.frame(false, OpText, "begun before"))
		closed := async(c.Close)
		p.wantClose(StatusNormalClosure, "Close was called")
		for range 100 {
			p.send(p.frame(true, OpContinuation, "late"), p.frame(false, OpText, strings.Repeat("x", 3000)))
		}
		p.send(p.frame(true, OpClose, "\x03\xe8"))
		p.waitSent()
		p.close()
		if err := <-closed; err != nil {
			t.Fatalf("Close returned %v, want nil", err)
		}
		is(net.ErrClosed)(t, <-reader)
	})
}

// TestDataAfterPeersClose: what follows the peer's Close frame is ignored, and
// ours arrives all the same: no reset overtakes it.
func TestDataAfterPeersClose(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for _, size := range []int{10, 30_000, 500_000} {
			c, p := newPeer(t, connect, connConfig{client: client})
			reader := readError(c)
			p.send(append(p.frame(true, OpClose, "\x03\xe8"), p.frame(true, OpText, strings.Repeat("x", size))...))
			p.wantClose(StatusNormalClosure, "the peer closed")
			if !client {
				p.wantEOF("nothing follows our Close frame")
			}
			p.close()
			closedBy(StatusNormalClosure, "")(t, <-reader)
			if err := c.Close(); err != nil {
				t.Fatalf("Close returned %v, want nil", err)
			}
		}
	})
}

// TestDataRightBehindPeersClose: the same where the peer's Close frame is the
// last thing in the read buffer and what follows is still in the kernel.
func TestDataRightBehindPeersClose(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		if nc, _ := overTCP(t); rawConnOf(nc) == nil {
			t.Skip("no RawConn on this system")
		}
		for _, connect := range []connectFunc{overTCP, overTLS} {
			c, p := newPeer(t, connect, connConfig{client: client})
			closeFrame := p.frame(true, OpClose, "\x03\xe8")
			message := p.frame(true, OpText, strings.Repeat("x", 1000))
			message = p.frame(true, OpText, strings.Repeat("x", readBufferSize-len(closeFrame)-(len(message)-1000)))
			all := append(append(message, closeFrame...), p.frame(true, OpText, "late")...)
			if len(message)+len(closeFrame) != readBufferSize {
				t.Fatal("the read buffer does not end behind the Close frame")
			}
			p.send(all)
			p.waitSent()
			reader := async(func() error { return readAllMessages(c) })
			p.wantClose(StatusNormalClosure, "the peer closed")
			if !client {
				p.wantEOF("nothing follows our Close frame")
			}
			p.close()
			closedBy(StatusNormalClosure, "")(t, <-reader)
		}
	})
}

// TestCloseTimeout: a peer that does not answer, reads nothing or goes on
// sending cannot make Close or a reader wait longer than that.
func TestCloseTimeout(t *testing.T) {
	for name, peer := range map[string]func(c *Conn, p *peer){
		"silent": func(_ *Conn, p *peer) { p.wantClose(StatusNormalClosure, "Close was called") },
		"deaf":   func(*Conn, *peer) {},
		"talking": func(_ *Conn, p *peer) {
			p.wantClose(StatusNormalClosure, "Close was called")
			for range 100 {
				p.send(p.frame(true, OpText, "and another thing"))
				time.Sleep(100 * time.Millisecond)
			}
		},
		"in a frame": func(_ *Conn, p *peer) {
			p.wantClose(StatusNormalClosure, "Close was called")
			p.send(p.frame(true, OpText, "cut")[:5])
		},
		"in a header": func(_ *Conn, p *peer) {
			p.wantClose(StatusNormalClosure, "Close was called")
			p.send(p.frame(true, OpClose, "\x03\xe8")[:1])
		},
	} {
		for _, timeout := range []time.Duration{0, time.Second, time.Minute} {
			for _, reading := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s, %v, reading=%v", name, timeout, reading), func(t *testing.T) {
					inBothRoles(t, func(t *testing.T, client bool) {
						synctest.Test(t, func(t *testing.T) {
							c, p := newPeer(t, overPipe, connConfig{client: client, closeTimeout: timeout})
							var reader <-chan error
							if reading {
								reader = readError(c)
							}
							c.SetReadDeadline(time.Now().Add(time.Millisecond)) // counts no more
							start := time.Now()
							closed := async(c.Close)
							go peer(c, p)
							broke(errCloseTimeout)(t, <-closed)
							want := timeout
							if want == 0 {
								want = 5 * time.Second
							}
							if got := time.Since(start); got != want {
								t.Errorf("Close returned after %v, want %v", got, want)
							}
							if reading {
								is(net.ErrClosed)(t, <-reader)
							}
							time.Sleep(time.Minute) // for the peer to end
						})
					})
				})
			}
		}
	}
}

// TestClientWaitsForServer: after both Close frames it is for the server to
// close the connection; the client waits for that, within the close timeout.
func TestClientWaitsForServer(t *testing.T) {
	for _, begins := range []string{"client", "server"} {
		t.Run(begins+" begins", func(t *testing.T) {
			for _, closes := range []bool{true, false} {
				synctest.Test(t, func(t *testing.T) {
					c, p := newPeer(t, overPipe, connConfig{client: true})
					start := time.Now()
					var ended <-chan error
					if begins == "client" {
						ended = async(c.Close)
						p.wantClose(StatusNormalClosure, "Close was called")
						p.send(p.frame(true, OpClose, "\x03\xe8"))
					} else {
						ended = readError(c)
						p.send(p.frame(true, OpClose, "\x03\xe8"))
						p.wantClose(StatusNormalClosure, "the server closed")
					}
					p.waitSent()
					time.Sleep(2 * time.Second)
					select {
					case err := <-ended:
						t.Fatalf("the client got %v before the server had closed the connection, want it to wait", err)
					default:
					}
					want := 5 * time.Second
					if closes {
						p.close()
						want = 2 * time.Second
					}
					<-ended
					if got := time.Since(start); got != want {
						t.Errorf("the client waited %v, want %v", got, want)
					}
					if err := c.Close(); err != nil {
						t.Errorf("Close returned %v, want nil: both Close frames were exchanged", err)
					}
				})
			}
		})
	}
}

// TestCloseNowAfterHandshake: a client that is still waiting for the end of
// input may drop the connection: the handshake was complete.
func TestCloseNowAfterHandshake(t *testing.T) {
	onEvery(t, func(t *testing.T, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: true})
		closed := async(c.Close)
		p.wantClose(StatusNormalClosure, "Close was called")
		p.send(p.frame(true, OpClose, "\x03\xe8"))
		waitUntil(t, "the handshake is complete", inState(c, func(out *writeHalf) bool {
			return out.closing.state == stateClosed && !out.flushing
		}))
		if err := c.CloseNow(); err != nil {
			t.Fatalf("CloseNow returned %v, want nil", err)
		}
		for _, err := range []error{<-closed, c.Close()} {
			if err != nil {
				t.Fatalf("Close returned %v, want nil: both Close frames were exchanged", err)
			}
		}
	})
}

// TestCloseBehindStuckWriter: the Close frame goes behind what is being
// written, and a peer that reads nothing is given up after the close timeout.
func TestCloseBehindStuckWriter(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, narrow(connect), connConfig{client: client})
		writer := stuckWriter(t, c)
		waiter := async(func() error { return c.WriteMessage(OpBinary, make([]byte, 40<<10)) })
		waitUntil(t, "a writer waits", waiting(c, 1))
		closed := async(c.Close)
		if err := <-waiter; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("the writer that waited got %v, want net.ErrClosed", err)
		}
		p.wantFrame(OpBinary, string(make([]byte, tooLarge)), "it had begun")
		p.closeHandshake(StatusNormalClosure)
		if err := errors.Join(<-writer, <-closed); err != nil {
			t.Fatalf("the writer at work and Close got %v, want nil", err)
		}

		c, _ = newPeer(t, narrow(connect), connConfig{client: client, closeTimeout: time.Millisecond})
		writer = stuckWriter(t, c)
		broke(errCloseTimeout)(t, c.Close())
		if err := <-writer; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("the writer got %v, want net.ErrClosed", err)
		}
	})
}
