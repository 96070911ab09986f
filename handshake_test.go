package websocket

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// The handshake of section 1.2, as section 4.2.1 reads it.
const (
	sampleKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	sampleAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

	sampleRequest = "GET /chat HTTP/1.1\r\n" +
		"Host: server.example.com\r\n" +
		"Upgrade: websocket\r\n" +
		"Connection: Upgrade\r\n" +
		"Sec-WebSocket-Key: " + sampleKey + "\r\n" +
		"Sec-WebSocket-Version: 13\r\n\r\n"
)

// editRequest returns the sample request with old replaced by new, for each
// pair of edits.
func editRequest(t *testing.T, edits ...string) string {
	t.Helper()
	request := sampleRequest
	for i := 0; i < len(edits); i += 2 {
		if !strings.Contains(request, edits[i]) {
			t.Fatalf("the sample request has no %q to replace", edits[i])
		}
		request = strings.Replace(request, edits[i], edits[i+1], 1)
	}
	return request
}

// maskedHello is the frame of section 5.7 with a masked "Hello".
const maskedHello = "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"

// An upgradeResult is what Upgrade returned.
type upgradeResult struct {
	conn *Conn
	err  error
}

// startUpgrades starts an HTTP server on loopback that calls upgrade and
// sends on what it returned.
func startUpgrades(t *testing.T, upgrade func(http.ResponseWriter, *http.Request) (*Conn, error)) (*httptest.Server, <-chan upgradeResult) {
	t.Helper()
	results := make(chan upgradeResult, 1)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := upgrade(w, r)
		results <- upgradeResult{conn, err}
	}))
	t.Cleanup(server.Close)
	return server, results
}

// A rawClient is a client that writes what a test tells it to.
type rawClient struct {
	net.Conn
	br *bufio.Reader
}

func dialRaw(t *testing.T, addr string) *rawClient {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &rawClient{nc, bufio.NewReader(nc)}
}

