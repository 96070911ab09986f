package peers

import (
	"context"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"

	"rfc6455.example/websocket"
)

const oursModule = "rfc6455.example/websocket"

var oursPeers = []*Peer{
	{
		Name: "ours", Style: "ReadMessage into a kept buffer, WriteMessage, loop in the handler",
		Module: oursModule, Kind: Ours, ChecksText: true,
		Serve:  serveHTTP(oursHandler(oursUpgrader, oursLoop)),
		Server: oursServer,
		Client: oursClient,
		Mask:   func(b []byte, key [4]byte) { websocket.Mask(b, key, 0) },
	},
	{
		Name: "ours-lean", Style: "own goroutine, NextReader into a pooled buffer",
		Module: oursModule, Kind: Ours, Lean: true, ChecksText: true,
		Serve: serveHTTP(oursHandler(oursUpgrader, func(c *websocket.Conn) { go oursPooledLoop(c) })),
	},
}

var oursUpgrader = &websocket.Upgrader{ReadLimit: maxMessage}

func oursHandler(u *websocket.Upgrader, serve func(*websocket.Conn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := u.Upgrade(w, r)
		if err != nil {
			return // it has answered
		}
		serve(c)
	}
}

func oursLoop(c *websocket.Conn) {
	defer c.CloseNow()
	var buf []byte
	for {
		op, p, err := c.ReadMessage(buf[:0])
		if err != nil {
			return
		}
		if c.WriteMessage(op, p) != nil {
			return
		}
		buf = p
	}
}

// oursPooledLoop has no buffer while it waits, and calls nothing between
// itself and the library, so that its stack stays at its first 2 KiB.
func oursPooledLoop(c *websocket.Conn) {
	defer c.CloseNow()
	for {
		op, r, err := c.NextReader()
		if err != nil {
			return
		}
		buf := slicePool.Get().(*[]byte)
		p := (*buf)[:0]
		for err == nil {
			if len(p) == cap(p) {
				p = slices.Grow(p, 512)
			}
			var n int
			n, err = r.Read(p[len(p):cap(p)])
			p = p[:len(p)+n]
		}
		if err == io.EOF {
			err = c.WriteMessage(op, p)
		}
		*buf = p
		slicePool.Put(buf)
		if err != nil {
			return
		}
	}
}

var slicePool = sync.Pool{New: func() any { return new([]byte) }}

type oursEndpoint struct{ c *websocket.Conn }

func oursServer(nc net.Conn) (Endpoint, error) {
	w, r := upgradeOn(nc)
	c, err := oursUpgrader.Upgrade(w, r)
	return oursEndpoint{c}, err
}

func oursClient(nc net.Conn) (Endpoint, error) {
	d := websocket.Dialer{
		ReadLimit:      maxMessage,
		NetDialContext: func(context.Context, string, string) (net.Conn, error) { return nc, nil },
	}
	c, _, err := d.Dial(context.Background(), clientURL)
	return oursEndpoint{c}, err
}

func (e oursEndpoint) Receive(each func(n int) bool) error {
	var buf []byte
	for {
		_, p, err := e.c.ReadMessage(buf[:0])
		if err != nil {
			return err
		}
		if !each(len(p)) {
			return nil
		}
		buf = p
	}
}

func (e oursEndpoint) Send(text bool, p []byte) error {
	op := websocket.OpBinary
	if text {
		op = websocket.OpText
	}
	return e.c.WriteMessage(op, p)
}
