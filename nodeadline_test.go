package websocket

import (
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// A noDeadlines is a connection that has no deadlines, such as a channel of
// package ssh.
type noDeadlines struct{ net.Conn }

var errNoDeadlines = errors.New("deadlines are not supported")

func (noDeadlines) SetDeadline(time.Time) error      { return errNoDeadlines }
func (noDeadlines) SetReadDeadline(time.Time) error  { return errNoDeadlines }
func (noDeadlines) SetWriteDeadline(time.Time) error { return errNoDeadlines }

func overNoDeadlines(t testing.TB) (client, server net.Conn) {
	client, server = overPipe(t)
	return noDeadlines{client}, noDeadlines{server}
}

// TestWithoutDeadlines: over a connection without deadlines messages pass, and
// the closing handshake takes no longer than it may.
func TestWithoutDeadlines(t *testing.T) {
	const closeTimeout = 10 * time.Second
	for _, way := range []struct {
		name string
		end  func(t *testing.T, c *Conn, p *peer)
		want time.Duration // what it takes at most
	}{
		{"Close, answered", func(t *testing.T, c *Conn, p *peer) {
			closed := async(c.Close)
			p.closeHandshake(StatusNormalClosure)
			isNil(t, <-closed)
		}, 0},
		{"the peer closes", func(t *testing.T, c *Conn, p *peer) {
			read := readError(c)
			p.send(p.frame(true, OpClose, "\x03\xe8"))
			p.wantClose(StatusNormalClosure, "the peer closed")
			p.close()
			closedBy(StatusNormalClosure, "")(t, <-read)
		}, 0},
		{"the peer breaks the protocol", func(t *testing.T, c *Conn, p *peer) {
			read := readError(c)
			p.send(p.frame(true, OpContinuation, ""))
			p.wantClose(StatusProtocolError, "there is nothing to continue")
			p.close()
			violated(t, <-read)
		}, 0},
		{"Close, not answered", func(t *testing.T, c *Conn, p *peer) {
			go io.Copy(io.Discard, p.nc)
			if err := c.Close(); err == nil {
				t.Error("Close returned nil, want that the peer has not answered")
			}
		}, closeTimeout},
		{"Close, not read", func(t *testing.T, c *Conn, p *peer) {
			read := readError(c)
			if err := c.Close(); err == nil {
				t.Error("Close returned nil, want that the peer has not answered")
			}
			is(net.ErrClosed)(t, <-read)
		}, closeTimeout},
		{"the peer closes and does not read", func(t *testing.T, c *Conn, p *peer) {
			p.send(p.frame(true, OpClose, "\x03\xe8"))
			closedBy(StatusNormalClosure, "")(t, <-readError(c))
		}, closeTimeout},
		{"the peer breaks the protocol and does not read", func(t *testing.T, c *Conn, p *peer) {
			p.send(p.frame(true, OpContinuation, ""))
			violated(t, <-readError(c))
		}, lingerTime},
	} {
		t.Run(way.name, func(t *testing.T) {
			inBothRoles(t, func(t *testing.T, client bool) {
				synctest.Test(t, func(t *testing.T) {
					c, p := newPeer(t, overNoDeadlines, connConfig{client: client, closeTimeout: closeTimeout})
					written := async(func() error { return c.WriteMessage(OpText, []byte("hello")) })
					p.wantFrame(OpText, "hello", "it was written")
					isNil(t, <-written)
					p.send(p.frame(true, OpText, "and back"))
					wantMessage(t, c, OpText, "and back", "it was sent")
					began := time.Now()
					ended := make(chan struct{})
					go func() {
						select {
						case <-ended:
						case <-time.After(time.Hour):
							t.Error("it takes for ever")
							c.nc.Close()
						}
					}()
					way.end(t, c, p)
					close(ended)
					if took := time.Since(began); took > way.want {
						t.Errorf("it took %v, want at most %v", took, way.want)
					}
				})
			})
		})
	}
}
