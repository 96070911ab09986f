package peers

import (
	"net"
	"net/http"

	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/lesismal/nbio/nbhttp/websocket"
)

const nbioModule = "github.com/lesismal/nbio"

var nbioPeers = []*Peer{
	{
		Name: "nbio", Style: "own event loop, handlers in its goroutine pool",
		Module: nbioModule, Kind: Go,
		Serve: nbioServe(nil),
		Mask:  func(b []byte, key [4]byte) { nbioMask(b, key[:]) },
	},
	{
		Name: "nbio-inline", Style: "own event loop, handlers on the loop (ServerExecutor)",
		Module: nbioModule, Kind: Go, Variant: true,
		Serve: nbioServe(func(f func()) { f() }),
	},
}

func nbioServe(executor func(f func())) func(net.Listener) error {
	return func(ln net.Listener) error {
		logging.SetLevel(logging.LevelNone) // it writes to standard output
		u := websocket.NewUpgrader()
		u.KeepaliveTime = 0 // no peer has a deadline set per message
		u.MessageLengthLimit = maxMessage
		u.OnMessage(func(c *websocket.Conn, op websocket.MessageType, p []byte) {
			c.WriteMessage(op, p)
		})
		engine := nbhttp.NewEngine(nbhttp.Config{
			Network: "tcp",
			Addrs:   []string{ln.Addr().String()},
			Listen:  func(string, string) (net.Listener, error) { return ln, nil },
			MaxLoad: 1 << 20,
			// A message leaves in one frame, as from every other peer.
			MaxWebsocketFramePayloadSize: maxMessage,
			ReleaseWebsocketPayload:      true,
			ServerExecutor:               executor,
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				u.Upgrade(w, r, nil) // on an error it has answered
			}),
		})
		u.Engine = engine
		if err := engine.Start(); err != nil {
			return err
		}
		select {} // it serves in goroutines of its own and does not say when they end
	}
}
