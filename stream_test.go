package websocket

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// newStreams returns both ends of a stream over a connection.
func newStreams(t testing.TB, connect connectFunc) (client, server net.Conn) {
	t.Helper()
	a, b := newPair(t, connect, connConfig{})
	return StreamConn(a, OpBinary), StreamConn(b, OpBinary)
}

// overStream connects through streams over WebSocket connections over TCP.
func overStream(t testing.TB) (client, server net.Conn) { return newStreams(t, overTCP) }

// overStreamOverPipe is overStream in memory.
func overStreamOverPipe(t testing.TB) (client, server net.Conn) { return newStreams(t, overPipe) }

// TestStreamCopies copies a lot in both directions at the same time. The
// messages leave no trace, and a normal closure is the end of the stream.
func TestStreamCopies(t *testing.T) {
	onEvery(t, func(t *testing.T, connect connectFunc) {
		a, b := newStreams(t, connect)
		sent := bytes.Repeat([]byte("0123456789abcdef!"), 300_000)
		echoed := async(func() error {
			_, err := io.Copy(b, b)
			return err
		})
		written := async(func() error {
			_, err := io.Copy(a, bytes.NewReader(sent)) // one Write, longer than the read limit
			return err
		})
		received := make([]byte, len(sent))
		if _, err := io.ReadFull(a, received); err != nil || !bytes.Equal(received, sent) {
			t.Fatalf("what came back is not what was sent, error %v", err)
		}
		if err := errors.Join(<-written, a.Close()); err != nil {
			t.Fatal(err)
		}
		if err := <-echoed; err != nil {
			t.Fatalf("copying the stream ended with %v, want nil: the other end has closed", err)
		}
		for range 3 {
			if n, err := b.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Fatalf("a Read at the end returned %d, %v, want 0 and io.EOF", n, err)
			}
			if _, err := b.Write([]byte("late")); !errors.Is(err, net.ErrClosed) {
				t.Fatalf("a Write at the end returned %v, want net.ErrClosed", err)
			}
			if n, err := a.Read(make([]byte, 1)); n != 0 || !errors.Is(err, net.ErrClosed) {
				t.Fatalf("a Read after Close returned %d, %v, want 0 and net.ErrClosed", n, err)
			}
		}
	})
}

// TestStreamReads: a Read returns what there is, also of a message in part, and
// empty messages are nothing.
func TestStreamReads(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		s := StreamConn(c, OpText)
		if n, err := s.Read(nil); n != 0 || err != nil {
			t.Fatalf("a Read of nothing returned %d, %v, want 0 and nil", n, err)
		}
		p.send(p.frame(true, OpText, "hello"), p.frame(true, OpText, ""), p.frame(false, OpText, ""),
			p.frame(false, OpContinuation, "wor"), p.frame(true, OpContinuation, ""), p.frame(true, OpText, "ld"))
		var got []byte
		for b := make([]byte, 2); len(got) < len("helloworld"); {
			n, err := s.Read(b)
			if n == 0 || err != nil {
				t.Fatalf("a Read returned %d, %v, want at least a byte and nil", n, err)
			}
			got = append(got, b[:n]...)
		}
		if string(got) != "helloworld" {
			t.Fatalf("the stream is %q, want the payload of the messages", got)
		}
		written := async(func() error { _, err := s.Write([]byte("text")); return err })
		p.wantFrame(OpText, "text", "a Write is one message")
		if err := <-written; err != nil {
			t.Fatal(err)
		}
	})
}

