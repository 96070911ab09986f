package websocket

import (
	"io"
	"runtime"
	"testing"
)

// TestSmallStacks: a goroutine that echoes a message and waits for the next one
// gets by with its first 2 KiB of stack. Whatever takes it above that doubles
// it for good.
func TestSmallStacks(t *testing.T) {
	if raceDetector || runtime.GOARCH != "amd64" {
		t.Skip("frames are of other sizes here")
	}
	const applicationFrame = 128 // bytes of stack that are the application's
	loops := map[string]func(c *Conn){
		"ReadMessage": func(c *Conn) {
			var own [applicationFrame]byte
			own[0]++
			buf := make([]byte, 0, 64)
			for {
				op, p, err := c.ReadMessage(buf[:0])
				if err != nil || c.WriteMessage(op, p) != nil {
					runtime.KeepAlive(&own)
					return
				}
			}
		},
		"NextReader": func(c *Conn) {
			var own [applicationFrame]byte
			own[0]++
			buf := make([]byte, 64)
			for {
				op, r, err := c.NextReader()
				if err != nil {
					return
				}
				n, err := r.Read(buf)
				if _, end := r.Read(buf[n:]); err != nil || end != io.EOF || c.WriteMessage(op, buf[:n]) != nil {
					runtime.KeepAlive(&own)
					return
				}
			}
		},
	}
	for name, loop := range loops {
		t.Run(name, func(t *testing.T) {
			const conns = 200
			client, server := newPair(t, overTCP, connConfig{}) // fills the pools
			if server.raw == nil {
				t.Skip("no RawConn on this system")
			}
			go loop(server)
			echoOne(t, client)
			var clients []*Conn
			var servers []*Conn
			for range conns {
				client, server := newPair(t, overTCP, connConfig{})
				clients, servers = append(clients, client), append(servers, server)
			}
			before := stackMemory()
			for i, client := range clients {
				go loop(servers[i])
				echoOne(t, client)
				echoOne(t, client)
			}
			if each := (stackMemory() - before) / conns; each > 3<<10 {
				t.Errorf("a goroutine that waits for a message has %d bytes of stack, want 2048", each)
			}
		})
	}
}

func echoOne(t *testing.T, client *Conn) {
	t.Helper()
	if err := client.WriteMessage(OpText, []byte("message")); err != nil {
		t.Fatal(err)
	}
	wantMessage(t, client, OpText, "message", "it was sent")
}

// stackMemory returns how many bytes of stack are in use, those that wait for
// another goroutine not among them.
func stackMemory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.StackInuse)
}
