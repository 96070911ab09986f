package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"rfc6455.example/websocket"
)

// A chat is the server under test.
type chat struct {
	addr  string
	end   context.CancelFunc
	ended chan error
}

// start serves on addr, with timeouts that suit a test.
func start(t *testing.T, addr string) *chat {
	return startWith(t, addr, &websocket.Upgrader{ReadLimit: 1 << 10, MaxQueued: 512 << 10})
}

func startWith(t *testing.T, addr string, upgrader *websocket.Upgrader) *chat {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	c := &chat{ln.Addr().String(), cancel, make(chan error, 1)}
	go func() { c.ended <- serve(ctx, smallBuffers{ln}, upgrader) }()
	t.Cleanup(cancel)
	return c
}

// smallBuffers makes connections of which the system holds little of what is on
// its way.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err == nil {
		nc.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return nc, err
}

// stop ends the server in order.
func (c *chat) stop(t *testing.T) {
	t.Helper()
	c.end()
	if err := <-c.ended; err != nil {
		t.Errorf("serve returned %v, want nil", err)
	}
}

// A tab is a client.
type tab struct {
	t       *testing.T
	conn    *websocket.Conn
	welcome event
}

func (c *chat) join(t *testing.T, name string) *tab {
	t.Helper()
	conn, _, err := websocket.Dial(t.Context(), "ws://"+c.addr+"/chat?name="+name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	b := &tab{t: t, conn: conn}
	if b.welcome = b.next(); b.welcome.Event != "welcome" {
		t.Fatalf("the tab is told %+v, want a welcome first", b.welcome)
	}
	return b
}

func (b *tab) next() (e event) {
	b.t.Helper()
	if err := b.conn.ReadJSON(&e); err != nil {
		b.t.Fatal(err)
	}
	return e
}

// want skips to the next event of a kind, which has to be with this name and
// text.
func (b *tab) want(kind, name, text string) event {
	b.t.Helper()
	e := b.next()
	for e.Event != kind {
		e = b.next()
	}
	if e.Name != name || e.Text != text {
		b.t.Fatalf("the tab is told %+v, want %s of %s %q", e, kind, name, text)
	}
	return e
}

func (b *tab) say(text string) {
	b.t.Helper()
	if err := b.conn.WriteMessage(websocket.OpText, []byte(text)); err != nil {
		b.t.Fatal(err)
	}
}

func (b *tab) wantClosed(code websocket.StatusCode) {
	b.t.Helper()
	for {
		if _, _, err := b.conn.ReadMessage(nil); err != nil {
			if !errors.Is(err, &websocket.CloseError{Code: code}) {
				b.t.Errorf("reading ended with %v, want code %d", err, code)
			}
			return
		}
	}
}

// TestRoom: everyone hears everyone, sees who is there, and what was said
// before.
func TestRoom(t *testing.T) {
	c := start(t, "localhost:0")
	ann := c.join(t, "Ann")
	if e := ann.welcome; e.Name != "Ann" || !slices.Equal(e.People, []string{"Ann"}) || e.Messages != nil {
		t.Errorf("Ann is welcomed with %+v, want an empty room", e)
	}
	ann.say("anybody here?")
	ann.want("said", "Ann", "anybody here?")
	bob := c.join(t, "Bob")
	if e := bob.welcome; e.Name != "Bob" || !slices.Equal(e.People, []string{"Ann", "Bob"}) || len(e.Messages) != 1 || e.Messages[0].Text != "anybody here?" {
		t.Errorf("Bob is welcomed with %+v, want Ann there and what she has said", e)
	}
	ann.want("joined", "Bob", "")
	bob.say("  <b>me</b> \n")
	ann.want("said", "Bob", "<b>me</b>")
	bob.want("said", "Bob", "<b>me</b>")
	other := c.join(t, "Bob")
	if other.welcome.Name != "Bob 2" {
		t.Errorf("another Bob is called %q, want Bob 2", other.welcome.Name)
	}
	bob.say(" ")
	bob.say("twice?")
	ann.want("said", "Bob", "twice?")
	if err := bob.conn.Close(); err != nil {
		t.Error(err)
	}
	ann.want("left", "Bob", "")

	other.conn.WriteMessage(websocket.OpBinary, nil)
	other.wantClosed(websocket.StatusUnsupportedData)
	ann.want("left", "Bob 2", "")
	ann.say(strings.Repeat("x", 1<<10+1))
	ann.wantClosed(websocket.StatusMessageTooBig)
}

// TestRestart: everyone is told that the server goes, and may come back.
func TestRestart(t *testing.T) {
	c := start(t, "localhost:0")
	for range 2 {
		ann, bob := c.join(t, "Ann"), c.join(t, "Bob")
		ann.want("joined", "Bob", "")
		c.end()
		ann.wantClosed(websocket.StatusGoingAway)
		bob.wantClosed(websocket.StatusGoingAway)
		c.stop(t)
		c = start(t, c.addr)
	}
	c.stop(t)
}

// TestVanished: who neither reads nor answers, as if the network were gone,
// leaves the room.
func TestVanished(t *testing.T) {
	c := startWith(t, "localhost:0", &websocket.Upgrader{PingInterval: 20 * time.Millisecond, PongTimeout: time.Second})
	ann := c.join(t, "Ann")
	c.join(t, "Ghost") // nobody reads there from now on
	ann.want("left", "Ghost", "")
	c.end()
	ann.wantClosed(websocket.StatusGoingAway)
	c.stop(t)
}

// TestSlow: a tab that is frozen, with a connection that is alive, is dropped
// when its queue is full, and delays nobody.
func TestSlow(t *testing.T) {
	c := startWith(t, "localhost:0", &websocket.Upgrader{MaxQueued: 64 << 10})
	ann, frozen := c.join(t, "Ann"), c.join(t, "Frozen")
	if err := frozen.conn.NetConn().(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	text := strings.Repeat("x", 50<<10)
	for left := false; !left; {
		ann.say(text)
		e := ann.next()
		for ; e.Event != "said"; e = ann.next() {
			left = left || e.Event == "left"
		}
		if e.Text != text {
			t.Fatalf("Ann hears %.100q, want what she said", e.Text)
		}
	}
	c.end()
	ann.wantClosed(websocket.StatusGoingAway)
	c.stop(t)
}

// TestWelcomeFits: whatever has been typed, a welcome fits into a queue.
func TestWelcomeFits(t *testing.T) {
	r := newRoom()
	for range maxMembers {
		r.members = append(r.members, &member{name: cleanName(strings.Repeat("<", 1000))})
	}
	for range kept {
		r.said = append(r.said, event{Event: "said", ID: r.epoch + "-12345678", Name: strings.Repeat("<", maxName), Text: strings.Repeat("<", 1<<10), At: 1 << 50})
	}
	b, err := json.Marshal(event{Event: "welcome", People: r.names(), Messages: r.said})
	if err != nil || len(b) > 512<<10 {
		t.Errorf("a welcome has %d bytes, error %v, want what MaxQueued has room for", len(b), err)
	}
	if r.join(nil, "one more") != nil {
		t.Error("one more member was let in, want the room to be full")
	}
}

func TestPage(t *testing.T) {
	c := start(t, "localhost:0")
	for path, want := range map[string]string{"/": "<title>Chat</title>", "/chat.js": "new WebSocket(", "/chat.css": "#messages"} {
		resp, err := http.Get("http://" + c.addr + path)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(b), want) {
			t.Errorf("%s has status %d and %q, error %v", path, resp.StatusCode, b, err)
		}
		for _, outside := range []string{"//", "innerHTML"} {
			code := strings.ReplaceAll(string(b), "\n//", "") // comments
			code = strings.ReplaceAll(code, " // ", "")
			if strings.Contains(code, outside) {
				t.Errorf("%s has %q in it: a resource from elsewhere, or HTML made of text", path, outside)
			}
		}
	}
	c.stop(t)
}

func TestNames(t *testing.T) {
	for typed, want := range map[string]string{
		"Ann": "Ann", "  Ann ": "Ann", "": "Guest", " \t\n": "Guest", "\x00\x01": "Guest", "a\nb": "ab",
		"\xffx": "x", "grüß dich": "grüß dich", strings.Repeat("世", 100): strings.Repeat("世", maxName),
	} {
		if got := cleanName(typed); got != want {
			t.Errorf("the name %q becomes %q, want %q", typed, got, want)
		}
	}
}
