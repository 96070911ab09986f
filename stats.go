package websocket

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// Stats are the counts of a connection since its opening handshake.
type Stats struct {
	MessagesSent, MessagesReceived int64
	BytesSent, BytesReceived       int64 // of payload, in messages

	// The same messages as they were on the wire: less where they have been
	// compressed.
	CompressedBytesSent, CompressedBytesReceived int64

	PingsSent, PingsReceived int64

	// RoundTrip is the time between the last Ping that was answered, be it of
	// [Conn.Ping] or of keepalive, and its Pong. 0: there was none.
	RoundTrip time.Duration

	// CloseSent and CloseReceived are the status codes of the Close frames. 0:
	// there was none so far; StatusNoStatusReceived: it had no body.
	CloseSent, CloseReceived StatusCode
}

// readStats is the receiving half of Stats. One goroutine counts at a time.
type readStats struct {
	messages, bytes, pings atomic.Int64
	compressed             atomic.Int64 // counted where messages may be compressed
}

// writeStats is the sending half of Stats. It belongs to the mu of the
// writeHalf.
type writeStats struct {
	messages, bytes, compressed, pings int64
	roundTrip                          time.Duration
	closeSent, closeReceived           StatusCode
}

// countMessage counts a message that has size bytes, and on the wire those of
// its frames.
func (c *Conn) countMessage(size int64) {
	in := &c.in
	in.stats.messages.Add(1)
	in.stats.bytes.Add(size)
	if c.deflate != nil {
		in.stats.compressed.Add(in.size)
	}
}

// Stats returns the connection's counts, also after its end. It may be called
// at any time.
func (c *Conn) Stats() Stats {
	c.out.mu.Lock()
	out := c.out.stats
	c.out.mu.Unlock()
	in := &c.in.stats
	bytes := in.bytes.Load()
	compressed := bytes
	if c.deflate != nil {
		compressed = in.compressed.Load()
	}
	return Stats{
		MessagesSent: out.messages, MessagesReceived: in.messages.Load(),
		BytesSent: out.bytes, BytesReceived: bytes,
		CompressedBytesSent: out.compressed, CompressedBytesReceived: compressed,
		PingsSent: out.pings, PingsReceived: in.pings.Load(),
		RoundTrip: out.roundTrip,
		CloseSent: out.closeSent, CloseReceived: out.closeReceived,
	}
}

// The records of a Logger are described at the field of Upgrader and Dialer.

// A journal is where a Conn logs.
type journal struct {
	logger *slog.Logger
	opened moment
}

// newJournal returns nil, which is silent, where there is no logger.
func newJournal(logger *slog.Logger) *journal {
	if logger == nil {
		return nil
	}
	return &journal{logger, now()}
}

func (c *Conn) role() string {
	if c.client {
		return "client"
	}
	return "server"
}

// remote returns the remote address as text.
func (c *Conn) remote() string {
	if a := c.RemoteAddr(); a != nil {
		return a.String()
	}
	return "" // a connection of somebody's own need not know it
}

// logOpened logs that the opening handshake is done.
func (c *Conn) logOpened() {
	if c.journal == nil {
		return
	}
	c.journal.logger.LogAttrs(context.Background(), slog.LevelInfo, "websocket opened",
		slog.String("role", c.role()),
		slog.String("remote", c.remote()),
		slog.String("subprotocol", c.subprotocol))
}

// logEnded logs how the connection ended. err is what Close returns.
func (c *Conn) logEnded(err error) {
	if c.journal == nil {
		return
	}
	s := c.Stats()
	attrs := []slog.Attr{
		slog.String("role", c.role()),
		slog.String("remote", c.remote()),
		slog.Duration("duration", -c.journal.opened.until()),
		slog.Int64("sent", s.MessagesSent),
		slog.Int64("received", s.MessagesReceived),
		slog.Int("closeSent", int(s.CloseSent)),
		slog.Int("closeReceived", int(s.CloseReceived)),
	}
	level, text := slog.LevelInfo, "websocket closed"
	if err != nil && err != errDropped {
		level, text = slog.LevelWarn, "websocket failed"
		attrs = append(attrs, slog.String("error", err.Error()))
	}
	c.journal.logger.LogAttrs(context.Background(), level, text, attrs...)
}

// logRefused logs a handshake that came to nothing. remote is "" where there is
// no connection.
func logRefused(logger *slog.Logger, role, remote string, err error) {
	if logger == nil {
		return
	}
	status := 0
	if refused := (*HandshakeError)(nil); errors.As(err, &refused) {
		status = refused.Status
	}
	logger.LogAttrs(context.Background(), slog.LevelWarn, "websocket refused",
		slog.String("role", role),
		slog.String("remote", remote),
		slog.Int("status", status),
		slog.String("error", err.Error()))
}
