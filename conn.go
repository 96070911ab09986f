package websocket

import (
	"errors"
	"log/slog"
	"math"
	"math/rand/v2"
	"net"
	"sync"
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
	nc          net.Conn
	raw         syscall.RawConn // nil where the connection cannot be waited for
	client      bool
	browser     bool // nc is a browserConn
	subprotocol string

	closeTimeout time.Duration
	writeTimeout time.Duration

	logger  *slog.Logger
	deflate *messageDeflate // nil: messages are not compressed

	tracker *tracker // nil where nobody shuts it down
	opened  int64    // in ns since 1970; 0 without a logger

	in  readHalf
	out writeHalf

	// more reports that the read buffer holds a whole message beyond the one
	// returned last: a reply written now may wait for the next one's.
	more atomic.Bool

	// ending is set once the closing handshake has begun or the connection is
	// over: whatever is read from then on is dropped.
	ending atomic.Bool
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
		logger:       cfg.logger,
		deflate:      cfg.deflate,
	}
	if c.closeTimeout == 0 {
		c.closeTimeout = defaultCloseTimeout
	}
	if c.logger != nil {
		c.opened = time.Now().UnixNano()
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

// SetDeadline sets the read and the write deadline.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets when a read gives up with an error that Is
// [os.ErrDeadlineExceeded]; a zero t means never. It also counts for a read
// that is waiting. Nothing is lost by it: after a new deadline has been set,
// the next read goes on where the last one stopped, be it inside a message.
//
// Once the connection is closing the library's own timeouts take its place.
func (c *Conn) SetReadDeadline(t time.Time) error {
	d := &c.in.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	d.app = t
	return d.apply(c.nc)
}

// SetWriteDeadline sets when writing gives up; a zero t means never. It also
// counts for writes that are waiting. A frame cut short cannot be mended, so
// that a deadline which strikes fails the connection for good, as with TLS:
// this write and every later one returns an error that Is
// [os.ErrDeadlineExceeded]. What the library sends of its own accord, such as
// a Pong, is not failed by a deadline that had passed before.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	out := &c.out
	out.mu.Lock()
	defer out.mu.Unlock()
	out.deadline = t
	c.watchLine()
	if out.flushing {
		return c.armWrite(c.writeDeadline(true))
	}
	return nil
}

// A readDeadline joins the application's deadline for reading with the
// library's own. All changes go through apply, so that none overwrites
// another.
type readDeadline struct {
	mu      sync.Mutex
	app     time.Time
	silence time.Time // keepalive's next step is due
	own     time.Time // reading has to end
	ownOnly bool      // the connection is closing
}

// apply sets the earliest on nc. The caller holds mu.
func (d *readDeadline) apply(nc net.Conn) error {
	if d.ownOnly {
		return nc.SetReadDeadline(d.own)
	}
	return nc.SetReadDeadline(earlier(d.app, earlier(d.silence, d.own)))
}

// passed reports which of the deadlines have passed.
func (d *readDeadline) passed() (app, silence, own bool) {
	now := time.Now()
	has := func(t time.Time) bool { return !t.IsZero() && !now.Before(t) }
	d.mu.Lock()
	defer d.mu.Unlock()
	return has(d.app), has(d.silence), has(d.own)
}

// watchSilence sets when keepalive's next step is due.
func (c *Conn) watchSilence(t time.Time) {
	d := &c.in.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	d.silence = t
	d.apply(c.nc)
}

// limitReading bounds all reading from now on. With ownOnly the application's
// deadline does not count any more.
func (c *Conn) limitReading(t time.Time, ownOnly bool) {
	d := &c.in.deadline
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ownOnly && !ownOnly {
		return
	}
	d.own, d.ownOnly = t, ownOnly
	if err := d.apply(c.nc); err != nil && c.raw == nil && !errors.Is(err, net.ErrClosed) {
		// A connection without deadlines, such as a channel of package ssh.
		time.AfterFunc(time.Until(t), func() { c.dropBelow() })
	}
}
