package websocket

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file is the client's side of the opening handshake (section 4.1): the
// Dialer and its I/O, then, as pure functions, the request that is sent and
// the check of the answer.

// A Dialer makes connections to servers. The zero value is ready for use; the
// fields must not be changed while a Dial is in progress. Any number of
// goroutines may use one Dialer.
type Dialer struct {
	// ReadLimit is the length in bytes of the longest message that is read;
	// a longer one fails the connection with StatusMessageTooBig. 0 means
	// 1 MiB, -1 no limit. SetReadLimit changes it for one connection.
	ReadLimit int64

	// WriteTimeout bounds the time that writing to a peer that does not read
	// may take; after it the connection is broken. 0 means no bound.
	WriteTimeout time.Duration

	// CloseTimeout bounds the closing handshake. 0 means 5 seconds.
	CloseTimeout time.Duration

	// PingInterval turns keepalive on: a Ping goes out after that long without
	// input, and where PongTimeout later nothing has come at all the connection
	// is failed with ErrPeerSilent. It needs somebody to read, and costs neither
	// a goroutine nor a timer of its own. 0 means no keepalive.
	PingInterval time.Duration

	// PongTimeout is how long the peer may take to answer. 0 means
	// PingInterval.
	PongTimeout time.Duration

	// MaxQueued bounds the bytes that may wait to be sent when Enqueue adds a
	// message. 0 means 1 MiB.
	MaxQueued int64

	// Logger gets a record for each connection opened, closed or failed and
	// each handshake that failed:
	//
	//	websocket opened    Info  role, remote, subprotocol
	//	websocket closed    Info  role, remote, duration, sent, received,
	//	                          closeSent, closeReceived
	//	websocket failed    Warn  the same, and error
	//	websocket refused   Warn  role, remote, status, error
	//
	// sent and received count messages; the status codes are 0 where there
	// was no Close frame. Nil means silence.
	Logger *slog.Logger

	// HandshakeTimeout bounds the time from the call of Dial to its return,
	// in addition to the context. 0 means 30 seconds, a negative value no
	// bound.
	HandshakeTimeout time.Duration

	// Subprotocols are those that the server is asked for, in the client's
	// order of preference (section 1.9): tokens, each once. Nil means none.
	Subprotocols []string

	// Header holds further fields of the request. Host replaces that of the
	// URL. The fields of the handshake itself, and those about the
	// connection or the length of a body, must not be among them. Without
	// User-Agent that of net/http is sent. Nil means no further fields.
	Header http.Header

	// TLSConfig is for wss and https. It is cloned; ServerName is the host
	// of the URL where it is empty, and NextProtos is always http/1.1 alone,
	// since the handshake is one of HTTP/1.1. Nil means the zero Config.
	TLSConfig *tls.Config

	// NetDialContext opens the connection below, to a host and port. It must
	// return when the context ends. Nil means that of the zero net.Dialer.
	NetDialContext func(ctx context.Context, network, addr string) (net.Conn, error)
}

const (
	defaultHandshakeTimeout = 30 * time.Second

	// maxAnswer bounds the header of a server's answer, in bytes, together
	// with all interim responses before it.
	maxAnswer = 64 << 10

	// maxInterim bounds the number of responses up to the final one: those
	// with a status 1xx other than 101 are skipped (RFC 9110, section 15.2).
	maxInterim = 8

	// maxKeptBody is how much is kept of the body of a refusal, in bytes.
	maxKeptBody = 1 << 10

	// refusalBodyTimeout bounds the wait for it: the status is known, and a
	// server that promises a body and sends none must not hold it back.
	refusalBodyTimeout = 3 * time.Second
)

// Dial connects with the zero [Dialer].
func Dial(ctx context.Context, url string) (*Conn, *http.Response, error) {
	return new(Dialer).Dial(ctx, url)
}

// Client returns the client's end of a connection whose opening handshake has
// been made elsewhere, without a subprotocol and without extensions.
func (d *Dialer) Client(nc net.Conn) *Conn {
	c := newConn(nc, d.config())
	c.logOpened()
	return c
}

func (d *Dialer) config() connConfig {
	return connConfig{
		client:       true,
		readLimit:    d.ReadLimit,
		writeTimeout: d.WriteTimeout,
		closeTimeout: d.CloseTimeout,
		pingInterval: d.PingInterval,
		pongTimeout:  d.PongTimeout,
		maxQueued:    d.MaxQueued,
		logger:       d.Logger,
	}
}

// Dial connects to a URL with the scheme ws or wss; http and https mean the
// same. A user and password in it are sent as basic authentication, unless
// Header has an Authorization.
//
// The context covers all of Dial and nothing after it. When it ends, Dial
// returns at once with an error that Is the context's error and its cause.
//
// Where the server's answer is not a valid one (section 4.1), the error is a
// *[HandshakeError] and the response is returned too. Its body has been read,
// the first KiB of it is kept, and it needs no closing.
func (d *Dialer) Dial(ctx context.Context, url string) (*Conn, *http.Response, error) {
	c, resp, err := d.dial(ctx, url)
	if err != nil {
		logRefused(d.Logger, "client", "", err)
		return nil, resp, err
	}
	c.logOpened()
	return c, resp, nil
}

