package websocket

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
)

// Agreeing on compression, from the options to the frames. The rules about
// parameters are in compress_test.go.

// TestDeflateUpgrade has clients offer and looks at what the server responds
// with, and at whether it then takes and sends compressed messages.
func TestDeflateUpgrade(t *testing.T) {
	veto := func(r *http.Request) bool { return r.Header.Get("User-Agent") != "broken" }
	const noTakeover = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for _, test := range []struct {
		name   string
		o      *Compression
		header string // of the request
		want   string // in the response; "" for nothing
	}{
		{"no option", nil, "Sec-WebSocket-Extensions: permessage-deflate", ""},
		{"no offer", &Compression{}, "", ""},
		{"no offer, takeover", &Compression{ContextTakeover: true}, "X-Nothing: permessage-deflate", ""},
		{"no takeover", &Compression{}, "Sec-WebSocket-Extensions: permessage-deflate", noTakeover},
		{"takeover", &Compression{ContextTakeover: true}, "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits", "permessage-deflate"},
		{"windows", &Compression{ContextTakeover: true, WindowBits: 10}, `Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; server_max_window_bits="9"`,
			"permessage-deflate; server_max_window_bits=9; client_max_window_bits=10"},
		{"several offers", &Compression{}, "Sec-WebSocket-Extensions: x-other; a=b, permessage-deflate; unknown, permessage-deflate; server_max_window_bits=12, permessage-deflate",
			noTakeover + "; server_max_window_bits=12"},
		{"offers over two lines", &Compression{ContextTakeover: true}, "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7\r\nSec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover",
			"permessage-deflate; server_no_context_takeover"},
		{"bad offers", &Compression{}, "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=16, permessage-deflate; x, xpermessage-deflate", ""},
		{"allowed", &Compression{Allow: veto}, "Sec-WebSocket-Extensions: permessage-deflate\r\nUser-Agent: works", noTakeover},
		{"vetoed", &Compression{Allow: veto}, "Sec-WebSocket-Extensions: permessage-deflate\r\nUser-Agent: broken", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, results := startUpgrades(t, (&Upgrader{Compression: test.o, Subprotocols: []string{"chat"}}).Upgrade)
			server.Start()
			client := dialRaw(t, server.Listener.Addr().String())
			resp := client.send(t, editRequest(t, "Upgrade:", strings.TrimPrefix(test.header+"\r\nUpgrade:", "\r\n")))
			result := <-results
			wantExtensions(t, resp, test.want)
			if resp.StatusCode != 101 || result.err != nil {
				t.Fatalf("status %d, error %v, want the request to be accepted", resp.StatusCode, result.err)
			}
			defer result.conn.CloseNow()
			p := &deflatePeer{peer: &peer{t: t, nc: client, client: true, rsv1: test.want != ""}}
			text := repetitive(1, 1000)
			if err := result.conn.WriteMessage(OpText, []byte(text)); err != nil {
				t.Fatal(err)
			}
			p.want(OpText, test.want != "", text, "RSV1 as was agreed")
			p.send(p.compressed(OpText, text, 0))
			if test.want != "" {
				wantMessage(t, result.conn, OpText, text, "it was compressed, as was agreed")
				return
			}
			ended := readError(result.conn)
			p.wantClose(StatusProtocolError, "5.2: RSV1 without an extension")
			p.close()
			wantProtocolError(t, <-ended, StatusProtocolError, "5.2: RSV1 without an extension")
		})
	}
}

// wantExtensions: the response has this one line, or none.
func wantExtensions(t *testing.T, resp *http.Response, want string) {
	t.Helper()
	got, ok := resp.Header["Sec-Websocket-Extensions"]
	if want == "" && ok || want != "" && !slices.Equal(got, []string{want}) {
		t.Errorf("Sec-WebSocket-Extensions in the response is %q, want %q", got, want)
	}
}

