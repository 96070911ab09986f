// This program echoes with a copy of the library in which TestMutants can
// switch off one rule at a time: each has a number, and Broken is the one that
// does not hold.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"

	"rfc6455.example/websocket"
)

const limit = 64 << 10

var compression = &websocket.Compression{ContextTakeover: true, Threshold: -1}

func main() {
	flag.IntVar(&websocket.Broken, "broken", 0, "the rule to switch off")
	url := flag.String("url", "", "connect to this server, again and again, instead of being one")
	flag.Parse()
	if *url != "" {
		d := &websocket.Dialer{ReadLimit: limit, Compression: compression}
		for {
			c, _, err := d.Dial(context.Background(), *url)
			if errors.Is(err, syscall.ECONNREFUSED) {
				return
			}
			if err == nil {
				echo(c)
			}
			fmt.Println("done")
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(l.Addr())
	u := &websocket.Upgrader{ReadLimit: limit, Compression: compression}
	http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := u.Upgrade(w, r); err == nil {
			echo(c)
		}
	}))
}

// echo ends the connection at once where something goes wrong.
func echo(c *websocket.Conn) {
	defer c.CloseNow()
	defer func() { recover() }() // a broken library may well panic
	for {
		op, p, err := c.ReadMessage(nil)
		if err != nil || c.WriteMessage(op, p) != nil {
			return
		}
	}
}
