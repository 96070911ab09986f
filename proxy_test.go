package websocket

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// through returns a Dialer.Proxy that is always the one at the URL of server,
// with another scheme and perhaps a user.
func through(t *testing.T, scheme string, server *rawServer) func(*http.Request) (*url.URL, error) {
	return http.ProxyURL(mustParse(t, strings.Replace(server.url, "ws://", scheme+"://", 1)))
}

// readHead reads all of a request without a body, byte by byte, as it is on
// the wire.
func readHead(t *testing.T, nc net.Conn) string {
	t.Helper()
	var head []byte
	for b := make([]byte, 1); !strings.HasSuffix(string(head), "\r\n\r\n"); {
		if _, err := nc.Read(b); err != nil {
			t.Errorf("reading a request: %v", err)
			break
		}
		head = append(head, b...)
	}
	return string(head)
}

// reply returns a script that reads a request and writes text.
func reply(t *testing.T, text string) func(net.Conn) {
	return func(nc net.Conn) {
		readHead(t, nc)
		io.WriteString(nc, text)
	}
}

// TestProxyConnect looks at what a proxy is sent, and has it answer in ways that
// must do. Behind its answer, in the same packet, is the beginning of what comes
// from the server: that must not be lost.
func TestProxyConnect(t *testing.T) {
	const begin = "HTTP/1.1 10" // of sampleAnswer
	for _, test := range []struct {
		name, url string
		header    http.Header
		answer    string
		want      string // CONNECT request
	}{
		{"plainly", "ws://h.example/chat", nil, "HTTP/1.1 200 OK\r\n\r\n",
			"CONNECT h.example:80 HTTP/1.1\r\nHost: h.example:80\r\nUser-Agent: Go-http-client/1.1\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n"},
		{"another port", "ws://[2001:db8::1]:8080/", nil, "HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n",
			"CONNECT [2001:db8::1]:8080 HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\nUser-Agent: Go-http-client/1.1\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n\r\n"},
		{"own header", "ws://h.example/", http.Header{"proxy-authorization": {"Bearer x"}, "User-Agent": {"own"}, "X-Own": {"1", "2"}}, "HTTP/1.1 204 x\r\n\r\n",
			"CONNECT h.example:80 HTTP/1.1\r\nHost: h.example:80\r\nUser-Agent: own\r\nX-Own: 1\r\nX-Own: 2\r\nproxy-authorization: Bearer x\r\n\r\n"},
		{"a length that means nothing", "ws://h.example/", nil, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", ""},
		{"a coding that means nothing", "ws://h.example/", nil, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""},
		{"interim responses first", "ws://h.example/", nil, "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			proxy := startRaw(t, func(nc net.Conn) {
				if head := readHead(t, nc); test.want != "" && head != test.want {
					t.Errorf("the proxy got\n%s\nwant\n%s", head, test.want)
				}
				io.WriteString(nc, test.answer+begin)
				head := readHead(t, nc)
				r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head)))
				if err != nil {
					t.Errorf("the server got no request through the tunnel: %v", err)
					return
				}
				if !strings.HasPrefix(head, "GET /") || r.Header.Get("Proxy-Authorization") != "" || r.Header.Get("X-Own") != "" {
					t.Errorf("the server got what is for the proxy:\n%s", head)
				}
				rest := strings.TrimPrefix(sampleAnswer, begin) + helloFrame
				io.WriteString(nc, strings.ReplaceAll(rest, "KEY", AcceptKey(r.Header.Get("Sec-Websocket-Key"))))
			})
			d := &Dialer{ProxyHeader: test.header}
			d.Proxy = func(r *http.Request) (*url.URL, error) {
				if want := strings.Replace(test.url, "ws", "http", 1); r.URL.String() != want {
					t.Errorf("Proxy was called with URL %v, want %s", r.URL, want)
				}
				u, err := url.Parse(proxy.url)
				u.Scheme, u.User = "http", url.UserPassword("user", "pass")
				return u, err
			}
			conn, resp, err := d.Dial(t.Context(), test.url)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.CloseNow()
			if resp.StatusCode != 101 || resp.Request.Method != http.MethodGet {
				t.Errorf("the response has status %d to %s, want the server's", resp.StatusCode, resp.Request.Method)
			}
			if _, ok := conn.NetConn().(*net.TCPConn); !ok {
				t.Errorf("the connection below is a %T, want the TCP connection itself", conn.NetConn())
			}
			wantMessage(t, conn, OpText, "Hello")
		})
	}
}

