package peers

import (
	"net"
	"net/http"

	"github.com/coder/websocket"
	fasthttpws "github.com/fasthttp/websocket"
	gorillaws "github.com/gorilla/websocket"
	"github.com/lxzan/gws"

	ours "rfc6455.example/websocket"
)

// Styles that compress, as far as libraries can, at the level that each has by
// default. Messages of 1 KiB are above every threshold.
var deflatePeers = []*Peer{
	{
		Name: "ours-deflate", Style: "as ours, each message by itself",
		Module: oursModule, Kind: Ours, Deflate: NoTakeover,
		Serve: serveHTTP(oursHandler(&ours.Upgrader{
			ReadLimit: maxMessage, Compression: &ours.Compression{},
		}, oursLoop)),
	},
	{
		Name: "gorilla-deflate", Style: "as gorilla-reuse, each message by itself",
		Module: gorillaModule, Kind: Go, Deflate: NoTakeover,
		Serve: serveHTTP(gorillaHandler(&gorillaws.Upgrader{EnableCompression: true}, gorillaReuseLoop)),
	},
	{
		Name: "fasthttp-deflate", Style: "as fasthttp-reuse, each message by itself",
		Module: fasthttpModule, Kind: Go, Deflate: NoTakeover,
		Serve: fasthttpServe(&fasthttpws.FastHTTPUpgrader{EnableCompression: true}, gorillaReuseLoop),
	},
	{
		Name: "coder-deflate", Style: "as coder-reuse, each message by itself",
		Module: coderModule, Kind: Go, Deflate: NoTakeover,
		Serve: serveHTTP(coderDeflateHandler(websocket.CompressionNoContextTakeover)),
	},
	{
		Name: "gws-deflate", Style: "as gws, each message by itself",
		Module: gwsModule, Kind: Go, Deflate: NoTakeover,
		Serve: gwsDeflate(gws.PermessageDeflate{Enabled: true}),
	},
	{
		Name: "bun-deflate", Style: "as bun, shared compressor and decompressor",
		Kind: Other, Deflate: NoTakeover, Command: bunCommand("shared"),
	},
	{
		Name: "ours-takeover", Style: "as ours, with context takeover",
		Module: oursModule, Kind: Ours, Deflate: Takeover,
		Serve: serveHTTP(oursHandler(&ours.Upgrader{
			ReadLimit: maxMessage, Compression: &ours.Compression{ContextTakeover: true},
		}, oursLoop)),
	},
	{
		Name: "coder-takeover", Style: "as coder-reuse, with context takeover",
		Module: coderModule, Kind: Go, Deflate: Takeover,
		Serve: serveHTTP(coderDeflateHandler(websocket.CompressionContextTakeover)),
	},
	{
		Name: "gws-takeover", Style: "as gws, with context takeover",
		Module: gwsModule, Kind: Go, Deflate: Takeover,
		Serve: gwsDeflate(gws.PermessageDeflate{
			Enabled: true, ServerContextTakeover: true, ClientContextTakeover: true,
			ServerMaxWindowBits: 15, ClientMaxWindowBits: 15,
		}),
	},
	{
		Name: "bun-takeover", Style: "as bun, dedicated compressor and decompressor",
		Kind: Other, Deflate: Takeover, Command: bunCommand("dedicated"),
	},
}

func coderDeflateHandler(mode websocket.CompressionMode) http.HandlerFunc {
	return coderHandler(&websocket.AcceptOptions{CompressionMode: mode}, coderReuseLoop)
}

func gwsDeflate(o gws.PermessageDeflate) func(net.Listener) error {
	return gwsServe(gws.ServerOption{PermessageDeflate: o}, func(c *gws.Conn) { go c.ReadLoop() })
}
