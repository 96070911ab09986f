package websocket

import (
	"io"
	"strings"
	"testing"
)

// newDeflatePair returns two ends that have agreed on permessage-deflate.
func newDeflatePair(t testing.TB, connect connectFunc, client, server *Compression) (*Conn, *Conn) {
	t.Helper()
	response := server.accept(extensionList(t, client.offer().String()))
	if response == nil {
		t.Fatalf("want %+v to accept %q", server, client.offer())
	}
	agreed, err := checkAccepted(client.offer(), extensionList(t, response.String()))
	if err != nil {
		t.Fatal(err)
	}
	nc, ns := connect(t)
	c := newConn(nc, connConfig{client: true, deflate: newMessageDeflate(client, *agreed, true)})
	s := newConn(ns, connConfig{deflate: newMessageDeflate(server, *response, false)})
	t.Cleanup(func() {
		c.CloseNow()
		s.CloseNow()
	})
	return c, s
}

// TestDeflateMessages sends messages both ways by each part of the API, and
// sees that they arrive and were compressed.
func TestDeflateMessages(t *testing.T) {
	for _, o := range []Compression{{}, {ContextTakeover: true}, {ContextTakeover: true, WindowBits: 9}, {WindowBits: 8}, {Threshold: -1}} {
		onEvery(t, func(t *testing.T, connect connectFunc) {
			client, server := newDeflatePair(t, connect, &o, &o)
			done := async(func() error { return echo(server) })
			for i, size := range []int{0, 1, 10, 300, 5000, 32 << 10, 100 << 10, 1 << 20, 0, 300, 300} {
				text := strings.Repeat("All work and no play makes Jack a dull boy. ", size/44+1)[:size]
				sent := async(func() error {
					if i%2 == 0 {
						return client.WriteMessage(OpText, []byte(text))
					}
					w, err := client.NextWriter(OpText)
					if err != nil {
						return err
					}
					for p := text; p != ""; {
						n := min(len(p), 7000)
						if _, err := io.WriteString(w, p[:n]); err != nil {
							return err
						}
						p = p[n:]
					}
					return w.Close()
				})
				if i%3 == 0 {
					op, r, err := client.NextReader()
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(r)
					if err != nil || op != OpText || string(got) != text {
						t.Fatalf("message %d: got %v of %d bytes, %v, want text of %d bytes", i, op, len(got), err, size)
					}
				} else {
					wantMessage(t, client, OpText, text)
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
			}
			for _, c := range []*Conn{client, server} {
				if s := c.Stats(); s.CompressedBytesSent > s.BytesSent/10 || s.CompressedBytesReceived > s.BytesReceived/10 || s.BytesSent == 0 {
					t.Errorf("want a tenth of the bytes on the wire, the counts are %+v", s)
				}
			}
			closed := async(client.Close)
			<-readError(client)
			if err := <-closed; err != nil {
				t.Error(err)
			}
			<-done
		})
	}
}
