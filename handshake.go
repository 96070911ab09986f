package websocket

import (
	"bufio"
	"crypto/fips140"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// This file begins with the accept key and subprotocols, as pure functions. The
// Upgrader follows, first its checks, which read a request and write nothing,
// then its I/O. Header fields are in header.go and extension.go.

// acceptGUID is what section 1.3 appends to a Sec-WebSocket-Key.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// AcceptKey returns the Sec-WebSocket-Accept that answers the given
// Sec-WebSocket-Key (section 4.2.2, step 5.4).
func AcceptKey(key string) string {
	b := append(make([]byte, 0, 64), key...)
	b = append(b, acceptGUID...)
	var sum [sha1.Size]byte
	// The hash shows that the server speaks WebSocket and protects nothing
	// (10.8), so it is no concern of a process confined to FIPS 140.
	fips140.WithoutEnforcement(func() { sum = sha1.Sum(b) })
	return base64.StdEncoding.EncodeToString(sum[:])
}

// validKey reports whether key is the base64 of 16 bytes (4.2.1, step 5). What
// is in the four bits of padding does not matter: they are not zero in the
// example of section 4.1.
func validKey(key string) bool {
	const encoded = 24
	if len(key) != encoded {
		return false
	}
	var b [encoded / 4 * 3]byte
	n, err := base64.StdEncoding.Decode(b[:], []byte(key))
	return err == nil && n == 16
}

// parseSubprotocols returns what a client asks for in Sec-WebSocket-Protocol.
// ok is false where it is not a list of one or more tokens or one of them
// stands twice (4.1, step 10 of the request).
func parseSubprotocols(lines []string) (protocols []string, ok bool) {
	for p := range listElements(lines) {
		if !isToken(p) {
			return nil, false
		}
		protocols = append(protocols, p)
	}
	different := slices.Clone(protocols)
	slices.Sort(different)
	different = slices.Compact(different)
	return protocols, len(different) == len(protocols) && (len(lines) == 0 || len(protocols) > 0)
}

// chooseSubprotocol returns the first of supported that was offered, or "".
func chooseSubprotocol(supported, offered []string) string {
	for _, p := range supported {
		if slices.Contains(offered, p) {
			return p
		}
	}
	return ""
}

// An Upgrader is the server's side of the opening handshake (section 4.2). The
// zero value is ready for use; the fields must not be changed while an Upgrade
// is in progress. Any number of goroutines may use one Upgrader.
type Upgrader struct {
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
	// each handshake refused:
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

	// Subprotocols are those that the server speaks, in its order of
	// preference: the first that the client asks for too is chosen
	// (section 1.9). Nil means none.
	Subprotocols []string

	// Compression turns on permessage-deflate (RFC 7692) for clients that
	// offer it. Nil means that it is declined.
	Compression *Compression

	// AllowedOrigins are the origins whose pages may connect, besides the
	// server's own: "https://app.example.com"; "https://*.example.com" for
	// the subdomains of example.com, however deep, but not example.com
	// itself; "null" for pages without an origin, such as one opened from a
	// file. Scheme, host and port must all match, in any letter case; the
	// port may be left out where it is the default one. With an entry that
	// is none of these every Upgrade is refused. Nil means that only the
	// server's own pages may connect: those whose Origin has the host and
	// port of the request, and the scheme https where the request came over
	// TLS.
	//
	// A request without Origin does not come from a browser and is accepted
	// (section 10.2).
	AllowedOrigins []string

	// CheckOrigin replaces the whole check above: it reports whether the
	// request may be upgraded, whatever its Origin. Nil means the check
	// described at AllowedOrigins.
	CheckOrigin func(r *http.Request) bool

	tracker   tracker
	untracked bool // nobody can call Shutdown
}

// Upgrade upgrades a request with the zero [Upgrader].
func Upgrade(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	return (&Upgrader{untracked: true}).Upgrade(w, r)
}

// Server returns the server's end of a connection whose opening handshake has
// been made elsewhere, without a subprotocol and without extensions. After
// Shutdown it is closed already.
func (u *Upgrader) Server(nc net.Conn) *Conn {
	entered := u.tracker.enter()
	if entered {
		defer u.tracker.leave()
	}
	c := newConn(nc, u.config())
	if !entered || !u.tracker.add(c) {
		c.refuse()
		logRefused(u.Logger, "server", c.remote(), errShutDown)
		return c
	}
	c.logOpened()
	return c
}

// refuse drops a connection that is not to be.
func (c *Conn) refuse() {
	c.journal = nil // it was never opened
	c.CloseNow()
}

func (u *Upgrader) config() connConfig {
	return connConfig{
		readLimit:    u.ReadLimit,
		writeTimeout: u.WriteTimeout,
		closeTimeout: u.CloseTimeout,
		pingInterval: u.PingInterval,
		pongTimeout:  u.PongTimeout,
		maxQueued:    u.MaxQueued,
		logger:       u.Logger,
	}
}

// upgradeTimeout bounds the writing of the 101.
const upgradeTimeout = 10 * time.Second

// Upgrade answers an opening handshake and takes the connection over from
// net/http; w must be an [http.Hijacker] or unwrap to one, as
// [http.ResponseController] describes. On success the handler may return and
// leave the Conn to others.
//
// A request that is not a valid opening handshake (section 4.2.1) or whose
// origin is not allowed gets an HTTP answer with a fixed text, and Upgrade
// returns a *[HandshakeError] that says more; the handler has nothing left to
// write then.
//
// Header fields set on w before go into the 101 response. Those about the
// connection or the length of a body, such as Connection and Content-Length,
// are left out. A name that begins with Sec-WebSocket-, or a field that is not
// valid, such as a value with a line break, is the program's mistake: the
// client gets status 500.
func (u *Upgrader) Upgrade(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	c, err := u.upgrade(w, r)
	if err != nil {
		logRefused(u.Logger, "server", r.RemoteAddr, err)
		return nil, err
	}
	return c, nil
}

func (u *Upgrader) upgrade(w http.ResponseWriter, r *http.Request) (*Conn, error) {
	agreed, refused := u.check(r)
	if refused != nil {
		return nil, refused.write(w)
	}
	answer := getWriteBuffer()
	defer putWriteBuffer(answer)
	if err := answer.appendAnswer(r.Header.Get("Sec-Websocket-Key"), agreed, w.Header()); err != nil {
		clear(w.Header()) // the field that may not be written is one of these
		return nil, internalError(err).write(w)
	}
	if !u.tracker.enter() {
		return nil, refusal(http.StatusServiceUnavailable, "the server is shutting down").write(w)
	}
	defer u.tracker.leave()

	nc, brw, err := http.NewResponseController(w).Hijack()
	if errors.Is(err, http.ErrHijacked) {
		return nil, fmt.Errorf("websocket: %w", err) // nobody is left to answer
	}
	if err != nil {
		return nil, internalError(fmt.Errorf("hijacking a %T: %w", w, err)).write(w)
	}
	return u.open(nc, takeEarly(brw), agreed, answer)
}

// open sends the answer and returns the connection that begins with it. All
// deadlines of the HTTP server are taken from nc.
func (u *Upgrader) open(nc net.Conn, early []byte, agreed agreement, answer *buffer) (*Conn, error) {
	nc.SetDeadline(time.Time{})
	cfg := u.config()
	cfg.early = early
	cfg.subprotocol = agreed.subprotocol
	if agreed.deflate != nil {
		cfg.deflate = newMessageDeflate(u.Compression, *agreed.deflate, false)
	}
	c := newConn(nc, cfg)
	if err := c.writeAnswer(answer); err != nil {
		c.refuse()
		return nil, fmt.Errorf("websocket: %w", err)
	}
	if !u.untracked && !u.tracker.add(c) {
		c.refuse()
		return nil, errShutDown
	}
	c.logOpened() // before leave, and thus before Shutdown closes it
	return c, nil
}

// An agreement is what an opening handshake has settled beside the connection
// itself.
type agreement struct {
	subprotocol string         // "" for none
	deflate     *deflateParams // nil: messages are not compressed
}

// check returns what to agree upon, or how the request is to be refused. The
// steps are those of section 4.2.1.
func (u *Upgrader) check(r *http.Request) (a agreement, refused *HandshakeError) {
	h := r.Header
	keys, versions := h["Sec-Websocket-Key"], h["Sec-Websocket-Version"]
	subprotocols, subprotocolsOK := parseSubprotocols(h["Sec-Websocket-Protocol"])
	extensions, extensionsOK := parseExtensions(h["Sec-Websocket-Extensions"])
	switch {
	case r.ProtoMajor > 1:
		// There is no Upgrade in HTTP/2 and later; RFC 8441 is another handshake.
		return a, refusal(http.StatusHTTPVersionNotSupported, "WebSocket needs HTTP/1.1 here")
	case !r.ProtoAtLeast(1, 1):
		return a, refusal(http.StatusBadRequest, "WebSocket needs HTTP/1.1")
	case r.Method != http.MethodGet:
		return a, refusal(http.StatusMethodNotAllowed, "WebSocket needs a GET request", "Allow", http.MethodGet)
	case !listHas(h["Upgrade"], "websocket"):
		return a, upgradeRequired("Upgrade does not list websocket")
	case !listHas(h["Connection"], "Upgrade"):
		return a, refusal(http.StatusBadRequest, "Connection does not list Upgrade")
	case len(versions) != 1 || versions[0] != "13":
		return a, upgradeRequired("Sec-WebSocket-Version is not 13")
	case len(keys) != 1 || !validKey(keys[0]):
		return a, refusal(http.StatusBadRequest, "Sec-WebSocket-Key is not the base64 of 16 bytes")
	case r.Host == "":
		return a, refusal(http.StatusBadRequest, "Host is empty")
	case !subprotocolsOK:
		return a, refusal(http.StatusBadRequest, "Sec-WebSocket-Protocol is not a list of different tokens")
	case !extensionsOK:
		return a, refusal(http.StatusBadRequest, "Sec-WebSocket-Extensions is not a list of extensions")
	case r.ContentLength != 0:
		// Its bytes would be read as frames.
		return a, refusal(http.StatusBadRequest, "the request has a body")
	}
	if refused := u.checkOrigin(r); refused != nil {
		return a, refused
	}
	a.subprotocol = chooseSubprotocol(u.Subprotocols, subprotocols)
	if o := u.Compression; o != nil && (o.Allow == nil || o.Allow(r)) {
		a.deflate = o.accept(extensions)
	}
	return a, nil
}

// checkOrigin returns how the request is to be refused because of its Origin,
// or nil (4.2.2, step 4, and 10.2).
func (u *Upgrader) checkOrigin(r *http.Request) *HandshakeError {
	allowed := false
	if u.CheckOrigin != nil {
		allowed = u.CheckOrigin(r)
	} else {
		var err error
		allowed, err = originAllowed(r.Header["Origin"], r.Host, r.TLS != nil, u.AllowedOrigins)
		if err != nil {
			return internalError(err)
		}
	}
	if allowed {
		return nil
	}
	e := refusal(http.StatusForbidden, "Origin is not allowed")
	e.Err = fmt.Errorf("origin %.200q is not allowed", r.Header.Get("Origin"))
	return e
}

// refusal returns an answer with a fixed text and the given header fields,
// names and values in turn.
func refusal(status int, text string, fields ...string) *HandshakeError {
	e := &HandshakeError{Status: status, Header: make(http.Header), Body: []byte(text + "\n"), Err: errors.New(text)}
	for i := 0; i < len(fields); i += 2 {
		e.Header.Set(fields[i], fields[i+1])
	}
	return e
}

// upgradeRequired returns an answer that says what to upgrade to (RFC 9110,
// section 15.5.22) and in which version (section 4.4).
func upgradeRequired(text string) *HandshakeError {
	return refusal(http.StatusUpgradeRequired, text,
		"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13")
}

// internalError returns an answer that keeps err from the client.
func internalError(err error) *HandshakeError {
	e := refusal(http.StatusInternalServerError, http.StatusText(http.StatusInternalServerError))
	e.Err = err
	return e
}

// write answers with e and returns it.
func (e *HandshakeError) write(w http.ResponseWriter) error {
	maps.Copy(w.Header(), e.Header)
	http.Error(w, strings.TrimSuffix(string(e.Body), "\n"), e.Status)
	e.Header = w.Header().Clone()
	return e
}

// appendAnswer appends the server's opening handshake (4.2.2, step 5) with the
// given further header fields.
func (b *buffer) appendAnswer(key string, a agreement, further http.Header) error {
	b.b = append(b.b, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"...)
	b.appendField("Sec-WebSocket-Accept", AcceptKey(key))
	if a.subprotocol != "" {
		b.appendField("Sec-WebSocket-Protocol", a.subprotocol)
	}
	if a.deflate != nil {
		b.appendField("Sec-WebSocket-Extensions", a.deflate.String())
	}
	if len(further) > 0 {
		if err := b.appendFields(further); err != nil {
			return err
		}
	}
	b.b = append(b.b, "\r\n"...)
	return nil
}

// appendFields appends header fields of the application, but for those that
// are not its business.
func (b *buffer) appendFields(fields http.Header) error {
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		values := fields[name]
		canonical := http.CanonicalHeaderKey(name)
		if isConnectionField(canonical) {
			continue
		}
		if isHandshakeField(canonical) {
			return fmt.Errorf("header field %s is for Upgrade to set", name)
		}
		if err := checkField(name, values); err != nil {
			return err
		}
		for _, v := range values {
			b.appendField(name, v)
		}
	}
	return nil
}

func (b *buffer) appendField(name, value string) {
	b.b = append(b.b, name...)
	b.b = append(b.b, ": "...)
	b.b = append(b.b, value...)
	b.b = append(b.b, "\r\n"...)
}

// takeEarly returns what the client has sent after its handshake, and lets go
// of net/http's two buffers: a frame of net/http's own, under the handler's,
// holds on to the structs for as long as the handler runs.
func takeEarly(brw *bufio.ReadWriter) []byte {
	early, _ := brw.Reader.Peek(brw.Reader.Buffered())
	*brw.Reader, *brw.Writer = bufio.Reader{}, bufio.Writer{}
	return early
}

// writeAnswer writes the 101 in one piece.
func (c *Conn) writeAnswer(answer *buffer) error {
	n := 0
	if c.raw != nil {
		var err error
		if n, err = c.tryWrite(answer, nil); err != nil || n == len(answer.b) {
			return err // as always: there is room for so little
		}
	}
	c.nc.SetWriteDeadline(time.Now().Add(upgradeTimeout))
	defer c.nc.SetWriteDeadline(time.Time{})
	_, err := c.nc.Write(answer.b[n:])
	return err
}
