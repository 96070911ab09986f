package websocket

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"
)

// An ownEndpoint makes connections to our own server, or from our own client,
// which echo. It is for one run at a time.
type ownEndpoint struct {
	role    string
	l       net.Listener
	limit   int64
	streams bool // the echo is written with NextReader and NextWriter
	options *Compression
	ended   chan callerEnd
}

// A callerEnd is what the caller of our own endpoint got in the end.
type callerEnd struct {
	refused            error // from Dial
	read, again, write error
}

func newOwnEndpoint(t *testing.T, v *vectorCase, role string) *ownEndpoint {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &ownEndpoint{role: role, l: l, limit: -1, ended: make(chan callerEnd, 1)}
	if v.limit != 0 {
		e.limit = v.limit
	}
	if role == "client" {
		t.Cleanup(func() { l.Close() })
		return e
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// A request that is refused shows in the answer.
		if c, err := e.upgrader().Upgrade(w, r); err == nil {
			e.echo(c, nil)
		}
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return e
}

func (e *ownEndpoint) upgrader() *Upgrader {
	return &Upgrader{ReadLimit: e.limit, Compression: e.options}
}

func (e *ownEndpoint) dialer() *Dialer {
	return &Dialer{ReadLimit: e.limit, Compression: e.options}
}

// connect gives r a connection to an endpoint that echoes. How that ends will
// come from e.ended.
func (e *ownEndpoint) connect(r *wireRun) (err error) {
	r.host, r.path = e.l.Addr().String(), "/echo?a=b"
	switch {
	case !r.handshake:
		var theirs net.Conn
		r.nc, theirs = segmentPipe()
		var cfg connConfig
		if cfg, err = e.negotiate(r); err == nil {
			go e.echo(newConn(theirs, cfg), nil)
		}
	case e.role == "server":
		r.nc, err = net.Dial("tcp", r.host)
	default:
		go func() {
			c, _, err := e.dialer().Dial(context.Background(), "ws://"+r.host+r.path)
			e.echo(c, err)
		}()
		r.nc, err = e.l.Accept()
	}
	return err
}

// negotiate agrees on compression without a handshake.
func (e *ownEndpoint) negotiate(r *wireRun) (cfg connConfig, err error) {
	if e.role == "server" {
		cfg = e.upgrader().config()
		offers, _ := parseExtensions(r.v.offers)
		var response []string
		if p := e.options.accept(offers); p != nil {
			cfg.deflate = newMessageDeflate(e.options, *p, false)
			response = []string{p.String()}
		}
		return cfg, r.agree(r.v.offers, response)
	}
	cfg = e.dialer().config()
	offer := e.options.offer()
	response, err := r.answer([]string{offer.String()})
	if response == "" || err != nil {
		return cfg, err
	}
	list, _ := parseExtensions([]string{response})
	p, err := checkAccepted(offer, list)
	if err == nil {
		cfg.deflate = newMessageDeflate(e.options, *p, true)
	}
	return cfg, err
}

// echo sends back every message until the connection ends, and then looks
// what later calls return.
func (e *ownEndpoint) echo(c *Conn, err error) {
	end := callerEnd{refused: err}
	if err == nil {
		if e.streams {
			end.read = echoStreams(c)
		} else {
			end.read = echoMessages(c)
		}
		_, _, end.again = c.ReadMessage(nil)
		end.write = c.WriteMessage(OpText, nil)
		c.CloseNow()
	}
	e.ended <- end
}

func echoMessages(c *Conn) error {
	var buf []byte
	for {
		op, p, err := c.ReadMessage(buf[:0])
		if err != nil {
			return err
		}
		// An error in writing is followed by one in reading, which says why.
		c.WriteMessage(op, p)
		buf = p
	}
}

func echoStreams(c *Conn) error {
	buf := make([]byte, 3000)
	for {
		op, r, err := c.NextReader()
		if err != nil {
			return err
		}
		w, err := c.NextWriter(op)
		if err != nil {
			// Read on, to learn why.
			if _, err := io.Copy(io.Discard, r); err != nil {
				return err
			}
			continue
		}
		for {
			n, err := r.Read(buf)
			w.Write(buf[:n])
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		w.Close()
	}
}
