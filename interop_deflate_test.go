//go:build unix

package websocket

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// A relay stands between two ends and counts the bytes on the wire.
type relay struct{ toServer, toClient atomic.Int64 }

// start returns the address at which the relay stands for a server.
func (r *relay) start(t *testing.T, server string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	pass := func(to, from *net.TCPConn, count *atomic.Int64) {
		// What has arrived has been counted.
		io.Copy(to, io.TeeReader(from, countWriter{count}))
		to.CloseWrite()
		from.CloseRead()
	}
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			nc, err := net.Dial("tcp", server)
			if err != nil {
				client.Close()
				continue
			}
			running.Go(func() {
				defer client.Close()
				defer nc.Close()
				var up sync.WaitGroup
				up.Go(func() { pass(nc.(*net.TCPConn), client.(*net.TCPConn), &r.toServer) })
				pass(client.(*net.TCPConn), nc.(*net.TCPConn), &r.toClient)
				up.Wait()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		running.Wait()
	})
	return l.Addr().String()
}

type countWriter struct{ n *atomic.Int64 }

func (w countWriter) Write(p []byte) (int, error) {
	w.n.Add(int64(len(p)))
	return len(p), nil
}

func TestInteropDeflateWS(t *testing.T) {
	node, script := lookForWS(t)
	testPeerDeflate(t, node, script)
}

func TestInteropDeflatePythonWebsockets(t *testing.T) {
	python, script := lookForWebsockets(t)
	testPeerDeflate(t, python, script)
}

// testPeerDeflate has a peer and this library agree on compression in every
// way, in either role, and use it.
func testPeerDeflate(t *testing.T, interpreter, script string) {
	for name, between := range map[string]func(*testing.T, otherPeer) func(*testing.T) *Conn{
		"client": acceptFrom,
		"server": dialTo,
	} {
		for _, test := range []struct {
			name           string
			ours           Compression
			takeover, bits string // the peer's
			want           direction
		}{
			{"takeover", Compression{ContextTakeover: true}, "true", "", direction{true, 15}},
			{"we want no takeover", Compression{}, "true", "", direction{false, 15}},
			{"the peer wants no takeover", Compression{ContextTakeover: true}, "false", "", direction{false, 15}},
			{"we want 10 bits", Compression{ContextTakeover: true, WindowBits: 10}, "true", "", direction{true, 10}},
			{"we want 9 bits, no takeover", Compression{WindowBits: 9}, "true", "", direction{false, 9}},
			{"the peer wants 10 bits", Compression{ContextTakeover: true}, "true", "10", direction{true, 10}},
			{"the peer wants 9 bits, no takeover", Compression{ContextTakeover: true, Level: 9}, "false", "9", direction{false, 9}},
			{"both want less", Compression{ContextTakeover: true, WindowBits: 12}, "true", "11", direction{true, 11}},
		} {
			t.Run(name+": "+test.name, func(t *testing.T) {
				t.Parallel()
				p := otherPeer{
					process: start(t, exec.Command(interpreter, script)),
					relay:   new(relay), compression: &test.ours,
				}
				p.do("deflate", test.takeover, test.bits)
				connect := between(t, p)
				exchangeDeflate(t, p, connect, test.want, name == "server")
			})
		}
	}
}

// exchangeDeflate sends messages both ways that can be compressed, all of them
// small enough to refer to each other, and then all other kinds.
func exchangeDeflate(t *testing.T, p otherPeer, connect func(*testing.T) *Conn, want direction, peerIsServer bool) {
	c := connect(t)
	t.Cleanup(func() { c.CloseNow() })
	p.want("open", "superchat")
	if c.deflate == nil || c.deflate.write != want || c.deflate.read != want {
		t.Fatalf("both directions were to be as %+v, this has been agreed upon: %+v", want, c.deflate)
	}
	in := receive(c)
	total := 0
	messages := newCorpus(5).messages(100, 1000)
	for _, m := range messages {
		if err := c.WriteMessage(OpText, m); err != nil {
			t.Fatal(err)
		}
		p.wantMessage("text", m)
		p.do("text", encode(m))
		wantReceived(t, in, OpText, m)
		total += len(m)
	}
	s := c.Stats()
	sent, received := p.relay.toClient.Load(), p.relay.toServer.Load()
	if peerIsServer {
		sent, received = received, sent
	}
	most := total * 2 / 3
	if want == (direction{true, 15}) {
		most = total / 3
	}
	checkWire(t, "sent", total, most, s.BytesSent, s.CompressedBytesSent, sent, len(messages))
	checkWire(t, "received", total, most, s.BytesReceived, s.CompressedBytesReceived, received, len(messages))
	t.Logf("%d bytes each way: %d sent, %d received", total, sent, received)

	if want.windowBits == 15 && p.compression.ContextTakeover == want.takeover {
		exchangeMessages(t, p, c, in)
		exchangeMany(t, p, c, in)
	} else {
		exchangeFew(t, p, c, in)
	}
	exchangeControls(t, p, c)
	if err := c.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	p.want("closed", "1000", "")
}

