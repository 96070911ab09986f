package websocket_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"rfc6455.example/websocket"
)

// A client that connects again whenever it has lost its connection, after a
// delay that is random and longer each time (section 7.2.3). What was not read
// is lost: how to go on from there is for the application's protocol to say.
func ExampleBackoff() {
	var visits atomic.Int32
	handler := func(w http.ResponseWriter, r *http.Request) {
		switch visits.Add(1) {
		case 1, 2: // the server is starting
			http.Error(w, "not yet", http.StatusServiceUnavailable)
		case 3: // it goes away after one message
			if c, err := websocket.Upgrade(w, r); err == nil {
				c.WriteMessage(websocket.OpText, []byte("one"))
				c.CloseWithStatus(websocket.StatusServiceRestart, "")
			}
		default:
			if c, err := websocket.Upgrade(w, r); err == nil {
				c.WriteMessage(websocket.OpText, []byte("two"))
				c.Close()
			}
		}
	}
	server := httptest.NewServer(http.HandlerFunc(handler))
	defer server.Close()

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// session reads from one connection until its end.
	session := func(received func(msg []byte)) error {
		c, _, err := websocket.Dial(ctx, server.URL)
		if err != nil {
			return err
		}
		defer c.CloseNow()
		stop := context.AfterFunc(ctx, func() { c.CloseNow() })
		defer stop()
		var msg []byte
		for {
			if _, msg, err = c.ReadMessage(msg[:0]); err != nil {
				return err
			}
			received(msg)
		}
	}

	backoff := websocket.Backoff{First: time.Millisecond, Max: 10 * time.Millisecond} // far longer in earnest
	for {
		err := session(func(msg []byte) {
			backoff.Reset() // it works
			fmt.Printf("%s\n", msg)
		})
		if errors.Is(err, &websocket.CloseError{Code: websocket.StatusNormalClosure}) {
			break // the server has said all it has to say
		}
		fmt.Println(err)
		select {
		case <-time.After(backoff.Next()):
		case <-ctx.Done():
			log.Fatal(context.Cause(ctx))
		}
	}
	// Output:
	// websocket: handshake failed: the server answered with status 503 (Service Unavailable)
	// websocket: handshake failed: the server answered with status 503 (Service Unavailable)
	// one
	// websocket: closed by the peer: 1012 (service restart)
	// two
}
