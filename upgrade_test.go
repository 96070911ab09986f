package websocket

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A writeRecorder is a connection that keeps what is written to it.
type writeRecorder struct {
	net.Conn
	mu     sync.Mutex
	writes [][]byte
}

func (c *writeRecorder) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes = append(c.writes, slices.Clone(p))
	return c.Conn.Write(p)
}

// wantOneWrite checks that the first write is the whole header of a message
// that begins with prefix.
func (c *writeRecorder) wantOneWrite(t *testing.T, prefix string) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.writes) == 0 {
		t.Fatal("nothing has been written")
	}
	first := string(c.writes[0])
	if !strings.HasPrefix(first, prefix) || strings.Index(first, "\r\n\r\n") != len(first)-4 {
		t.Errorf("the first of %d writes is %q, want one from %q to the empty line", len(c.writes), first, prefix)
	}
}

// An unwrapper is a ResponseWriter as middleware makes one.
type unwrapper struct{ http.ResponseWriter }

func (w unwrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// An opaqueWriter is one that keeps the connection out of reach.
type opaqueWriter struct{ http.ResponseWriter }

// A hijacker hands out a connection that the test can change before, and look
// at after.
type hijacker struct {
	http.ResponseWriter
	hijack func() (net.Conn, *bufio.ReadWriter, error)
}

func (w hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) { return w.hijack() }

func TestUpgradeBehindWrappers(t *testing.T) {
	server, results := startUpgrades(t, func(w http.ResponseWriter, r *http.Request) (*Conn, error) {
		return Upgrade(unwrapper{unwrapper{w}}, r)
	})
	server.Start()
	c := dialRaw(t, server.Listener.Addr().String())
	resp := c.send(t, sampleRequest)
	wantAccepted(t, c, resp, <-results)
}

// wantInternalError checks that the client gets status 500 and a text that
// says nothing, and the caller an error that mentions cause.
func wantInternalError(t *testing.T, resp *http.Response, result upgradeResult, cause string) {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 500 || string(body) != "Internal Server Error\n" {
		t.Errorf("status %d, body %q, want 500 and no details", resp.StatusCode, body)
	}
	var refused *HandshakeError
	if !errors.As(result.err, &refused) || refused.Status != 500 || !strings.Contains(result.err.Error(), cause) {
		t.Errorf("error %v, want a *HandshakeError with status 500 that mentions %q", result.err, cause)
	}
}

func TestUpgradeWithoutHijacker(t *testing.T) {
	server, results := startUpgrades(t, func(w http.ResponseWriter, r *http.Request) (*Conn, error) {
		return Upgrade(unwrapper{opaqueWriter{w}}, r)
	})
	server.Start()
	c := dialRaw(t, server.Listener.Addr().String())
	resp := c.send(t, sampleRequest)
	result := <-results
	wantInternalError(t, resp, result, "hijacking a websocket.unwrapper")
	if !errors.Is(result.err, http.ErrNotSupported) {
		t.Errorf("error %v, want one that Is http.ErrNotSupported", result.err)
	}
}

func TestUpgradeTwice(t *testing.T) {
	server, results := startUpgrades(t, func(w http.ResponseWriter, r *http.Request) (*Conn, error) {
		conn, err := Upgrade(w, r)
		if err != nil {
			return nil, err
		}
		_, err = Upgrade(w, r)
		if _, answered := errors.AsType[*HandshakeError](err); answered || !errors.Is(err, http.ErrHijacked) {
			t.Errorf("a second Upgrade returned %v, want http.ErrHijacked without an answer", err)
		}
		return conn, nil
	})
	server.Start()
	c := dialRaw(t, server.Listener.Addr().String())
	resp := c.send(t, sampleRequest)
	wantAccepted(t, c, resp, <-results)
}

// TestUpgradeHeader sets header fields on the ResponseWriter before Upgrade.
func TestUpgradeHeader(t *testing.T) {
	server, results := startUpgrades(t, func(w http.ResponseWriter, r *http.Request) (*Conn, error) {
		h := w.Header()
		h.Add("Set-Cookie", "a=1")
		h.Add("Set-Cookie", "b=2")
		h["X-Text"] = []string{"tab\tand \xfc"}
		h["X-None"] = nil
		for _, name := range []string{"Connection", "Upgrade", "Keep-Alive", "connection", "Content-Length", "Transfer-Encoding", "Trailer"} {
			h[name] = []string{"17"}
		}
		return Upgrade(w, r)
	})
	server.Start()
	c := dialRaw(t, server.Listener.Addr().String())
	resp := c.send(t, sampleRequest)
	wantAccepted(t, c, resp, <-results) // Connection and Upgrade once, and right
	want := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Accept": {sampleAccept},
		"Set-Cookie": {"a=1", "b=2"}, "X-Text": {"tab\tand \xfc"},
	}
	var got, wanted bytes.Buffer
	resp.Header.Write(&got)
	want.Write(&wanted)
	if got.String() != wanted.String() {
		t.Errorf("the response has the header\n%s\nwant\n%s", &got, &wanted)
	}
}