// TestStreamWrites: a Write longer than a message should be is several, which
// nothing comes between, and text is not cut inside a character.
func TestStreamWrites(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		s := StreamConn(c, OpText)
		if n, err := s.Write([]byte("a\xff")); n != 0 || !errors.Is(err, ErrInvalidUTF8) {
			t.Fatalf("a Write of what is no text returned %d, %v, want 0 and ErrInvalidUTF8", n, err)
		}
		text := strings.Repeat("x", maxAppend-1) + strings.Repeat("€", maxAppend/3+1)
		written := async(func() error {
			n, err := s.Write([]byte(text))
			if n != len(text) {
				t.Errorf("a Write of %d bytes returned %d", len(text), n)
			}
			return err
		})
		p.wantFrame(OpText, text[:maxAppend-1], "the next character would make it longer than 32 KiB")
		p.wantFrame(OpText, text[maxAppend-1:][:maxAppend/3*3], "as many characters as 32 KiB hold")
		p.wantFrame(OpText, "€", "the rest")
		if err := <-written; err != nil {
			t.Fatal(err)
		}
		writers := []<-chan error{}
		for i := range 4 {
			writers = append(writers, async(func() error {
				_, err := s.Write(bytes.Repeat([]byte{byte('0' + i)}, 3*maxAppend))
				return err
			}))
		}
		for range writers {
			var one byte
			for part := range 3 {
				_, payload, err := p.readFrame()
				if err != nil || len(payload) != maxAppend {
					t.Fatalf("the peer got %d bytes, error %v, want 32 KiB", len(payload), err)
				}
				if part == 0 {
					one = payload[0]
				}
				if payload[0] != one {
					t.Fatal("messages of two Writes interleave")
				}
			}
		}
		for _, writer := range writers {
			if err := <-writer; err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestStreamEnds looks at what a Read returns when the peer ends the stream in
// one way or another.
func TestStreamEnds(t *testing.T) {
	for name, end := range map[string]struct {
		body string
		want func(*testing.T, error)
	}{
		"1000":    {"\x03\xe8bye", isEOF},
		"1001":    {"\x03\xe9", isEOF},
		"1011":    {"\x03\xf3", closedBy(StatusInternalError, "")},
		"3000":    {"\x0b\xb8x", closedBy(3000, "x")},
		"no code": {"", closedBy(StatusNoStatusReceived, "")},
		"broken":  {"none", broke(io.ErrUnexpectedEOF)},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
				c, p := newPeer(t, connect, connConfig{client: client})
				s := StreamConn(c, OpBinary)
				p.send(p.frame(true, OpBinary, "x"))
				if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				read := async(func() error { _, err := s.Read(make([]byte, 1)); return err })
				if end.body == "none" {
					p.close()
				} else {
					p.send(p.frame(true, OpClose, end.body))
					if _, _, err := p.readFrame(); err != nil {
						t.Fatal(err)
					}
					p.close()
				}
				first := <-read
				end.want(t, first)
				for range 3 {
					if _, err := s.Read(make([]byte, 1)); err != first {
						t.Fatalf("a later Read returned %v, want the first error, %v", err, first)
					}
				}
			})
		})
	}
}

func isEOF(t *testing.T, err error) {
	t.Helper()
	if err != io.EOF {
		t.Fatalf("the error is %v, want io.EOF: the peer has closed normally", err)
	}
}

// TestStreamOfOtherType: a message of the other type fails the connection.
func TestStreamOfOtherType(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		s := StreamConn(c, OpBinary)
		p.send(p.frame(true, OpBinary, "x"), p.frame(true, OpText, "text"))
		if _, err := io.ReadFull(s, make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		read := async(func() error { _, err := s.Read(make([]byte, 1)); return err })
		p.closeHandshake(StatusUnsupportedData)
		for _, err := range []error{<-read, <-async(func() error { _, err := s.Read(make([]byte, 1)); return err })} {
			if err != errOtherType {
				t.Fatalf("a Read returned %v, want %v", err, errOtherType)
			}
		}
		if _, err := s.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("a Write returned %v, want net.ErrClosed", err)
		}
	})
}

// TestStreamReadDeadline: a Read that waits gives up, as do later ones, until
// the deadline is moved. Its error is a net.Error, which crypto/tls and others
// look for without unwrapping.
func TestStreamReadDeadline(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		s := StreamConn(c, OpBinary)
		frame := p.frame(true, OpBinary, "abc")
		for i, piece := range [][]byte{frame[:1], frame[1 : len(frame)-2], frame[len(frame)-2:]} {
			if i > 0 {
				for _, deadline := range []time.Time{longPast, time.Now().Add(time.Millisecond), time.Now().Add(-1)} {
					s.SetReadDeadline(deadline)
					n, err := s.Read(make([]byte, 10))
					for ; n > 0; n, err = s.Read(make([]byte, 10)) {
						if i != 2 {
							t.Fatalf("a Read returned %d bytes, want none yet", n)
						}
					}
					if timeout, ok := err.(net.Error); !errors.Is(err, os.ErrDeadlineExceeded) || !ok || !timeout.Timeout() {
						t.Fatalf("a Read returned %v, want os.ErrDeadlineExceeded as a net.Error", err)
					}
				}
				s.SetReadDeadline(time.Time{})
			}
			p.send(piece)
		}
		var got []byte
		for b := make([]byte, 10); !bytes.HasSuffix(got, []byte("c")); {
			n, err := s.Read(b)
			if err != nil {
				t.Fatalf("a Read after the deadline was moved returned %v, want nil", err)
			}
			got = append(got, b[:n]...)
		}
	})
}

