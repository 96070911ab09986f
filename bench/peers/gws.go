package peers

import (
	"net"
	"net/http"

	"github.com/lxzan/gws"
)

const gwsModule = "github.com/lxzan/gws"

var gwsPeers = []*Peer{
	{
		Name: "gws", Style: "event handler, ReadLoop in a goroutine",
		Module: gwsModule, Kind: Go, ChecksText: true,
		Serve:  gwsServe(gws.ServerOption{}, func(c *gws.Conn) { go c.ReadLoop() }),
		Server: gwsServer,
		Client: gwsClient,
		Mask:   func(b []byte, key [4]byte) { gwsMask(b, key[:]) },
	},
	{
		Name: "gws-handler", Style: "event handler, ReadLoop in the handler",
		Module: gwsModule, Kind: Go, Variant: true, IdleOnly: true,
		Serve: gwsServe(gws.ServerOption{}, (*gws.Conn).ReadLoop),
	},
	{
		Name: "gws-lean", Style: "ReadLoop in a goroutine, 256 B read buffer",
		Module: gwsModule, Kind: Go, Lean: true,
		Serve: gwsServe(gws.ServerOption{ReadBufferSize: 256}, func(c *gws.Conn) { go c.ReadLoop() }),
	},
}

// gwsServe makes the Upgrader when it serves and not before: one that
// compresses takes 11 MB, which would make garbage collections rare in the
// servers of all other libraries.
func gwsServe(o gws.ServerOption, serve func(*gws.Conn)) func(net.Listener) error {
	return func(ln net.Listener) error { return serveHTTP(gwsHandler(o, serve))(ln) }
}

func gwsHandler(o gws.ServerOption, serve func(*gws.Conn)) http.HandlerFunc {
	o.ReadMaxPayloadSize, o.WriteMaxPayloadSize, o.CheckUtf8Enabled = maxMessage, maxMessage, true
	u := gws.NewUpgrader(gwsEcho{}, &o)
	return func(w http.ResponseWriter, r *http.Request) {
		c, err := u.Upgrade(w, r)
		if err != nil {
			return // it has answered
		}
		serve(c)
	}
}

type gwsEcho struct{ gws.BuiltinEventHandler }

func (gwsEcho) OnPing(c *gws.Conn, p []byte) { c.WritePong(p) }

func (gwsEcho) OnMessage(c *gws.Conn, m *gws.Message) {
	defer m.Close()
	c.WriteMessage(m.Opcode, m.Bytes())
}

type gwsEndpoint struct {
	gws.BuiltinEventHandler
	c    *gws.Conn
	nc   net.Conn
	each func(n int) bool
	done bool
}

func gwsServer(nc net.Conn) (_ Endpoint, err error) {
	e := &gwsEndpoint{nc: nc}
	w, r := upgradeOn(nc)
	e.c, err = gws.NewUpgrader(e, &gws.ServerOption{
		ReadMaxPayloadSize: maxMessage, WriteMaxPayloadSize: maxMessage, CheckUtf8Enabled: true,
	}).Upgrade(w, r)
	return e, err
}

func gwsClient(nc net.Conn) (_ Endpoint, err error) {
	e := &gwsEndpoint{nc: nc}
	e.c, _, err = gws.NewClientFromConn(e, &gws.ClientOption{
		Addr:               clientURL,
		ReadMaxPayloadSize: maxMessage, WriteMaxPayloadSize: maxMessage, CheckUtf8Enabled: true,
	}, nc)
	return e, err
}

func (e *gwsEndpoint) OnMessage(_ *gws.Conn, m *gws.Message) {
	defer m.Close()
	if !e.done && !e.each(len(m.Bytes())) {
		e.done = true
		e.nc.Close() // nothing else ends ReadLoop
	}
}

func (e *gwsEndpoint) Receive(each func(n int) bool) error {
	e.each = each
	e.c.ReadLoop()
	if !e.done {
		return net.ErrClosed
	}
	return nil
}

func (e *gwsEndpoint) Send(text bool, p []byte) error {
	op := gws.OpcodeBinary
	if text {
		op = gws.OpcodeText
	}
	return e.c.WriteMessage(op, p)
}