// TestProxyRefuses has a proxy answer with what is not 2xx. Whatever it says is
// neither the server's cookie nor a redirect to be followed.
func TestProxyRefuses(t *testing.T) {
	for _, test := range []struct {
		name, answer string
		status       int
		body, cause  string
	}{
		{"407", "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 5\r\n\r\nlogin", 407, "login", "Proxy Authentication Required"},
		{"redirect", "HTTP/1.1 302 Found\r\nLocation: ws://h.example/\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n", 302, "", "302"},
		{"101", sampleAnswer, 101, "", "101"},
		{"a long body", "HTTP/1.1 502 Bad Gateway\r\n\r\n" + strings.Repeat("x", 5000), 502, strings.Repeat("x", 1024), "502"},
	} {
		t.Run(test.name, func(t *testing.T) {
			proxy := startRaw(t, reply(t, test.answer))
			jar, err := cookiejar.New(nil)
			if err != nil {
				t.Fatal(err)
			}
			d := &Dialer{Proxy: through(t, "http", proxy), MaxRedirects: 10, Jar: jar}
			conn, resp, err := d.Dial(t.Context(), "ws://h.example/")
			refused, ok := errors.AsType[*HandshakeError](err)
			if conn != nil || !ok {
				t.Fatalf("Dial returned %v and error %v, want no Conn and a *HandshakeError", conn, err)
			}
			if refused.Status != test.status || string(refused.Body) != test.body || !strings.Contains(err.Error(), "the proxy answered") || !strings.Contains(err.Error(), test.cause) {
				t.Errorf("error %q with status %d and body %.50q; want what the proxy said: %d, %.50q and %q", err, refused.Status, refused.Body, test.status, test.body, test.cause)
			}
			if resp == nil || resp.StatusCode != test.status || resp.Request.Method != http.MethodConnect {
				t.Errorf("response %v, want the proxy's", resp)
			}
			if got := jar.Cookies(mustParse(t, "http://h.example/")); len(got) > 0 {
				t.Errorf("the proxy has set the server's cookies %v", got)
			}
			proxy.wantClosed()
			if len(proxy.closed) > 0 {
				t.Error("there was another attempt")
			}
		})
	}
}

// TestProxyMalformed has a proxy answer with what is not HTTP, or too much.
func TestProxyMalformed(t *testing.T) {
	for _, test := range []struct{ name, answer, cause string }{
		{"garbage", "SSH-2.0-x\r\n", "malformed"},
		{"header without end", "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxAnswer), "header of more than 65536 bytes"},
		{"many fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 1000) + "\r\n", "header of more than 256 fields"},
		{"interim responses without end", strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100), "interim"},
	} {
		t.Run(test.name, func(t *testing.T) {
			proxy := startRaw(t, reply(t, test.answer))
			d := &Dialer{Proxy: through(t, "http", proxy), HandshakeTimeout: -1}
			_, resp, err := d.Dial(t.Context(), "ws://h.example/")
			if err == nil || resp != nil || !strings.Contains(err.Error(), "reading the proxy's answer: ") || !strings.Contains(err.Error(), test.cause) {
				t.Errorf("response %v, error %v; want none and an error that mentions the proxy and %q", resp, err, test.cause)
			}
			proxy.wantClosed()
		})
	}
}

// TestProxyInvalid dials with a proxy that must be refused before there is a
// connection, or before anything is written.
func TestProxyInvalid(t *testing.T) {
	errChoice := errors.New("cannot choose")
	proxy := func(raw string) func(*http.Request) (*url.URL, error) { return http.ProxyURL(mustParse(t, raw)) }
	const fine = "http://user:secret@proxy.example"
	for _, test := range []struct {
		name   string
		dialer Dialer
		cause  string
	}{
		{"error", Dialer{Proxy: func(*http.Request) (*url.URL, error) { return nil, errChoice }}, "choosing a proxy: cannot choose"},
		{"scheme", Dialer{Proxy: proxy("socks4://user:secret@proxy.example")}, "scheme"},
		{"no host", Dialer{Proxy: proxy("http://user:secret@/")}, "without a host"},
		{"line break in a field", Dialer{Proxy: proxy(fine), ProxyHeader: http.Header{"X-A": {"a\r\nX-B: b"}}}, "X-A"},
		{"name of a field", Dialer{Proxy: proxy(fine), ProxyHeader: http.Header{"X A": {"a"}}}, "X A"},
		{"Host", Dialer{Proxy: proxy(fine), ProxyHeader: http.Header{"host": {"a"}}}, "host"},
		{"Content-Length", Dialer{Proxy: proxy(fine), ProxyHeader: http.Header{"Content-Length": {"1"}}}, "Content-Length"},
		{"SOCKS user empty", Dialer{Proxy: proxy("socks5://:secret@proxy.example")}, "user"},
		{"SOCKS user too long", Dialer{Proxy: proxy("socks5://" + strings.Repeat("u", 256) + ":secret@proxy.example")}, "user"},
		{"SOCKS password too long", Dialer{Proxy: proxy("socks5://u:" + strings.Repeat("p", 256) + "@proxy.example")}, "password"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ours, peer := net.Pipe()
			defer peer.Close() // a write would block for ever
			test.dialer.NetDialContext = func(context.Context, string, string) (net.Conn, error) { return ours, nil }
			_, _, err := test.dialer.Dial(t.Context(), "ws://h.example/")
			if err == nil || !strings.Contains(err.Error(), test.cause) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v, want one that mentions %q and no password", err, test.cause)
			}
		})
	}
	d := &Dialer{Proxy: proxy("socks5://proxy.example")}
	d.NetDialContext = func(context.Context, string, string) (net.Conn, error) { ours, _ := net.Pipe(); return ours, nil }
	if _, _, err := d.Dial(t.Context(), "ws://"+strings.Repeat("h", 256)+"/"); err == nil || !strings.Contains(err.Error(), "255 bytes") {
		t.Errorf("error %v for a name that SOCKS has no room for, want one that says so", err)
	}
}

