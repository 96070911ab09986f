package websocket_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"rfc6455.example/websocket"
)

// echo is a handler that sends every message back.
func echo(w http.ResponseWriter, r *http.Request) {
	c, err := websocket.Upgrade(w, r)
	if err != nil {
		return // the client has its answer
	}
	defer c.CloseNow()
	var op websocket.Opcode
	var buf []byte // one for all messages
	for {
		if op, buf, err = c.ReadMessage(buf[:0]); err != nil {
			return
		}
		if err := c.WriteMessage(op, buf); err != nil {
			return
		}
	}
}

// dialEcho returns a connection to a server that echoes.
func dialEcho() (c *websocket.Conn, shutDown func()) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	c, _, err := websocket.Dial(context.Background(), server.URL)
	if err != nil {
		log.Fatal(err)
	}
	return c, func() {
		c.CloseNow()
		server.Close()
	}
}

func ExampleUpgrade() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Upgrade(w, r)
		if err != nil {
			return // the client has its answer
		}
		defer c.CloseNow()
		if err := c.WriteMessage(websocket.OpText, []byte("welcome")); err != nil {
			return
		}
		c.Close()
	}
	server := httptest.NewServer(http.HandlerFunc(handler))
	defer server.Close()

	c, _, err := websocket.Dial(context.Background(), server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer c.CloseNow()
	for {
		op, msg, err := c.ReadMessage(nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("%v: %s\n", op, msg)
	}
	// Output:
	// text: welcome
	// websocket: closed by the peer: 1000 (normal closure)
}

// The connection may outlive the handler. A server with many connections that
// are mostly idle serves each from a goroutine of its own, so that net/http
// gives back what it holds for the request.
func ExampleUpgrade_goroutine() {
	serve := func(c *websocket.Conn) {
		defer c.CloseNow()
		var op websocket.Opcode
		var buf []byte
		var err error
		for err == nil {
			if op, buf, err = c.ReadMessage(buf[:0]); err == nil {
				err = c.WriteMessage(op, buf)
			}
		}
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Upgrade(w, r)
		if err != nil {
			return
		}
		go serve(c)
	}
	server := httptest.NewServer(http.HandlerFunc(handler))
	defer server.Close()

	c, _, err := websocket.Dial(context.Background(), server.URL)
	if err != nil {
		log.Fatal(err)
	}
	c.WriteMessage(websocket.OpBinary, []byte{1, 2, 3})
	fmt.Println(c.ReadMessage(nil))
	fmt.Println(c.Close())
	// Output:
	// binary [1 2 3] <nil>
	// <nil>
}

// An Upgrader has the options of a server.
func ExampleUpgrader() {
	upgrader := websocket.Upgrader{
		ReadLimit:      64 << 10,
		Subprotocols:   []string{"v2.example.com", "v1.example.com"},
		AllowedOrigins: []string{"https://*.example.com"},
	}
	handler := func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			fmt.Println("server:", err)
			return
		}
		c.Close()
	}
	server := httptest.NewServer(http.HandlerFunc(handler))
	defer server.Close()

	for _, origin := range []string{"https://app.example.com", "https://example.net"} {
		dialer := websocket.Dialer{
			Subprotocols: []string{"v1.example.com"},
			Header:       http.Header{"Origin": {origin}},
		}
		c, _, err := dialer.Dial(context.Background(), server.URL)
		if refused, ok := errors.AsType[*websocket.HandshakeError](err); ok {
			fmt.Println("client: refused with status", refused.Status)
			continue
		} else if err != nil {
			log.Fatal(err)
		}
		fmt.Println("client: talks", c.Subprotocol())
		c.Close()
	}
	// Unordered output:
	// client: talks v1.example.com
	// client: refused with status 403
	// server: websocket: handshake failed: origin "https://example.net" is not allowed
}