// exchangeFew sends some messages of any kind and length both ways, whole and
// in fragments.
func exchangeFew(t *testing.T, p otherPeer, c *Conn, in <-chan received) {
	for _, op := range []Opcode{OpText, OpBinary} {
		for _, n := range []int{0, 1, 200, 20_000} {
			payload := sample(op, n)
			if err := c.WriteMessage(op, payload); err != nil {
				t.Fatal(err)
			}
			p.wantMessage(op.String(), payload)
			p.do(op.String(), encode(payload))
			wantReceived(t, in, op, payload)
		}
		payload := sample(op, 20_000)
		p.do(op.String(), encode(payload[:10]), encode(nil), encode(payload[10:10_000]), encode(payload[10_000:]))
		wantReceived(t, in, op, payload)
		p.wantMessage("pong", []byte("between fragments"))
	}
}

// checkWire compares what a connection has counted for one direction with the
// messages and with what has passed the relay, of which there must not be more
// than most.
func checkWire(t *testing.T, way string, total, most int, counted, compressed, wire int64, messages int) {
	t.Helper()
	if counted != int64(total) {
		t.Errorf("%s: %d bytes of messages, counted as %d", way, total, counted)
	}
	const handshake = 1000 // at most
	if wire < compressed || wire > compressed+int64(messages*maxHeaderSize)+handshake {
		t.Errorf("%s: %d bytes passed the relay, counted as %d in %d messages", way, wire, compressed, messages)
	}
	if wire > int64(most) {
		t.Errorf("%s: %d bytes for messages of %d bytes, want %d at most", way, wire, total, most)
	}
}

// TestInteropDeflateChromium has the page of examples/echo and then a script
// talk to a server that compresses. The browser takes over its context, but
// keeps to the window that it is asked for.
func TestInteropDeflateChromium(t *testing.T) {
	leaveOutIfShort(t)
	b := startBrowser(t)
	page, err := os.ReadFile(filepath.Join("examples", "echo", "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		options    Compression
		extensions string // as the browser has it
	}{
		{Compression{ContextTakeover: true}, "permessage-deflate"},
		{Compression{}, "permessage-deflate; server_no_context_takeover; client_no_context_takeover"},
		{Compression{ContextTakeover: true, WindowBits: 10}, "permessage-deflate; server_max_window_bits=10; client_max_window_bits=10"},
		{Compression{WindowBits: 9}, "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=9; client_max_window_bits=9"},
	} {
		t.Run(test.extensions, func(t *testing.T) {
			counts := make(chan Stats, 2)
			mux := http.NewServeMux()
			mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				w.Write(page)
			})
			upgrader := Upgrader{Compression: &test.options}
			mux.HandleFunc("GET /echo", func(w http.ResponseWriter, r *http.Request) {
				c, err := upgrader.Upgrade(w, r)
				if err != nil {
					t.Errorf("the browser's opening handshake was refused: %v", err)
					return
				}
				defer c.CloseNow()
				echo(c)
				counts <- c.Stats()
			})
			server := httptest.NewServer(mux)
			defer server.Close()
			wire := new(relay)
			addr := wire.start(t, server.Listener.Addr().String())

			b.open("http://" + addr + "/")
			b.want("#state", "closed 1000")
			b.want("#log .received", "Message to send")
			<-counts
			before := [2]int64{wire.toServer.Load(), wire.toClient.Load()}

			var messages []string
			total := 0
			for _, m := range newCorpus(6).messages(100, 1000) {
				messages = append(messages, string(m))
				total += len(m)
			}
			big := strings.Repeat("grüß dich, 世界 ", 50_000/19)
			messages = append(messages, "", big)
			total += len(big)
			var result string
			b.call("POST", "/execute/async", map[string]any{
				"args": []any{messages},
				"script": `
					const [messages, done] = arguments;
					const socket = new WebSocket("ws://" + location.host + "/echo");
					let next = 0;
					const send = () => socket.send(messages[next]);
					socket.onopen = send;
					socket.onmessage = (e) => {
						if (e.data !== messages[next]) return done("message " + next + " came back as " + e.data);
						if (++next < messages.length) return send();
						socket.close(1000);
					};
					socket.onclose = (e) => done(e.code + " " + socket.extensions);`,
			}, &result)
			if want := "1000 " + test.extensions; result != want {
				t.Errorf("the browser reports %.300q, want %q", result, want)
			}
			s := <-counts
			checkWire(t, "sent", total, total/3, s.BytesSent, s.CompressedBytesSent, wire.toClient.Load()-before[1], len(messages))
			checkWire(t, "received", total, total/3, s.BytesReceived, s.CompressedBytesReceived, wire.toServer.Load()-before[0], len(messages))
			t.Logf("%d bytes each way: %d sent, %d received", total, s.CompressedBytesSent, s.CompressedBytesReceived)
		})
	}
}
