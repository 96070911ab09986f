package websocket

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// startTLSUpgrades starts an HTTPS server that speaks HTTP/2 too and upgrades
// what it is sent, and returns a Dialer that trusts it, as it does its name
// example.com. Each ClientHello goes into hellos.
func startTLSUpgrades(t *testing.T) (d *Dialer, results <-chan upgradeResult, hellos chan *tls.ClientHelloInfo) {
	server, results := startUpgrades(t, Upgrade)
	hellos = make(chan *tls.ClientHelloInfo, 1)
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{
		NextProtos: []string{"h2", "http/1.1"},
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			hellos <- hello
			return nil, nil
		},
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	roots := server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return &Dialer{
		TLSConfig: &tls.Config{RootCAs: roots},
		NetDialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		},
	}, results, hellos
}

func TestDialTLS(t *testing.T) {
	d, results, hellos := startTLSUpgrades(t)
	d.TLSConfig.NextProtos = []string{"h2", "http/1.1"}
	conn, resp, err := d.Dial(t.Context(), "wss://example.com:8443/chat")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	result := <-results
	if result.err != nil {
		t.Fatal(result.err)
	}
	defer result.conn.CloseNow()

	hello := <-hellos
	if hello.ServerName != "example.com" {
		t.Errorf("the server saw the server name %q, want example.com", hello.ServerName)
	}
	if want := []string{"http/1.1"}; !slices.Equal(hello.SupportedProtos, want) {
		t.Errorf("the server was offered protocols %q, want %q", hello.SupportedProtos, want)
	}
	if cfg := d.TLSConfig; cfg.ServerName != "" || !slices.Equal(cfg.NextProtos, []string{"h2", "http/1.1"}) {
		t.Errorf("Dial changed TLSConfig to server name %q and protocols %q", cfg.ServerName, cfg.NextProtos)
	}
	if tc, ok := conn.NetConn().(*tls.Conn); !ok || tc.ConnectionState().NegotiatedProtocol != "http/1.1" {
		t.Errorf("the connection below is %T, want TLS with http/1.1", conn.NetConn())
	}
	if got := resp.Request.URL.String(); got != "https://example.com:8443/chat" {
		t.Errorf("the request went to %q", got)
	}

	go conn.WriteMessage(OpText, []byte("Hello"))
	wantMessage(t, result.conn, OpText, "Hello")
	go result.conn.WriteMessage(OpBinary, []byte("back"))
	wantMessage(t, conn, OpBinary, "back")
}

// TestDialTLSEarlyBytes receives a frame in the TLS record of the handshake.
func TestDialTLSEarlyBytes(t *testing.T) {
	cert, roots := testCertificate(t)
	server := startRaw(t, func(nc net.Conn) {
		tc := tls.Server(nc, &tls.Config{Certificates: []tls.Certificate{cert}})
		answer(t, sampleAnswer+helloFrame)(tc)
		tc.CloseWrite()
	})
	d := &Dialer{TLSConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}
	conn, _, err := d.Dial(t.Context(), strings.Replace(server.url, "ws", "wss", 1))
	if err != nil {
		t.Fatal(err)
	}
	wantMessage(t, conn, OpText, "Hello")
	conn.CloseNow()
	server.wantClosed()
}

// testCertificate returns the certificate that net/http/httptest uses.
func testCertificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	server, _ := startUpgrades(t, Upgrade)
	server.StartTLS()
	return server.TLS.Certificates[0], server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
}

// TestDialServerName checks the name that TLS expects the server to have.
func TestDialServerName(t *testing.T) {
	for _, test := range []struct {
		url  string
		own  *tls.Config
		want string
	}{
		{"wss://a.example/", nil, "a.example"},
		{"wss://a.example:8443/", &tls.Config{}, "a.example"},
		{"wss://[2001:db8::1]:8443/", nil, "2001:db8::1"},
		{"wss://a.example/", &tls.Config{ServerName: "b.example"}, "b.example"},
	} {
		d := &Dialer{TLSConfig: test.own, Header: http.Header{"Host": {"c.example"}}}
		req, err := d.newRequest(test.url, sampleKey)
		if err != nil {
			t.Fatal(err)
		}
		if got := d.tlsConfig(req.URL.Hostname()).ServerName; got != test.want {
			t.Errorf("the server name for %s is %q, want %q", test.url, got, test.want)
		}
	}
}

// TestDialCertificateErrors checks that what is wrong with a certificate stays
// reachable.
func TestDialCertificateErrors(t *testing.T) {
	d, _, hellos := startTLSUpgrades(t)
	_, _, err := d.Dial(t.Context(), "wss://other.invalid/")
	if _, ok := errors.AsType[x509.HostnameError](err); !ok || !strings.HasPrefix(err.Error(), "websocket: tls: ") {
		t.Errorf("error %v for a wrong name, want an x509.HostnameError", err)
	}
	<-hellos

	d.TLSConfig.RootCAs = x509.NewCertPool()
	_, _, err = d.Dial(t.Context(), "wss://example.com/")
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		t.Errorf("error %v for a server nobody vouches for, want an x509.UnknownAuthorityError", err)
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok {
		t.Errorf("error %v for a server nobody vouches for, want a *tls.CertificateVerificationError", err)
	}
	<-hellos
}

// TestDialTLSToPlainServer speaks TLS to a server that does not.
func TestDialTLSToPlainServer(t *testing.T) {
	server := startRaw(t, func(nc net.Conn) {
		nc.Read(make([]byte, 1)) // the request has begun
		io.WriteString(nc, "HTTP/1.1 400 Bad Request\r\n\r\n")
	})
	_, _, err := Dial(t.Context(), strings.Replace(server.url, "ws", "wss", 1))
	if _, ok := errors.AsType[tls.RecordHeaderError](err); !ok {
		t.Errorf("error %v, want a tls.RecordHeaderError", err)
	}
	server.wantClosed()
}