// TestUpgradeHeaderRefused sets header fields that must not be written.
func TestUpgradeHeaderRefused(t *testing.T) {
	for _, test := range []struct{ name, value, cause string }{
		{"X-Split", "a\r\nX-Injected: 1", "X-Split"},
		{"X-Split", "a\nX-Injected: 1", "X-Split"},
		{"X-Split", "a\rX-Injected: 1", "X-Split"},
		{"X-Split", "a\x00X-Injected", "X-Split"},
		{"X-Split", "X-Injected\x7f", "X-Split"},
		{"X-Split\r\nX-Injected", "1", "X-Split"},
		{"X-Split X-Injected", "1", "X-Split"},
		{"X-Split:X-Injected", "1", "X-Split"},
		{"", "X-Injected", `""`},
		{"Sec-WebSocket-Protocol", "X-Injected", "Sec-WebSocket-Protocol"},
		{"Sec-Websocket-Accept", "X-Injected", "Sec-Websocket-Accept"},
		{"sec-websocket-extensions", "X-Injected", "sec-websocket-extensions"},
	} {
		t.Run(fmt.Sprintf("%q %q", test.name, test.value), func(t *testing.T) {
			server, results := startUpgrades(t, func(w http.ResponseWriter, r *http.Request) (*Conn, error) {
				w.Header()[test.name] = []string{"fine", test.value}
				return Upgrade(w, r)
			})
			server.Start()
			c := dialRaw(t, server.Listener.Addr().String())
			resp := c.send(t, sampleRequest)
			var header bytes.Buffer
			resp.Header.Write(&header)
			if strings.Contains(header.String(), "X-Injected") {
				t.Errorf("the answer has %q, which must not be written", &header)
			}
			wantInternalError(t, resp, <-results, test.cause)
		})
	}
}

// TestUpgradeOneWrite counts the writes of the handshake.
func TestUpgradeOneWrite(t *testing.T) {
	var recorder *writeRecorder
	server, results := startUpgrades(t, func(w http.ResponseWriter, r *http.Request) (*Conn, error) {
		w.Header().Set("X-Large", strings.Repeat("x", 10_000)) // than any buffer
		return Upgrade(hijacker{w, func() (net.Conn, *bufio.ReadWriter, error) {
			nc, brw, err := w.(http.Hijacker).Hijack()
			recorder = &writeRecorder{Conn: nc}
			return recorder, brw, err
		}}, r)
	})
	server.Start()
	c := dialRaw(t, server.Listener.Addr().String())
	resp := c.send(t, sampleRequest)
	wantAccepted(t, c, resp, <-results)
	recorder.wantOneWrite(t, "HTTP/1.1 101 Switching Protocols\r\n")
}

