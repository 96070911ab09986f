package websocket

import (
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func mustParse(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestRedirectTarget checks where a redirect leads, and that it does not lead
// where it must not.
func TestRedirectTarget(t *testing.T) {
	for _, test := range []struct{ from, location, want string }{
		{"ws://h.example/a/b?c", "/d", "http://h.example/d"},
		{"ws://h.example/a/b?c", "d?e", "http://h.example/a/d?e"},
		{"ws://h.example/a/b?c", "", "http://h.example/a/b?c"},
		{"ws://h.example/a", "//i.example:8080/", "http://i.example:8080/"},
		{"ws://h.example/a", "ws://i.example:80/", "http://i.example/"},
		{"ws://h.example/a", "wss://h.example/", "https://h.example/"},
		{"ws://h.example/a", "http://h.example/#part", "http://h.example/"},
		{"ws://h.example/a", "HTTPS://h.example/", "https://h.example/"},
		{"wss://h.example/a", "wss://h.example:443/", "https://h.example/"},
		{"wss://h.example/a", "https://i.example/", "https://i.example/"},
		{"wss://h.example/a", "//i.example/", "https://i.example/"},

		{"wss://h.example/a", "ws://h.example/", "error: not secure"},
		{"wss://h.example/a", "http://h.example/", "error: not secure"},
		{"ws://h.example/a", "ftp://h.example/", "error: scheme"},
		{"ws://h.example/a", "javascript:1", "error: scheme"},
		{"ws://h.example/a", "ws://user:secret@h.example/", "error: user"},
		{"ws://h.example/a", "ws://user@h.example/", "error: user"},
		{"ws://h.example/a", "ws:///b", "error: host"},
		{"ws://h.example/a", "ws://h.example:port/", "error: not a URL"},
		{"ws://h.example/a", "ws://h.example/\x01secret", "error: not a URL"},
	} {
		req, err := new(Dialer).newRequest(test.from, sampleKey)
		if err != nil {
			t.Fatal(err)
		}
		_, next, err := new(Dialer).redirect(req, []string{test.location})
		if cause, wantErr := strings.CutPrefix(test.want, "error: "); wantErr {
			if err == nil || !strings.Contains(err.Error(), cause) || strings.Contains(err.Error(), "secret") {
				t.Errorf("from %s to %q: error %v, want one that mentions %q", test.from, test.location, err, cause)
			}
			continue
		}
		if err != nil {
			t.Errorf("from %s to %q: %v", test.from, test.location, err)
			continue
		}
		if got := next.URL.String(); got != test.want || next.Host != next.URL.Host {
			t.Errorf("from %s to %q: leads to %s with Host %s, want %s", test.from, test.location, got, next.Host, test.want)
		}
		if key := next.Header["Sec-WebSocket-Key"][0]; !validKey(key) || key == sampleKey {
			t.Errorf("key %q, want a new one", key)
		}
	}
	req, err := new(Dialer).newRequest("ws://h.example/", sampleKey)
	if err != nil {
		t.Fatal(err)
	}
	for _, location := range [][]string{nil, {"/a", "/b"}} {
		if _, _, err := new(Dialer).redirect(req, location); err == nil {
			t.Errorf("Location %q was followed, want an error", location)
		}
	}
}

// TestRedirectCredentials follows redirects within an origin, to another one
// and back, and looks at what each request has.
func TestRedirectCredentials(t *testing.T) {
	const from = "ws://user:pass@h.example/"
	const basic = "Basic dXNlcjpwYXNz"
	own := http.Header{
		"Host": {"own.example"}, "cookie": {"a=b", "c=d"}, "Proxy-Authorization": {"x"},
		"X-Own": {"y"}, "Origin": {"http://o.example"},
	}
	for _, test := range []struct {
		name      string
		locations []string
		kept      bool
	}{
		{"no redirect", nil, true},
		{"the same origin", []string{"/b", "http://H.example:80/c", "ws://h.example/d"}, true},
		{"another host", []string{"ws://i.example/"}, false},
		{"another host, as long", []string{"ws://xh.example/"}, false},
		{"a subdomain", []string{"ws://a.h.example/"}, false},
		{"another port", []string{"ws://h.example:81/"}, false},
		{"another scheme", []string{"wss://h.example/"}, false},
		{"another scheme on the same port", []string{"wss://h.example:80/"}, false},
		{"there and back", []string{"ws://i.example/", "ws://h.example/"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := &Dialer{Header: own.Clone(), Subprotocols: []string{"chat"}}
			req, err := d.newRequest(from, sampleKey)
			if err != nil {
				t.Fatal(err)
			}
			first := d
			for _, location := range test.locations {
				if d, req, err = d.redirect(req, []string{location}); err != nil {
					t.Fatal(err)
				}
			}
			var b strings.Builder
			if err := req.Write(&b); err != nil {
				t.Fatal(err)
			}
			text := b.String()
			for _, line := range []string{
				"Host: own.example\r\n", "Authorization: " + basic + "\r\n",
				"Cookie: a=b; c=d\r\n", "Proxy-Authorization: x\r\n",
			} {
				if has := strings.Contains(text, "\r\n"+line); has != test.kept {
					t.Errorf("the request has %q: %v, want %v", line, has, test.kept)
				}
			}
			for _, line := range []string{"X-Own: y\r\n", "Origin: http://o.example\r\n", "Sec-WebSocket-Protocol: chat\r\n", "Sec-WebSocket-Version: 13\r\n"} {
				if strings.Count(text, line) != 1 {
					t.Errorf("the request does not have %q once:\n%s", line, text)
				}
			}
			if len(first.Header) != len(own) {
				t.Errorf("the caller's Header is now %v", first.Header)
			}
		})
	}
}

// startRedirects starts a server: /N leads to /N-1 with the given status, /0
// accepts, /loop leads to itself. Each path that is asked for goes into paths.
func startRedirects(t *testing.T, status int) (server *httptest.Server, paths chan string) {
	paths = make(chan string, 100)
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		paths <- r.URL.Path
		switch r.URL.Path {
		case "/0":
			if c, err := Upgrade(w, r); err == nil {
				c.CloseNow()
			}
		case "/loop":
			w.Header().Set("Location", "/loop")
			w.WriteHeader(status)
		default:
			w.Header().Set("Location", string(r.URL.Path[1]-1))
			w.WriteHeader(status)
			io.WriteString(w, "elsewhere")
		}
	}))
	t.Cleanup(server.Close)
	return server, paths
}

