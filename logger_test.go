package websocket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
)

// TestLoggerJSON: each field has the same type in every record, as those who
// search in logs need it.
func TestLoggerJSON(t *testing.T) {
	var b bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&b, nil))
	u := Upgrader{Logger: logger}
	below, server := overTCP(t)
	c := u.Server(server)
	c.CloseNow()
	dialed := (&Dialer{Logger: logger}).Client(below)
	dialed.CloseNow()
	if err := u.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, late := overTCP(t)
	u.Server(late)
	want := []string{server.RemoteAddr().String(), server.RemoteAddr().String(), below.RemoteAddr().String(), below.RemoteAddr().String(), late.RemoteAddr().String()}
	lines := strings.Split(strings.TrimSpace(b.String()), "\n")
	if len(lines) != len(want) {
		t.Fatalf("there are %d records, want %d:\n%s", len(lines), len(want), b.String())
	}
	for i, line := range lines {
		var record struct{ Remote string }
		if err := json.Unmarshal([]byte(line), &record); err != nil || record.Remote != want[i] {
			t.Errorf("the record %s has the remote address %q (%v), want the text %q", line, record.Remote, err, want[i])
		}
	}
}

// nowhere is a connection that does not know its addresses.
type nowhere struct{ net.Conn }

func (nowhere) LocalAddr() net.Addr  { return nil }
func (nowhere) RemoteAddr() net.Addr { return nil }

// TestLoggerWithoutAddress: an address that is not known is an empty one.
func TestLoggerWithoutAddress(t *testing.T) {
	var records recorder
	u := Upgrader{Logger: slog.New(&records)}
	_, below := overPipe(t)
	u.Server(nowhere{below}).CloseNow()
	if err := u.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	u.Server(nowhere{below})
	records.wantRecords(t, "the connection does not know its address",
		"INFO websocket opened role=server remote= subprotocol=",
		"INFO websocket closed role=server remote= duration=d sent=0 received=0 closeSent=0 closeReceived=0",
		"WARN websocket refused role=server remote= status=0 error=websocket: the server has been shut down")
	u.Logger = nil
	u.Server(nowhere{below})
}

// A slowOpening is a recorder that takes its time for the records of openings.
type slowOpening struct {
	recorder
	opening, goOn chan struct{}
}

func (s *slowOpening) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "websocket opened" {
		close(s.opening)
		<-s.goOn
	}
	return s.recorder.Handle(ctx, r)
}

func (s *slowOpening) WithAttrs([]slog.Attr) slog.Handler { return s }

// TestLoggerOpenedFirst: that a connection was opened is recorded before that it
// was closed, also where Shutdown closes it at once.
func TestLoggerOpenedFirst(t *testing.T) {
	log := &slowOpening{opening: make(chan struct{}), goOn: make(chan struct{})}
	u := Upgrader{Logger: slog.New(log)}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, err := u.Upgrade(w, r); err == nil {
			c.ReadMessage(nil)
		}
	}))
	defer server.Close()
	client, _, err := Dial(t.Context(), server.URL)
	if err != nil {
		t.Fatal(err)
	}
	closed := readError(client)
	<-log.opening
	shut := async(func() error { return u.Shutdown(t.Context()) })
	waitUntil(t, "Shutdown waits for the upgrade, or has closed the connection", func() bool {
		return goroutineIn("tracker).shutDown(", "[select")() || tracked(&u) == 0
	})
	close(log.goOn)
	if err := errors.Join(<-shut); err != nil {
		t.Fatal(err)
	}
	wantCloseError(t, <-closed, StatusGoingAway, "", "the server has shut down")
	log.mu.Lock()
	defer log.mu.Unlock()
	if len(log.records) != 2 || !strings.Contains(log.records[0], "opened") || !strings.Contains(log.records[1], "closed") {
		t.Errorf("the records are\n%s\nwant that it was opened and then that it was closed", strings.Join(log.records, "\n"))
	}
}

// A slowRecorder is a recorder that takes its time.
type slowRecorder struct {
	recorder
	goOn chan struct{}
}

func (s *slowRecorder) Handle(ctx context.Context, r slog.Record) error {
	if r.Message != "websocket opened" {
		<-s.goOn
	}
	return s.recorder.Handle(ctx, r)
}

// TestShutdownWaitsForWhoeverCloses: when Shutdown returns, the connections that
// others were about to close at the same time are closed, and the records of it
// made. A program may end then.
func TestShutdownWaitsForWhoeverCloses(t *testing.T) {
	for name, end := range map[string]func(c *Conn, p *peer){
		"CloseNow":       func(c *Conn, p *peer) { go c.CloseNow() },
		"write deadline": func(c *Conn, p *peer) { c.SetWriteDeadline(longPast); go c.WriteMessage(OpText, nil) },
		"reader": func(c *Conn, p *peer) {
			go readError(c)
			p.send(p.frame(true, OpClose, "\x03\xe8"))
			p.wantClose(StatusNormalClosure, "the peer closed")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := &slowRecorder{goOn: make(chan struct{})}
				u := Upgrader{Logger: slog.New(log)}
				c, p := servePipe(t, &u)
				end(c, p)
				synctest.Wait()
				shut := async(func() error { return u.Shutdown(t.Context()) })
				synctest.Wait()
				select {
				case err := <-shut:
					t.Errorf("Shutdown returned %v, want it to wait: a connection is being closed", err)
				default:
				}
				close(log.goOn)
				<-shut
				if n := len(log.records); n != 2 {
					t.Errorf("there are %d records, want those of the beginning and the end", n)
				}
				if n := tracked(&u); n != 0 {
					t.Errorf("the Upgrader still knows %d connections", n)
				}
			})
		})
	}
}
