package websocket

import (
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// What a zero option means.
const (
	defaultReadLimit    = 1 << 20
	defaultCloseTimeout = 5 * time.Second
)

// A Conn is a WebSocket connection after its opening handshake. It is made by
// [Upgrade] on a server and by [Dial] on a client; both ends are alike.
//
// All methods may be called from any number of goroutines. Reading is for one
// goroutine at a time: a second one waits for the first. Somebody has to read
// even where no message is expected, or nothing that the peer sends is ever
// answered: neither its Pings nor its Close.
type Conn struct {
	nc      net.Conn
	raw     syscall.RawConn // nil where the connection cannot be waited for
	client  bool
	browser bool            // nc is a browserConn
	deflate *messageDeflate // nil: messages are not compressed

	in  readHalf
	out writeHalf

	// more reports that a whole message has been read beyond the one returned
	// last: a reply written now may wait for the next one's.
	more atomic.Bool

	// ending is set once the closing handshake has begun or the connection is
	// over: whatever is read from then on is dropped.
	ending atomic.Bool

	subprotocol  string
	closeTimeout time.Duration
	writeTimeout time.Duration
	tracker      *tracker // nil where nobody shuts it down
	journal      *journal // nil where nothing is logged
}

// connConfig is what Upgrader and Dialer decide about a Conn.
type connConfig struct {
	client       bool
	browser      bool
	subprotocol  string
	early        []byte // bytes that came with the handshake
	deflate      *messageDeflate
	readLimit    int64         // 0: 1 MiB, -1: none
	writeTimeout time.Duration // 0: none
	closeTimeout time.Duration // 0: 5 s
	pingInterval time.Duration // 0: no keepalive
	pongTimeout  time.Duration // 0: pingInterval
	maxQueued    int64         // 0: 1 MiB
	logger       *slog.Logger  // nil: silent
}

// newConn makes a Conn of a connection whose opening handshake is done.
func newConn(nc net.Conn, cfg connConfig) *Conn {
	c := &Conn{
		nc:           nc,
		raw:          rawConnOf(nc),
		client:       cfg.client,
		browser:      cfg.browser,
		subprotocol:  cfg.subprotocol,
		closeTimeout: cfg.closeTimeout,
		writeTimeout: cfg.writeTimeout,
		journal:      newJournal(cfg.logger),
		deflate:      cfg.deflate,
	}
	if c.closeTimeout == 0 {
		c.closeTimeout = defaultCloseTimeout
	}
	c.out.maxQueued = cfg.maxQueued
	if c.out.maxQueued == 0 {
		c.out.maxQueued = defaultMaxQueued
	}
	c.out.pingID = rand.Uint64() >> 1
	c.in.init(c, cfg.early)
	c.SetReadLimit(cfg.readLimit)
	c.startKeepalive(cfg.pingInterval, cfg.pongTimeout)
	return c
}

// Subprotocol returns the subprotocol that was agreed upon in the opening
// handshake, or "" for none (section 1.9).
func (c *Conn) Subprotocol() string { return c.subprotocol }

// LocalAddr returns the local network address.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// RemoteAddr returns the remote network address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// NetConn returns the connection below, a *[crypto/tls.Conn] where there is
// TLS. It is there for TCP options and for the TLS state: whoever reads,
// writes or sets a deadline on it breaks c.
func (c *Conn) NetConn() net.Conn { return c.nc }

// SetReadLimit sets how many bytes of payload a message may have: 0 is the
// default of 1 MiB, -1 no limit but that of an int. It counts from the next
// frame on. A longer message fails the connection with
// [StatusMessageTooBig] before any of the excess has been stored.
func (c *Conn) SetReadLimit(n int64) {
	switch {
	case n == 0:
		n = defaultReadLimit
	case n < 0 || n > math.MaxInt:
		n = math.MaxInt
	}
	c.in.limit.Store(n)
}
