package websocket

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// TestProxySOCKS plays the proxy of RFC 1928 and RFC 1929, each step a request
// to expect and the answer to it. In the last there is more than the answer.
func TestProxySOCKS(t *testing.T) {
	const begin = "HTTP/1.1 10" // of sampleAnswer
	type step struct{ want, answer string }
	const connect = "\x05\x01\x00\x03\x09h.example\x00\x50"
	const done = "\x05\x00\x00\x01\x7f\x00\x00\x01\x12\x34"
	noAuth := step{"\x05\x01\x00", "\x05\x00"}
	for _, test := range []struct {
		name, url, user string
		steps           []step
		cause           string // "": it works
		refused         bool   // with a *HandshakeError
	}{
		{"a name", "ws://h.example/", "", []step{noAuth, {connect, done}}, "", false},
		{"another port", "ws://h.example:65535/", "", []step{noAuth, {"\x05\x01\x00\x03\x09h.example\xff\xff", done}}, "", false},
		{"IPv4", "ws://192.0.2.1/", "", []step{noAuth, {"\x05\x01\x00\x01\xc0\x00\x02\x01\x00\x50", done}}, "", false},
		{"IPv6", "ws://[2001:db8::1]/", "", []step{noAuth, {"\x05\x01\x00\x04\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x01\x00\x50", done}}, "", false},
		{"bound to IPv6", "ws://h.example/", "", []step{noAuth, {connect, "\x05\x00\x00\x04" + strings.Repeat("\x01", 18)}}, "", false},
		{"bound to a name", "ws://h.example/", "", []step{noAuth, {connect, "\x05\x00\x00\x03\x03abc\x00\x50"}}, "", false},
		{"bound to an empty name", "ws://h.example/", "", []step{noAuth, {connect, "\x05\x00\x00\x03\x00\x00\x50"}}, "", false},
		{"password not wanted", "ws://h.example/", "user:pass", []step{{"\x05\x02\x00\x02", "\x05\x00"}, {connect, done}}, "", false},
		{"password", "ws://h.example/", "user:pass", []step{{"\x05\x02\x00\x02", "\x05\x02"}, {"\x01\x04user\x04pass", "\x01\x00"}, {connect, done}}, "", false},
		{"user alone", "ws://h.example/", "user", []step{{"\x05\x02\x00\x02", "\x05\x02"}, {"\x01\x04user\x00", "\x01\x00"}, {connect, done}}, "", false},

		{"wrong password", "ws://h.example/", "user:pass", []step{{"\x05\x02\x00\x02", "\x05\x02"}, {"\x01\x04user\x04pass", "\x01\x01"}}, "the proxy refused: wrong user or password", true},
		{"password wanted", "ws://h.example/", "", []step{{"\x05\x01\x00", "\x05\xff"}}, "the proxy refused: no acceptable authentication method", true},
		{"by its rules", "ws://h.example/", "", []step{noAuth, {connect, "\x05\x02"}}, "the proxy refused: connection not allowed by ruleset", true},
		{"nobody listens there", "ws://h.example/", "", []step{noAuth, {connect, "\x05\x05\x00\x01\x00\x00\x00\x00\x00\x00"}}, "the proxy refused: connection refused", true},
		{"the last known reply", "ws://h.example/", "", []step{noAuth, {connect, "\x05\x08"}}, "the proxy refused: address type not supported", true},
		{"an unknown reply", "ws://h.example/", "", []step{noAuth, {connect, "\x05\x09"}}, "the proxy refused: reply code 9", true},
		{"the last unknown reply", "ws://h.example/", "", []step{noAuth, {connect, "\x05\xff"}}, "the proxy refused: reply code 255", true},

		{"a method not offered", "ws://h.example/", "", []step{{"\x05\x01\x00", "\x05\x02"}}, "not offered", false},
		{"GSSAPI", "ws://h.example/", "user:pass", []step{{"\x05\x02\x00\x02", "\x05\x01"}}, "not offered", false},
		{"SOCKS 4", "ws://h.example/", "", []step{{"\x05\x01\x00", "\x00\x5b"}}, "does not speak SOCKS 5", false},
		{"HTTP", "ws://h.example/", "", []step{{"\x05\x01\x00", "HTTP/1.1 400 Bad Request\r\n"}}, "does not speak SOCKS 5", false},
		{"HTTP later", "ws://h.example/", "", []step{noAuth, {connect, "HTTP/1.1 400 Bad Request\r\n"}}, "does not speak SOCKS 5", false},
		{"bound to nonsense", "ws://h.example/", "", []step{noAuth, {connect, "\x05\x00\x00\x02\x00\x00\x00\x00"}}, "unknown type of address", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			proxy := startRaw(t, func(nc net.Conn) {
				for i, s := range test.steps {
					got := make([]byte, len(s.want))
					if _, err := io.ReadFull(nc, got); err != nil || string(got) != s.want {
						t.Errorf("step %d: the proxy got %q, %v; want %q", i, got, err, s.want)
					}
					if i == len(test.steps)-1 && test.cause == "" {
						s.answer += begin
					}
					io.WriteString(nc, s.answer)
				}
				if test.cause == "" {
					io.WriteString(nc, strings.ReplaceAll(strings.TrimPrefix(sampleAnswer, begin)+helloFrame, "KEY", AcceptKey(readKey(t, nc))))
				}
			})
			d := &Dialer{Proxy: http.ProxyURL(mustParse(t, "socks5://"+test.user+"@"+strings.TrimPrefix(proxy.url, "ws://")))}
			if test.user == "" {
				d.Proxy = through(t, "socks5h", proxy)
			}
			conn, resp, err := d.Dial(t.Context(), test.url)
			if test.cause == "" {
				if err != nil {
					t.Fatal(err)
				}
				defer conn.CloseNow()
				wantMessage(t, conn, OpText, "Hello")
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.cause) || resp != nil {
				t.Fatalf("response %v, error %v; want none and an error that mentions %q", resp, err, test.cause)
			}
			if refused, ok := errors.AsType[*HandshakeError](err); ok != test.refused || ok && refused.Status != 0 {
				t.Errorf("error %#v; that it is a *HandshakeError, with status 0, should be %v", err, test.refused)
			}
			proxy.wantClosed()
		})
	}

	t.Run("the end, at each place", func(t *testing.T) {
		whole := noAuth.answer + done
		for n := range len(whole) {
			proxy := startRaw(t, func(nc net.Conn) {
				io.ReadFull(nc, make([]byte, len(noAuth.want)))
				io.WriteString(nc, whole[:min(n, 2)])
				if n >= 2 {
					io.ReadFull(nc, make([]byte, len(connect)))
					io.WriteString(nc, whole[2:n])
				}
				nc.(*net.TCPConn).CloseWrite()
			})
			d := &Dialer{Proxy: through(t, "socks5", proxy)}
			if _, _, err := d.Dial(t.Context(), "ws://h.example/"); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "the proxy's answer") {
				t.Errorf("after %d bytes of %d: error %v, want io.ErrUnexpectedEOF and the proxy named", n, len(whole), err)
			}
		}
	})
}
