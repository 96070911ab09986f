package websocket

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A rawServer accepts connections on loopback and gives each to a script. When
// the script returns, it reads until the client has closed its end.
type rawServer struct {
	url    string
	closed chan error // for each connection, how that reading ended
}

func startRaw(t *testing.T, script func(nc net.Conn)) *rawServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{"ws://" + ln.Addr().String(), make(chan error, 16)}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				script(nc)
				_, err := io.Copy(io.Discard, nc)
				nc.Close()
				s.closed <- err
			})
		}
	})
	t.Cleanup(func() { ln.Close(); wg.Wait() })
	return s
}

// wantClosed waits until the server has seen the client close.
func (s *rawServer) wantClosed() { <-s.closed }

// answer returns a script that reads a request and writes what text becomes
// with KEY replaced by the accept key.
func answer(t *testing.T, text string) func(net.Conn) {
	return func(nc net.Conn) {
		if key := readKey(t, nc); key != "" {
			io.WriteString(nc, strings.ReplaceAll(text, "KEY", AcceptKey(key)))
		}
	}
}

func readKey(t *testing.T, nc net.Conn) string {
	r, err := http.ReadRequest(bufio.NewReader(nc))
	if err != nil {
		t.Errorf("the server got no request: %v", err)
		return ""
	}
	return r.Header.Get("Sec-Websocket-Key")
}

// sampleAnswer accepts a handshake, as section 1.2 does.
const sampleAnswer = "HTTP/1.1 101 Switching Protocols\r\n" +
	"Upgrade: websocket\r\n" +
	"Connection: Upgrade\r\n" +
	"Sec-WebSocket-Accept: KEY\r\n\r\n"

// helloFrame is the frame of section 5.7 with an unmasked "Hello".
const helloFrame = "\x81\x05Hello"

// TestDialAccepts reads answers that section 4.1 allows, each with a frame in
// the same packet.
func TestDialAccepts(t *testing.T) {
	for _, test := range []struct {
		name, answer, subprotocol string
	}{
		{"as it is", sampleAnswer, ""},
		{"letter case", "HTTP/1.1 101 \r\nuPGRADE: WebSocket\r\nconnection: uPGRADE\r\nsec-websocket-accept: KEY\r\n\r\n", ""},
		{"Connection lists more", "HTTP/1.1 101 OK\r\nUpgrade: websocket\r\nConnection: keep-alive\r\nConnection: x, Upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n", ""},
		{"white space around the accept key", strings.Replace(sampleAnswer, "KEY", " \t KEY \t ", 1), ""},
		{"a subprotocol that was asked for", strings.Replace(sampleAnswer, "\r\n\r\n", "\r\nSec-WebSocket-Protocol: superchat\r\n\r\n", 1), "superchat"},
		{"interim responses first", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" + sampleAnswer, ""},
		{"a length, which a 101 has not", strings.Replace(sampleAnswer, "\r\n\r\n", "\r\nContent-Length: 2\r\n\r\n", 1), ""},
		{"60 KiB of header", strings.Replace(sampleAnswer, "\r\n\r\n", "\r\nX-Large: "+strings.Repeat("x", 60<<10)+"\r\n\r\n", 1), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := startRaw(t, answer(t, test.answer+helloFrame))
			d := &Dialer{Subprotocols: []string{"chat", "superchat"}}
			conn, resp, err := d.Dial(t.Context(), server.url)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseNow()
			if resp.StatusCode != 101 || resp.Body != http.NoBody {
				t.Errorf("the response has status %d and body %v, want 101 and none", resp.StatusCode, resp.Body)
			}
			if got := conn.Subprotocol(); got != test.subprotocol {
				t.Errorf("Subprotocol() = %q, want %q", got, test.subprotocol)
			}
			wantMessage(t, conn, OpText, "Hello")
		})
	}
}