func (d *Dialer) dial(ctx context.Context, url string) (*Conn, *http.Response, error) {
	req, err := d.newRequest(url, newKey())
	if err != nil {
		return nil, nil, fmt.Errorf("websocket: %w", err)
	}
	timeout := d.HandshakeTimeout
	if timeout == 0 {
		timeout = defaultHandshakeTimeout
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, timeout,
			fmt.Errorf("no handshake within %v: %w", timeout, context.DeadlineExceeded))
		defer cancel()
	}

	raw, err := d.connect(ctx, hostPort(req.URL))
	if err != nil {
		return nil, nil, dialError(ctx, err)
	}
	// The end of the context closes the connection: that stops any read or
	// write on it, with deadlines or without.
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	nc, resp, early, err := d.handshake(ctx, raw, req)
	if !stop() && err == nil {
		resp, err = nil, ctx.Err() // too late: raw has been closed or is about to be
	}
	if err != nil {
		raw.Close() // not nc: closing TLS may wait for its alert to go out
		return nil, resp, dialError(ctx, err)
	}
	cfg := d.config()
	cfg.subprotocol = resp.Header.Get("Sec-Websocket-Protocol")
	cfg.early = early
	return newConn(nc, cfg), resp, nil
}

// dialError returns err as Dial returns it.
func dialError(ctx context.Context, err error) error {
	if _, refused := err.(*HandshakeError); refused {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("websocket: dial: %w", contextError(ctx))
	}
	return fmt.Errorf("websocket: %w", err)
}

// contextError returns an error that Is both ctx.Err() and the context's cause.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// connect opens the connection below.
func (d *Dialer) connect(ctx context.Context, addr string) (net.Conn, error) {
	dial := d.NetDialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := dial(ctx, "tcp", addr)
	if err == nil && nc == nil {
		err = errors.New("NetDialContext returned neither a connection nor an error")
	}
	return nc, err
}

// handshake makes the TLS handshake, where the URL asks for it, and the
// opening handshake over raw. It returns the connection to use, the answer,
// which for a *HandshakeError is there too, and the bytes that came after it.
func (d *Dialer) handshake(ctx context.Context, raw net.Conn, req *http.Request) (net.Conn, *http.Response, []byte, error) {
	nc := raw
	if req.URL.Scheme == "https" {
		tc := tls.Client(raw, d.tlsConfig(req.URL.Hostname()))
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, nil, nil, err
		}
		nc = tc
	}

	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		return nil, nil, nil, err
	}
	if _, err := nc.Write(b.Bytes()); err != nil { // all of it at once
		return nil, nil, nil, err
	}

	limited := &io.LimitedReader{R: nc, N: maxAnswer}
	br := bufio.NewReader(limited)
	resp, err := readAnswer(br, req)
	if err != nil {
		if limited.N <= 0 {
			err = fmt.Errorf("header of more than %d bytes", maxAnswer)
		}
		return nil, nil, nil, fmt.Errorf("reading the server's answer: %w", err)
	}
	refused := &HandshakeError{Status: resp.StatusCode, Header: resp.Header}
	if resp.StatusCode == http.StatusSwitchingProtocols {
		if refused.Err = checkAnswer(resp, req); refused.Err != nil {
			return nil, resp, nil, refused
		}
		early, _ := br.Peek(br.Buffered())
		return nc, resp, early, nil
	}

	limited.N = maxAnswer // enough for a KiB, however it is chunked
	timer := time.AfterFunc(refusalBodyTimeout, func() { raw.Close() })
	refused.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxKeptBody))
	timer.Stop()
	resp.Body = io.NopCloser(bytes.NewReader(refused.Body))
	refused.Err = fmt.Errorf("the server answered with status %d (%s)", resp.StatusCode, http.StatusText(resp.StatusCode))
	if err != nil && ctx.Err() != nil {
		refused.Err = fmt.Errorf("%w and did not send all of its body: %w", refused.Err, contextError(ctx))
	}
	return nil, resp, nil, refused
}

// readAnswer returns the final response.
func readAnswer(br *bufio.Reader, req *http.Request) (*http.Response, error) {
	for range maxInterim {
		resp, err := http.ReadResponse(br, req)
		if err != nil {
			// net/http repeats a malformed line, of whatever length.
			if text := err.Error(); len(text) > 200 {
				err = errors.New(text[:200] + "...")
			}
			return nil, err
		}
		if resp.StatusCode == http.StatusSwitchingProtocols || resp.StatusCode/100 != 1 {
			return resp, nil
		}
	}
	return nil, fmt.Errorf("%d interim responses", maxInterim)
}

// tlsConfig returns the configuration for a server of the given name, with
// its Server Name Indication (4.1, step 5).
func (d *Dialer) tlsConfig(host string) *tls.Config {
	cfg := d.TLSConfig.Clone()
	if cfg == nil {
		cfg = new(tls.Config)
	}
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	cfg.NextProtos = []string{"http/1.1"}
	return cfg
}

