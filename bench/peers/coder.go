package peers

import (
	"bytes"
	"context"
	"net"
	"net/http"

	"github.com/coder/websocket"
)

const coderModule = "github.com/coder/websocket"

var coderPeers = []*Peer{
	{
		Name: "coder", Style: "Read, Write, loop in the handler",
		Module: coderModule, Kind: Go,
		Serve:  serveHTTP(coderHandler(nil, coderLoop)),
		Server: coderServer((*coderEndpoint).receive),
		Client: coderClient((*coderEndpoint).receive),
		Mask:   func(b []byte, key [4]byte) { coderMask(b, keyWord(key)) },
	},
	{
		Name: "coder-reuse", Style: "Reader into a kept buffer, Write",
		Module: coderModule, Kind: Go, Variant: true,
		Serve:  serveHTTP(coderHandler(nil, coderReuseLoop)),
		Server: coderServer((*coderEndpoint).receiveReusing),
		Client: coderClient((*coderEndpoint).receiveReusing),
	},
	{
		Name: "coder-lean", Style: "own goroutine, Reader into a pooled buffer",
		Module: coderModule, Kind: Go, Lean: true,
		Serve: serveHTTP(coderHandler(nil, func(c *websocket.Conn) { go coderPooledLoop(c) })),
	},
}

func coderHandler(o *websocket.AcceptOptions, serve func(*websocket.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, o)
		if err != nil {
			return // it has answered
		}
		c.SetReadLimit(-1)
		serve(c)
	}
}

// The library's documentation advises against the request's context.
var coderContext = context.Background()

func coderLoop(c *websocket.Conn) {
	defer c.CloseNow()
	for {
		op, p, err := c.Read(coderContext)
		if err != nil {
			return
		}
		if c.Write(coderContext, op, p) != nil {
			return
		}
	}
}

func coderReuseLoop(c *websocket.Conn) {
	defer c.CloseNow()
	var buf bytes.Buffer
	for {
		op, r, err := c.Reader(coderContext)
		if err != nil {
			return
		}
		buf.Reset()
		if _, err := buf.ReadFrom(r); err != nil {
			return
		}
		if c.Write(coderContext, op, buf.Bytes()) != nil {
			return
		}
	}
}

func coderPooledLoop(c *websocket.Conn) {
	defer c.CloseNow()
	for {
		op, r, err := c.Reader(coderContext)
		if err != nil {
			return
		}
		if pooledEcho(r, func(p []byte) error { return c.Write(coderContext, op, p) }) != nil {
			return
		}
	}
}

type coderEndpoint struct {
	c    *websocket.Conn
	read coderRead
}

type coderRead = func(e *coderEndpoint, each func(n int) bool) error

func coderServer(read coderRead) func(net.Conn) (Endpoint, error) {
	return func(nc net.Conn) (Endpoint, error) {
		w, r := upgradeOn(nc)
		c, err := websocket.Accept(w, r, nil)
		if err != nil {
			return nil, err
		}
		c.SetReadLimit(-1)
		return &coderEndpoint{c: c, read: read}, nil
	}
}

func coderClient(read coderRead) func(net.Conn) (Endpoint, error) {
	return func(nc net.Conn) (Endpoint, error) {
		c, _, err := websocket.Dial(coderContext, clientURL, &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: &http.Transport{
				DialContext: func(context.Context, string, string) (net.Conn, error) { return nc, nil },
			}},
		})
		if err != nil {
			return nil, err
		}
		c.SetReadLimit(-1)
		return &coderEndpoint{c: c, read: read}, nil
	}
}

func (e *coderEndpoint) Receive(each func(n int) bool) error { return e.read(e, each) }

func (e *coderEndpoint) receive(each func(n int) bool) error {
	for {
		_, p, err := e.c.Read(coderContext)
		if err != nil {
			return err
		}
		if !each(len(p)) {
			return nil
		}
	}
}

func (e *coderEndpoint) receiveReusing(each func(n int) bool) error {
	var buf bytes.Buffer
	for {
		_, r, err := e.c.Reader(coderContext)
		if err != nil {
			return err
		}
		buf.Reset()
		if _, err := buf.ReadFrom(r); err != nil {
			return err
		}
		if !each(buf.Len()) {
			return nil
		}
	}
}

func (e *coderEndpoint) Send(text bool, p []byte) error {
	op := websocket.MessageBinary
	if text {
		op = websocket.MessageText
	}
	return e.c.Write(coderContext, op, p)
}