// TestUpgradeEarlyBytes sends frames in the same packet as the handshake: some
// that net/http has read with it, and more than its buffer holds.
func TestUpgradeEarlyBytes(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789"), 1000)
	frame := FrameHeader{Fin: true, Opcode: OpBinary, Masked: true, Length: int64(len(long))}.Append(nil)
	frame = append(frame, long...)
	for _, test := range []struct {
		name, early string
		read        func(*testing.T, *Conn)
	}{
		{"two messages", maskedHello + maskedHello, func(t *testing.T, c *Conn) {
			wantMessage(t, c, OpText, "Hello")
			wantMessage(t, c, OpText, "Hello")
		}},
		{"a part of one", maskedHello[:3], func(t *testing.T, c *Conn) {}},
		{"a long one", string(frame), func(t *testing.T, c *Conn) { wantMessage(t, c, OpBinary, string(long)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, results := startUpgrades(t, Upgrade)
			server.Start()
			c := dialRaw(t, server.Listener.Addr().String())
			resp := c.send(t, sampleRequest+test.early)
			result := <-results
			if resp.StatusCode != 101 || result.err != nil {
				t.Fatalf("status %d and error %v, want the request to be accepted", resp.StatusCode, result.err)
			}
			defer result.conn.CloseNow()
			test.read(t, result.conn)
			rest := maskedHello
			if test.early == maskedHello[:3] {
				rest = maskedHello[3:]
			}
			if _, err := io.WriteString(c, rest); err != nil {
				t.Fatal(err)
			}
			wantMessage(t, result.conn, OpText, "Hello")
		})
	}
}

// TestUpgradeEmptiesBuffers looks at net/http's buffers after Upgrade.
func TestUpgradeEmptiesBuffers(t *testing.T) {
	var buffers *bufio.ReadWriter
	server, results := startUpgrades(t, func(w http.ResponseWriter, r *http.Request) (*Conn, error) {
		return Upgrade(hijacker{w, func() (net.Conn, *bufio.ReadWriter, error) {
			nc, brw, err := w.(http.Hijacker).Hijack()
			if brw.Reader.Size() == 0 || brw.Writer.Size() == 0 {
				t.Error("net/http has no buffers to empty")
			}
			buffers = brw
			return nc, brw, err
		}}, r)
	})
	server.Start()
	c := dialRaw(t, server.Listener.Addr().String())
	resp := c.send(t, sampleRequest+maskedHello)
	result := <-results
	if n, m := buffers.Reader.Size(), buffers.Writer.Size(); n != 0 || m != 0 {
		t.Errorf("the handler's frame holds buffers of %d and %d bytes, want none", n, m)
	}
	if result.err == nil {
		wantMessage(t, result.conn, OpText, "Hello")
	}
	wantAccepted(t, c, resp, result)
}

// TestUpgradeClearsDeadlines hijacks a connection whose deadlines are over, as
// those of an HTTP server's timeouts may be.
func TestUpgradeClearsDeadlines(t *testing.T) {
	server, results := startUpgrades(t, func(w http.ResponseWriter, r *http.Request) (*Conn, error) {
		return Upgrade(hijacker{w, func() (net.Conn, *bufio.ReadWriter, error) {
			nc, brw, err := w.(http.Hijacker).Hijack()
			if err := nc.SetDeadline(time.Unix(1, 0)); err != nil {
				t.Error(err)
			}
			return nc, brw, err
		}}, r)
	})
	server.Start()
	c := dialRaw(t, server.Listener.Addr().String())
	resp := c.send(t, sampleRequest)
	wantAccepted(t, c, resp, <-results)
}

// upgradeOver upgrades the sample request as if it had come over nc.
func upgradeOver(nc net.Conn) (*Conn, error) {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(sampleRequest)))
	if err != nil {
		return nil, err
	}
	w := hijacker{httptest.NewRecorder(), func() (net.Conn, *bufio.ReadWriter, error) {
		return nc, bufio.NewReadWriter(bufio.NewReader(nc), bufio.NewWriter(nc)), nil
	}}
	return Upgrade(w, r)
}

// TestUpgradeWriteDeadline answers a client that never reads.
func TestUpgradeWriteDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		conn, err := upgradeOver(ours)
		if conn != nil || !errors.Is(err, os.ErrDeadlineExceeded) || !strings.HasPrefix(err.Error(), "websocket: ") {
			t.Errorf("Upgrade returned %v and %v, want no Conn and an error that Is os.ErrDeadlineExceeded", conn, err)
		}
		if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the client's read returned %v, want io.EOF: the connection is closed", err)
		}
	})
}

// TestUpgradeWriteDeadlineTLS answers a client that never reads, over TLS. The
// connection is dropped without waiting for the client to read an alert.
func TestUpgradeWriteDeadlineTLS(t *testing.T) {
	cert, roots := testCertificate(t)
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		server := tls.Server(ours, &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true})
		client := tls.Client(peer, &tls.Config{RootCAs: roots, ServerName: "example.com"})
		go client.Handshake()
		if err := server.Handshake(); err != nil {
			t.Fatal(err)
		}
		late := time.After(upgradeTimeout + time.Nanosecond)
		if conn, err := upgradeOver(server); conn != nil || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("Upgrade returned %v and %v, want no Conn and an error that Is os.ErrDeadlineExceeded", conn, err)
		}
		select {
		case <-late:
			t.Error("Upgrade returned later than the bound of its write")
		default:
		}
		if _, err := peer.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the client's read returned %v, want io.EOF: the connection is closed", err)
		}
	})
}

// TestUpgradeLeavesNoDeadline waits longer than the 101 may take.
func TestUpgradeLeavesNoDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, peer := net.Pipe()
		defer peer.Close()
		go func() {
			if _, err := http.ReadResponse(bufio.NewReader(peer), nil); err != nil {
				t.Error(err)
			}
		}()
		conn, err := upgradeOver(ours)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.CloseNow()
		<-time.After(2 * upgradeTimeout)
		go io.WriteString(peer, maskedHello)
		wantMessage(t, conn, OpText, "Hello")
		go io.Copy(io.Discard, peer)
		if err := conn.WriteMessage(OpText, []byte("Hello")); err != nil {
			t.Errorf("writing long after the handshake: %v", err)
		}
	})
}

// TestServer makes a Conn of a connection whose handshake is somebody else's.
func TestServer(t *testing.T) {
	ours, peer := net.Pipe()
	conn := new(Upgrader).Server(ours)
	defer conn.CloseNow()
	defer peer.Close()
	go io.WriteString(peer, maskedHello)
	wantMessage(t, conn, OpText, "Hello")
	if got := conn.Subprotocol(); got != "" {
		t.Errorf("Subprotocol() = %q, want none", got)
	}
}
