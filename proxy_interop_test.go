//go:build unix

package websocket

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startEcho starts a server that echoes, with TLS where there is a
// configuration.
func startEcho(t *testing.T, config *tls.Config) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := Upgrade(w, r)
		if err != nil {
			return
		}
		defer c.CloseNow()
		for op, buf, err := c.ReadMessage(nil); err == nil; op, buf, err = c.ReadMessage(buf[:0]) {
			c.WriteMessage(op, buf)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if server.TLS = config; config != nil {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server
}

// wantEcho dials, has messages echoed and closes.
func wantEcho(t *testing.T, d *Dialer, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), interopTimeout)
	defer cancel()
	c, _, err := d.Dial(ctx, url)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	defer c.CloseNow()
	for _, n := range []int{0, 100, 70_000, 1 << 20} {
		payload := sample(OpBinary, n)
		sent := make(chan error, 1)
		go func() { sent <- c.WriteMessage(OpBinary, payload) }()
		op, got, err := c.ReadMessage(nil)
		if err != nil || op != OpBinary || !bytes.Equal(got, payload) {
			t.Fatalf("%s: the echo of %d bytes is %d of %v, error %v", url, n, len(got), op, err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Close(); err != nil {
		t.Errorf("%s: Close: %v", url, err)
	}
}

// wantRefused dials and returns the refusal.
func wantRefused(t *testing.T, d *Dialer, url string) *HandshakeError {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), interopTimeout)
	defer cancel()
	_, _, err := d.Dial(ctx, url)
	refused, ok := errors.AsType[*HandshakeError](err)
	if !ok {
		t.Fatalf("%s: error %v, want a *HandshakeError", url, err)
	}
	return refused
}

// A testCA vouches for certificates.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newTestCA(t *testing.T) *testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ca := &testCA{key: key, pool: x509.NewCertPool()}
	ca.cert = ca.sign(t, &x509.Certificate{
		Subject:  pkix.Name{CommonName: "test authority"},
		KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}, key)
	ca.pool.AddCert(ca.cert)
	return ca
}