// TestProxyAddress checks where a proxy is looked for.
func TestProxyAddress(t *testing.T) {
	for raw, want := range map[string]string{
		"http://p.example":         "p.example:80",
		"https://p.example":        "p.example:443",
		"socks5://p.example":       "p.example:1080",
		"socks5h://[::1]":          "[::1]:1080",
		"https://u:p@p.example:99": "p.example:99",
	} {
		d := &Dialer{Proxy: http.ProxyURL(mustParse(t, raw))}
		errSeen := errors.New("seen")
		d.NetDialContext = func(_ context.Context, network, addr string) (net.Conn, error) {
			if network != "tcp" || addr != want {
				t.Errorf("%s is looked for at %s %s, want tcp %s", raw, network, addr, want)
			}
			return nil, errSeen
		}
		if _, _, err := d.Dial(t.Context(), "ws://h.example/"); !errors.Is(err, errSeen) || !strings.Contains(err.Error(), "connecting to the proxy") {
			t.Errorf("error %v, want that of NetDialContext, about the proxy", err)
		}
	}
}

// TestProxyCancelled cancels the context while a proxy is silent.
func TestProxyCancelled(t *testing.T) {
	for _, test := range []struct{ name, scheme, url, before string }{
		{"in TLS to the proxy", "https", "ws://h.example/", ""},
		{"waiting for its answer", "http", "ws://h.example/", ""},
		{"in its answer", "http", "ws://h.example/", "HTTP/1.1 20"},
		{"in TLS through the proxy", "http", "wss://h.example/", "HTTP/1.1 200 OK\r\n\r\n"},
		{"waiting for a SOCKS method", "socks5", "ws://h.example/", ""},
		{"in a SOCKS reply", "socks5", "ws://h.example/", "\x05\x00\x05\x00\x00\x01\x7f"},
		{"in TLS through SOCKS", "socks5", "wss://h.example/", "\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50"},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			proxy := startRaw(t, func(nc net.Conn) {
				nc.Read(make([]byte, 1000))
				io.WriteString(nc, test.before)
				cancel(errGivenUp)
			})
			d := &Dialer{HandshakeTimeout: -1, Proxy: through(t, test.scheme, proxy)}
			conn, _, err := d.Dial(ctx, test.url)
			wantGivenUp(t, conn, err)
			proxy.wantClosed()
		})
		t.Run(test.name+", for too long", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ours, peer := net.Pipe()
				go io.Copy(io.Discard, peer)
				go io.WriteString(peer, test.before)
				d := &Dialer{
					HandshakeTimeout: time.Second,
					Proxy:            http.ProxyURL(&url.URL{Scheme: test.scheme, Host: "proxy.example"}),
					NetDialContext:   func(context.Context, string, string) (net.Conn, error) { return ours, nil },
				}
				_, _, err := d.Dial(t.Context(), test.url)
				if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no handshake within 1s") {
					t.Errorf("error %v, want one that names HandshakeTimeout", err)
				}
			})
		})
	}
}

