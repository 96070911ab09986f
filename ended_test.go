package websocket

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// An ending is one of the ways in which a connection ends, and what is
// returned from then on.
type ending struct {
	name               string
	cfg                connConfig
	slow               bool // takes time, and is seen in a bubble only
	end                func(t *testing.T, c *Conn, p *peer)
	read, write, close func(t *testing.T, err error)
}

func isNil(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("the error is %v, want nil", err)
	}
}

// is returns a check that an error Is want, and that it is no *CloseError.
func is(want error) func(*testing.T, error) {
	return func(t *testing.T, err error) {
		t.Helper()
		var ce *CloseError
		if !errors.Is(err, want) || errors.As(err, &ce) {
			t.Fatalf("the error is %T %v, want one that Is %v and no *CloseError", err, err, want)
		}
	}
}

// closedBy returns a check for a Close frame of the peer.
func closedBy(code StatusCode, reason string) func(*testing.T, error) {
	return func(t *testing.T, err error) {
		t.Helper()
		wantCloseError(t, err, code, reason, "the peer closed with that")
		if errors.Is(err, net.ErrClosed) || !errors.Is(err, &CloseError{Code: code}) || errors.Is(err, &CloseError{Code: code + 1}) {
			t.Fatalf("the error %v does not match by its code alone", err)
		}
	}
}

// broke returns a check for an end without a Close frame because of cause.
func broke(cause error) func(*testing.T, error) {
	return func(t *testing.T, err error) {
		t.Helper()
		wantCloseError(t, err, StatusAbnormalClosure, "", "there was no Close frame")
		if cause != nil && !errors.Is(err, cause) {
			t.Fatalf("the error is %v, want one that Is %v", err, cause)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, io.EOF) {
			t.Fatalf("the error is %v, which Is os.ErrDeadlineExceeded or io.EOF: nobody may take it for those", err)
		}
	}
}

func violated(t *testing.T, err error) {
	t.Helper()
	wantProtocolError(t, err, StatusProtocolError, "the peer has broken the protocol")
	if errors.Is(err, net.ErrClosed) {
		t.Fatalf("the error %v Is net.ErrClosed, as if the application had closed", err)
	}
}

// closeHandshake answers the Close frame of c with one of its own.
func (p *peer) closeHandshake(code StatusCode) {
	p.t.Helper()
	p.wantClose(code, "Close was called")
	p.send(p.frame(true, OpClose, string(appendClosePayload(nil, code, ""))))
	p.waitSent()
	p.close()
}