func TestDialRedirects(t *testing.T) {
	for _, test := range []struct {
		name         string
		status, max  int
		path         string
		requests     int
		refusedCause string
	}{
		{"one", 301, 1, "/1", 2, ""},
		{"three", 302, 3, "/3", 4, ""},
		{"fewer than allowed", 303, 10, "/2", 3, ""},
		{"307", 307, 1, "/1", 2, ""},
		{"308", 308, 1, "/1", 2, ""},
		{"none allowed", 302, 0, "/1", 1, "status 302 (Found)"},
		{"a negative number allowed", 302, -1, "/1", 1, "status 302 (Found)"},
		{"one more than allowed", 302, 2, "/3", 3, "status 302 (Found), which was not followed: it is redirect number 3"},
		{"a loop", 302, 10, "/loop", 11, "it is redirect number 11"},
		{"300 is none", 300, 10, "/1", 1, "status 300"},
		{"304 is none", 304, 10, "/1", 1, "status 304"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, paths := startRedirects(t, test.status)
			d := &Dialer{MaxRedirects: test.max}
			conn, resp, err := d.Dial(t.Context(), server.URL+test.path)
			if n := len(paths); n != test.requests {
				t.Errorf("the server got %d requests, want %d", n, test.requests)
			}
			if test.refusedCause == "" {
				if err != nil {
					t.Fatal(err)
				}
				conn.CloseNow()
				if resp.Request.URL.Path != "/0" {
					t.Errorf("the response is to %v, want the last request", resp.Request.URL)
				}
				return
			}
			refused, ok := errors.AsType[*HandshakeError](err)
			if !ok || refused.Status != test.status || !strings.Contains(err.Error(), test.refusedCause) || resp == nil || resp.StatusCode != test.status {
				t.Errorf("error %v, want a *HandshakeError with status %d that mentions %q", err, test.status, test.refusedCause)
			}
		})
	}

	t.Run("from wss to ws", func(t *testing.T) {
		plain, paths := startRedirects(t, 302)
		secure := httptest.NewTLSServer(http.RedirectHandler(plain.URL+"/0", 302))
		defer secure.Close()
		d := &Dialer{MaxRedirects: 10, TLSConfig: secure.Client().Transport.(*http.Transport).TLSClientConfig}
		_, _, err := d.Dial(t.Context(), secure.URL)
		if _, ok := errors.AsType[*HandshakeError](err); !ok || !strings.Contains(err.Error(), "not secure") || len(paths) != 0 {
			t.Errorf("error %v after %d requests without TLS, want a *HandshakeError and none", err, len(paths))
		}
	})

	t.Run("from ws to wss", func(t *testing.T) {
		secure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c, err := Upgrade(w, r); err == nil {
				c.CloseNow()
			}
		}))
		defer secure.Close()
		plain := httptest.NewServer(http.RedirectHandler(strings.Replace(secure.URL, "https", "wss", 1), 308))
		defer plain.Close()
		d := &Dialer{MaxRedirects: 1, TLSConfig: secure.Client().Transport.(*http.Transport).TLSClientConfig}
		conn, _, err := d.Dial(t.Context(), plain.URL)
		if err != nil {
			t.Fatal(err)
		}
		conn.CloseNow()
	})
}