// TestProxyTLS goes through TLS to a proxy, and in it through TLS to a server.
// Both certificates are looked at.
func TestProxyTLS(t *testing.T) {
	cert, roots := testCertificate(t) // for example.com and 127.0.0.1
	names := make(chan string, 10)
	config := &tls.Config{Certificates: []tls.Certificate{cert}, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		names <- hello.ServerName
		if len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != "http/1.1" {
			t.Errorf("protocols %q are offered, want http/1.1 alone", hello.SupportedProtos)
		}
		return nil, nil
	}}
	proxy := startRaw(t, func(nc net.Conn) {
		outer := tls.Server(nc, config)
		if outer.HandshakeContext(t.Context()) != nil {
			return // the client did not like our name
		}
		head := readHead(t, outer)
		io.WriteString(outer, "HTTP/1.1 200 OK\r\n\r\n")
		inner := net.Conn(outer)
		if strings.HasPrefix(head, "CONNECT example.com:443 ") {
			inner = tls.Server(outer, config)
		}
		answer(t, sampleAnswer+helloFrame)(inner)
		io.Copy(io.Discard, inner)
		inner.Close()
	})
	addr := strings.TrimPrefix(proxy.url, "ws://")
	d := &Dialer{
		TLSConfig: &tls.Config{RootCAs: roots},
		Proxy:     http.ProxyURL(&url.URL{Scheme: "https", Host: "proxy.invalid"}),
		NetDialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	_, _, err := d.Dial(t.Context(), "wss://example.com/")
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok || !strings.Contains(err.Error(), "connecting to the proxy") {
		t.Errorf("error %v for a proxy with another name in its certificate, want a *tls.CertificateVerificationError that names the proxy", err)
	}
	if name := <-names; name != "proxy.invalid" {
		t.Errorf("the proxy is called %q, want its own name", name)
	}

	d.Proxy = http.ProxyURL(&url.URL{Scheme: "https", Host: "127.0.0.1"})
	d.TLSConfig.ServerName = "example.com" // counts for the server alone
	for _, url := range []string{"ws://example.com/", "wss://example.com/", "wss://example.com/"} {
		conn, _, err := d.Dial(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		wantMessage(t, conn, OpText, "Hello")
		conn.CloseNow()
		if name := <-names; name != "" {
			t.Errorf("the proxy with an IP address is called %q", name)
		}
		if strings.HasPrefix(url, "wss") {
			if name := <-names; name != "example.com" {
				t.Errorf("the server is called %q, want example.com", name)
			}
		}
	}
}

// TestCloseNowThroughTLS drops a connection through TLS in TLS whose peer does
// not read: nothing may wait for an alert to go out.
func TestCloseNowThroughTLS(t *testing.T) {
	cert, roots := testCertificate(t)
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		go func() {
			outer := tls.Server(peer, config)
			readHead(t, outer)
			io.WriteString(outer, "HTTP/1.1 200 OK\r\n\r\n")
			answer(t, sampleAnswer)(tls.Server(outer, config))
		}()
		d := &Dialer{
			TLSConfig:      &tls.Config{RootCAs: roots},
			Proxy:          http.ProxyURL(&url.URL{Scheme: "https", Host: "127.0.0.1"}),
			NetDialContext: func(context.Context, string, string) (net.Conn, error) { return ours, nil },
		}
		conn, _, err := d.Dial(t.Context(), "wss://example.com/")
		if err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		if err := conn.CloseNow(); err != nil {
			t.Error(err)
		}
		if waited := time.Since(before); waited > 0 {
			t.Errorf("CloseNow waited for %v", waited)
		}
		if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the connection below is not closed: reading gives %v", err)
		}
	})
}

// TestProxyEnvironment takes the proxy from the environment, which net/http
// reads once in a process: so this is one of its own.
func TestProxyEnvironment(t *testing.T) {
	const scheme = "WEBSOCKET_TEST_SCHEME"
	if scheme := os.Getenv(scheme); scheme != "" {
		os.Setenv("NO_PROXY", "direct.example")
		d := &Dialer{NetDialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			fmt.Println("connects to", addr)
			return new(net.Dialer).DialContext(ctx, network, addr)
		}}
		_, _, err := d.Dial(t.Context(), scheme+"://server.example/")
		fmt.Println(err)
		d.NetDialContext = func(_ context.Context, _, addr string) (net.Conn, error) { return nil, errors.New(addr) }
		_, _, err = d.Dial(t.Context(), scheme+"://direct.example:99/")
		fmt.Println(err)
		return
	}
	for _, test := range []struct{ scheme, variable, target string }{
		{"ws", "HTTP_PROXY", "server.example:80"},
		{"wss", "HTTPS_PROXY", "server.example:443"},
	} {
		proxy := startRaw(t, func(nc net.Conn) {
			if head := readHead(t, nc); !strings.HasPrefix(head, "CONNECT "+test.target+" ") {
				t.Errorf("the proxy got %q, want CONNECT %s", head, test.target)
			}
			io.WriteString(nc, "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
		})
		addr := strings.TrimPrefix(proxy.url, "ws://")
		cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), "HTTP_PROXY=", "HTTPS_PROXY=", scheme+"="+test.scheme, test.variable+"=http://"+addr)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{"connects to " + addr, "the proxy answered with status 403", "websocket: direct.example:99"} {
			if !strings.Contains(string(out), want) {
				t.Errorf("with %s set the output lacks %q:\n%s", test.variable, want, out)
			}
		}
	}
}