// newKey returns a nonce for Sec-WebSocket-Key (4.1, step 7 of the request).
func newKey() string {
	var nonce [16]byte
	rand.Read(nonce[:])
	return base64.StdEncoding.EncodeToString(nonce[:])
}

// newRequest returns the client's opening handshake. Its URL has the scheme
// http or https and no user.
func (d *Dialer) newRequest(rawURL, key string) (*http.Request, error) {
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	req := &http.Request{
		Method: http.MethodGet,
		URL:    u,
		Host:   u.Host,
		// The names are spelled as the RFC does, for servers that do not
		// know that letter case means nothing.
		Header: http.Header{
			"Upgrade":               {"websocket"},
			"Connection":            {"Upgrade"},
			"Sec-WebSocket-Key":     {key},
			"Sec-WebSocket-Version": {"13"},
		},
	}
	for i, p := range d.Subprotocols {
		if !isToken(p) || slices.Contains(d.Subprotocols[:i], p) {
			return nil, fmt.Errorf("subprotocol %q is not a token or stands twice", p)
		}
	}
	if len(d.Subprotocols) > 0 {
		req.Header["Sec-WebSocket-Protocol"] = []string{strings.Join(d.Subprotocols, ", ")}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		req.SetBasicAuth(u.User.Username(), password)
		u.User = nil
	}
	for name, values := range d.Header {
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case isHandshakeField(canonical) || isConnectionField(canonical):
			return nil, fmt.Errorf("header field %s is for Dial to set", name)
		case canonical == "Host":
			if len(values) != 1 || !isHost(values[0]) {
				return nil, errors.New("header field Host must be one host with or without a port")
			}
			req.Host = values[0]
			continue
		case canonical == "Authorization":
			req.Header.Del("Authorization")
		}
		if err := checkField(name, values); err != nil {
			return nil, err
		}
		req.Header[name] = slices.Clone(values)
	}
	return req, nil
}

// parseURL parses a WebSocket URI (section 3) and returns it in the terms of
// HTTP: with the scheme http or https, and with a port only where it is not
// the default one, as in Host (4.1, step 4 of the request). No error repeats
// what may be a password.
func parseURL(raw string) (*url.URL, error) {
	if strings.Contains(raw, "#") {
		return nil, errors.New("URL with a fragment, which a WebSocket URL must not have")
	}
	u, err := url.Parse(raw)
	if err != nil {
		if strings.Contains(raw, "@") {
			err = errors.New("malformed URL")
		}
		return nil, err
	}
	switch u.Scheme {
	case "ws", "http":
		u.Scheme = "http"
	case "wss", "https":
		u.Scheme = "https"
	default:
		return nil, errors.New("URL scheme must be ws, wss, http or https")
	}
	if u.Hostname() == "" {
		return nil, errors.New("URL without a host")
	}
	if !isHost(u.Host) {
		return nil, errors.New("URL with a host that is not ASCII or has bytes no host has")
	}
	if port := u.Port(); port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return nil, errors.New("URL with a port above 65535")
		}
	}
	if port := u.Port(); port == "" || port == defaultPorts[u.Scheme] {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	u.ForceQuery = false // "?" belongs to the resource name with a query only
	for _, c := range []byte(u.RequestURI()) {
		if c <= ' ' || c >= 0x7F {
			return nil, errors.New("URL with a query that is not percent-encoded")
		}
	}
	return u, nil
}

// hostPort returns where to connect to.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = defaultPorts[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// checkAnswer returns what is wrong with a 101 (4.1, steps 2 to 6 of the
// answer).
func checkAnswer(resp *http.Response, req *http.Request) error {
	h := resp.Header
	accepts, protocols := h["Sec-Websocket-Accept"], h["Sec-Websocket-Protocol"]
	switch {
	case !resp.ProtoAtLeast(1, 1):
		return errors.New("the answer is not HTTP/1.1")
	case len(h["Upgrade"]) != 1 || !equalFold(h["Upgrade"][0], "websocket"):
		return errors.New("Upgrade in the answer is not websocket")
	case !listHas(h["Connection"], "Upgrade"):
		return errors.New("Connection in the answer does not list Upgrade")
	case len(accepts) != 1 || strings.Trim(accepts[0], " \t") != AcceptKey(req.Header["Sec-WebSocket-Key"][0]):
		return errors.New("Sec-WebSocket-Accept in the answer does not match the key")
	case len(h["Sec-Websocket-Extensions"]) > 0:
		return errors.New("the server uses an extension that was not asked for")
	case len(protocols) > 1:
		return errors.New("the server chose more than one subprotocol")
	case len(protocols) == 1 && !slices.Contains(slices.Collect(listElements(req.Header["Sec-WebSocket-Protocol"])), protocols[0]):
		return errors.New("the server chose a subprotocol that was not asked for")
	}
	return nil
}
