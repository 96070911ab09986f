package websocket

import (
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// TestOrigin sends handshakes with the given Host and Origin to a server that
// allows the given origins besides its own.
func TestOrigin(t *testing.T) {
	const overTLS = true
	for _, test := range []struct {
		name    string
		host    string
		origins []string // header lines
		tls     bool
		allowed []string
		want    bool
	}{
		{"no Origin: not a browser", "a.example", nil, false, nil, true},
		{"own", "a.example", []string{"http://a.example"}, false, nil, true},
		{"own, port", "a.example:8080", []string{"http://a.example:8080"}, false, nil, true},
		{"own, letter case", "A.example", []string{"HTTP://a.EXAMPLE"}, false, nil, true},
		{"own, default port in Host", "a.example:80", []string{"http://a.example"}, false, nil, true},
		{"own, default port in Origin", "a.example", []string{"http://a.example:80"}, false, nil, true},
		{"own, behind a proxy that ends TLS", "a.example", []string{"https://a.example"}, false, nil, true},
		{"own, such a proxy and default port", "a.example:443", []string{"https://a.example"}, false, nil, true},
		{"own, IPv6", "[::1]:8080", []string{"http://[::1]:8080"}, false, nil, true},
		{"own, IPv6, default port", "[2001:DB8::1]", []string{"http://[2001:db8::1]:80"}, false, nil, true},
		{"own, TLS", "a.example", []string{"https://a.example"}, overTLS, nil, true},
		{"own, TLS, default port", "a.example:443", []string{"https://a.example"}, overTLS, nil, true},

		{"other host", "a.example", []string{"http://b.example"}, false, nil, false},
		{"subdomain", "a.example", []string{"http://x.a.example"}, false, nil, false},
		{"parent domain", "x.a.example", []string{"http://a.example"}, false, nil, false},
		{"host as a prefix", "a.example", []string{"http://a.example.evil.example"}, false, nil, false},
		{"host as a user", "a.example", []string{"http://a.example@evil.example"}, false, nil, false},
		{"with a user", "a.example", []string{"http://evil@a.example"}, false, nil, false},
		{"other port", "a.example:8080", []string{"http://a.example:8081"}, false, nil, false},
		{"port missing", "a.example:8080", []string{"http://a.example"}, false, nil, false},
		{"default port of the other scheme", "a.example:80", []string{"https://a.example"}, false, nil, false},
		{"TLS but http", "a.example", []string{"http://a.example"}, overTLS, nil, false},
		{"TLS but http with port 443", "a.example:443", []string{"http://a.example:443"}, overTLS, nil, false},
		{"scheme of an extension", "a.example", []string{"chrome-extension://a.example"}, false, nil, false},
		{"scheme ws", "a.example", []string{"ws://a.example"}, false, nil, false},
		{"IPv6 with other port", "[::1]:8080", []string{"http://[::1]:8081"}, false, nil, false},
		{"IPv6 without brackets", "[::1]:80", []string{"http://::1"}, false, nil, false},
		{"twice", "a.example", []string{"http://a.example", "http://a.example"}, false, nil, false},
		{"twice in one line", "a.example", []string{"http://a.example http://a.example"}, false, nil, false},
		{"empty", "a.example", []string{""}, false, nil, false},
		{"null", "a.example", []string{"null"}, false, nil, false},
		{"null as the host", "null", []string{"null"}, false, nil, false},
		{"bare host", "a.example", []string{"a.example"}, false, nil, false},
		{"no host", "a.example", []string{"http://"}, false, nil, false},
		{"path", "a.example", []string{"http://a.example/"}, false, nil, false},
		{"query", "a.example", []string{"http://a.example?"}, false, nil, false},
		{"fragment", "a.example", []string{"http://a.example#"}, false, nil, false},
		{"letters that only Unicode folds", "kk.example", []string{"http://\u212a\u212a.example"}, false, nil, false},

		{"allowed", "a.example", []string{"https://b.example"}, false, []string{"https://b.example"}, true},
		{"allowed, among others", "a.example", []string{"https://c.example"}, false, []string{"null", "https://b.example", "https://c.example"}, true},
		{"allowed, letter case", "a.example", []string{"https://b.example"}, false, []string{"HTTPS://B.Example"}, true},
		{"allowed, default port left out", "a.example", []string{"https://b.example"}, false, []string{"https://b.example:443"}, true},
		{"allowed, port", "a.example", []string{"https://b.example:8443"}, false, []string{"https://b.example:8443"}, true},
		{"allowed, http to TLS", "a.example", []string{"http://b.example"}, overTLS, []string{"http://b.example"}, true},
		{"allowed, IPv6", "a.example", []string{"http://[::1]:8080"}, false, []string{"http://[::1]:8080"}, true},
		{"allowed, extension", "a.example", []string{"chrome-extension://abc"}, false, []string{"chrome-extension://abc"}, true},
		{"allowed, null", "a.example", []string{"null"}, false, []string{"null"}, true},
		{"own besides the allowed", "a.example", []string{"http://a.example"}, false, []string{"https://b.example"}, true},
		{"other than allowed: host", "a.example", []string{"https://c.example"}, false, []string{"https://b.example"}, false},
		{"other than allowed: subdomain", "a.example", []string{"https://x.b.example"}, false, []string{"https://b.example"}, false},
		{"other than allowed: scheme", "a.example", []string{"http://b.example"}, false, []string{"https://b.example"}, false},
		{"other than allowed: scheme, same port", "a.example", []string{"http://b.example:443"}, false, []string{"https://b.example"}, false},
		{"other than allowed: port", "a.example", []string{"https://b.example:8443"}, false, []string{"https://b.example"}, false},
		{"other than allowed: not null", "a.example", []string{"https://null"}, false, []string{"null"}, false},
		{"allowed but twice", "a.example", []string{"https://b.example", "https://b.example"}, false, []string{"https://b.example"}, false},

		{"wildcard", "a.example", []string{"https://x.b.example"}, false, []string{"https://*.b.example"}, true},
		{"wildcard, deep", "a.example", []string{"https://x.y.z.b.example"}, false, []string{"https://*.b.example"}, true},
		{"wildcard, letter case", "a.example", []string{"https://X.B.example"}, false, []string{"https://*.b.EXAMPLE"}, true},
		{"wildcard, port", "a.example", []string{"https://x.b.example:1"}, false, []string{"https://*.b.example:1"}, true},
		{"wildcard, bare domain", "a.example", []string{"https://b.example"}, false, []string{"https://*.b.example"}, false},
		{"wildcard, only a dot before", "a.example", []string{"https://.b.example"}, false, []string{"https://*.b.example"}, false},
		{"wildcard, no dot before", "a.example", []string{"https://evilb.example"}, false, []string{"https://*.b.example"}, false},
		{"wildcard, as a prefix", "a.example", []string{"https://x.b.example.evil.example"}, false, []string{"https://*.b.example"}, false},
		{"wildcard, other scheme", "a.example", []string{"http://x.b.example"}, false, []string{"https://*.b.example"}, false},
		{"wildcard, other scheme, same port", "a.example", []string{"http://x.b.example:443"}, false, []string{"https://*.b.example"}, false},
		{"wildcard, other port", "a.example", []string{"https://x.b.example:8443"}, false, []string{"https://*.b.example"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			u := &Upgrader{AllowedOrigins: test.allowed}
			resp, result := sendOrigin(t, u, test.host, test.origins, test.tls)
			wantOriginAllowed(t, resp, result, test.want)
		})
	}
}

// sendOrigin sends a handshake with these header fields to u.
func sendOrigin(t *testing.T, u *Upgrader, host string, origins []string, overTLS bool) (*http.Response, upgradeResult) {
	t.Helper()
	server, results := startUpgrades(t, u.Upgrade)
	start := server.Start
	if overTLS {
		start = server.StartTLS
	}
	start()
	c := dialRaw(t, server.Listener.Addr().String())
	if overTLS {
		cfg := server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		cfg.ServerName = "example.com" // as in the test server's certificate
		c.Conn = tls.Client(c.Conn, cfg)
		c.br.Reset(c.Conn)
	}
	lines := "Host: " + host + "\r\n"
	for _, origin := range origins {
		lines += "Origin: " + origin + "\r\n"
	}
	resp := c.send(t, editRequest(t, "Host: server.example.com\r\n", lines))
	result := <-results
	if result.conn != nil {
		result.conn.CloseNow()
	}
	return resp, result
}

func wantOriginAllowed(t *testing.T, resp *http.Response, result upgradeResult, want bool) {
	t.Helper()
	if want {
		if resp.StatusCode != 101 || result.err != nil {
			t.Errorf("status %d and error %v, want the origin to be allowed", resp.StatusCode, result.err)
		}
		return
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var refused *HandshakeError
	if resp.StatusCode != 403 || !errors.As(result.err, &refused) || refused.Status != 403 {
		t.Errorf("status %d and error %v, want the origin to be refused with 403", resp.StatusCode, result.err)
	}
	if string(body) != "Origin is not allowed\n" {
		t.Errorf("body %q, want a fixed text", body)
	}
}

// TestOriginPattern sets entries of AllowedOrigins that mean nothing. No
// request passes, not even one without Origin, so that this shows at once.
func TestOriginPattern(t *testing.T) {
	for _, pattern := range []string{
		"", "*", "b.example", "*.b.example", "//b.example", "https:b.example", "https://", "https://*", "https://*.",
		"https://x.*.example", "https://x*.example", "https://*.*.example", "https://b.example/", "https://b.example?",
		"https://user@b.example", "https://b.example:port", "https://b.example:*", "https://b\u00fc.example", "file://",
	} {
		t.Run(pattern, func(t *testing.T) {
			u := &Upgrader{AllowedOrigins: []string{"https://c.example", pattern}}
			resp, result := sendOrigin(t, u, "a.example", nil, false)
			wantInternalError(t, resp, result, "AllowedOrigins: ")
			if result.err != nil && !strings.Contains(result.err.Error(), pattern) {
				t.Errorf("error %v, want it to name the entry %q", result.err, pattern)
			}
		})
	}
}

// TestCheckOrigin sets a check of its own, which replaces the whole other one.
func TestCheckOrigin(t *testing.T) {
	for _, want := range []bool{true, false} {
		for _, origins := range [][]string{nil, {"http://a.example"}, {"http://b.example"}, {"null", "http://c.example"}} {
			u := &Upgrader{
				AllowedOrigins: []string{"no pattern at all"},
				CheckOrigin: func(r *http.Request) bool {
					if got := r.Header["Origin"]; !slices.Equal(got, origins) {
						t.Errorf("CheckOrigin sees Origin %q, want %q", got, origins)
					}
					return want
				},
			}
			resp, result := sendOrigin(t, u, "a.example", origins, false)
			wantOriginAllowed(t, resp, result, want)
		}
	}
}

// FuzzOrigin compares hosts with themselves and with others.
func FuzzOrigin(f *testing.F) {
	f.Add("http://a.example", "a.example:80")
	f.Add("https://[::1]:8443", "[::1]:8443")
	f.Add("null", "null")
	f.Fuzz(func(t *testing.T, value, host string) {
		o, ok := parseOrigin(value)
		if !ok {
			return
		}
		if scheme, rest, found := strings.Cut(value, "://"); found && o != opaqueOrigin {
			if (o.scheme == "http" || o.scheme == "https") && !o.sameAs(rest, o.scheme == "https") {
				t.Errorf("%q is not the origin of its own host", value)
			}
			if o.sameAs(host, false) && !strings.EqualFold(scheme, "http") && !strings.EqualFold(scheme, "https") {
				t.Errorf("%q passes for a page of host %q", value, host)
			}
		}
		if p, err := parseOriginPattern(value); err == nil && !strings.HasPrefix(p.host, "*") && !p.matches(o) {
			t.Errorf("as a pattern, %q does not match itself", value)
		}
	})
}

// TestOriginUpgradeRecorder checks that a refusal needs no connection.
func TestOriginUpgradeRecorder(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://a.example/", nil)
	r.Header = http.Header{
		"Upgrade": {"websocket"}, "Connection": {"Upgrade"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {sampleKey}, "Origin": {"http://b.example"},
	}
	w := httptest.NewRecorder()
	if _, err := Upgrade(w, r); err == nil || w.Code != 403 || !strings.Contains(err.Error(), `origin "http://b.example" is not allowed`) {
		t.Errorf("status %d and error %v, want 403 and an error that names the origin", w.Code, err)
	}
}