// sign completes a certificate.
func (ca *testCA) sign(t *testing.T, cert *x509.Certificate, key *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	cert.SerialNumber = big.NewInt(time.Now().UnixNano())
	cert.NotBefore, cert.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent := ca.cert
	if parent == nil {
		parent = cert
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return cert
}

// issue returns the certificate of a server called example.com or of a client.
func (ca *testCA) issue(t *testing.T) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := ca.sign(t, &x509.Certificate{
		Subject:     pkix.Name{CommonName: "example.com"},
		DNSNames:    []string{"example.com"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// writePEM writes the certificate and its key into server.pem, and that of the
// authority into ca.pem.
func (ca *testCA) writePEM(t *testing.T, dir string, cert tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate := func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	}
	server := append(certificate(cert.Certificate[0]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
	for name, data := range map[string][]byte{"server.pem": server, "ca.pem": certificate(ca.cert.Raw)} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// dialer returns a Dialer that knows the authority and finds example.com at
// addr.
func (ca *testCA) dialer(addr string) *Dialer {
	return &Dialer{
		TLSConfig: &tls.Config{RootCAs: ca.pool},
		NetDialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
}

// TestTLSClientCertificate has a server of net/http ask for a certificate.
func TestTLSClientCertificate(t *testing.T) {
	ca := newTestCA(t)
	server := startEcho(t, &tls.Config{
		Certificates: []tls.Certificate{ca.issue(t)},
		ClientCAs:    ca.pool,
		ClientAuth:   tls.RequireAndVerifyClientCert,
	})
	d := ca.dialer(server.Listener.Addr().String())
	_, _, err := d.Dial(t.Context(), "wss://example.com/")
	if _, ok := errors.AsType[tls.AlertError](err); !ok && !strings.Contains(fmt.Sprint(err), "certificate required") {
		t.Errorf("error %v without a certificate, want the alert that says that one is required", err)
	}
	d.TLSConfig.Certificates = []tls.Certificate{ca.issue(t)}
	wantEcho(t, d, "wss://example.com/")
}

// TestInteropTLSFronts puts nginx and HAProxy, with TLS and certificates on both
// sides, before an echo server. Both would speak HTTP/2 as well.
func TestInteropTLSFronts(t *testing.T) {
	leaveOutIfShort(t)
	for name, front := range map[string]func(t *testing.T, dir, upstream string) (addr string){
		"nginx": func(t *testing.T, dir, upstream string) string {
			return startNginx(t, lookForNginx(t), upstream, "ssl http2", fmt.Sprintf(`
				ssl_certificate %[1]s/server.pem;
				ssl_certificate_key %[1]s/server.pem;
				ssl_client_certificate %[1]s/ca.pem;
				ssl_verify_client on;`, dir))
		},
		"HAProxy": func(t *testing.T, dir, upstream string) string {
			return startHAProxy(t, dir, "http", "alpn h2,http/1.1 verify required ca-file "+dir+"/ca.pem", upstream)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := newTestCA(t)
			dir := t.TempDir()
			ca.writePEM(t, dir, ca.issue(t))
			d := ca.dialer(front(t, dir, startEcho(t, nil).Listener.Addr().String()))
			ctx, cancel := context.WithTimeout(t.Context(), interopTimeout)
			defer cancel()
			if _, _, err := d.Dial(ctx, "wss://example.com/"); err == nil || ctx.Err() != nil {
				t.Errorf("error %v without a certificate, want a refusal", err)
			}
			d.TLSConfig.Certificates = []tls.Certificate{ca.issue(t)}
			wantEcho(t, d, "wss://example.com/chat")
			_, _, err := d.Dial(ctx, "wss://other.example/")
			if _, ok := errors.AsType[x509.HostnameError](err); !ok {
				t.Errorf("error %v for another name, want an x509.HostnameError", err)
			}
			d.TLSConfig.RootCAs = x509.NewCertPool()
			_, _, err = d.Dial(ctx, "wss://example.com/")
			if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
				t.Errorf("error %v without the authority, want an x509.UnknownAuthorityError", err)
			}
		})
	}
}

// startHAProxy starts HAProxy with TLS before upstream. The certificate is
// server.pem in dir.
func startHAProxy(t *testing.T, dir, mode, bind, upstream string) (addr string) {
	t.Helper()
	haproxy := "/usr/sbin/haproxy" // where an ordinary user's PATH does not look
	if _, err := os.Stat(haproxy); err != nil {
		haproxy = lookFor(t, "haproxy", "apt-get install haproxy")
	}
	socket, addr := listening(t)
	config := filepath.Join(t.TempDir(), "haproxy.cfg")
	err := os.WriteFile(config, fmt.Appendf(nil, `
defaults
	mode %s
	timeout connect 10s
	timeout client 60s
	timeout server 60s
	timeout tunnel 60s
listen front
	bind fd@3 ssl crt %s/server.pem %s
	server upstream %s
`, mode, dir, bind, upstream), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(haproxy, "-db", "-f", config)
	cmd.ExtraFiles = []*os.File{socket} // file descriptor 3
	start(t, cmd)
	return addr
}

// startOn starts a program that is told its address. The system chooses it, and
// it is free when the program begins to listen, unless somebody is quicker.
func startOn(t *testing.T, command func(host, port string) *exec.Cmd) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr = ln.Addr().String()
	ln.Close()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, command(host, port))
	ctx, cancel := context.WithTimeout(t.Context(), interopTimeout)
	defer cancel()
	for {
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			nc.Close()
			return addr
		}
		if ctx.Err() != nil {
			t.Fatalf("%s never listens: %v", p.name, err)
		}
		select {
		case err := <-p.exited:
			t.Fatalf("%s has ended: %v\n%s", p.name, err, p.errors())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// proxied returns a Dialer that trusts ca and uses the proxy at addr.
func (ca *testCA) proxied(scheme, user, addr string) *Dialer {
	proxy := &url.URL{Scheme: scheme, Host: addr}
	if name, password, ok := strings.Cut(user, ":"); ok {
		proxy.User = url.UserPassword(name, password)
	}
	return &Dialer{Proxy: http.ProxyURL(proxy), TLSConfig: &tls.Config{RootCAs: ca.pool}}
}

// freeAddr returns an address where nobody listens.
func freeAddr(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// TestInteropTinyproxy goes through a CONNECT proxy that wants a password,
// plainly and by TLS, to servers with and without TLS.
func TestInteropTinyproxy(t *testing.T) {
	leaveOutIfShort(t)
	tinyproxy := lookFor(t, "tinyproxy", "apt-get install tinyproxy-bin")
	addr := startOn(t, func(host, port string) *exec.Cmd {
		config := filepath.Join(t.TempDir(), "tinyproxy.conf")
		err := os.WriteFile(config, fmt.Appendf(nil, "Listen %s\nPort %s\nTimeout 60\nMaxClients 20\nAllow %s\nBasicAuth user pass\n", host, port, host), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		return exec.Command(tinyproxy, "-d", "-c", config)
	})
	ca := newTestCA(t)
	plain := "ws://" + startEcho(t, nil).Listener.Addr().String()
	secure := "wss://" + startEcho(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t)}}).Listener.Addr().String()

	wantEcho(t, ca.proxied("http", "user:pass", addr), plain)
	wantEcho(t, ca.proxied("http", "user:pass", addr), secure)

	own := ca.proxied("http", "", addr)
	own.ProxyHeader = http.Header{"Proxy-Authorization": {"Basic dXNlcjpwYXNz"}}
	wantEcho(t, own, plain)

	for _, user := range []string{"", "user:wrong"} {
		refused := wantRefused(t, ca.proxied("http", user, addr), plain)
		if refused.Status/100 != 4 || !strings.Contains(refused.Error(), "the proxy answered with status 4") || len(refused.Body) == 0 || refused.Header.Get("Server") == "" {
			t.Errorf("as %q: %v with header %v and body %.100q; want what the proxy says", user, refused, refused.Header, refused.Body)
		}
	}
	refused := wantRefused(t, ca.proxied("http", "user:pass", addr), "ws://"+freeAddr(t))
	if refused.Status/100 != 5 || !strings.Contains(refused.Error(), "the proxy answered with status 5") {
		t.Errorf("to a port where nobody listens: %v, want the proxy's status 5xx", refused)
	}

	t.Run("by TLS", func(t *testing.T) {
		dir := t.TempDir()
		ca.writePEM(t, dir, ca.issue(t))
		front := startHAProxy(t, dir, "tcp", "", addr)
		wantEcho(t, ca.proxied("https", "user:pass", front), plain)
		wantEcho(t, ca.proxied("https", "user:pass", front), secure)
		if refused := wantRefused(t, ca.proxied("https", "user:wrong", front), secure); refused.Status/100 != 4 {
			t.Errorf("with a wrong password: %v, want the proxy's status 4xx", refused)
		}
	})
}

// TestInteropMicrosocks goes through a SOCKS proxy that wants a password.
func TestInteropMicrosocks(t *testing.T) {
	leaveOutIfShort(t)
	microsocks := lookFor(t, "microsocks", "apt-get install microsocks")
	addr := startOn(t, func(host, port string) *exec.Cmd {
		return exec.Command(microsocks, "-i", host, "-p", port, "-u", "user", "-P", "pass")
	})
	ca := newTestCA(t)
	plain := startEcho(t, nil).Listener.Addr().String()
	secure := "wss://" + startEcho(t, &tls.Config{Certificates: []tls.Certificate{ca.issue(t)}}).Listener.Addr().String()

	for _, scheme := range []string{"socks5", "socks5h"} {
		wantEcho(t, ca.proxied(scheme, "user:pass", addr), "ws://"+plain)
		wantEcho(t, ca.proxied(scheme, "user:pass", addr), "ws://"+strings.Replace(plain, "127.0.0.1", "localhost", 1))
		wantEcho(t, ca.proxied(scheme, "user:pass", addr), secure)
	}
	for user, want := range map[string]string{
		"":           "the proxy refused: no acceptable authentication method",
		"user:wrong": "the proxy refused: wrong user or password",
	} {
		if refused := wantRefused(t, ca.proxied("socks5", user, addr), "ws://"+plain); !strings.Contains(refused.Error(), want) {
			t.Errorf("as %q: %v, want %q", user, refused, want)
		}
	}
	if refused := wantRefused(t, ca.proxied("socks5", "user:pass", addr), "ws://"+freeAddr(t)); !strings.Contains(refused.Error(), "the proxy refused: ") {
		t.Errorf("to a port where nobody listens: %v, want the proxy's refusal", refused)
	}
}
