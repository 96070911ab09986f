package peers

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"sync"

	"github.com/gorilla/websocket"
)

const gorillaModule = "github.com/gorilla/websocket"

var gorillaPeers = []*Peer{
	{
		Name: "gorilla", Style: "ReadMessage, WriteMessage, loop in the handler",
		Module: gorillaModule, Kind: Go,
		Serve:  serveHTTP(gorillaHandler(&websocket.Upgrader{}, gorillaLoop)),
		Server: gorillaServer((*gorillaEndpoint).receive),
		Client: gorillaClient((*gorillaEndpoint).receive),
		Mask:   func(b []byte, key [4]byte) { gorillaMask(key, 0, b) },
	},
	{
		Name: "gorilla-reuse", Style: "NextReader into a kept buffer, WriteMessage",
		Module: gorillaModule, Kind: Go, Variant: true,
		Serve:  serveHTTP(gorillaHandler(&websocket.Upgrader{}, gorillaReuseLoop)),
		Server: gorillaServer((*gorillaEndpoint).receiveReusing),
		Client: gorillaClient((*gorillaEndpoint).receiveReusing),
	},
	{
		Name: "gorilla-lean", Style: "own goroutine, 256 B read buffer, WriteBufferPool",
		Module: gorillaModule, Kind: Go, Lean: true,
		Serve: serveHTTP(gorillaHandler(&websocket.Upgrader{
			ReadBufferSize: 256, WriteBufferSize: 4096, WriteBufferPool: new(sync.Pool),
		}, func(c gorillaConn) { go gorillaPooledLoop(c) })),
	},
}

// A gorillaConn is a connection of gorilla/websocket or of its fork for
// fasthttp.
type gorillaConn interface {
	ReadMessage() (int, []byte, error)
	NextReader() (int, io.Reader, error)
	WriteMessage(op int, p []byte) error
	Close() error
}

func gorillaHandler(u *websocket.Upgrader, serve func(gorillaConn)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := u.Upgrade(w, r, nil)
		if err != nil {
			return // it has answered
		}
		serve(c)
	}
}

func gorillaLoop(c gorillaConn) {
	defer c.Close()
	for {
		op, p, err := c.ReadMessage()
		if err != nil {
			return
		}
		if c.WriteMessage(op, p) != nil {
			return
		}
	}
}

func gorillaReuseLoop(c gorillaConn) {
	defer c.Close()
	var buf bytes.Buffer
	for {
		op, r, err := c.NextReader()
		if err != nil {
			return
		}
		buf.Reset()
		if _, err := buf.ReadFrom(r); err != nil {
			return
		}
		if c.WriteMessage(op, buf.Bytes()) != nil {
			return
		}
	}
}

// bufferPool holds message buffers for the lean styles, which have none while
// they wait.
var bufferPool = sync.Pool{New: func() any { return new(bytes.Buffer) }}

func gorillaPooledLoop(c gorillaConn) {
	defer c.Close()
	for {
		op, r, err := c.NextReader()
		if err != nil {
			return
		}
		if pooledEcho(r, func(p []byte) error { return c.WriteMessage(op, p) }) != nil {
			return
		}
	}
}

// pooledEcho reads one message into a pooled buffer and hands it to write.
func pooledEcho(r io.Reader, write func(p []byte) error) error {
	buf := bufferPool.Get().(*bytes.Buffer)
	defer bufferPool.Put(buf)
	buf.Reset()
	if _, err := buf.ReadFrom(r); err != nil {
		return err
	}
	return write(buf.Bytes())
}

type gorillaEndpoint struct {
	c    gorillaConn
	read func(e *gorillaEndpoint, each func(n int) bool) error
	mu   sync.Mutex // the library allows one writer at a time
}

type gorillaRead = func(e *gorillaEndpoint, each func(n int) bool) error

func gorillaServer(read gorillaRead) func(net.Conn) (Endpoint, error) {
	return func(nc net.Conn) (Endpoint, error) {
		w, r := upgradeOn(nc)
		c, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		return &gorillaEndpoint{c: c, read: read}, err
	}
}

func gorillaClient(read gorillaRead) func(net.Conn) (Endpoint, error) {
	return func(nc net.Conn) (Endpoint, error) {
		d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return nc, nil }}
		c, _, err := d.Dial(clientURL, nil)
		return &gorillaEndpoint{c: c, read: read}, err
	}
}

func (e *gorillaEndpoint) Receive(each func(n int) bool) error { return e.read(e, each) }

func (e *gorillaEndpoint) receive(each func(n int) bool) error {
	for {
		_, p, err := e.c.ReadMessage()
		if err != nil {
			return err
		}
		if !each(len(p)) {
			return nil
		}
	}
}

func (e *gorillaEndpoint) receiveReusing(each func(n int) bool) error {
	var buf bytes.Buffer
	for {
		_, r, err := e.c.NextReader()
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

func (e *gorillaEndpoint) Send(text bool, p []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	op := websocket.BinaryMessage
	if text {
		op = websocket.TextMessage
	}
	return e.c.WriteMessage(op, p)
}
