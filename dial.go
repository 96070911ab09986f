package websocket

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"
)

// This file is the client's side of the opening handshake (section 4.1): the
// Dialer, and the way from a URL to a Conn. The steps have files of their own:
//
//	request.go       what is sent, and where a redirect leads
//	connecting.go    one connection at a time to the same address
//	proxy.go         the tunnel through a proxy
//	answer.go        what comes back
//	dial_net.go      one attempt, from the connection to the answer
//	browser_js.go    the same, in a browser

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
	// is failed with ErrPeerSilent. It needs somebody to read, and a connection
	// below that has deadlines, and costs neither a goroutine nor a timer of its
	// own. Over TLS a record counts once all of it has come. 0 means no
	// keepalive.
	PingInterval time.Duration

	// PongTimeout is how long the peer may take to answer, which includes the
	// time that messages sent before the Ping take to get there. 0 means
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

	// Compression offers permessage-deflate (RFC 7692) to the server. Nil means
	// that it is not offered. A browser decides for itself, whatever it is.
	Compression *Compression

	// Header holds further fields of the request. Host replaces that of the
	// URL. The fields of the handshake itself, and those about the
	// connection or the length of a body, must not be among them. Without
	// User-Agent that of net/http is sent. Nil means no further fields.
	Header http.Header

	// MaxRedirects is how many redirects are followed: answers with status
	// 301, 302, 303, 307 or 308 and a Location whose scheme is ws, wss, http
	// or https. Whatever is behind the last is returned as a *HandshakeError.
	// None is followed from wss to ws. To another origin, that is another
	// scheme, host or port, goes neither the user of the URL nor Host,
	// Authorization, Proxy-Authorization or Cookie of Header, there and after
	// it. 0 means none.
	MaxRedirects int

	// Jar has the cookies of requests, and takes those of answers: of
	// refusals and redirects too. It is asked with the scheme http or https.
	// Nil means that there are no cookies but those in Header.
	Jar http.CookieJar

	// TLSConfig is for wss and https, and for a proxy with the scheme https.
	// It is cloned; ServerName is the host of the URL where it is empty, and
	// that of the proxy always; NextProtos is always http/1.1 alone, since the
	// handshake is one of HTTP/1.1. Nil means the zero Config.
	TLSConfig *tls.Config

	// Proxy returns the proxy for a request, or nil for none. The URL of the
	// request has the scheme http or https, for ws and wss. A proxy has one of
	// the schemes
	//
	//	http, https       the method CONNECT (RFC 9110, section 9.3.6), for ws
	//	                  as for wss; basic authentication
	//	socks5, socks5h   SOCKS version 5 (RFC 1928), which are the same: the
	//	                  proxy resolves the name; the user and password of
	//	                  RFC 1929
	//
	// A user and password in its URL are for the proxy. Nil means
	// http.ProxyFromEnvironment: HTTP_PROXY for ws, HTTPS_PROXY for wss, but
	// for what is in NO_PROXY, and never for localhost.
	Proxy func(*http.Request) (*url.URL, error)

	// ProxyHeader holds further fields of the CONNECT request to a proxy.
	// Without User-Agent that of net/http is sent. Nil means none.
	ProxyHeader http.Header

	// NetDialContext opens the connection below, to the host and port of the
	// server or of the proxy. It must return when the context ends. Nil means
	// that of the zero net.Dialer.
	NetDialContext func(ctx context.Context, network, addr string) (net.Conn, error)

	// ParallelDials waives the rule that a client has only one connection to
	// the same address in CONNECTING state, and others wait (section 4.1,
	// step 2). It counts for all Dialers of a program: for each IP address and
	// port; where a proxy or NetDialContext resolves the name, for each name
	// and port. A Dial waits at most until its context ends or
	// HandshakeTimeout has passed, and keeps others waiting no longer than
	// that.
	ParallelDials bool
}