// TestDeflateDial looks at the client's request, and at what it makes of the
// response.
func TestDeflateDial(t *testing.T) {
	const noTakeover = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
	for _, test := range []struct {
		name     string
		o        *Compression
		request  string // "" for no such field
		response string
		used     bool
		refused  string // a part of why
	}{
		{name: "no option"},
		{name: "no option, but a response", response: "permessage-deflate", refused: `extension "permessage-deflate", which was not asked for`},
		{name: "declined", o: &Compression{}, request: noTakeover + "; client_max_window_bits"},
		{name: "no takeover", o: &Compression{}, request: noTakeover + "; client_max_window_bits", response: noTakeover, used: true},
		{name: "no takeover, which is not granted", o: &Compression{}, request: noTakeover + "; client_max_window_bits", response: "permessage-deflate", refused: "server_no_context_takeover"},
		{name: "takeover", o: &Compression{ContextTakeover: true}, request: "permessage-deflate; client_max_window_bits", response: "permessage-deflate; client_max_window_bits=\"12\"", used: true},
		{name: "windows", o: &Compression{ContextTakeover: true, WindowBits: 9}, request: "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
			response: "permessage-deflate; server_max_window_bits=8", used: true},
		{name: "a larger window", o: &Compression{ContextTakeover: true, WindowBits: 9}, request: "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
			response: "permessage-deflate; server_max_window_bits=10", refused: "server_max_window_bits"},
		{name: "another extension", o: &Compression{}, request: noTakeover + "; client_max_window_bits", response: noTakeover + ", x-other", refused: "x-other"},
		{name: "twice", o: &Compression{}, request: noTakeover + "; client_max_window_bits", response: noTakeover + ", " + noTakeover, refused: "more than once"},
		{name: "in another letter case", o: &Compression{}, request: noTakeover + "; client_max_window_bits", response: strings.ToUpper(noTakeover), refused: "not asked for"},
		{name: "an unknown parameter", o: &Compression{}, request: noTakeover + "; client_max_window_bits", response: noTakeover + "; x", refused: "unknown"},
		{name: "not of the grammar", o: &Compression{}, request: noTakeover + "; client_max_window_bits", response: "permessage-deflate;", refused: "is not a list of extensions"},
	} {
		t.Run(test.name, func(t *testing.T) {
			peers := make(chan *deflatePeer, 1)
			text := repetitive(1, 1000)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if got := strings.Join(r.Header["Sec-Websocket-Extensions"], " and "); got != test.request {
					t.Errorf("Sec-WebSocket-Extensions in the request is %q, want %q", got, test.request)
				}
				nc, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
				}
				answer := "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + AcceptKey(r.Header.Get("Sec-Websocket-Key")) + "\r\n"
				if test.response != "" {
					answer += "Sec-WebSocket-Extensions: " + test.response + "\r\n"
				}
				nc.Write([]byte(answer + "\r\n"))
				peers <- &deflatePeer{peer: &peer{t: t, nc: nc, rsv1: test.used}}
			}))
			defer server.Close()
			c, resp, err := (&Dialer{Compression: test.o}).Dial(t.Context(), server.URL)
			p := <-peers
			defer p.close()
			if test.refused != "" {
				refused, ok := errors.AsType[*HandshakeError](err)
				if !ok || refused.Status != 101 || !strings.Contains(err.Error(), test.refused) || c != nil || resp == nil {
					t.Fatalf("Dial returned %v, want a *HandshakeError with status 101 that mentions %q", err, test.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.CloseNow()
			if err := c.WriteMessage(OpText, []byte(text)); err != nil {
				t.Fatal(err)
			}
			p.want(OpText, test.used, text, "RSV1 as was agreed")
			p.send(p.compressed(OpText, text, 0))
			if test.used {
				wantMessage(t, c, OpText, text, "it was compressed, as was agreed")
				return
			}
			ended := readError(c)
			p.wantClose(StatusProtocolError, "5.2: RSV1 without an extension")
			p.close()
			wantProtocolError(t, <-ended, StatusProtocolError, "5.2: RSV1 without an extension")
		})
	}
}

// TestDeflateDirections: what was agreed upon for a direction counts for that,
// on either side.
func TestDeflateDirections(t *testing.T) {
	o := &Compression{ContextTakeover: true}
	for _, test := range []struct {
		params         string // of the offer to a server, and of the response to a client
		server, client direction
	}{
		{"server_no_context_takeover", direction{false, 15}, direction{true, 15}},
		{"client_no_context_takeover", direction{true, 15}, direction{false, 15}},
		{"server_max_window_bits=9", direction{true, 9}, direction{true, 15}},
		{"client_max_window_bits=9", direction{true, 15}, direction{true, 9}},
		{"server_no_context_takeover; client_max_window_bits=10", direction{false, 15}, direction{true, 10}},
	} {
		server, results := startUpgrades(t, (&Upgrader{Compression: o}).Upgrade)
		server.Start()
		header := "Sec-WebSocket-Extensions: permessage-deflate; " + test.params + "\r\n"
		dialRaw(t, server.Listener.Addr().String()).send(t, editRequest(t, "Upgrade:", header+"Upgrade:"))
		c := (<-results).conn
		defer c.CloseNow()
		if d := c.deflate; d.write != test.server || d.read != test.client {
			t.Errorf("%s: the server writes with %v and reads with %v, want %v and %v", test.params, d.write, d.read, test.server, test.client)
		}
		raw := startRaw(t, answer(t, strings.Replace(sampleAnswer, "\r\n\r\n", "\r\n"+header+"\r\n", 1)))
		c, _, err := (&Dialer{Compression: o}).Dial(t.Context(), raw.url)
		if err != nil {
			t.Fatal(err)
		}
		defer c.CloseNow()
		if d := c.deflate; d.write != test.client || d.read != test.server {
			t.Errorf("%s: the client writes with %v and reads with %v, want %v and %v", test.params, d.write, d.read, test.client, test.server)
		}
	}
}

