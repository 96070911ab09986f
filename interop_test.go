//go:build unix

package websocket

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// An otherPeer is an implementation that shares no code with this one. Its script
// in testdata/interop says which commands it takes and which events it reports.
type otherPeer struct {
	*process
	nginx       string       // the path of the nginx to put in between, if any
	relay       *relay       // to put in between, if any
	compression *Compression // ours
}

func TestInteropWS(t *testing.T) {
	node, script := lookForWS(t)
	testPeer(t, node, script)
}

func TestInteropPythonWebsockets(t *testing.T) {
	python, script := lookForWebsockets(t)
	testPeer(t, python, script)
}

func lookForWS(t *testing.T) (node, script string) {
	t.Helper()
	leaveOutIfShort(t)
	node = lookFor(t, "node", "apt-get install nodejs npm")
	find := exec.Command(node, "-e", `require("ws")`)
	find.Dir = filepath.Join("testdata", "interop")
	if find.Run() != nil {
		notInstalled(t, "npm's ws", "npm install --prefix . --no-save --no-package-lock ws@8")
	}
	return node, "testdata/interop/ws_peer.js"
}

func lookForWebsockets(t *testing.T) (python, script string) {
	t.Helper()
	leaveOutIfShort(t)
	// Debian's module is for Debian's interpreter, which need not be the first
	// in PATH.
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import websockets").Run() == nil {
			return python, "testdata/interop/websockets_peer.py"
		}
	}
	notInstalled(t, "Python's websockets", "apt-get install python3-websockets")
	panic("unreachable")
}

// testPeer has a peer, one process for each subtest, talk to this library in
// either role, directly and through nginx.
func testPeer(t *testing.T, interpreter, script string) {
	for name, between := range map[string]func(*testing.T, otherPeer) func(*testing.T) *Conn{
		"client": acceptFrom,
		"server": dialTo,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := otherPeer{process: start(t, exec.Command(interpreter, script))}
			connect := between(t, p)
			exchange(t, p, connect)
			failTooBig(t, p, connect)
		})
		t.Run(name+" through nginx", func(t *testing.T) {
			t.Parallel()
			nginx := lookForNginx(t)
			p := otherPeer{process: start(t, exec.Command(interpreter, script)), nginx: nginx}
			exchange(t, p, between(t, p))
		})
	}
}

// acceptFrom makes the peer a client. What it returns makes a connection.
func acceptFrom(t *testing.T, p otherPeer) func(*testing.T) *Conn {
	upgrader := Upgrader{Subprotocols: []string{"superchat", "chat"}, Compression: p.compression}
	conns := make(chan *Conn, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := upgrader.Upgrade(w, r)
		if err != nil {
			t.Errorf("the peer's opening handshake was refused: %v", err)
			return
		}
		conns <- c
	}))
	t.Cleanup(server.Close)
	url := p.url(server.Listener.Addr().String())

	return func(t *testing.T) *Conn {
		p.do("connect", url, "chat", "superchat")
		select {
		case c := <-conns:
			return c
		case <-time.After(interopTimeout):
			t.Fatalf("the peer did not connect within %v", interopTimeout)
		}
		panic("unreachable")
	}
}

// dialTo makes the peer a server. What it returns makes a connection.
func dialTo(t *testing.T, p otherPeer) func(*testing.T) *Conn {
	p.do("listen", "superchat")
	url := p.url("127.0.0.1:" + p.event("listening")[0])
	dialer := Dialer{Subprotocols: []string{"chat", "superchat"}, Compression: p.compression}

	return func(t *testing.T) *Conn {
		ctx, cancel := context.WithTimeout(t.Context(), interopTimeout)
		defer cancel()
		c, _, err := dialer.Dial(ctx, url)
		if err != nil {
			t.Fatalf("the peer refused our opening handshake: %v", err)
		}
		return c
	}
}

// url is where the peer, or this library, reaches a server at addr.
func (p otherPeer) url(addr string) string {
	if p.nginx != "" {
		addr = startNginx(p.t, p.nginx, addr, "", "")
	}
	if p.relay != nil {
		addr = p.relay.start(p.t, addr)
	}
	return "ws://" + addr + "/"
}

// do gives the peer a command.
func (p otherPeer) do(command ...string) {
	p.t.Helper()
	line, err := json.Marshal(command)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.stdin.Write(append(line, '\n')); err != nil {
		p.t.Fatalf("%s takes no commands any more: %v", p.name, err)
	}
}

// event returns what the peer's next event says, which must be of this kind.
func (p otherPeer) event(kind string) []string {
	p.t.Helper()
	var event []string
	line := p.line()
	if err := json.Unmarshal([]byte(line), &event); err != nil || len(event) == 0 {
		p.t.Fatalf("%s printed %.100q, which is no event", p.name, line)
	}
	if event[0] != kind {
		p.t.Fatalf("%s reports %.100q, want %q", p.name, event, kind)
	}
	return event[1:]
}