// Shutdown stands beside that of net/http, which does not know the connections
// that have been upgraded.
func ExampleUpgrader_Shutdown() {
	var upgrader websocket.Upgrader
	handler := func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			return // after Shutdown: with status 503
		}
		defer c.CloseNow()
		for err == nil {
			_, _, err = c.NextReader()
		}
	}
	ln, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(handler)}
	go server.Serve(ln)

	c, _, err := websocket.Dial(context.Background(), "ws://"+ln.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	defer c.CloseNow()
	ended := make(chan error)
	go func() {
		_, _, err := c.ReadMessage(nil)
		ended <- err
	}()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := errors.Join(upgrader.Shutdown(ctx), server.Shutdown(ctx)); err != nil {
		log.Fatal(err)
	}
	fmt.Println(<-ended)
	// Output: websocket: closed by the peer: 1001 (going away)
}

func ExampleDial() {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	url := "ws" + server.URL[len("http"):]

	// The context bounds the opening handshake, not the connection.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, url)
	if err != nil {
		log.Fatal(err)
	}
	defer c.CloseNow()

	if err := c.WriteMessage(websocket.OpText, []byte("hello")); err != nil {
		log.Fatal(err)
	}
	_, reply, err := c.ReadMessage(nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s\n", reply)
	if err := c.Close(); err != nil {
		log.Fatal(err)
	}
	// Output: hello
}

// NetDialContext reaches servers that have no host and port.
func ExampleDialer_unixSocket() {
	dir, err := os.MkdirTemp("", "ws")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	socket := filepath.Join(dir, "socket")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(echo)}
	defer server.Close()
	go server.Serve(ln)

	dialer := websocket.Dialer{
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
	}
	c, _, err := dialer.Dial(context.Background(), "ws://localhost/echo")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.RemoteAddr().Network())
	fmt.Println(c.Close())
	// Output:
	// unix
	// <nil>
}

// A context stops a read by way of the read deadline. The read has lost
// nothing, and the connection goes on.
func ExampleConn_SetReadDeadline() {
	c, shutDown := dialEcho()
	defer shutDown()

	ctx, cancel := context.WithCancel(context.Background())
	past := time.Unix(1, 0)
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(past) })
	defer stop()

	go cancel()
	_, _, err := c.ReadMessage(nil) // nobody has sent anything
	if errors.Is(err, os.ErrDeadlineExceeded) {
		fmt.Println("stopped:", context.Cause(ctx))
	}

	c.SetReadDeadline(time.Time{})
	c.WriteMessage(websocket.OpText, []byte("still here"))
	_, msg, err := c.ReadMessage(nil)
	fmt.Printf("%s %v\n", msg, err)
	// Output:
	// stopped: context canceled
	// still here <nil>
}

// A connection that only writes still needs somebody to read: it is the reader
// that answers the peer's Pings and its Close, and that sees the Pongs.
func ExampleConn_NextReader() {
	handler := func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Upgrade(w, r)
		if err != nil {
			return
		}
		defer c.CloseNow()
		go func() { // ends with the connection
			var err error
			for err == nil {
				_, _, err = c.NextReader()
			}
		}()
		for n := range 3 {
			if err := c.WriteMessage(websocket.OpText, fmt.Appendf(nil, "event %d", n)); err != nil {
				return
			}
		}
		c.Close()
	}
	server := httptest.NewServer(http.HandlerFunc(handler))
	defer server.Close()

	c, _, err := websocket.Dial(context.Background(), server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer c.CloseNow()
	var msg []byte
	for {
		if _, msg, err = c.ReadMessage(msg[:0]); err != nil {
			break
		}
		fmt.Printf("%s\n", msg)
	}
	// Output:
	// event 0
	// event 1
	// event 2
}

// One message may be written piece by piece, and read so, without ever being
// in memory whole.
func ExampleConn_NextWriter() {
	c, shutDown := dialEcho()
	defer shutDown()

	w, err := c.NextWriter(websocket.OpText)
	if err != nil {
		log.Fatal(err)
	}
	for n := range 3 {
		fmt.Fprintf(w, "line %d\n", n)
	}
	if err := w.Close(); err != nil { // sends what is left
		log.Fatal(err)
	}

	_, r, err := c.NextReader()
	if err != nil {
		log.Fatal(err)
	}
	if _, err := io.Copy(os.Stdout, r); err != nil {
		log.Fatal(err)
	}
	// Output:
	// line 0
	// line 1
	// line 2
}

