//go:build js

// Command wasm is the program of TestBrowserWASM: it uses the library in a
// browser, against the server that the page comes from. It writes a line for
// each step into the element #log, and into #state how it went.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall/js"
	"time"

	"rfc6455.example/websocket"
)

var (
	document = js.Global().Get("document")
	server   = "ws://" + js.Global().Get("location").Get("host").String()
	failed   = false
)

func show(id, text string) {
	document.Call("getElementById", id).Call("append", text+"\n")
}

// check notes how a step went.
func check(step string, ok bool, details ...any) {
	if !ok {
		failed = true
		step = "FAILED " + step
	}
	show("log", step+": "+strings.TrimSuffix(fmt.Sprintln(details...), "\n"))
}

func dial(path string, d websocket.Dialer) *websocket.Conn {
	c, resp, err := d.Dial(context.Background(), server+path)
	if err != nil {
		check("Dial "+path, false, err)
		show("state", "failed")
		select {}
	}
	check("Dial "+path, resp.StatusCode == http.StatusSwitchingProtocols, resp.StatusCode)
	return c
}

// echo sends a message and waits until it is back.
func echo(c *websocket.Conn, op websocket.Opcode, payload []byte) {
	err := c.WriteMessage(op, payload)
	if err != nil {
		check("WriteMessage", false, err)
	}
	wantEcho(c, op, payload)
}

func wantEcho(c *websocket.Conn, op websocket.Opcode, payload []byte) {
	gotOp, got, err := c.ReadMessage(nil)
	check(fmt.Sprintf("echo of %v, %d bytes", op, len(payload)), err == nil && gotOp == op && bytes.Equal(got, payload), len(got), err)
}

func main() {
	messages()
	limits()
	closing()
	dialing()
	pressure()
	if failed {
		show("state", "failed")
	} else {
		show("state", "passed")
	}
}

func messages() {
	c := dial("/echo", websocket.Dialer{Subprotocols: []string{"chat", "superchat"}, ReadLimit: 8 << 20})
	check("Subprotocol", c.Subprotocol() == "superchat", c.Subprotocol())
	check("RemoteAddr", c.RemoteAddr().String() == server+"/echo", c.RemoteAddr())
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20, 5 << 20} {
		echo(c, websocket.OpText, []byte(strings.Repeat("x", n)))
		all := make([]byte, n)
		for i := range all {
			all[i] = byte(i)
		}
		echo(c, websocket.OpBinary, all)
	}
	echo(c, websocket.OpText, []byte("grüß dich, 世界 🙂\x00"))

	w, err := c.NextWriter(websocket.OpText)
	check("NextWriter", err == nil, err)
	piece := []byte(strings.Repeat("世", 30_000))
	for range 3 {
		w.Write(piece[:100])
		w.Write(piece[100:])
	}
	check("Close of the writer", w.Close() == nil)
	wantEcho(c, websocket.OpText, bytes.Repeat(piece, 3))

	done := make(chan error)
	for range 10 {
		go func() { done <- c.WriteMessage(websocket.OpText, []byte("at once")) }()
	}
	for range 10 {
		wantEcho(c, websocket.OpText, []byte("at once"))
		<-done
	}
	check("Close", c.Close() == nil)
}

func limits() {
	c := dial("/echo", websocket.Dialer{})
	err := c.Ping(context.Background())
	check("Ping", errors.Is(err, errors.ErrUnsupported), err)
	err = c.CloseWithStatus(websocket.StatusGoingAway, "")
	check("CloseWithStatus 1001", errors.Is(err, errors.ErrUnsupported), err)
	err = c.WriteMessage(websocket.OpText, []byte("\xff"))
	check("bad text", errors.Is(err, websocket.ErrInvalidUTF8), err)

	c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, _, err = c.ReadMessage(nil)
	check("read deadline", errors.Is(err, os.ErrDeadlineExceeded), err)
	c.SetReadDeadline(time.Time{})
	echo(c, websocket.OpText, []byte("still here"))

	c.SetReadLimit(3)
	c.WriteMessage(websocket.OpText, []byte("four"))
	_, _, err = c.ReadMessage(nil)
	check("read limit", errors.Is(err, websocket.ErrReadLimit), err)

	for name, d := range map[string]websocket.Dialer{
		"Header":       {Header: http.Header{"X-Own": {"x"}}},
		"PingInterval": {PingInterval: time.Second},
	} {
		_, _, err := d.Dial(context.Background(), server+"/echo")
		check(name, errors.Is(err, errors.ErrUnsupported), err)
	}
}

func closing() {
	c := dial("/echo", websocket.Dialer{})
	reading := make(chan error)
	go func() {
		_, _, err := c.ReadMessage(nil)
		reading <- err
	}()
	err := c.CloseWithStatus(4001, "grüß dich")
	check("CloseWithStatus 4001", err == nil, err)
	err = <-reading
	check("reading after it", errors.Is(err, net.ErrClosed), err)

	c = dial("/close", websocket.Dialer{})
	_, _, err = c.ReadMessage(nil)
	closed, ok := errors.AsType[*websocket.CloseError](err)
	check("closed by the peer", ok && closed.Code == 4002 && closed.Reason == "bis später", err)
	check("Close after it", c.Close() == nil)

	c = dial("/drop", websocket.Dialer{})
	_, _, err = c.ReadMessage(nil)
	check("dropped by the peer", errors.Is(err, io.ErrUnexpectedEOF), err)

	c = dial("/echo", websocket.Dialer{})
	check("CloseNow", c.CloseNow() == nil)
	_, _, err = c.ReadMessage(nil)
	check("reading after it", errors.Is(err, net.ErrClosed), err)
}

func dialing() {
	_, _, err := websocket.Dial(context.Background(), server+"/refuse")
	check("refused", err != nil && strings.Contains(err.Error(), "could not connect"), err)
	_, _, err = websocket.Dial(context.Background(), server+"/silent")
	check("refused later", err != nil && strings.Contains(err.Error(), "could not connect"), err)

	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, _, err = websocket.Dial(ctx, server+"/never")
	check("context", errors.Is(err, context.DeadlineExceeded), err)
	d := websocket.Dialer{HandshakeTimeout: 50 * time.Millisecond}
	_, _, err = d.Dial(context.Background(), server+"/never")
	check("HandshakeTimeout", errors.Is(err, context.DeadlineExceeded), err)
}

// pressure writes to a peer that does not read: the browser must not be given
// messages without end.
func pressure() {
	c := dial("/deaf", websocket.Dialer{WriteTimeout: 300 * time.Millisecond})
	payload := make([]byte, 1<<20)
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		err = c.WriteMessage(websocket.OpBinary, payload)
	}
	check("pressure", errors.Is(err, os.ErrDeadlineExceeded), n, err)
}
