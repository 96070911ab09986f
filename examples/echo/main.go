// Echo serves a WebSocket endpoint that sends every message back, and a page
// that talks to it from a browser:
//
//	go run ./examples/echo
//
// and open http://localhost:9998/.
package main

import (
	"context"
	_ "embed"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"time"

	"rfc6455.example/websocket"
)

//go:embed index.html
var page []byte

func main() {
	addr := flag.String("addr", "localhost:9998", "listen on `host:port`")
	upgrader := websocket.Upgrader{Logger: slog.Default()}
	flag.Func("origin", "accept pages from `pattern` too, such as https://*.example.com,\n"+
		"or null for a page opened from a file; may be repeated",
		func(pattern string) error {
			upgrader.AllowedOrigins = append(upgrader.AllowedOrigins, pattern)
			return nil
		})
	flag.Parse()
	log.SetOutput(os.Stdout) // and with it that of slog.Default

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	context.AfterFunc(ctx, stop) // a second Ctrl-C does not wait for anybody

	ln, err := net.Listen("tcp", *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
	host := publicHost(*addr, ln.Addr())
	log.Printf("page at http://%s/, endpoint at ws://%[1]s/echo", host)
	if err := serve(ctx, ln, &upgrader); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
		os.Exit(1)
	}
}

// publicHost returns addr as one types it into a browser, with the port that
// the listener really has.
func publicHost(addr string, listening net.Addr) string {
	host, _, _ := net.SplitHostPort(addr)
	_, port, _ := net.SplitHostPort(listening.String())
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// serve answers on ln until ctx ends. Then it closes the open connections with
// 1001, waits for them and returns nil.
func serve(ctx context.Context, ln net.Listener, upgrader *websocket.Upgrader) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(page)
	})
	mux.HandleFunc("GET /echo", func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			return // the client has its answer, and the log a line
		}
		defer c.CloseNow()
		echo(c)
	})

	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	down := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(down)
		grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		// net/http does not know the connections that have been upgraded.
		if err := upgrader.Shutdown(grace); err != nil {
			log.Print(err)
		}
		// Its Shutdown would wait seconds for the sockets that a browser opens
		// in advance, and there are no long requests to wait for.
		server.Close()
	})
	if err := server.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	<-down
	return nil
}

// echo sends back every message until the connection ends.
func echo(c *websocket.Conn) {
	var op websocket.Opcode
	var buf []byte // one for all messages
	var err error
	for err == nil {
		if op, buf, err = c.ReadMessage(buf[:0]); err == nil {
			err = c.WriteMessage(op, buf)
		}
	}
}
