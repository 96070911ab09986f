package websocket

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func wantStats(t testing.TB, c *Conn, want Stats, because string) {
	t.Helper()
	want.CompressedBytesSent, want.CompressedBytesReceived = want.BytesSent, want.BytesReceived // without compression
	if got := c.Stats(); got != want {
		t.Errorf("the counts are\n%+v, want\n%+v: %s", got, want, because)
	}
}

// TestStats counts what passes in both directions, and keeps the counts after
// the end.
func TestStats(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, overPipe, connConfig{client: client})
			wantStats(t, c, Stats{}, "nothing has happened")
			want := Stats{}
			sends := func(f func() error, because string) {
				t.Helper()
				sent := async(f)
				for range 3 {
					if h, _, err := p.readFrame(); err != nil {
						t.Fatal(err)
					} else if h.Fin {
						break
					}
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				wantStats(t, c, want, because)
			}
			m, err := NewPreparedMessage(OpText, []byte("prepared"))
			if err != nil {
				t.Fatal(err)
			}
			want.MessagesSent, want.BytesSent = 1, 5
			sends(func() error { return c.WriteMessage(OpText, []byte("hello")) }, "a message was sent")
			want.MessagesSent, want.BytesSent = 2, 5+40<<10
			sends(func() error { return c.WriteMessage(OpBinary, make([]byte, 40<<10)) }, "a large one was sent")
			want.MessagesSent, want.BytesSent = 3, 13+40<<10
			sends(func() error { return c.WritePrepared(m) }, "a prepared one was sent")
			want.MessagesSent, want.BytesSent = 4, 21+40<<10
			sends(func() error { return c.Enqueue(m) }, "one was enqueued")
			want.MessagesSent, want.BytesSent = 5, 21+81<<10
			sends(func() error {
				w, err := c.NextWriter(OpBinary)
				return errors.Join(err, func() error { _, err := w.Write(make([]byte, 41<<10)); return err }(), w.Close())
			}, "one was sent in two frames")
			if err := c.WriteMessage(OpText, []byte("\xff")); err == nil {
				t.Error("bad text was sent")
			}
			wantStats(t, c, want, "a message that was refused does not count")

			p.send(p.frame(true, OpText, "hello"), p.frame(false, OpBinary, "abc"), p.frame(true, OpPing, "?"), p.frame(true, OpContinuation, "de"))
			wantMessage(t, c, OpText, "hello", "it was sent")
			want.MessagesReceived, want.BytesReceived = 1, 5
			wantStats(t, c, want, "a message was received")
			if _, _, err := c.NextReader(); err != nil {
				t.Fatal(err)
			}
			wantStats(t, c, want, "the second message is not over")
			p.send(p.frame(true, OpText, "!"))
			read := async(func() error { _, _, err := c.ReadMessage(nil); return err })
			p.wantFrame(OpPong, "?", "a Ping was sent")
			if err := <-read; err != nil {
				t.Fatal(err)
			}
			want.MessagesReceived, want.BytesReceived, want.PingsReceived = 3, 11, 1
			wantStats(t, c, want, "one was skipped, one was read, a Ping was answered")

			read = readError(c)
			pinged := async(func() error { return c.Ping(t.Context()) })
			payload := p.wantPing("Ping was called")
			want.PingsSent = 1
			wantStats(t, c, want, "a Ping is under way")
			time.Sleep(2 * time.Second)
			p.send(p.frame(true, OpPong, payload))
			if err := <-pinged; err != nil {
				t.Fatal(err)
			}
			want.RoundTrip = 2 * time.Second
			wantStats(t, c, want, "it was answered after 2 s")

			p.send(p.frame(true, OpClose, "\x0b\xb8bye"))
			p.wantClose(3000, "the peer has closed")
			p.close()
			<-read
			want.CloseSent, want.CloseReceived = 3000, 3000
			c.CloseNow()
			wantStats(t, c, want, "the counts stay after the end")
		})
	})
}

// TestStatsCloseCodes: each direction has its own status code.
func TestStatsCloseCodes(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, overPipe, connConfig{client: client})
			closed := async(func() error { return c.CloseWithStatus(4000, "") })
			p.wantClose(4000, "the Conn closes")
			wantStats(t, c, Stats{CloseSent: 4000}, "the peer has not answered")
			p.send(p.frame(true, OpClose, "\x0f\xa1"))
			p.waitSent()
			p.close()
			if err := <-closed; err != nil {
				t.Fatal(err)
			}
			wantStats(t, c, Stats{CloseSent: 4000, CloseReceived: 4001}, "the peer had a code of its own")
		})
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, overPipe, connConfig{client: client})
			read := readError(c)
			p.send(p.frame(true, OpClose, ""))
			p.wantClose(StatusNoStatusReceived, "the peer has closed without a code")
			p.close()
			<-read
			wantStats(t, c, Stats{CloseSent: StatusNoStatusReceived, CloseReceived: StatusNoStatusReceived}, "there was no code")
		})
		synctest.Test(t, func(t *testing.T) {
			c, p := newPeer(t, overPipe, connConfig{client: client})
			read := readError(c)
			p.send(p.wire("83 00"))
			p.wantClose(StatusProtocolError, "the opcode is reserved")
			p.close()
			<-read
			wantStats(t, c, Stats{CloseSent: StatusProtocolError}, "the peer has broken the protocol")
		})
	})
}