var endings = []ending{
	{name: "the peer closes",
		end: func(t *testing.T, c *Conn, p *peer) {
			read := readError(c)
			p.send(p.frame(true, OpClose, "\x0b\xb9why"))
			p.wantClose(3001, "a Close frame is answered with its code")
			p.close()
			closedBy(3001, "why")(t, <-read)
		},
		read: closedBy(3001, "why"), write: is(net.ErrClosed), close: isNil},
	{name: "the peer closes without a code",
		end: func(t *testing.T, c *Conn, p *peer) {
			read := readError(c)
			p.send(p.frame(true, OpClose, ""))
			p.wantClose(StatusNoStatusReceived, "a Close frame without a code is answered without")
			p.close()
			closedBy(StatusNoStatusReceived, "")(t, <-read)
		},
		read: closedBy(StatusNoStatusReceived, ""), write: is(net.ErrClosed), close: isNil},
	{name: "the peer closes and does not wait",
		end: func(t *testing.T, c *Conn, p *peer) {
			p.send(p.frame(true, OpClose, "\x03\xe9"))
			read := readError(c)
			p.waitSent()
			p.wantClose(StatusGoingAway, "a Close frame is answered with its code")
			p.close()
			<-read
			c.CloseNow() // has nothing to do
		},
		read: closedBy(StatusGoingAway, ""), write: is(net.ErrClosed), close: isNil},
	{name: "the connection ends without a Close frame",
		end: func(t *testing.T, c *Conn, p *peer) {
			p.close()
			broke(io.ErrUnexpectedEOF)(t, <-readError(c))
		},
		read: broke(io.ErrUnexpectedEOF), write: broke(io.ErrUnexpectedEOF), close: broke(io.ErrUnexpectedEOF)},
	{name: "the connection ends inside a frame",
		end: func(t *testing.T, c *Conn, p *peer) {
			p.send(p.frame(true, OpText, "cut")[:4])
			read := readError(c)
			p.waitSent()
			p.close()
			<-read
		},
		read: broke(io.ErrUnexpectedEOF), write: broke(io.ErrUnexpectedEOF), close: broke(io.ErrUnexpectedEOF)},
	{name: "a write finds the connection broken",
		end: func(t *testing.T, c *Conn, p *peer) {
			p.close()
			for c.WriteMessage(OpText, nil) == nil {
			}
		},
		read: broke(nil), write: broke(nil), close: broke(nil)},
	{name: "Close finds the connection broken",
		end: func(t *testing.T, c *Conn, p *peer) {
			p.close()
			c.Close()
		},
		read: is(net.ErrClosed), write: is(net.ErrClosed), close: broke(nil)},
	{name: "the peer breaks the protocol",
		end: func(t *testing.T, c *Conn, p *peer) {
			p.send(p.frame(true, OpContinuation, ""))
			read := readError(c)
			p.wantClose(StatusProtocolError, "there is nothing to continue")
			p.close()
			violated(t, <-read)
		},
		read: violated, write: is(net.ErrClosed), close: violated},
	{name: "we close",
		end: func(t *testing.T, c *Conn, p *peer) {
			closed := async(c.Close)
			p.closeHandshake(StatusNormalClosure)
			isNil(t, <-closed)
		},
		read: is(net.ErrClosed), write: is(net.ErrClosed), close: isNil},
	{name: "we close and drop",
		end: func(t *testing.T, c *Conn, p *peer) {
			read := readError(c)
			closed := async(func() error { return c.CloseWithStatus(StatusInternalError, "oops") })
			p.closeHandshake(StatusInternalError)
			isNil(t, <-closed)
			is(net.ErrClosed)(t, <-read)
			isNil(t, c.CloseNow())
		},
		read: is(net.ErrClosed), write: is(net.ErrClosed), close: isNil},
	{name: "we drop",
		end:  func(t *testing.T, c *Conn, p *peer) { isNil(t, c.CloseNow()) },
		read: is(net.ErrClosed), write: is(net.ErrClosed), close: is(net.ErrClosed)},
	{name: "a write deadline",
		end: func(t *testing.T, c *Conn, p *peer) {
			c.SetWriteDeadline(longPast)
			is(os.ErrDeadlineExceeded)(t, c.WriteMessage(OpText, nil))
		},
		read: broke(errWriteTimedOut), write: is(os.ErrDeadlineExceeded), close: broke(errWriteTimedOut)},
	{name: "the write timeout", cfg: connConfig{writeTimeout: time.Millisecond},
		end: func(t *testing.T, c *Conn, p *peer) {
			is(os.ErrDeadlineExceeded)(t, c.WriteMessage(OpBinary, make([]byte, tooLarge)))
		},
		read: broke(errWriteTimedOut), write: is(os.ErrDeadlineExceeded), close: broke(errWriteTimedOut)},
	{name: "the peer does not answer a Close frame", cfg: connConfig{closeTimeout: time.Millisecond},
		end:  func(t *testing.T, c *Conn, p *peer) { broke(errCloseTimeout)(t, c.Close()) },
		read: is(net.ErrClosed), write: is(net.ErrClosed), close: broke(errCloseTimeout)},
	{name: "the peer is silent", cfg: connConfig{pingInterval: time.Millisecond}, slow: true,
		end:  func(t *testing.T, c *Conn, p *peer) { broke(ErrPeerSilent)(t, <-readError(c)) },
		read: broke(ErrPeerSilent), write: broke(ErrPeerSilent), close: broke(ErrPeerSilent)},
}