// TestDeflateEndToEnd: from Dial to Upgrade, through a redirect, with every
// choice of options on both sides, messages arrive, and compressed where both
// sides want that.
func TestDeflateEndToEnd(t *testing.T) {
	all := []*Compression{nil, {}, {ContextTakeover: true}, {ContextTakeover: true, WindowBits: 8, Level: 9}, {WindowBits: 11, Threshold: -1, Level: 1}}
	var texts []string
	for i, m := range newCorpus(1).messages(20, 1000) {
		if texts = append(texts, string(m)); i%5 == 0 {
			texts = append(texts, string(m[:20]))
		}
	}
	for _, serverOptions := range all {
		u := &Upgrader{Compression: serverOptions}
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/moved" {
				http.Redirect(w, r, "/", http.StatusTemporaryRedirect)
				return
			}
			if c, err := u.Upgrade(w, r); err == nil {
				echo(c)
			}
		}))
		for _, clientOptions := range all {
			d := &Dialer{Compression: clientOptions, MaxRedirects: 1}
			c, resp, err := d.Dial(t.Context(), server.URL+"/moved")
			if err != nil {
				t.Fatal(err)
			}
			used := serverOptions != nil && clientOptions != nil
			if got := len(resp.Header["Sec-Websocket-Extensions"]) > 0; got != used {
				t.Errorf("%+v and %+v: compression was agreed upon: %v, want %v", clientOptions, serverOptions, got, used)
			}
			for _, text := range texts {
				if err := c.WriteMessage(OpText, []byte(text)); err != nil {
					t.Fatal(err)
				}
				wantMessage(t, c, OpText, text, "it comes back")
			}
			switch s := c.Stats(); {
			case !used && (s.CompressedBytesSent != s.BytesSent || s.CompressedBytesReceived != s.BytesReceived):
				t.Errorf("%+v and %+v: the counts are %+v, want the same bytes on the wire", clientOptions, serverOptions, s)
			case used && (s.CompressedBytesSent > s.BytesSent*2/3 || s.CompressedBytesReceived > s.BytesReceived*2/3):
				t.Errorf("%+v and %+v: the counts are %+v, want two thirds on the wire at most", clientOptions, serverOptions, s)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
		server.Close()
	}
}

// TestDeflateNotAgreed: Server and Client have no handshake in which compression
// would have been agreed upon.
func TestDeflateNotAgreed(t *testing.T) {
	o := &Compression{ContextTakeover: true, Threshold: -1}
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer theirs.Close()
			var c *Conn
			if client {
				c = (&Dialer{Compression: o}).Client(ours)
			} else {
				c = (&Upgrader{Compression: o}).Server(ours)
			}
			defer c.CloseNow()
			p := &deflatePeer{peer: &peer{t: t, nc: theirs, client: !client}}
			sent := async(func() error { return c.WriteMessage(OpText, []byte(repetitive(1, 1000))) })
			p.want(OpText, false, repetitive(1, 1000), "nothing was agreed upon")
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
			wantFailed(t, c, p.peer, readAllMessages, p.compressed(OpText, "Hello", 0), StatusProtocolError, "5.2: RSV1 without an extension")
		})
	})
}

// TestDeflateInBrowser: what goes to the browser is not compressed, whatever
// the option says, since the browser does that itself.
func TestDeflateInBrowser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &Dialer{Compression: &Compression{ContextTakeover: true, Threshold: -1}}
		if err := d.browserCannot(&http.Request{}); err != nil {
			t.Errorf("with Compression Dial would return %v, want that it is left to the browser", err)
		}
		client, _, server := startFakeBrowser(t, d)
		text := repetitive(1, 1000)
		m := prepared(t, OpText, []byte(text))
		for _, way := range waysToSend {
			if err := way.send(client, OpText, []byte(text)); err != nil {
				t.Fatal(err)
			}
			wantMessage(t, server, OpText, text, way.name)
			go server.WritePrepared(m)
			wantMessage(t, client, OpText, text)
		}
		if s := client.Stats(); s.CompressedBytesSent != s.BytesSent || s.BytesSent != int64(len(text)*len(waysToSend)) {
			t.Errorf("the counts are %+v, want no difference between bytes and compressed bytes", s)
		}
	})
}