// TestDialRefuses reads answers that section 4.1 does not allow.
func TestDialRefuses(t *testing.T) {
	edit := func(old, new string) string {
		if !strings.Contains(sampleAnswer, old) {
			t.Fatalf("the sample answer has no %q to replace", old)
		}
		return strings.Replace(sampleAnswer, old, new, 1)
	}
	long := strings.Repeat("0123456789abcdef", 100)
	accept := "Sec-WebSocket-Accept: KEY\r\n"
	for _, test := range []struct {
		name, answer string
		status       int
		body, cause  string
	}{
		{"no Upgrade", edit("Upgrade: websocket\r\n", ""), 101, "", "Upgrade"},
		{"Upgrade to something else", edit("Upgrade: websocket", "Upgrade: xwebsocket"), 101, "", "Upgrade"},
		{"Upgrade to more", edit("Upgrade: websocket", "Upgrade: h2c, websocket"), 101, "", "Upgrade"},
		{"no Connection", edit("Connection: Upgrade\r\n", ""), 101, "", "Connection"},
		{"Connection without Upgrade", edit("Connection: Upgrade", "Connection: close"), 101, "", "Connection"},
		{"no accept key", edit(accept, ""), 101, "", "Sec-WebSocket-Accept"},
		{"empty accept key", edit("KEY", ""), 101, "", "Sec-WebSocket-Accept"},
		{"wrong accept key", edit("KEY", sampleAccept), 101, "", "Sec-WebSocket-Accept"},
		{"accept key in other letter case", edit("Accept: KEY", "Accept: KEY=="), 101, "", "Sec-WebSocket-Accept"},
		{"accept key twice", edit(accept, accept+accept), 101, "", "Sec-WebSocket-Accept"},
		{"wrong accept key after the right one", edit(accept, accept+"Sec-WebSocket-Accept: x\r\n"), 101, "", "Sec-WebSocket-Accept"},
		{"subprotocol not asked for", edit(accept, accept+"Sec-WebSocket-Protocol: other\r\n"), 101, "", "subprotocol"},
		{"subprotocol in other letter case", edit(accept, accept+"Sec-WebSocket-Protocol: CHAT\r\n"), 101, "", "subprotocol"},
		{"empty subprotocol", edit(accept, accept+"Sec-WebSocket-Protocol:\r\n"), 101, "", "subprotocol"},
		{"two subprotocols", edit(accept, accept+"Sec-WebSocket-Protocol: chat, superchat\r\n"), 101, "", "subprotocol"},
		{"two subprotocol lines", edit(accept, accept+"Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: chat\r\n"), 101, "", "subprotocol"},
		{"extension not asked for", edit(accept, accept+"Sec-WebSocket-Extensions: permessage-deflate\r\n"), 101, "", "extension"},
		{"empty extension", edit(accept, accept+"Sec-WebSocket-Extensions:\r\n"), 101, "", "extension"},
		{"HTTP/1.0", edit("HTTP/1.1", "HTTP/1.0"), 101, "", "HTTP/1.1"},
		{"200", edit("101 Switching Protocols", "200 OK\r\nContent-Length: 5") + "hello", 200, "hello", "200"},
		{"204", "HTTP/1.1 204 No Content\r\n\r\n", 204, "", "204"},
		{"302", "HTTP/1.1 302 Found\r\nLocation: ws://elsewhere.example/\r\nContent-Length: 0\r\n\r\n", 302, "", "302"},
		{"403 with a long body", "HTTP/1.1 403 Forbidden\r\nContent-Length: 1600\r\n\r\n" + long, 403, long[:1024], "403"},
		{"403 with a body that never ends", "HTTP/1.1 403 Forbidden\r\n\r\n" + long, 403, long[:1024], "403"},
		{"403 with a chunked body", "HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 403, "abcde", "403"},
		{"403 with a long header too", "HTTP/1.1 403 Forbidden\r\nX-Large: " + strings.Repeat("x", 65_000) + "\r\n\r\n" + long, 403, long[:1024], "403"},
		{"503 after an interim response", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 x\r\nRetry-After: 7\r\nContent-Length: 1\r\n\r\nx", 503, "x", "503"},
		{"600", "HTTP/1.1 600 x\r\nContent-Length: 0\r\n\r\n", 600, "", "600"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := startRaw(t, answer(t, test.answer))
			d := &Dialer{Subprotocols: []string{"chat", "superchat"}}
			conn, resp, err := d.Dial(t.Context(), server.url)
			var refused *HandshakeError
			if conn != nil || !errors.As(err, &refused) {
				t.Fatalf("Dial returned %v and error %v, want no Conn and a *HandshakeError", conn, err)
			}
			if refused.Status != test.status || string(refused.Body) != test.body || refused.Err == nil ||
				!strings.Contains(refused.Err.Error(), test.cause) {
				t.Errorf("error with status %d, body %q, cause %v; want %d, %q and a cause that mentions %q",
					refused.Status, refused.Body, refused.Err, test.status, test.body, test.cause)
			}
			if resp == nil || resp.StatusCode != test.status || !maps.EqualFunc(resp.Header, refused.Header, slices.Equal) {
				t.Fatalf("the response is %v, want the one that the error describes", resp)
			}
			if body, err := io.ReadAll(resp.Body); string(body) != test.body || err != nil {
				t.Errorf("the response has body %q, error %v; want %q", body, err, test.body)
			}
			server.wantClosed()
		})
	}
}

// TestDialMalformed reads answers that are not HTTP.
func TestDialMalformed(t *testing.T) {
	for _, test := range []struct{ name, answer, cause string }{
		{"garbage", "220 mail.example ESMTP\r\n", "malformed HTTP"},
		{"a long line of garbage", strings.Repeat("x", 10_000) + "\r\n", "malformed HTTP"},
		{"a status that is no number", "HTTP/1.1 abc\r\n\r\n", "malformed HTTP"},
		{"a header line without a colon", "HTTP/1.1 101 x\r\nUpgrade\r\n\r\n", "malformed MIME"},
		{"interim responses without end", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100), "interim"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := startRaw(t, answer(t, test.answer))
			_, resp, err := Dial(t.Context(), server.url)
			if err == nil || resp != nil || !strings.HasPrefix(err.Error(), "websocket: reading the server's answer: ") ||
				!strings.Contains(err.Error(), test.cause) {
				t.Errorf("response %v, error %v; want no response and an error that mentions %q", resp, err, test.cause)
			}
			if err != nil && len(err.Error()) > 300 {
				t.Errorf("an error of %d bytes, want a short one", len(err.Error()))
			}
			server.wantClosed()
		})
	}

	t.Run("nothing", func(t *testing.T) {
		server := startRaw(t, func(nc net.Conn) { readKey(t, nc); nc.Close() })
		if _, _, err := Dial(t.Context(), server.url); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("error %v, want io.ErrUnexpectedEOF", err)
		}
	})
}

