package websocket

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"testing"
)

// Compression below the rest of the API: counts, JSON and streams.

// TestDeflateStats: bytes are counted as the application has them and as they
// are on the wire, whatever the way to send and to read.
func TestDeflateStats(t *testing.T) {
	inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
		c, p := newDeflatePeer(t, connect, connConfig{client: client}, o)
		var want Stats
		check := func(because string) {
			t.Helper()
			if got := c.Stats(); got != want {
				t.Fatalf("the counts are\n%+v, want\n%+v: %s", got, want, because)
			}
		}
		for _, way := range waysToSend {
			for _, size := range []int{10, 1000, 100_000} {
				text := repetitive(1, size)
				sent := async(func() error { return way.send(c, OpText, []byte(text)) })
				m := p.want(OpText, size > 10, text, way.name)
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				want.MessagesSent++
				want.BytesSent += int64(size)
				want.CompressedBytesSent += int64(m.size)
				check(way.name)
			}
		}
		large := hexNoise(400_000)
		sent := async(func() error { return writeInPieces(c, OpText, []byte(large), 100_000) })
		m := p.want(OpText, true, large, "NextWriter")
		if err := <-sent; err != nil || m.frames < 2 {
			t.Fatalf("%d frames, error %v, want several and nil", m.frames, err)
		}
		want.MessagesSent++
		want.BytesSent += int64(len(large))
		want.CompressedBytesSent += int64(m.size)
		check("it left in several frames")

		// A message counts when it has been inflated.
		text := repetitive(2, 1000)
		received := func(frames []byte, size int) {
			want.MessagesReceived++
			want.BytesReceived += int64(size)
			for len(frames) > 0 {
				h, n, err := ParseFrameHeader(frames)
				if err != nil {
					t.Fatal(err)
				}
				want.CompressedBytesReceived += h.Length
				frames = frames[n+int(h.Length):]
			}
		}
		wire := p.compressed(OpText, text, 5)
		p.send(wire)
		wantMessage(t, c, OpText, text)
		received(wire, len(text))
		check("a message was read")
		wire = p.compressed(OpText, text, 0)
		p.send(wire)
		_, r, err := c.NextReader()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, len(text))); err != nil {
			t.Fatal(err)
		}
		check("its end has not been read")
		if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Fatalf("at the end reading returned %d, %v, want io.EOF", n, err)
		}
		received(wire, len(text))
		check("it has been read as a stream")
		wire = p.compressed(OpText, text, 20)
		p.send(wire)
		if _, r, err = c.NextReader(); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		plain := p.frame(true, OpText, "plain")
		p.send(plain)
		wantMessage(t, c, OpText, "plain")
		received(wire, len(text))
		received(plain, 5)
		check("one was skipped and one came uncompressed")
	})
}

// TestDeflateJSON: values arrive, and become small.
func TestDeflateJSON(t *testing.T) {
	inBothModes(t, func(t *testing.T, client bool, connect connectFunc, o Compression) {
		from, to := newDeflatePair(t, connect, &o, &o)
		if !client {
			from, to = to, from
		}
		type item struct {
			Name  string
			Price int
		}
		for i := range 20 {
			want := []item{}
			for j := range 30 {
				want = append(want, item{fmt.Sprint("item number ", j), i * j})
			}
			sent := async(func() error { return from.WriteJSON(want) })
			var got []item
			if err := to.ReadJSON(&got); err != nil || !slices.Equal(got, want) {
				t.Fatalf("ReadJSON yields %v, %v, want %v", got, err, want)
			}
			if err := <-sent; err != nil {
				t.Fatal(err)
			}
		}
		most := int64(4) // a fourth without takeover
		if o.ContextTakeover {
			most = 6
		}
		if s := to.Stats(); s.CompressedBytesReceived > s.BytesReceived/most {
			t.Errorf("the counts are %+v, want 1/%d of the bytes on the wire", s, most)
		}
	})
}

// TestDeflateStreamConn copies through streams of compressed messages both ways at
// once.
func TestDeflateStreamConn(t *testing.T) {
	inBothModes(t, func(t *testing.T, _ bool, connect connectFunc, o Compression) {
		a, b := newDeflatePair(t, connect, &o, &o)
		client, server := StreamConn(a, OpBinary), StreamConn(b, OpBinary)
		data := bytes.Join(newCorpus(1).messages(200, 1000), nil)
		echoed := async(func() error { _, err := io.Copy(server, server); return err })
		sent := async(func() error {
			for piece := range slices.Chunk(data, 5000) {
				if _, err := client.Write(piece); err != nil {
					return err
				}
			}
			return nil
		})
		got := make([]byte, len(data))
		if _, err := io.ReadFull(client, got); err != nil || !bytes.Equal(got, data) {
			t.Fatalf("the stream yields %s, %v, want what was sent", brief(got), err)
		}
		if err := <-sent; err != nil {
			t.Fatal(err)
		}
		if s := a.Stats(); s.CompressedBytesSent > s.BytesSent/2 || s.CompressedBytesReceived > s.BytesReceived/2 {
			t.Errorf("the counts are %+v, want half of the bytes on the wire", s)
		}
		closed := async(client.Close)
		if err := <-echoed; err != nil {
			t.Errorf("the echo ended with %v, want the end of the stream", err)
		}
		server.Close()
		if err := <-closed; err != nil {
			t.Error(err)
		}
	})
}

// TestStatsNeverRunBackwards reads the counts of bytes while compressed messages
// are counted.
func TestStatsNeverRunBackwards(t *testing.T) {
	c, _ := newPeer(t, overPipe, connConfig{deflate: agreed(&Compression{}, false)})
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.in.size = 100
		for range 200_000 {
			c.countMessage(2000)
		}
	}()
	for last := int64(0); ; {
		n := c.Stats().CompressedBytesReceived
		if n < last {
			t.Fatalf("%d bytes had been received, and then %d", last, n)
		}
		last = n
		select {
		case <-done:
			if n := c.Stats(); n.CompressedBytesReceived != 200_000*100 || n.BytesReceived != 200_000*2000 {
				t.Errorf("%d bytes, %d on the wire, want %d and %d", n.BytesReceived, n.CompressedBytesReceived, 200_000*2000, 200_000*100)
			}
			return
		default:
		}
	}
}
