package websocket_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"rfc6455.example/websocket"
)

// Messages that resemble each other, as events of one kind do, become much
// smaller where they may refer to those before. The server keeps memory for
// that, and does not do it for a client that is known to have trouble.
func ExampleCompression() {
	upgrader := &websocket.Upgrader{Compression: &websocket.Compression{
		ContextTakeover: true,
		Allow: func(r *http.Request) bool {
			return !strings.Contains(r.UserAgent(), "OldClient/1.")
		},
	}}
	handler := func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			return // the client has its answer
		}
		defer c.CloseNow()
		type event struct {
			Device string    `json:"device"`
			Kind   string    `json:"kind"`
			Value  float64   `json:"value"`
			Time   time.Time `json:"time"`
		}
		start := time.Date(2026, 11, 3, 8, 30, 0, 0, time.UTC)
		for i := range 100 {
			e := event{"sensor-0042", "temperature", 20 + float64(i%7)/10, start.Add(time.Duration(i) * time.Second)}
			if err := c.WriteJSON(e); err != nil {
				return
			}
		}
		c.Close()
	}
	server := httptest.NewServer(http.HandlerFunc(handler))
	defer server.Close()

	dialer := &websocket.Dialer{Compression: &websocket.Compression{ContextTakeover: true}}
	c, resp, err := dialer.Dial(context.Background(), server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer c.CloseNow()
	fmt.Println(resp.Header.Get("Sec-WebSocket-Extensions"))
	var buf []byte
	for err == nil {
		_, buf, err = c.ReadMessage(buf[:0])
	}
	s := c.Stats()
	fmt.Println(s.MessagesReceived, "messages")
	fmt.Println("less than a third on the wire:", s.CompressedBytesReceived < s.BytesReceived/3)
	fmt.Println(err)
	// Output:
	// permessage-deflate
	// 100 messages
	// less than a third on the wire: true
	// websocket: closed by the peer: 1000 (normal closure)
}