// TestDialHeaderLimit reads headers that never end. There is no deadline that
// could end the reading instead.
func TestDialHeaderLimit(t *testing.T) {
	for name, piece := range map[string]string{
		"lines":     "X-More: " + strings.Repeat("x", 1000) + "\r\n",
		"one line":  strings.Repeat("x", 1000),
		"one field": "\r\n " + strings.Repeat("x", 1000),
		"interim":   "\r\n\r\nHTTP/1.1 103 Early Hints\r\nX-More: " + strings.Repeat("x", 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			server := startRaw(t, func(nc net.Conn) {
				readKey(t, nc)
				_, err := io.WriteString(nc, "HTTP/1.1 103 Early Hints\r\nX: x")
				for err == nil {
					_, err = io.WriteString(nc, piece)
				}
			})
			d := &Dialer{HandshakeTimeout: -1}
			_, _, err := d.Dial(context.Background(), server.url)
			if err == nil || !strings.Contains(err.Error(), "header of more than 65536 bytes") {
				t.Errorf("error %v, want one about the length of the header", err)
			}
			server.wantClosed()
		})
	}
}

// TestDialRequest compares the request on the wire with section 4.1.
func TestDialRequest(t *testing.T) {
	server, results := startUpgrades(t, func(w http.ResponseWriter, r *http.Request) (*Conn, error) {
		w.Header().Set("X-Seen", r.Header.Get("X-Own"))
		return (&Upgrader{Subprotocols: []string{"superchat"}}).Upgrade(w, r)
	})
	server.Start()
	var recorders []*writeRecorder
	d := &Dialer{
		Subprotocols: []string{"chat", "superchat"},
		Header:       http.Header{"X-Own": {"1", "2"}, "Origin": {server.URL}, "Host": {"chat.example"}, "User-Agent": nil},
		NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			recorder := &writeRecorder{Conn: nc}
			recorders = append(recorders, recorder)
			return recorder, err
		},
	}
	d.Header.Set("Origin", "http://chat.example")
	before := maps.Clone(d.Header)
	keys := make(map[string]bool)
	for range 2 {
		conn, resp, err := d.Dial(t.Context(), strings.Replace(server.URL, "http", "ws", 1)+"/a%20b?c=d&e")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		defer (<-results).conn.CloseNow()
		if got := conn.Subprotocol(); got != "superchat" {
			t.Errorf("Subprotocol() = %q, want superchat", got)
		}
		if resp.Header.Get("X-Seen") != "1" || resp.Request.URL.Path != "/a b" {
			t.Errorf("response with X-Seen %q to %v", resp.Header.Get("X-Seen"), resp.Request.URL)
		}
		recorder := recorders[len(recorders)-1]
		recorder.wantOneWrite(t, "GET ")
		key := resp.Request.Header["Sec-WebSocket-Key"][0]
		if !validKey(key) || keys[key] {
			t.Errorf("key %q, want the base64 of 16 bytes, new for each connection", key)
		}
		keys[key] = true
		want := "GET /a%20b?c=d&e HTTP/1.1\r\n" +
			"Host: chat.example\r\n" +
			"Connection: Upgrade\r\n" +
			"Origin: http://chat.example\r\n" +
			"Sec-WebSocket-Key: " + key + "\r\n" +
			"Sec-WebSocket-Protocol: chat, superchat\r\n" +
			"Sec-WebSocket-Version: 13\r\n" +
			"Upgrade: websocket\r\n" +
			"X-Own: 1\r\n" +
			"X-Own: 2\r\n\r\n"
		if got := string(recorder.writes[0]); got != want {
			t.Errorf("the request is\n%s\nwant\n%s", got, want)
		}
		resp.Request.Header["X-Own"][0] = "the caller's copy"
	}
	if !maps.EqualFunc(d.Header, before, slices.Equal) {
		t.Errorf("Dial changed Dialer.Header to %v", d.Header)
	}
}