// A recorder is a handler of records that keeps them as text.
type recorder struct {
	mu      sync.Mutex
	records []string
}

func (*recorder) Enabled(context.Context, slog.Level) bool { return true }
func (r *recorder) WithAttrs([]slog.Attr) slog.Handler     { return r }
func (r *recorder) WithGroup(string) slog.Handler          { return r }

func (r *recorder) Handle(_ context.Context, record slog.Record) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%v %s", record.Level, record.Message)
	record.Attrs(func(a slog.Attr) bool {
		switch {
		case a.Key == "remote" && a.Value.String() != "":
			fmt.Fprintf(&b, " remote=addr")
		case a.Key == "duration" && a.Value.Kind() == slog.KindDuration && a.Value.Duration() >= 0:
			fmt.Fprintf(&b, " duration=d")
		default:
			fmt.Fprintf(&b, " %s=%v", a.Key, a.Value)
		}
		return true
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, b.String())
	return nil
}

// wantRecords: these records have been made since the last call, in any order.
func (r *recorder) wantRecords(t testing.TB, because string, want ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.records)
	slices.Sort(want)
	if !slices.Equal(r.records, want) {
		t.Errorf("the records are\n%s\nwant\n%s\n%s", strings.Join(r.records, "\n"), strings.Join(want, "\n"), because)
	}
	r.records = nil
}

