package peers

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// A hijacker is the ResponseWriter of a request that came over nc, so that a
// library's Upgrade can run without net/http's server around it.
type hijacker struct {
	nc     net.Conn
	header http.Header
}

func (h *hijacker) Header() http.Header         { return h.header }
func (h *hijacker) Write(p []byte) (int, error) { return h.nc.Write(p) }

func (h *hijacker) WriteHeader(status int) {
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", status, http.StatusText(status))
	h.header.Write(&b)
	b.WriteString("\r\n")
	h.nc.Write([]byte(b.String()))
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	// net/http's buffers are of this size too.
	return h.nc, bufio.NewReadWriter(bufio.NewReader(h.nc), bufio.NewWriter(h.nc)), nil
}

// upgradeOn returns the arguments of an Upgrade on nc, as if the usual request
// of a client had just been read from it.
func upgradeOn(nc net.Conn) (http.ResponseWriter, *http.Request) {
	r, err := http.NewRequest("GET", "http://bench.example/", nil)
	if err != nil {
		panic(err) // the URL is a constant
	}
	r.RequestURI = "/"
	r.RemoteAddr = "127.0.0.1:1"
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "websocket")
	r.Header.Set("Sec-WebSocket-Version", "13")
	r.Header.Set("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	return &hijacker{nc: nc, header: http.Header{}}, r
}

// clientURL is what clients that want a URL are given; they are handed their
// connection and never resolve it.
const clientURL = "ws://bench.example/"