// TestDialURL checks where a URL leads to.
func TestDialURL(t *testing.T) {
	for raw, want := range map[string]string{ // address, Host, Request-URI and whether it is secure
		"ws://h":                        "h:80 h / false",
		"ws://h/":                       "h:80 h / false",
		"WS://h":                        "h:80 h / false",
		"http://h":                      "h:80 h / false",
		"wss://h":                       "h:443 h / true",
		"https://h":                     "h:443 h / true",
		"ws://h:80":                     "h:80 h / false",
		"wss://h:443":                   "h:443 h / true",
		"ws://h:443":                    "h:443 h:443 / false",
		"wss://h:80/":                   "h:80 h:80 / true",
		"ws://h:/":                      "h:80 h / false",
		"ws://[::1]/":                   "[::1]:80 [::1] / false",
		"wss://[::1]:443/":              "[::1]:443 [::1] / true",
		"ws://[::1]:8080/":              "[::1]:8080 [::1]:8080 / false",
		"ws://h?":                       "h:80 h / false",
		"ws://h?a=b":                    "h:80 h /?a=b false",
		"ws://h//a/../b?c=%23":          "h:80 h //a/../b?c=%23 false",
		"ws://h/\u00fc":                 "h:80 h /%C3%BC false",
		"ws://xn--bcher-kva.example:99": "xn--bcher-kva.example:99 xn--bcher-kva.example:99 / false",
	} {
		req, err := new(Dialer).newRequest(raw, sampleKey)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		u := req.URL
		got := fmt.Sprint(hostPort(u), " ", req.Host, " ", u.RequestURI(), " ", u.Scheme == "https")
		if got != want {
			t.Errorf("%s leads to %s, want %s", raw, got, want)
		}
	}
}

