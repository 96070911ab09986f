package websocket

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// overTLSOverPipe is overTLS in memory, where nothing is written that is not
// read: a peer that reads no more does not even take the alert with which TLS
// says goodbye. It may be used in a synctest bubble.
func overTLSOverPipe(t testing.TB) (client, server net.Conn) {
	t.Helper()
	below, belowServer := overPipe(t)
	clientConfig, serverConfig := testTLS()
	serverConfig = serverConfig.Clone()
	serverConfig.SessionTicketsDisabled = true // they would have to be read
	c, s := tls.Client(below, clientConfig), tls.Server(belowServer, serverConfig)
	handshake := async(s.Handshake)
	if err := errors.Join(c.Handshake(), <-handshake); err != nil {
		t.Fatal(err)
	}
	return c, s
}

// TestTLSGoodbyeIsBounded: crypto/tls waits up to 5 s for its alert to leave.
// No ending takes longer because of that than it may.
func TestTLSGoodbyeIsBounded(t *testing.T) {
	testTLS() // outside of the bubbles
	for _, way := range []struct {
		name string
		cfg  connConfig
		end  func(t *testing.T, c *Conn, p *peer)
		want time.Duration
	}{
		{"the peer breaks the protocol and reads nothing", connConfig{},
			func(t *testing.T, c *Conn, p *peer) {
				p.send(p.frame(true, OpContinuation, ""))
				violated(t, <-readError(c))
			}, lingerTime},
		{"the peer breaks the protocol and reads but the Close frame", connConfig{},
			func(t *testing.T, c *Conn, p *peer) {
				p.send(p.frame(true, OpContinuation, ""))
				read := readError(c)
				p.wantClose(StatusProtocolError, "there is nothing to continue")
				violated(t, <-read)
			}, lingerTime},
		{"the peer closes and reads but the answer", connConfig{closeTimeout: 2 * time.Second},
			func(t *testing.T, c *Conn, p *peer) {
				read := readError(c)
				p.send(p.frame(true, OpClose, "\x03\xe8"))
				p.wantClose(StatusNormalClosure, "the peer closed")
				closedBy(StatusNormalClosure, "")(t, <-read)
			}, 2 * time.Second},
		{"the peer answers our Close frame and reads no more", connConfig{closeTimeout: 2 * time.Second},
			func(t *testing.T, c *Conn, p *peer) {
				closed := async(c.Close)
				p.wantClose(StatusNormalClosure, "Close was called")
				p.send(p.frame(true, OpClose, "\x03\xe8"))
				isNil(t, <-closed)
			}, 2 * time.Second},
		{"the peer goes on after its Close frame", connConfig{closeTimeout: 2 * time.Second},
			func(t *testing.T, c *Conn, p *peer) {
				read := readError(c)
				p.send(append(p.frame(true, OpClose, "\x03\xe8"), p.frame(true, OpText, "more")...))
				p.wantClose(StatusNormalClosure, "the peer closed")
				closedBy(StatusNormalClosure, "")(t, <-read)
			}, 2 * time.Second},
		{"CloseNow while the alert is on its way", connConfig{closeTimeout: time.Minute},
			func(t *testing.T, c *Conn, p *peer) {
				closed := async(c.Close)
				p.wantClose(StatusNormalClosure, "Close was called")
				p.send(p.frame(true, OpClose, "\x03\xe8"))
				p.waitSent()
				if c.client {
					p.closeBelow() // for which a client waits
				}
				synctest.Wait()
				isNil(t, c.CloseNow())
				isNil(t, <-closed)
			}, 0},
	} {
		t.Run(way.name, func(t *testing.T) {
			inBothRoles(t, func(t *testing.T, client bool) {
				synctest.Test(t, func(t *testing.T) {
					way.cfg.client = client
					c, p := newPeer(t, overTLSOverPipe, way.cfg)
					began := time.Now()
					way.end(t, c, p)
					if took := time.Since(began); took > way.want {
						t.Errorf("it took %v, want at most %v", took, way.want)
					}
				})
			})
		})
	}
}

func (p *peer) closeBelow() { p.nc.(*tls.Conn).NetConn().Close() }

// TestShutdownOverTLS: the end of the context also ends the wait for the alert
// of a peer that has answered the Close frame and reads no more.
func TestShutdownOverTLS(t *testing.T) {
	testTLS()
	synctest.Test(t, func(t *testing.T) {
		u := Upgrader{CloseTimeout: time.Minute}
		client, server := overTLSOverPipe(t)
		c := u.Server(server)
		p := &peer{t: t, nc: client, client: true}
		go p.answerClose()
		ctx, _ := shutdownContext(t, time.Second)
		began := time.Now()
		if err := u.Shutdown(ctx); err != nil {
			t.Errorf("Shutdown returned %v, want nil: both Close frames were exchanged", err)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("Shutdown returned after %v, want when its context ended", took)
		}
		isNil(t, c.Close())
	})
}

// TestTLSGoodbye: where the peer reads, every orderly ending says goodbye in TLS
// too: its reading ends with io.EOF and not with an error.
func TestTLSGoodbye(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		for name, end := range map[string]func(c *Conn, p *peer){
			"Close": func(c *Conn, p *peer) {
				closed := async(c.Close)
				p.wantClose(StatusNormalClosure, "Close was called")
				p.send(p.frame(true, OpClose, "\x03\xe8"))
				p.waitSent()
				p.closeWrite()
				isNil(t, <-closed)
			},
			"violation": func(c *Conn, p *peer) {
				p.send(p.frame(true, OpContinuation, ""))
				go readError(c)
				p.wantClose(StatusProtocolError, "there is nothing to continue")
			},
		} {
			t.Run(name, func(t *testing.T) {
				c, p := newPeer(t, overTLS, connConfig{client: client})
				end(c, p)
				if b, err := io.ReadAll(p.nc); len(b) > 0 || err != nil {
					t.Errorf("the peer got %q and %v, want the end of input", b, err)
				}
			})
		}
	})
}