// TestDialJar follows cookies through refusals, redirects and an accepted
// handshake.
func TestDialJar(t *testing.T) {
	requests := make(chan []string, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests <- r.Header["Cookie"]
		name := strings.Trim(r.URL.Path, "/")
		http.SetCookie(w, &http.Cookie{Name: name, Value: "1", Path: "/"})
		switch name {
		case "refusal":
			w.WriteHeader(http.StatusForbidden)
		case "redirect":
			http.Redirect(w, r, "/accepted", http.StatusFound)
		default:
			if c, err := Upgrade(w, r); err == nil {
				c.CloseNow()
			}
		}
	}))
	defer server.Close()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	d := &Dialer{Jar: jar, MaxRedirects: 1, Header: http.Header{"cookie": {"own=1", "own=2"}}}
	for _, test := range []struct {
		path string
		want []string // Cookie of each request
	}{
		{"/refusal", []string{"own=1; own=2"}},
		{"/redirect", []string{"own=1; own=2; refusal=1", "own=1; own=2; refusal=1; redirect=1"}},
		{"/accepted", []string{"own=1; own=2; refusal=1; redirect=1; accepted=1"}},
	} {
		if conn, _, err := d.Dial(t.Context(), strings.Replace(server.URL, "http", "ws", 1)+test.path); err == nil {
			conn.CloseNow()
		}
		for _, want := range test.want {
			if got := <-requests; !slices.Equal(got, []string{want}) {
				t.Errorf("a request for %s or after it has Cookie %q, want %q once", test.path, got, want)
			}
		}
	}

	// Cookies belong to the name that the request is for.
	d.Header = http.Header{"Host": {"own.example"}}
	if conn, _, err := d.Dial(t.Context(), server.URL+"/named"); err == nil {
		conn.CloseNow()
	}
	if got := <-requests; len(got) > 0 {
		t.Errorf("the request to own.example has Cookie %q of another host", got)
	}
	if got := jar.Cookies(mustParse(t, "http://own.example/")); len(got) != 1 || got[0].Name != "named" {
		t.Errorf("the jar has %v for own.example, want the cookie that it has set", got)
	}
}

// TestDialJarSecure keeps a cookie that is for TLS only from a server without.
func TestDialJarSecure(t *testing.T) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	jar.SetCookies(mustParse(t, "https://h.example/"), []*http.Cookie{{Name: "s", Value: "1", Secure: true}, {Name: "a", Value: "1"}})
	d := &Dialer{Jar: jar}
	for url, want := range map[string]string{"ws://h.example/": "a=1", "wss://h.example/": "s=1; a=1", "ws://i.example/": ""} {
		req, err := d.newRequest(url, sampleKey)
		if err != nil {
			t.Fatal(err)
		}
		if got := req.Header.Get("Cookie"); got != want {
			t.Errorf("the request for %s has Cookie %q, want %q", url, got, want)
		}
	}
}

// TestDialHeaderFields reads answers with very many header fields.
func TestDialHeaderFields(t *testing.T) {
	for _, test := range []struct {
		name   string
		fields int // beside the three of the sample
		field  string
		fine   bool
	}{
		{"as many as allowed", maxFields - 3, "X: y\r\n", true},
		{"one more", maxFields - 2, "X: y\r\n", false},
		{"thousands", 10_000, "X: y\r\n", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := strings.Replace(sampleAnswer, "\r\n\r\n", "\r\n"+strings.Repeat(test.field, test.fields)+"\r\n", 1)
			server := startRaw(t, answer(t, text))
			conn, _, err := Dial(t.Context(), server.url)
			switch {
			case test.fine && err != nil:
				t.Error(err)
			case test.fine:
				conn.CloseNow()
			case err == nil || !strings.Contains(err.Error(), "header of more than 256 fields"):
				t.Errorf("error %v, want one about the number of fields", err)
			}
			server.wantClosed()
		})
	}
}