// Enqueue never waits: a client that does not keep up loses its connection and
// holds up nobody. Each connection needs somebody to read, as ever.
func ExampleConn_Enqueue() {
	upgrader := websocket.Upgrader{
		PingInterval: 30 * time.Second, // finds clients that have vanished
		MaxQueued:    256 << 10,
	}
	conns := make(chan *websocket.Conn)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			return
		}
		defer c.CloseNow()
		conns <- c
		for err == nil {
			_, _, err = c.NextReader()
		}
	}))
	defer server.Close()

	var room []*websocket.Conn
	var clients []*websocket.Conn
	for range 3 {
		c, _, err := websocket.Dial(context.Background(), server.URL)
		if err != nil {
			log.Fatal(err)
		}
		defer c.CloseNow()
		clients, room = append(clients, c), append(room, <-conns)
	}

	news, err := websocket.NewPreparedMessage(websocket.OpText, []byte("news for all"))
	if err != nil {
		log.Fatal(err)
	}
	for _, c := range room {
		if err := c.Enqueue(news); errors.Is(err, websocket.ErrQueueFull) {
			c.CloseNow()
		}
	}
	for _, c := range clients {
		_, msg, err := c.ReadMessage(nil)
		fmt.Printf("%s %v\n", msg, err)
	}
	// Output:
	// news for all <nil>
	// news for all <nil>
	// news for all <nil>
}

// When a Ping has been answered, the peer has read all that was written before.
func ExampleConn_Ping() {
	c, shutDown := dialEcho()
	defer shutDown()
	go func() { // a Pong is seen by whoever reads
		for {
			if _, _, err := c.NextReader(); err != nil {
				return
			}
		}
	}()

	c.WriteMessage(websocket.OpText, []byte("has it arrived?"))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Ping(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println("it has")
	// Output: it has
}

func ExampleConn_WriteJSON() {
	c, shutDown := dialEcho()
	defer shutDown()

	type point struct{ X, Y int }
	if err := c.WriteJSON(point{3, 4}); err != nil {
		log.Fatal(err)
	}
	var p point
	if err := c.ReadJSON(&p); err != nil {
		log.Fatal(err)
	}
	fmt.Println(p)
	// Output: {3 4}
}

// CloseWithStatus tells the peer why; the peer learns it from a CloseError.
func ExampleCloseError() {
	const sessionExpired websocket.StatusCode = 4001 // 4000 to 4999 are for applications

	handler := func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Upgrade(w, r)
		if err != nil {
			return
		}
		c.CloseWithStatus(sessionExpired, "log in again")
	}
	server := httptest.NewServer(http.HandlerFunc(handler))
	defer server.Close()

	c, _, err := websocket.Dial(context.Background(), server.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer c.CloseNow()
	_, _, err = c.ReadMessage(nil)
	if errors.Is(err, &websocket.CloseError{Code: sessionExpired}) {
		fmt.Println("the session has expired")
	}
	if closed, ok := errors.AsType[*websocket.CloseError](err); ok {
		fmt.Printf("%d %q\n", closed.Code, closed.Reason)
	}
	// Output:
	// the session has expired
	// 4001 "log in again"
}

// StreamConn carries any protocol that wants a net.Conn.
func ExampleStreamConn() {
	c, shutDown := dialEcho()
	defer shutDown()

	stream := websocket.StreamConn(c, websocket.OpBinary)
	fmt.Fprint(stream, "where a message ends ")
	fmt.Fprint(stream, "does not matter\n")
	line, err := bufio.NewReader(stream).ReadString('\n')
	fmt.Printf("%q %v\n", line, err)
	// Output: "where a message ends does not matter\n" <nil>
}