// send writes request in one piece and returns the response.
func (c *rawClient) send(t *testing.T, request string) *http.Response {
	t.Helper()
	if _, err := io.WriteString(c, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(c.br, nil)
	if err != nil {
		t.Fatalf("reading the response: %v", err)
	}
	return resp
}

// wantAccepted checks that resp is the 101 for the sample request and that the
// connection carries a frame.
func wantAccepted(t *testing.T, c *rawClient, resp *http.Response, result upgradeResult) {
	t.Helper()
	if resp.StatusCode != 101 || result.err != nil {
		t.Fatalf("status %d and error %v, want the request to be accepted", resp.StatusCode, result.err)
	}
	defer result.conn.CloseNow()
	for name, want := range map[string]string{
		"Upgrade": "websocket", "Connection": "Upgrade", "Sec-Websocket-Accept": sampleAccept,
	} {
		if got := resp.Header[name]; !slices.Equal(got, []string{want}) {
			t.Errorf("%s in the response is %q, want %q once", name, got, want)
		}
	}
	if _, err := io.WriteString(c, maskedHello); err != nil {
		t.Fatal(err)
	}
	wantMessage(t, result.conn, OpText, "Hello")
}

func TestAcceptKey(t *testing.T) {
	for key, want := range map[string]string{
		sampleKey:                  sampleAccept,
		"xqBt3ImNzJbYqRINxEFlkg==": "K7DJLdLooIwIG/MOpvWFB3y3FE8=",
	} {
		if got := AcceptKey(key); got != want {
			t.Errorf("AcceptKey(%q) = %q, want %q", key, got, want)
		}
	}
}

// TestAcceptKeyFIPS runs TestAcceptKey in a process that may use approved
// cryptography only, to which SHA-1 does not belong.
func TestAcceptKeyFIPS(t *testing.T) {
	if runtime.GOOS == "js" {
		t.Skip("no processes in js")
	}
	run := func(pattern string) (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run="+pattern, "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140=only")
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run("^$"); err != nil {
		t.Skipf("no FIPS 140 mode here: %v\n%s", err, out)
	}
	if out, err := run("^TestAcceptKey$"); err != nil || !strings.Contains(out, "--- PASS: TestAcceptKey") {
		t.Errorf("TestAcceptKey with GODEBUG=fips140=only: %v\n%s", err, out)
	}
}

func TestHeaderList(t *testing.T) {
	for _, test := range []struct {
		name  string
		lines []string
		want  []string
	}{
		{"no line", nil, nil},
		{"empty line", []string{""}, nil},
		{"one", []string{"Upgrade"}, []string{"Upgrade"}},
		{"white space", []string{" \ta ,\tb\t"}, []string{"a", "b"}},
		{"several lines", []string{"a, b", "c"}, []string{"a", "b", "c"}},
		{"empty elements", []string{",a,, ,b,", ","}, []string{"a", "b"}},
	} {
		if got := slices.Collect(listElements(test.lines)); !slices.Equal(got, test.want) {
			t.Errorf("%s: elements of %q are %q, want %q", test.name, test.lines, got, test.want)
		}
	}
	for _, s := range []string{"websocKet", "websoc\u212aet", "web", "websockets", ""} {
		if got, want := listHas([]string{"h2c", s}, "websocket"), s == "websocKet"; got != want {
			t.Errorf("listHas(h2c, %q; websocket) = %v, want %v", s, got, want)
		}
	}
}

// FuzzHeaderList holds listElements against RFC 9110: several lines mean the
// same as one that joins them with commas (5.3), and an element is neither
// empty nor has white space around it (5.6.1).
func FuzzHeaderList(f *testing.F) {
	f.Add("keep-alive, Upgrade", "h2c,,\twebsocket ")
	f.Add("", ",")
	f.Fuzz(func(t *testing.T, a, b string) {
		got := slices.Collect(listElements([]string{a, b}))
		if joined := slices.Collect(listElements([]string{a + "," + b})); !slices.Equal(got, joined) {
			t.Errorf("lines %q and %q have elements %q, joined %q", a, b, got, joined)
		}
		for _, e := range got {
			if e == "" || strings.Contains(e, ",") || strings.Trim(e, " \t") != e {
				t.Errorf("element %q of %q and %q", e, a, b)
			}
			if !listHas([]string{a, b}, e) {
				t.Errorf("listHas does not find %q in %q and %q", e, a, b)
			}
		}
		for _, p := range must(parseSubprotocols([]string{a, b})) {
			if !isToken(p) || checkField(p, nil) != nil {
				t.Errorf("subprotocol %q of %q and %q is not a token", p, a, b)
			}
		}
	})
}

func must[T any](v T, _ bool) T { return v }

// TestUpgradeAccepts sends handshakes that section 4.2.1 allows.
func TestUpgradeAccepts(t *testing.T) {
	for _, test := range []struct {
		name  string
		edits []string
	}{
		{"as it is", nil},
		{"Connection lists keep-alive too", []string{"Connection: Upgrade", "Connection: keep-alive, Upgrade"}},
		{"Connection over two lines", []string{"Connection: Upgrade", "Connection: keep-alive\r\nConnection: Upgrade"}},
		{"letter case", []string{"Connection: Upgrade", "cOnnection: uPGRADE", "Upgrade: websocket", "uPGRADE: WebSocket"}},
		{"Upgrade lists h2c too", []string{"Upgrade: websocket", "Upgrade: h2c, websocket"}},
		{"Upgrade over two lines", []string{"Upgrade: websocket", "Upgrade: h2c\r\nUpgrade:\twebsocket"}},
		{"empty elements", []string{"Connection: Upgrade", "Connection: ,, Upgrade ,"}},
		{"white space around values", []string{"Version: 13", "Version: \t 13 \t", "Key: ", "Key:  \t"}},
		{"absolute URI", []string{"GET /chat", "GET http://server.example.com/chat"}},
		{"Content-Length: 0", []string{"Upgrade:", "Content-Length: 0\r\nUpgrade:"}},
		{"extension not known", []string{"Upgrade:", "Sec-WebSocket-Extensions: x-nothing; a=\"b\"; c\r\nUpgrade:"}},
		{"subprotocol not known", []string{"Upgrade:", "Sec-WebSocket-Protocol: chat,, superchat\r\nUpgrade:"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, results := startUpgrades(t, Upgrade)
			server.Start()
			c := dialRaw(t, server.Listener.Addr().String())
			resp := c.send(t, editRequest(t, test.edits...))
			wantAccepted(t, c, resp, <-results)
			for _, name := range []string{"Sec-Websocket-Protocol", "Sec-Websocket-Extensions"} {
				if got, ok := resp.Header[name]; ok {
					t.Errorf("the response has %s: %q, want none", name, got)
				}
			}
		})
	}
}

// TestValidKey covers the base64 of 16 bytes; the last key accepted is the
// example of section 4.1, whose padding bits are not zero.
func TestValidKey(t *testing.T) {
	for key, want := range map[string]bool{
		sampleKey:                       true,
		"AQIDBAUGBwgJCgsMDQ4PEA==":      true,
		"AQIDBAUGBwgJCgsMDQ4PEC==":      true,
		"":                              false,
		"AQIDBAUGBwgJCgsMDQ4P":          false, // 15 bytes
		"AQIDBAUGBwgJCgsMDQ4PEBE=":      false, // 17 bytes
		"AQIDBAUGBwgJCgsMDQ4PEA":        false, // no padding
		"AQIDBAUGBwgJCgsMDQ4PEBES":      false, // 18 bytes
		"AQIDBAUGBwgJ-_sMDQ4PEA==":      false, // base64url
		"AQIDBAUGBwgJCgsM\r\nDQ4PEA==":  false,
		"AQIDBAUGBwgJCgsMDQ4PE\r\n=":    false,
		"AQIDBAUGBwgJCgsMDQ4PEA==extra": false,
		"!!!!!!!!!!!!!!!!!!!!!!==":      false,
	} {
		if validKey(key) != want {
			t.Errorf("validKey(%q) = %v, want %v", key, !want, want)
		}
	}
}

// TestUpgradeRefuses sends requests that are no valid handshakes. Each gets an
// HTTP answer with a fixed text, and the connection is still one of HTTP.
func TestUpgradeRefuses(t *testing.T) {
	const marker = "marker-of-the-request"
	key := "Sec-WebSocket-Key: " + sampleKey + "\r\n"
	version := "Sec-WebSocket-Version: 13\r\n"
	for _, test := range []struct {
		name   string
		edits  []string
		status int
		header string // a line that the answer must have
	}{
		{"HTTP/1.0", []string{"HTTP/1.1", "HTTP/1.0"}, 400, ""},
		{"POST", []string{"GET", "POST"}, 405, "Allow: GET"},
		{"OPTIONS", []string{"GET", "OPTIONS"}, 405, "Allow: GET"},
		{"a method never heard of", []string{"GET", marker}, 405, "Allow: GET"},
		{"plain GET", []string{"Upgrade: websocket\r\nConnection: Upgrade\r\n", ""}, 426, "Upgrade: websocket"},
		{"no Upgrade", []string{"Upgrade: websocket\r\n", ""}, 426, "Upgrade: websocket"},
		{"Upgrade to something else", []string{"Upgrade: websocket", "Upgrade: h2c, xwebsocket, " + marker}, 426, "Connection: Upgrade"},
		{"no Connection", []string{"Connection: Upgrade\r\n", ""}, 400, ""},
		{"Connection without Upgrade", []string{"Connection: Upgrade", "Connection: keep-alive, xUpgrade, " + marker}, 400, ""},
		{"no version", []string{version, ""}, 426, "Sec-Websocket-Version: 13"},
		{"version 8", []string{version, "Sec-WebSocket-Version: 8\r\n"}, 426, "Sec-Websocket-Version: 13"},
		{"version 013", []string{version, "Sec-WebSocket-Version: 013\r\n"}, 426, "Upgrade: websocket"},
		{"version twice", []string{version, version + version}, 426, "Sec-Websocket-Version: 13"},
		{"version list", []string{version, "Sec-WebSocket-Version: 13, 8\r\n"}, 426, "Sec-Websocket-Version: 13"},
		{"no key", []string{key, ""}, 400, ""},
		{"empty key", []string{key, "Sec-WebSocket-Key:\r\n"}, 400, ""},
		{"key twice", []string{key, key + key}, 400, ""},
		{"keys in a list", []string{sampleKey, sampleKey + ", " + sampleKey}, 400, ""},
		{"key not base64", []string{sampleKey, marker + "xyz"}, 400, ""},
		{"key of 15 bytes", []string{sampleKey, "AQIDBAUGBwgJCgsMDQ4P"}, 400, ""},
		{"key of 17 bytes", []string{sampleKey, "AQIDBAUGBwgJCgsMDQ4PEBE="}, 400, ""},
		{"empty Host", []string{"Host: server.example.com", "Host:"}, 400, ""},
		{"subprotocol not a token", []string{version, version + "Sec-WebSocket-Protocol: chat, " + marker + "/1\r\n"}, 400, ""},
		{"subprotocol twice", []string{version, version + "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: a, chat\r\n"}, 400, ""},
		{"extensions not of the grammar", []string{version, version + "Sec-WebSocket-Extensions: x-" + marker + "; a=\"b,c\"\r\n"}, 400, ""},
		{"no extension in the list", []string{version, version + "Sec-WebSocket-Extensions:\r\n"}, 400, ""},
		{"no subprotocol in the list", []string{version, version + "Sec-WebSocket-Protocol: ,\r\n"}, 400, ""},
		{"body", []string{version + "\r\n", version + "Content-Length: 4\r\n\r\nbody"}, 400, ""},
		{"chunked body", []string{version + "\r\n", version + "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n"}, 400, ""},
		{"foreign Origin", []string{version, version + "Origin: http://" + marker + ".example\r\n"}, 403, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, results := startUpgrades(t, Upgrade)
			server.Start()
			c := dialRaw(t, server.Listener.Addr().String())
			resp := c.send(t, editRequest(t, append(test.edits, "\r\n", "\r\nX-Marker: "+marker+"\r\n")...))
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != test.status {
				t.Errorf("status %d, want %d", resp.StatusCode, test.status)
			}
			if name, value, ok := strings.Cut(test.header, ": "); ok && !slices.Equal(resp.Header[name], []string{value}) {
				t.Errorf("%s in the answer is %q, want %q", name, resp.Header[name], value)
			}
			var dump bytes.Buffer
			resp.Header.Write(&dump)
			dump.Write(body)
			if strings.Contains(dump.String(), marker) {
				t.Errorf("the answer repeats what the request said: %s", &dump)
			}
			if len(body) == 0 || len(body) > 100 {
				t.Errorf("body %q, want one short line", body)
			}

			result := <-results
			var refused *HandshakeError
			if result.conn != nil || !errors.As(result.err, &refused) {
				t.Fatalf("Upgrade returned %v and %v, want no Conn and a *HandshakeError", result.conn, result.err)
			}
			if refused.Status != test.status || string(refused.Body) != string(body) || refused.Err == nil {
				t.Errorf("the error has status %d, body %q and cause %v, want those of the answer", refused.Status, refused.Body, refused.Err)
			}
			if len(refused.Header["Content-Type"]) != 1 {
				t.Errorf("the error has header %v, want that of the answer", refused.Header)
			}
			for name, values := range refused.Header {
				if !slices.Equal(resp.Header[name], values) {
					t.Errorf("the error has %s: %q, the answer %q", name, values, resp.Header[name])
				}
			}

			if test.name == "HTTP/1.0" {
				return // which ends with the answer
			}
			resp = c.send(t, sampleRequest)
			wantAccepted(t, c, resp, <-results)
		})
	}
}

// TestUpgradeRefusesHTTP2 asks for an upgrade where there is none.
func TestUpgradeRefusesHTTP2(t *testing.T) {
	server, results := startUpgrades(t, Upgrade)
	server.EnableHTTP2 = true
	server.StartTLS()
	resp, err := server.Client().Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.ProtoMajor != 2 {
		t.Fatalf("the request went out by %s, want HTTP/2", resp.Proto)
	}
	var refused *HandshakeError
	if result := <-results; resp.StatusCode != 505 || !errors.As(result.err, &refused) || refused.Status != 505 {
		t.Errorf("status %d and error %v, want 505 (HTTP Version Not Supported)", resp.StatusCode, result.err)
	}
}

func TestChooseSubprotocol(t *testing.T) {
	for _, test := range []struct {
		name      string
		offer     string // lines of the request
		supported []string
		want      string
	}{
		{"the server's order counts", "Sec-WebSocket-Protocol: a, b, c\r\n", []string{"c", "b"}, "c"},
		{"over several lines", "Sec-WebSocket-Protocol: a\r\nsec-websocket-protocol: b,\r\n", []string{"b"}, "b"},
		{"nothing in common", "Sec-WebSocket-Protocol: a\r\n", []string{"b"}, ""},
		{"letter case counts", "Sec-WebSocket-Protocol: CHAT\r\n", []string{"chat"}, ""},
		{"nothing offered", "", []string{"a"}, ""},
		{"nothing supported", "Sec-WebSocket-Protocol: a\r\n", nil, ""},
		{"never the empty string", "Sec-WebSocket-Protocol: a,\r\n", []string{""}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := &Upgrader{Subprotocols: test.supported}
			server, results := startUpgrades(t, u.Upgrade)
			server.Start()
			c := dialRaw(t, server.Listener.Addr().String())
			resp := c.send(t, editRequest(t, "Upgrade:", test.offer+"Upgrade:"))
			result := <-results
			wantAccepted(t, c, resp, result)
			want := []string{test.want}
			if test.want == "" {
				want = nil
			}
			if got := resp.Header["Sec-Websocket-Protocol"]; !slices.Equal(got, want) {
				t.Errorf("the response has subprotocols %q, want %q", got, want)
			}
			if got := result.conn.Subprotocol(); got != test.want {
				t.Errorf("Subprotocol() = %q, want %q", got, test.want)
			}
		})
	}
}
