package peers

import (
	"net"
	"net/http"

	"golang.org/x/net/websocket"
)

var xnetPeers = []*Peer{{
	Name: "xnet", Style: "Codec that keeps the opcode, loop in the handler",
	Module: "golang.org/x/net", Kind: Go,
	Serve: func(ln net.Listener) error {
		// A Server without Handshake admits clients that send no Origin.
		return (&http.Server{Handler: websocket.Server{Handler: xnetLoop}}).Serve(ln)
	},
	Server: xnetServer,
	Client: xnetClient,
}}

type xnetMessage struct {
	op byte
	p  []byte
}

var xnetCodec = websocket.Codec{
	Marshal: func(v any) ([]byte, byte, error) {
		m := v.(*xnetMessage)
		return m.p, m.op, nil
	},
	Unmarshal: func(p []byte, op byte, v any) error {
		*v.(*xnetMessage) = xnetMessage{op, p}
		return nil
	},
}

func xnetLoop(c *websocket.Conn) {
	c.MaxPayloadBytes = maxMessage
	var m xnetMessage
	for {
		if xnetCodec.Receive(c, &m) != nil {
			return
		}
		if xnetCodec.Send(c, &m) != nil {
			return
		}
	}
}

type xnetEndpoint struct{ c *websocket.Conn }

func xnetServer(nc net.Conn) (Endpoint, error) {
	// The library gives its connection to a handler only, and closes it when
	// that returns.
	made := make(chan *websocket.Conn)
	go func() {
		defer close(made)
		w, r := upgradeOn(nc)
		websocket.Server{Handler: func(c *websocket.Conn) {
			made <- c
			select {}
		}}.ServeHTTP(w, r)
	}()
	c, ok := <-made
	if !ok {
		return nil, http.ErrNotSupported
	}
	c.MaxPayloadBytes = maxMessage
	return &xnetEndpoint{c}, nil
}

func xnetClient(nc net.Conn) (Endpoint, error) {
	config, err := websocket.NewConfig(clientURL, "http://bench.example/")
	if err != nil {
		return nil, err
	}
	c, err := websocket.NewClient(config, nc)
	if err != nil {
		return nil, err
	}
	c.MaxPayloadBytes = maxMessage
	return &xnetEndpoint{c}, nil
}

func (e *xnetEndpoint) Receive(each func(n int) bool) error {
	var m xnetMessage
	for {
		if err := xnetCodec.Receive(e.c, &m); err != nil {
			return err
		}
		if !each(len(m.p)) {
			return nil
		}
	}
}

func (e *xnetEndpoint) Send(text bool, p []byte) error {
	m := xnetMessage{op: websocket.BinaryFrame, p: p}
	if text {
		m.op = websocket.TextFrame
	}
	return xnetCodec.Send(e.c, &m)
}