// TestErrors ends connections in every way and looks at what each method
// returns from then on, in each order and often.
func TestErrors(t *testing.T) {
	orders := [][3]string{
		{"read", "write", "close"}, {"read", "close", "write"}, {"write", "read", "close"},
		{"write", "close", "read"}, {"close", "read", "write"}, {"close", "write", "read"},
	}
	for _, e := range endings {
		t.Run(e.name, func(t *testing.T) {
			inBothRoles(t, func(t *testing.T, client bool) {
				cfg := e.cfg
				cfg.client = client
				for _, order := range orders {
					run := func(t *testing.T, connect connectFunc) {
						c, p := newPeer(t, narrow(connect), cfg)
						e.end(t, c, p)
						var reads, closes []error
						for range 3 {
							for _, method := range order {
								switch method {
								case "read":
									_, _, err := c.ReadMessage(nil)
									_, _, err2 := c.NextReader()
									e.read(t, err)
									reads = append(reads, err, err2)
								case "write":
									_, err := c.NextWriter(OpBinary)
									m, _ := NewPreparedMessage(OpText, nil)
									for _, err := range []error{err, c.WriteMessage(OpText, nil), c.Ping(context.Background()),
										c.WritePrepared(m), c.Enqueue(m), c.WriteJSON(1)} {
										e.write(t, err)
									}
								case "close":
									err := c.Close()
									e.close(t, err)
									closes = append(closes, err, c.CloseWithStatus(3999, "again"))
								}
							}
						}
						for _, errs := range [][]error{reads, closes} {
							for _, err := range errs {
								if err != errs[0] {
									t.Fatalf("one call returned %v and a later one %v, want the same", errs[0], err)
								}
							}
						}
						isNil(t, c.CloseNow())
					}
					if !e.slow {
						t.Run("tcp", func(t *testing.T) { run(t, overTCP) })
						t.Run("tls", func(t *testing.T) { run(t, overTLS) })
					}
					t.Run("pipe", func(t *testing.T) {
						synctest.Test(t, func(t *testing.T) { run(t, overPipe) })
					})
				}
			})
		})
	}
}

// TestReset: a peer that resets the connection.
func TestReset(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for _, first := range []string{"read", "write"} {
			c, p := newPeer(t, overTCP, connConfig{client: client})
			p.nc.(*net.TCPConn).SetLinger(0)
			p.close()
			if first == "read" {
				broke(syscall.ECONNRESET)(t, <-readError(c))
			} else {
				for c.WriteMessage(OpText, nil) == nil {
				}
			}
			for range 3 {
				_, _, err := c.ReadMessage(nil)
				broke(nil)(t, err)
				if writeErr, closeErr := c.WriteMessage(OpText, nil), c.Close(); writeErr != err || closeErr != err {
					t.Fatalf("reading returns %v, writing %v and Close %v, want the same", err, writeErr, closeErr)
				}
			}
		}
	})
}

// TestCloseFrameBehindBrokenWrite: where a write finds the connection broken,
// what the peer had sent before is still read, and its Close frame tells why.
func TestCloseFrameBehindBrokenWrite(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		c, p := newPeer(t, overTCP, connConfig{client: client})
		p.send(p.frame(true, OpText, "message"), p.frame(true, OpClose, "\x03\xf0why"))
		p.waitSent()
		if c.raw == nil {
			t.Skip("no RawConn on this system")
		}
		c.nc.(*net.TCPConn).CloseWrite() // for it to break in this direction only
		err := c.WriteMessage(OpText, nil)
		broke(nil)(t, err)
		wantMessage(t, c, OpText, "message", "it was sent before")
		for range 3 {
			_, _, readErr := c.ReadMessage(nil)
			closedBy(StatusPolicyViolation, "why")(t, readErr)
			if again, closeErr := c.WriteMessage(OpText, nil), c.Close(); again != err || closeErr != err {
				t.Fatalf("writing returned %v and Close %v, want what the first write returned, %v", again, closeErr, err)
			}
		}
	})
}

// TestBrokenWriteBoundsReading: where a write finds the connection broken and
// the peer says nothing, a reader does not wait for ever.
func TestBrokenWriteBoundsReading(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		c, _ := newPeer(t, overTCP, connConfig{client: client, closeTimeout: time.Millisecond})
		reader := readError(c)
		c.nc.(*net.TCPConn).CloseWrite()
		err := c.WriteMessage(OpText, nil)
		if readErr := <-reader; readErr != err {
			t.Fatalf("the reader got %v, want what the writer got, %v", readErr, err)
		}
	})
}
