// Chat is a chat room with a web page:
//
//	go run ./examples/chat
//
// and open http://localhost:9999/ in two tabs. Restart it, and the tabs come
// back by themselves.
//
// It is meant as the way to structure a server. This file is the part around
// it: HTTP, the options of its connections, the end. room.go is what it does.
package main

import (
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"rfc6455.example/websocket"
)

//go:embed page
var files embed.FS

func main() {
	addr := flag.String("addr", "localhost:9999", "listen on `host:port`")
	flag.Parse()

	// The first Ctrl-C ends the server in order, a second one at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)

	ln, err := net.Listen("tcp", *addr)
	if err == nil {
		fmt.Printf("open http://%s/ in two tabs\n", pageHost(*addr, ln.Addr()))
		err = serve(ctx, ln, &websocket.Upgrader{
			ReadLimit:    1 << 10,          // the page sends no more at once
			PingInterval: 20 * time.Second, // finds out who has vanished
			PongTimeout:  10 * time.Second,
			WriteTimeout: 30 * time.Second, // and who has stopped reading
			MaxQueued:    512 << 10,        // what may wait for one who is slow, a welcome at least
			Logger:       slog.Default(),
		})
	}
	if err != nil {
		slog.Error("chat", "error", err)
		os.Exit(1)
	}
}

// serve answers on ln until ctx ends. Then it tells everyone and returns nil.
func serve(ctx context.Context, ln net.Listener, upgrader *websocket.Upgrader) error {
	page, err := fs.Sub(files, "page")
	if err != nil {
		return err
	}
	room := newRoom()
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(page))
	mux.HandleFunc("GET /chat", func(w http.ResponseWriter, r *http.Request) {
		name := r.FormValue("name")
		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			return // the client has its answer, and the log a record
		}
		// From here on net/http has no part in the connection. To return gives
		// back what it holds for the request.
		go room.serve(c, name)
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(ln) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}

	// Two kinds of connections are closed beside each other: requests get
	// their answers, tabs their 1001. Who does not answer in time is dropped.
	grace, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	requests := make(chan error, 1)
	go func() { requests <- server.Shutdown(grace) }()
	if err := errors.Join(upgrader.Shutdown(grace), <-requests); err != nil {
		slog.Warn("not everyone was there to say goodbye", "error", err)
		server.Close()
	}
	return nil
}

// pageHost returns addr as one types it into a browser, with the port that the
// listener really has.
func pageHost(addr string, listening net.Addr) string {
	host, _, _ := net.SplitHostPort(addr)
	_, port, _ := net.SplitHostPort(listening.String())
	if host == "" {
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}