// TestDialInvalid dials with what must be refused before there is a connection.
func TestDialInvalid(t *testing.T) {
	const fine = "ws://h.example/"
	for _, test := range []struct {
		name, url string
		dialer    Dialer
		cause     string
	}{
		{"scheme", "ftp://h.example/", Dialer{}, "scheme"},
		{"no scheme", "h.example/", Dialer{}, "scheme"},
		{"host and port only", "localhost:80", Dialer{}, "scheme"},
		{"empty", "", Dialer{}, "scheme"},
		{"no host", "ws:///chat", Dialer{}, "host"},
		{"no host but a port", "ws://:80/", Dialer{}, "host"},
		{"opaque", "ws:h.example", Dialer{}, "host"},
		{"host not ASCII", "ws://b\u00fccher.example/", Dialer{}, "host"},
		{"host not ASCII, escaped", "ws://b%C3%BCcher.example/", Dialer{}, "host"},
		{"host with a quote", "ws://h\"x/", Dialer{}, "host"},
		{"port not a number", "ws://h.example:http/", Dialer{}, "port"},
		{"port too large", "ws://h.example:65536/", Dialer{}, "port"},
		{"fragment", "ws://h.example/#f", Dialer{}, "fragment"},
		{"empty fragment", "ws://h.example/#", Dialer{}, "fragment"},
		{"line break", "ws://h.example/\r\nX: y", Dialer{}, "control"},
		{"space in the query", "ws://h.example/?a b", Dialer{}, "query"},
		{"password in a malformed URL", "ws://user:secret%@h.example/", Dialer{}, "malformed"},
		{"password before a fragment", "ws://user:secret#@h.example/", Dialer{}, "fragment"},
		{"password before a port", "ws://user:secret/@h.example/", Dialer{}, "malformed"},
		{"password and no host", "ws://user:secret@/", Dialer{}, "host"},
		{"subprotocol not a token", fine, Dialer{Subprotocols: []string{"a", "b c"}}, "subprotocol"},
		{"subprotocol empty", fine, Dialer{Subprotocols: []string{""}}, "subprotocol"},
		{"subprotocol twice", fine, Dialer{Subprotocols: []string{"a", "b", "a"}}, "subprotocol"},
		{"CR in a header field", fine, Dialer{Header: http.Header{"X-A": {"a", "b\rX-B: c"}}}, "X-A"},
		{"LF in a header field", fine, Dialer{Header: http.Header{"X-A": {"b\nX-B: c"}}}, "X-A"},
		{"NUL in a header field", fine, Dialer{Header: http.Header{"X-A": {"\x00"}}}, "X-A"},
		{"header name", fine, Dialer{Header: http.Header{"X A": {"b"}}}, "X A"},
		{"empty header name", fine, Dialer{Header: http.Header{"": {"b"}}}, `""`},
		{"Upgrade", fine, Dialer{Header: http.Header{"upgrade": {"h2c"}}}, "upgrade"},
		{"Connection", fine, Dialer{Header: http.Header{"Connection": {"close"}}}, "Connection"},
		{"key", fine, Dialer{Header: http.Header{"Sec-WebSocket-Key": {sampleKey}}}, "Sec-WebSocket-Key"},
		{"subprotocol field", fine, Dialer{Header: http.Header{"sec-websocket-protocol": {"a"}}}, "sec-websocket-protocol"},
		{"Content-Length", fine, Dialer{Header: http.Header{"Content-Length": {"1"}}}, "Content-Length"},
		{"Transfer-Encoding", fine, Dialer{Header: http.Header{"Transfer-Encoding": {"chunked"}}}, "Transfer-Encoding"},
		{"two Hosts", fine, Dialer{Header: http.Header{"Host": {"a", "b"}}}, "Host"},
		{"no Host", fine, Dialer{Header: http.Header{"Host": {""}}}, "Host"},
		{"Host with a path", fine, Dialer{Header: http.Header{"host": {"a/b"}}}, "Host"},
		{"Host with a line break", fine, Dialer{Header: http.Header{"Host": {"a\r\nX: b"}}}, "Host"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.dialer.NetDialContext = func(context.Context, string, string) (net.Conn, error) {
				t.Error("Dial makes a connection")
				return nil, errors.New("not reached")
			}
			conn, resp, err := test.dialer.Dial(t.Context(), test.url)
			if conn != nil || resp != nil || err == nil {
				t.Fatalf("Dial returned %v, %v and error %v, want an error alone", conn, resp, err)
			}
			if text := err.Error(); !strings.HasPrefix(text, "websocket: ") || strings.Count(text, "websocket: ") != 1 ||
				!strings.Contains(text, test.cause) || strings.Contains(text, "secret") {
				t.Errorf("error %q, want one that mentions %q, with one prefix and no password", text, test.cause)
			}
		})
	}
}

// TestDialBasicAuth puts a user and password into the URL.
func TestDialBasicAuth(t *testing.T) {
	for _, test := range []struct {
		user   *url.Userinfo
		header http.Header
		want   string
	}{
		{url.UserPassword("Aladdin", "open sesame"), nil, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
		{url.User("Aladdin"), nil, "Basic QWxhZGRpbjo="},
		{url.User("Aladdin"), http.Header{"authorization": {"Bearer x"}}, "Bearer x"},
	} {
		u := url.URL{Scheme: "ws", Host: "h.example", User: test.user}
		d := &Dialer{Header: test.header}
		req, err := d.newRequest(u.String(), sampleKey)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := req.Write(&b); err != nil {
			t.Fatal(err)
		}
		var lines []string
		for line := range strings.Lines(b.String()) {
			if name, value, _ := strings.Cut(line, ": "); strings.EqualFold(name, "Authorization") {
				lines = append(lines, strings.TrimSuffix(value, "\r\n"))
			}
		}
		if !slices.Equal(lines, []string{test.want}) || req.URL.User != nil {
			t.Errorf("%v and %v: Authorization %q, URL %v; want %q once and a URL without user", test.user, test.header, lines, req.URL, test.want)
		}
	}
}

// TestClient makes a Conn of a connection whose handshake is somebody else's.
func TestClient(t *testing.T) {
	ours, peer := net.Pipe()
	conn := new(Dialer).Client(ours)
	defer conn.CloseNow()
	defer peer.Close()
	go io.WriteString(peer, helloFrame)
	wantMessage(t, conn, OpText, "Hello")
}