// want fails unless the peer's next event is exactly this one.
func (p otherPeer) want(kind string, details ...string) {
	p.t.Helper()
	if got := p.event(kind); !slices.Equal(got, details) {
		p.t.Fatalf("%s reports %s %.100q, want %.100q", p.name, kind, got, details)
	}
}

// wantMessage is want for a message or a Pong.
func (p otherPeer) wantMessage(kind string, payload []byte) {
	p.t.Helper()
	got := p.event(kind)
	if len(got) != 1 || got[0] != encode(payload) {
		p.t.Fatalf("%s received another %s than the one of %d bytes that was sent", p.name, kind, len(payload))
	}
}

func encode(payload []byte) string { return base64.StdEncoding.EncodeToString(payload) }

// exchange says all there is to say over connections between p and this
// library, whichever of them is the server.
func exchange(t *testing.T, p otherPeer, connect func(*testing.T) *Conn) {
	open := func() (*Conn, <-chan received) {
		t.Helper()
		c := connect(t)
		t.Cleanup(func() { c.CloseNow() })
		p.want("open", "superchat")
		if got := c.Subprotocol(); got != "superchat" {
			t.Errorf("Subprotocol is %q, want the one both ends know, superchat", got)
		}
		return c, receive(c)
	}

	c, in := open()
	exchangeMessages(t, p, c, in)
	exchangeControls(t, p, c)
	exchangeMany(t, p, c, in)

	for i, end := range []struct {
		byPeer bool
		code   StatusCode
		reason string
	}{
		{false, StatusNormalClosure, ""},
		{true, StatusNormalClosure, ""},
		{false, 4001, "grüß dich, 世界"},
		{true, 4002, "bis später, 🙂"},
		{false, StatusGoingAway, strings.Repeat("x", maxCloseReason)},
		{true, 3000, strings.Repeat("ü", maxCloseReason/2)},
	} {
		if i > 0 {
			c, in = open()
		}
		code := fmt.Sprint(int(end.code))
		if end.byPeer {
			p.do("close", code, end.reason)
			err := wantEnd(t, in)
			var closed *CloseError
			if !errors.As(err, &closed) || closed.Code != end.code || closed.Reason != end.reason {
				t.Errorf("the peer closed with %s %q, but reading fails with: %v", code, end.reason, err)
			}
			if err := c.Close(); err != nil {
				t.Errorf("Close after a closing handshake: %v, want nil", err)
			}
			// 5.5.1: the answer typically echoes the code; the reason is not
			// said twice.
			p.want("closed", code, "")
		} else {
			if err := c.CloseWithStatus(end.code, end.reason); err != nil {
				t.Errorf("CloseWithStatus(%s, %q): %v", code, end.reason, err)
			}
			if err := wantEnd(t, in); !errors.Is(err, net.ErrClosed) {
				t.Errorf("reading after CloseWithStatus fails with %v, want net.ErrClosed", err)
			}
			p.want("closed", code, end.reason)
		}
	}
}

// A received is what one call of ReadMessage returned.
type received struct {
	op      Opcode
	payload []byte
	err     error
}

// receive reads c in a goroutine that ends with the connection.
func receive(c *Conn) <-chan received {
	in := make(chan received, 100) // more than a test leaves unread
	go func() {
		for {
			op, payload, err := c.ReadMessage(nil)
			in <- received{op, payload, err}
			if err != nil {
				return
			}
		}
	}()
	return in
}

func next(t *testing.T, in <-chan received) received {
	t.Helper()
	select {
	case got := <-in:
		return got
	case <-time.After(interopTimeout):
		t.Fatalf("nothing was received for %v", interopTimeout)
	}
	panic("unreachable")
}

func wantReceived(t *testing.T, in <-chan received, op Opcode, payload []byte) {
	t.Helper()
	got := next(t, in)
	if got.err != nil {
		t.Fatalf("reading the peer's %v message of %d bytes: %v", op, len(payload), got.err)
	}
	if got.op != op || !bytes.Equal(got.payload, payload) {
		t.Fatalf("received a %v message of %d bytes that is not the %v message of %d bytes sent",
			got.op, len(got.payload), op, len(payload))
	}
}

// wantEnd returns the error that ends the reading of c.
func wantEnd(t *testing.T, in <-chan received) error {
	t.Helper()
	got := next(t, in)
	if got.err == nil {
		t.Fatalf("received a %v message of %d bytes, want the end of the connection", got.op, len(got.payload))
	}
	return got.err
}