const defaultHandshakeTimeout = 30 * time.Second

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
// Where the server's answer is not a valid one (section 4.1), or a proxy
// refuses, the error is a *[HandshakeError] and the response is returned too.
// Its body has been read, the first KiB of it is kept, and it needs no closing.
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
	for followed := 0; ; followed++ {
		c, resp, err := d.attempt(ctx, req)
		refused, _ := err.(*HandshakeError)
		// Only the server may send us elsewhere, and not a proxy before it.
		if refused == nil || resp == nil || resp.Request != req || !isRedirect(resp.StatusCode) || d.MaxRedirects <= 0 {
			return c, resp, err
		}
		next, nextReq, err := d.redirect(req, resp.Header["Location"])
		if followed == d.MaxRedirects {
			err = fmt.Errorf("it is redirect number %d", followed+1)
		}
		if err != nil {
			refused.Err = fmt.Errorf("%w, which was not followed: %w", refused.Err, err)
			return nil, resp, refused
		}
		d, req = next, nextReq
	}
}

// dialError returns err as Dial returns it.
func dialError(ctx context.Context, err error) error {
	if _, refused := err.(*HandshakeError); refused {
		return err
	}
	if ctx.Err() == nil {
		return fmt.Errorf("websocket: %w", err)
	}
	if waited, ok := errors.AsType[*waitError](err); ok {
		return fmt.Errorf("websocket: dial: %w: %w", waited, contextError(ctx))
	}
	return fmt.Errorf("websocket: dial: %w", contextError(ctx))
}

// contextError returns an error that Is both ctx.Err() and the context's cause.
func contextError(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// connect opens the connection below, to addr or to the proxy for it. The
// caller calls leave when the connection is not in CONNECTING state any more.
func (d *Dialer) connect(ctx context.Context, addr string, proxy *url.URL) (_ net.Conn, leave func(), err error) {
	if d.NetDialContext == nil && proxy == nil && !d.ParallelDials {
		return connectInTurn(ctx, addr)
	}
	leave = func() {}
	if !d.ParallelDials {
		// Which IP address this leads to is for others to know.
		if leave, err = connecting.enter(ctx, addr); err != nil {
			return nil, nil, err
		}
	}
	if proxy != nil {
		addr = proxyHostPort(proxy)
	}
	dial := d.NetDialContext
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := dial(ctx, "tcp", addr)
	if err == nil && nc == nil {
		err = errors.New("NetDialContext returned neither a connection nor an error")
	}
	if err != nil {
		leave()
		if proxy != nil {
			err = fmt.Errorf("connecting to the proxy: %w", err)
		}
		return nil, nil, err
	}
	return nc, leave, nil
}

// handshake makes over raw the tunnel, where there is a proxy, the TLS
// handshake, where the URL asks for it, and the opening handshake. It returns
// the connection to use, the answer, which for a *HandshakeError is there too,
// and the configuration of the Conn.
func (d *Dialer) handshake(ctx context.Context, raw net.Conn, proxy *url.URL, req *http.Request) (nc net.Conn, resp *http.Response, cfg connConfig, err error) {
	nc, cfg = raw, d.config()
	if proxy != nil {
		if nc, resp, err = d.tunnel(ctx, raw, proxy, hostPort(req.URL)); err != nil {
			return nil, resp, cfg, err
		}
	}
	if req.URL.Scheme == "https" {
		tc := tls.Client(nc, d.tlsConfig(req.URL.Hostname()))
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, nil, cfg, err
		}
		nc = tc
	}
	if err := writeRequest(nc, req); err != nil {
		return nil, nil, cfg, err
	}
	a := newAnswerReader(nc, "server")
	resp, err = a.read(req)
	if err != nil {
		return nil, nil, cfg, err
	}
	if d.Jar != nil {
		if cookies := resp.Cookies(); len(cookies) > 0 {
			d.Jar.SetCookies(cookieURL(req), cookies)
		}
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, resp, cfg, a.refusal(ctx, raw, resp)
	}
	agreed, err := d.checkAnswer(resp, req)
	if err != nil {
		return nil, resp, cfg, &HandshakeError{Status: resp.StatusCode, Header: resp.Header, Err: err}
	}
	cfg.subprotocol = agreed.subprotocol
	if agreed.deflate != nil {
		cfg.deflate = newMessageDeflate(d.Compression, *agreed.deflate, true)
	}
	cfg.early = a.rest()
	return nc, resp, cfg, nil
}

// writeRequest writes a request without a body in one piece.
func writeRequest(nc net.Conn, req *http.Request) error {
	var b bytes.Buffer
	if err := req.Write(&b); err != nil {
		return err
	}
	_, err := nc.Write(b.Bytes())
	return err
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