// TestLogger: each connection leaves one record of its beginning and one of its
// end, each refused handshake one.
func TestLogger(t *testing.T) {
	var records recorder
	u := Upgrader{Logger: slog.New(&records), Subprotocols: []string{"chat"}}
	d := Dialer{Logger: slog.New(&records), Subprotocols: []string{"chat"}}
	upgraded := make(chan *Conn, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, _ := u.Upgrade(w, r)
		upgraded <- c
	}))
	defer server.Close()

	client, _, err := d.Dial(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := <-upgraded
	records.wantRecords(t, "a connection was opened",
		"INFO websocket opened role=client remote=addr subprotocol=chat",
		"INFO websocket opened role=server remote=addr subprotocol=chat")
	for _, text := range []string{"one", "two"} {
		if err := client.WriteMessage(OpText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		wantMessage(t, c, OpText, text, "it was sent")
	}
	ended := readError(c)
	if err := client.CloseWithStatus(3000, "bye"); err != nil {
		t.Fatal(err)
	}
	<-ended
	for range 2 {
		c.Close()
		c.CloseNow()
	}
	records.wantRecords(t, "it was closed",
		"INFO websocket closed role=client remote=addr duration=d sent=2 received=0 closeSent=3000 closeReceived=3000",
		"INFO websocket closed role=server remote=addr duration=d sent=0 received=2 closeSent=3000 closeReceived=3000")

	stranger := d
	stranger.Header = http.Header{"Origin": {"https://stranger.example"}}
	if _, _, err := stranger.Dial(t.Context(), server.URL); err == nil {
		t.Fatal("a foreign origin was let in")
	}
	<-upgraded
	records.wantRecords(t, "a handshake was refused",
		`WARN websocket refused role=client remote= status=403 error=websocket: handshake failed: the server answered with status 403 (Forbidden)`,
		`WARN websocket refused role=server remote=addr status=403 error=websocket: handshake failed: origin "https://stranger.example" is not allowed`)

	if _, _, err := d.Dial(t.Context(), "ftp://localhost"); err == nil {
		t.Fatal("there is no WebSocket over FTP")
	}
	records.wantRecords(t, "there was no handshake",
		"WARN websocket refused role=client remote= status=0 error=websocket: URL scheme must be ws, wss, http or https")

	if err := u.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	below, _ := overPipe(t)
	u.Server(below)
	records.wantRecords(t, "a connection came after Shutdown",
		"WARN websocket refused role=server remote=addr status=0 error=websocket: the server has been shut down")
}

// TestLoggerFailures has a record for each way to break a connection.
func TestLoggerFailures(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		role := "server"
		if client {
			role = "client"
		}
		for _, way := range []struct {
			name string
			end  func(c *Conn, p *peer)
			want string
		}{
			{"violation", func(c *Conn, p *peer) {
				p.send(p.wire("83 00"))
				p.wantClose(StatusProtocolError, "the opcode is reserved")
				p.close()
			}, "WARN websocket failed role=ROLE remote=addr duration=d sent=0 received=0 closeSent=1002 closeReceived=0 error=websocket: failed the connection (1002): reserved opcode"},
			{"end of input", func(c *Conn, p *peer) { p.close() },
				"WARN websocket failed role=ROLE remote=addr duration=d sent=0 received=0 closeSent=0 closeReceived=0 error=websocket: connection broke: unexpected EOF"},
			{"silence", func(c *Conn, p *peer) {},
				"WARN websocket failed role=ROLE remote=addr duration=d sent=0 received=0 closeSent=0 closeReceived=0 error=websocket: connection broke: no answer to keepalive: the peer has been silent"},
			{"a peer that does not read", func(c *Conn, p *peer) { c.WriteMessage(OpText, nil) },
				"WARN websocket failed role=ROLE remote=addr duration=d sent=1 received=0 closeSent=0 closeReceived=0 error=websocket: connection broke: a write did not end before its deadline"},
			{"no answer to Close", func(c *Conn, p *peer) { c.Close() },
				"WARN websocket failed role=ROLE remote=addr duration=d sent=0 received=0 closeSent=1000 closeReceived=0 error=websocket: connection broke: the closing handshake did not end in time"},
			{"dropped", func(c *Conn, p *peer) { c.CloseNow() },
				"INFO websocket closed role=ROLE remote=addr duration=d sent=0 received=0 closeSent=0 closeReceived=0"},
		} {
			t.Run(way.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var records recorder
					ours, theirs := overPipe(t)
					p := &peer{t: t, nc: theirs, client: !client}
					logger := slog.New(&records)
					var c *Conn
					if client {
						c = (&Dialer{Logger: logger, PingInterval: time.Minute, WriteTimeout: time.Second}).Client(ours)
					} else {
						c = (&Upgrader{Logger: logger, PingInterval: time.Minute, WriteTimeout: time.Second}).Server(ours)
					}
					records.wantRecords(t, "it was opened", "INFO websocket opened role="+role+" remote=addr subprotocol=")
					if way.name == "silence" {
						// The Ping has to leave, or it is the write that fails.
						go func() {
							for {
								if _, _, err := p.readFrame(); err != nil {
									return
								}
							}
						}()
					}
					ended := readError(c)
					way.end(c, p)
					<-ended
					c.CloseNow()
					synctest.Wait()
					records.wantRecords(t, "it ended once", strings.Replace(way.want, "ROLE", role, 1))
				})
			})
		}

		// The read that would find it out is the application's to make.
		t.Run("dropped after a failed write", func(t *testing.T) {
			var records recorder
			ours, _ := overPipe(t)
			cfg := connConfig{client: client, logger: slog.New(&records)}
			broken := errors.New("the network is gone")
			c := newConn(failingWrites{ours, broken}, cfg)
			if err := c.WriteMessage(OpText, nil); !errors.Is(err, broken) {
				t.Fatalf("writing returned %v, want %v", err, broken)
			}
			c.CloseNow()
			if err := c.Close(); !errors.Is(err, broken) {
				t.Errorf("Close returned %v, want what broke the connection", err)
			}
			if _, _, err := c.ReadMessage(nil); !errors.Is(err, broken) || errors.Is(err, net.ErrClosed) {
				t.Errorf("reading returned %v, want what broke the connection", err)
			}
			records.wantRecords(t, "it broke before it was dropped",
				"WARN websocket failed role="+role+" remote=addr duration=d sent=1 received=0 closeSent=0 closeReceived=0 error=websocket: connection broke: the network is gone")
		})
	})
}

// TestStatsCloseNotSent: a Close frame that can only be dropped was not sent.
func TestStatsCloseNotSent(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		var records recorder
		ours, theirs := overPipe(t)
		theirs.Close()
		c := newConn(ours, connConfig{client: client, logger: slog.New(&records)})
		if c.WriteMessage(OpText, nil) == nil {
			t.Fatal("a message was written to nobody")
		}
		c.Close()
		wantStats(t, c, Stats{MessagesSent: 1}, "the connection had broken before Close was called")
		records.mu.Lock()
		defer records.mu.Unlock()
		if len(records.records) != 1 || !strings.Contains(records.records[0], "closeSent=0") {
			t.Errorf("the records are %q, want one that no Close frame was sent", records.records)
		}
	})
}