// sample returns the payload of a message of n bytes, the same in every run:
// text of characters of one to four bytes, or bytes of any value.
func sample(op Opcode, n int) []byte {
	if op == OpText {
		const chars = "añ世🙂" // 10 bytes
		return []byte(strings.Repeat(chars, n/len(chars)) + strings.Repeat("a", n%len(chars)))
	}
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

// exchangeMessages sends messages of every kind and length, one after the
// other in either direction: whole and fragmented.
func exchangeMessages(t *testing.T, p otherPeer, c *Conn, in <-chan received) {
	t.Helper()
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 100_000, 1 << 20} {
		for _, op := range []Opcode{OpText, OpBinary} {
			payload := sample(op, n)
			if err := c.WriteMessage(op, payload); err != nil {
				t.Fatalf("writing a %v message of %d bytes: %v", op, n, err)
			}
			p.wantMessage(op.String(), payload)
			p.do(op.String(), encode(payload))
			wantReceived(t, in, op, payload)
		}
	}
	for _, op := range []Opcode{OpText, OpBinary} {
		payload := sample(op, 200_000)
		w, err := c.NextWriter(op)
		if err != nil {
			t.Fatal(err)
		}
		for piece := range slices.Chunk(payload, 33_333) { // cuts characters
			if _, err := w.Write(piece); err != nil {
				t.Fatalf("writing a piece of a %v message: %v", op, err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatalf("ending a %v message: %v", op, err)
		}
		p.wantMessage(op.String(), payload)

		p.do(op.String(), encode(payload[:10]), encode(nil), encode(payload[10:100_000]), encode(payload[100_000:]))
		wantReceived(t, in, op, payload)
		p.wantMessage("pong", []byte("between fragments"))
	}
}

// exchangeControls has Pings answered in either direction.
func exchangeControls(t *testing.T, p otherPeer, c *Conn) {
	t.Helper()
	for _, payload := range [][]byte{nil, []byte("ping"), sample(OpBinary, maxControlPayload)} {
		p.do("ping", encode(payload))
		p.wantMessage("pong", payload)
	}
	ctx, cancel := context.WithTimeout(t.Context(), interopTimeout)
	defer cancel()
	for range 3 {
		if err := c.Ping(ctx); err != nil {
			t.Fatalf("the peer did not answer our Ping: %v", err)
		}
	}
}

// exchangeMany sends large messages in both directions at once.
func exchangeMany(t *testing.T, p otherPeer, c *Conn, in <-chan received) {
	t.Helper()
	const count = 8
	payload := sample(OpBinary, 1<<20)
	sent := make(chan error, 1)
	go func() {
		for range count {
			if err := c.WriteMessage(OpBinary, payload); err != nil {
				sent <- err
				return
			}
		}
		sent <- nil
	}()
	for range count {
		p.do("binary", encode(payload))
	}
	for range count {
		p.wantMessage("binary", payload)
		wantReceived(t, in, OpBinary, payload)
	}
	if err := <-sent; err != nil {
		t.Fatalf("writing while the peer writes: %v", err)
	}
}

// failTooBig has the peer send more than the read limit. It must learn why the
// connection fails although it is still sending then.
func failTooBig(t *testing.T, p otherPeer, connect func(*testing.T) *Conn) {
	t.Helper()
	c := connect(t)
	p.want("open", "superchat")
	in := receive(c)
	p.do("binary", encode(sample(OpBinary, 8<<20)))
	err := wantEnd(t, in)
	var failed *ProtocolError
	if !errors.Is(err, ErrReadLimit) || !errors.As(err, &failed) || failed.Code != StatusMessageTooBig {
		t.Errorf("reading past the read limit fails with %v, want ErrReadLimit and 1009", err)
	}
	if code := p.event("closed")[0]; code != "1009" {
		t.Errorf("%s saw status code %s, want 1009", p.name, code)
	}
}

func lookForNginx(t *testing.T) string {
	t.Helper()
	// Debian has it where an ordinary user's PATH does not look.
	if path, err := exec.LookPath("/usr/sbin/nginx"); err == nil {
		return path
	}
	return lookFor(t, "nginx", "apt-get install nginx")
}

// listening returns a socket for another program to accept connections from. So
// the system chooses the port, and a connection made at once waits for the
// program.
func listening(t *testing.T) (socket *os.File, addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	socket, err = ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { socket.Close() })
	return socket, ln.Addr().String()
}

// startNginx starts nginx as a reverse proxy for the given address and returns
// its own. What is in server is added to its configuration.
func startNginx(t *testing.T, nginx, upstream, listen, server string) string {
	t.Helper()
	// nginx takes over a socket that is listening already, as it does from an
	// older nginx when it is upgraded.
	socket, addr := listening(t)
	dir := t.TempDir()
	config := filepath.Join(dir, "nginx.conf")
	err := os.WriteFile(config, fmt.Appendf(nil, `
		daemon off;
		pid %[1]s/pid;
		error_log stderr;
		events {}
		http {
			access_log off;
			client_body_temp_path %[1]s/body;
			proxy_temp_path %[1]s/proxy;
			fastcgi_temp_path %[1]s/fastcgi;
			uwsgi_temp_path %[1]s/uwsgi;
			scgi_temp_path %[1]s/scgi;
			server {
				listen %[2]s %[4]s;
				%[5]s
				location / {
					proxy_pass http://%[3]s;
					proxy_http_version 1.1;
					proxy_set_header Host $http_host;
					proxy_set_header Upgrade $http_upgrade;
					proxy_set_header Connection $http_connection;
				}
			}
		}`, dir, addr, upstream, listen, server), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(nginx, "-e", "stderr", "-p", dir, "-c", config)
	cmd.ExtraFiles = []*os.File{socket} // file descriptor 3
	start(t, cmd, "NGINX=3;")
	return addr
}
