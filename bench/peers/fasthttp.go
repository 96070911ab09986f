package peers

import (
	"net"
	"sync"

	"github.com/fasthttp/websocket"
	"github.com/valyala/fasthttp"
)

const fasthttpModule = "github.com/fasthttp/websocket"

var fasthttpPeers = []*Peer{
	{
		Name: "fasthttp", Style: "ReadMessage, WriteMessage, loop in the handler",
		Module: fasthttpModule, Kind: Go,
		Serve:  fasthttpServe(&websocket.FastHTTPUpgrader{}, gorillaLoop),
		Server: fasthttpServer((*gorillaEndpoint).receive),
		Client: fasthttpClient((*gorillaEndpoint).receive),
	},
	{
		Name: "fasthttp-reuse", Style: "NextReader into a kept buffer, WriteMessage",
		Module: fasthttpModule, Kind: Go, Variant: true,
		Serve:  fasthttpServe(&websocket.FastHTTPUpgrader{}, gorillaReuseLoop),
		Server: fasthttpServer((*gorillaEndpoint).receiveReusing),
		Client: fasthttpClient((*gorillaEndpoint).receiveReusing),
	},
	{
		Name: "fasthttp-lean", Style: "256 B read buffer, WriteBufferPool",
		Module: fasthttpModule, Kind: Go, Lean: true,
		Serve: fasthttpServe(&websocket.FastHTTPUpgrader{
			ReadBufferSize: 256, WriteBufferSize: 4096, WriteBufferPool: new(sync.Pool),
		}, gorillaPooledLoop),
	},
}

func fasthttpServe(u *websocket.FastHTTPUpgrader, loop func(gorillaConn)) func(net.Listener) error {
	return func(ln net.Listener) error {
		return (&fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) {
			// On an error it has answered. The handler runs in a goroutine
			// of the server's.
			u.Upgrade(ctx, func(c *websocket.Conn) { loop(c) })
		}}).Serve(ln)
	}
}

func fasthttpServer(read gorillaRead) func(net.Conn) (Endpoint, error) {
	return func(nc net.Conn) (Endpoint, error) {
		w, r := upgradeOn(nc)
		c, err := new(websocket.Upgrader).Upgrade(w, r, nil)
		return &gorillaEndpoint{c: c, read: read}, err
	}
}

func fasthttpClient(read gorillaRead) func(net.Conn) (Endpoint, error) {
	return func(nc net.Conn) (Endpoint, error) {
		d := websocket.Dialer{NetDial: func(string, string) (net.Conn, error) { return nc, nil }}
		c, _, err := d.Dial(clientURL, nil)
		return &gorillaEndpoint{c: c, read: read}, err
	}
}
