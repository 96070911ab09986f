package websocket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"syscall/js"
)

// attempt has the browser connect. The browser makes the opening handshake and
// sees to it that one connection is established at a time; of the answer it
// shows the subprotocol, and of a refusal nothing.
func (d *Dialer) attempt(ctx context.Context, req *http.Request) (*Conn, *http.Response, error) {
	if err := d.browserCannot(req); err != nil {
		return nil, nil, dialError(ctx, err)
	}
	u := *req.URL
	u.Scheme = map[string]string{"http": "ws", "https": "wss"}[u.Scheme]
	s, err := openBrowserSocket(u.String(), d.Subprotocols)
	if err != nil {
		return nil, nil, dialError(ctx, err)
	}
	select {
	case err = <-s.opened:
	case <-ctx.Done():
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		s.drop()
		return nil, nil, dialError(ctx, err)
	}
	resp := &http.Response{
		Status:     "101 Switching Protocols",
		StatusCode: http.StatusSwitchingProtocols,
		Proto:      "HTTP/1.1",
		ProtoMajor: 1,
		ProtoMinor: 1,
		Header:     make(http.Header),
		Body:       http.NoBody,
		Request:    req,
	}
	cfg := d.config()
	cfg.browser = true
	if cfg.subprotocol = s.ws.Get("protocol").String(); cfg.subprotocol != "" {
		resp.Header.Set("Sec-WebSocket-Protocol", cfg.subprotocol)
	}
	return newConn(s.conn, cfg), resp, nil
}

// A jsSocket is a WebSocket object (https://websockets.spec.whatwg.org).
type jsSocket struct {
	ws       js.Value
	conn     *browserConn
	opened   chan error // how connecting has ended
	handlers map[string]js.Func
}

func openBrowserSocket(url string, subprotocols []string) (s *jsSocket, err error) {
	constructor := js.Global().Get("WebSocket")
	if constructor.IsUndefined() {
		return nil, errors.New("there is no WebSocket object in this JavaScript environment")
	}
	defer catch(&err)
	protocols := make([]any, len(subprotocols))
	for i, p := range subprotocols {
		protocols[i] = p
	}
	s = &jsSocket{
		ws:       constructor.New(url, protocols),
		opened:   make(chan error, 1),
		handlers: make(map[string]js.Func),
	}
	s.conn = newBrowserConn(s, url)
	s.ws.Set("binaryType", "arraybuffer")
	connecting := true
	s.on("onopen", func(js.Value) {
		connecting = false
		s.opened <- nil
	})
	s.on("onmessage", func(event js.Value) {
		data := event.Get("data")
		if data.Type() == js.TypeString {
			s.conn.received(OpText, []byte(data.String()))
			return
		}
		array := js.Global().Get("Uint8Array").New(data)
		payload := make([]byte, array.Length())
		js.CopyBytesToGo(payload, array)
		s.conn.received(OpBinary, payload)
	})
	// onerror says nothing that onclose, which follows it, does not say.
	s.on("onclose", func(event js.Value) {
		if connecting {
			connecting = false
			s.opened <- errors.New("the browser could not connect; its console may say why")
		}
		code, reason := StatusCode(event.Get("code").Int()), event.Get("reason").String()
		s.conn.end(code, reason, event.Get("wasClean").Bool())
		s.letGo()
	})
	return s, nil
}

// on sets an event handler, which must not wait.
func (s *jsSocket) on(name string, handle func(event js.Value)) {
	f := js.FuncOf(func(_ js.Value, args []js.Value) any {
		handle(args[0])
		return nil
	})
	s.handlers[name] = f
	s.ws.Set(name, f)
}

// letGo takes the event handlers away, which keep s in memory.
func (s *jsSocket) letGo() {
	for name, f := range s.handlers {
		s.ws.Set(name, js.Null())
		f.Release()
	}
	clear(s.handlers)
}

func (s *jsSocket) send(op Opcode, payload []byte) (err error) {
	defer catch(&err)
	if op == OpText {
		s.ws.Call("send", string(payload))
		return nil
	}
	array := js.Global().Get("Uint8Array").New(len(payload))
	js.CopyBytesToJS(array, payload)
	s.ws.Call("send", array)
	return nil
}

func (s *jsSocket) close(code StatusCode, reason string) {
	if code == StatusNoStatusReceived {
		s.ws.Call("close")
		return
	}
	s.ws.Call("close", int(code), reason)
}

func (s *jsSocket) buffered() int { return s.ws.Get("bufferedAmount").Int() }

func (s *jsSocket) drop() {
	s.letGo()
	s.ws.Call("close")
}

// catch turns an exception into an error.
func catch(err *error) {
	switch e := recover().(type) {
	case nil:
	case js.Error:
		*err = fmt.Errorf("the browser says: %w", e)
	default:
		panic(e)
	}
}