// TestStreamDeadlinesFromOutside: deadlines count for calls that wait.
func TestStreamDeadlinesFromOutside(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, _ := newPeer(t, narrow(connect), connConfig{client: client})
		s := StreamConn(c, OpBinary)
		read := func() error { _, err := s.Read(make([]byte, 1)); return err }
		reader := async(read)
		s.SetReadDeadline(longPast)
		if err := <-reader; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("a Read returned %v, want os.ErrDeadlineExceeded", err)
		}
		s.SetReadDeadline(time.Time{})
		reader = async(read)
		writer := async(func() error { _, err := s.Write(make([]byte, tooLarge)); return err })
		waitUntil(t, "the writer has begun", inState(c, func(out *writeHalf) bool { return out.flushing }))
		s.SetWriteDeadline(longPast)
		err := <-writer
		if timeout, ok := err.(net.Error); !errors.Is(err, os.ErrDeadlineExceeded) || !ok || !timeout.Timeout() {
			t.Fatalf("a Write returned %v, want os.ErrDeadlineExceeded as a net.Error", err)
		}
		broke(errWriteTimedOut)(t, <-reader)
	})
}

// TestStreamCloseEndsCalls: Close ends a Read that waits.
func TestStreamCloseEndsCalls(t *testing.T) {
	onEvery(t, func(t *testing.T, connect connectFunc) {
		a, b := newStreams(t, connect)
		read := func(s net.Conn) <-chan error {
			return async(func() error { _, err := s.Read(make([]byte, 1)); return err })
		}
		readA, readB := read(a), read(b)
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		is(net.ErrClosed)(t, <-readA)
		isEOF(t, <-readB)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if a.LocalAddr() == nil || a.RemoteAddr() == nil {
			t.Fatal("a stream has no addresses")
		}
	})
}

// TestTLSOverStream runs TLS over a stream over a WebSocket connection. A read
// deadline does not break it.
func TestTLSOverStream(t *testing.T) {
	a, b := overStream(t)
	client, server := tlsOver(t, a, b)
	client.SetReadDeadline(longPast)
	if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("a Read returned %v, want os.ErrDeadlineExceeded", err)
	}
	client.SetReadDeadline(time.Time{})
	echoed := async(func() error { _, err := io.Copy(server, server); return err })
	sent := bytes.Repeat([]byte("secret"), 100_000)
	written := async(func() error { _, err := client.Write(sent); return err })
	received := make([]byte, len(sent))
	if _, err := io.ReadFull(client, received); err != nil || !bytes.Equal(received, sent) {
		t.Fatalf("what came back is not what was sent, error %v", err)
	}
	if err := errors.Join(<-written, client.(*tls.Conn).CloseWrite()); err != nil {
		t.Fatal(err)
	}
	if err := <-echoed; err != nil {
		t.Fatalf("copying ended with %v, want nil", err)
	}
}

// TestConnOverStream runs a WebSocket connection over a stream over another.
// How the inner one ends says nothing about the outer one.
func TestConnOverStream(t *testing.T) {
	for name, end := range map[string]func(below *Conn) error{
		"1000": func(below *Conn) error { return below.Close() },
		"3000": func(below *Conn) error { return below.CloseWithStatus(3000, "inner") },
		"drop": func(below *Conn) error { return below.CloseNow() },
	} {
		t.Run(name, func(t *testing.T) {
			client, server := newPair(t, overStream, connConfig{readLimit: -1})
			ended := async(func() error { return echo(server) })
			for _, size := range []int{0, 1, 1000, 100_000, 500_000} {
				message := string(make([]byte, size))
				if err := client.WriteMessage(OpText, []byte(message)); err != nil {
					t.Fatal(err)
				}
				wantMessage(t, client, OpText, message, "it is sent back")
			}
			reader := readError(client)
			if err := client.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := end(client.NetConn().(*streamConn).Conn); err != nil {
				t.Fatal(err)
			}
			for _, err := range []error{<-ended, <-reader} {
				wantCloseError(t, err, StatusAbnormalClosure, "", "there was no Close frame but that of the connection below")
			}
			broke(nil)(t, server.Close())
		})
	}
	t.Run("closing handshake", func(t *testing.T) {
		client, server := newPair(t, overStream, connConfig{})
		ended := async(func() error { return echo(server) })
		if err := client.CloseWithStatus(3000, "outer"); err != nil {
			t.Fatalf("Close returned %v, want nil", err)
		}
		closedBy(3000, "outer")(t, <-ended)
		below := server.NetConn().(*streamConn).Conn
		if err := below.Close(); err != nil {
			t.Fatalf("the connection below was closed with %v, want a closing handshake", err)
		}
	})
}

// TestCloseNowOverStream: where the connection below is a WebSocket connection
// itself, CloseNow does not wait for its closing handshake.
func TestCloseNowOverStream(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		synctest.Test(t, func(t *testing.T) {
			c, _ := newPeer(t, overStreamOverPipe, connConfig{client: client})
			reader := readError(c)
			start := time.Now()
			if err := c.CloseNow(); err != nil {
				t.Fatalf("CloseNow returned %v, want nil", err)
			}
			is(net.ErrClosed)(t, <-reader)
			if waited := time.Since(start); waited != 0 {
				t.Fatalf("CloseNow took %v, want no time", waited)
			}
		})
	})
}
