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
	"net"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"time"

	"rfc6455.example/websocket"
)

//go:embed index.html
var page []byte

func main() {
	addr := flag.String("addr", "localhost:9998", "listen on `host:port`")
	var upgrader websocket.Upgrader
	flag.Func("origin", "accept pages from `pattern` too, such as https://*.example.com,\n"+
		"or null for a page opened from a file; may be repeated",
		func(pattern string) error {
			upgrader.AllowedOrigins = append(upgrader.AllowedOrigins, pattern)
			return nil
		})
	flag.Parse()
	log.SetOutput(os.Stdout)

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
	var open sync.WaitGroup
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write(page)
	})
	mux.HandleFunc("GET /echo", func(w http.ResponseWriter, r *http.Request) {
		open.Add(1) // before the upgrade: until then server.Shutdown waits
		defer open.Done()

		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			log.Printf("%s: %v", r.RemoteAddr, err) // the client has its answer
			return
		}
		defer c.CloseNow()
		stop := context.AfterFunc(ctx, func() {
			c.CloseWithStatus(websocket.StatusGoingAway, "server shuts down")
		})
		defer stop()
		log.Printf("%s: open", r.RemoteAddr)
		log.Printf("%s: %v", r.RemoteAddr, echo(c))
	})

	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	shut := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(shut)
		grace, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	})
	if err := server.Serve(ln); err != http.ErrServerClosed {
		return err
	}
	<-shut
	open.Wait()
	return nil
}

// echo sends back every message until the connection ends, and returns why it
// did.
func echo(c *websocket.Conn) (err error) {
	var op websocket.Opcode
	var buf []byte // one for all messages
	for {
		if op, buf, err = c.ReadMessage(buf[:0]); err != nil {
			return err
		}
		if err = c.WriteMessage(op, buf); err != nil {
			return err
		}
	}
}
