package websocket_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"rfc6455.example/websocket"
)

// Keepalive finds out that a client is gone without having said so: after
// PingInterval of silence it is asked, and has PongTimeout to say anything at
// all. Browsers and other clients answer by themselves; nothing is to be done
// but to read.
func ExampleUpgrader_keepalive() {
	upgrader := websocket.Upgrader{
		PingInterval: 20 * time.Millisecond, // 30 * time.Second, say
		PongTimeout:  20 * time.Millisecond, // 10 * time.Second
	}
	ended := make(chan error)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for err == nil {
			_, _, err = c.NextReader()
		}
		ended <- err
	}))
	defer server.Close()

	c, _, err := websocket.Dial(context.Background(), server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer c.CloseNow() // until then it is as if the network were gone: nobody reads

	if err := <-ended; errors.Is(err, websocket.ErrPeerSilent) {
		fmt.Println(err)
	}
	// Output: websocket: connection broke: no answer to keepalive: the peer has been silent
}
