package websocket

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
)

// nextWriter calls NextWriter, which is not to fail.
func nextWriter(t testing.TB, c *Conn, op Opcode) *messageWriter {
	t.Helper()
	w, err := c.NextWriter(op)
	if err != nil {
		t.Fatalf("NextWriter returned %v, want nil", err)
	}
	return w.(*messageWriter)
}

// writing writes p in a goroutine, which fails the test unless all is taken.
func writing(t testing.TB, w *messageWriter, p string) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if n, err := w.Write([]byte(p)); n != len(p) || err != nil {
			t.Errorf("a Write of %d bytes returned %d, %v, want all of them and nil", len(p), n, err)
		}
	}()
	return done
}

// TestNextWriterSizes: whatever the sizes of the message and of the writes,
// it arrives.
func TestNextWriterSizes(t *testing.T) {
	const k32 = 32 << 10
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		a, b := newPair(t, connect, connConfig{readLimit: -1})
		if !client {
			a, b = b, a
		}
		for _, size := range []int{0, 1, 125, 126, k32 - 1, k32, k32 + 1, 2*k32 - 1, 2 * k32, 2*k32 + 1, 200_000} {
			for _, piece := range []int{1009, k32 - 1, k32, k32 + 1, 100_000, max(size, 1)} {
				message := numbered(0, size, max(size, 4))[:size]
				written := async(func() error { return writeInPieces(a, OpBinary, message, piece) })
				wantMessage(t, b, OpBinary, string(message), fmt.Sprintf("it was written %d bytes at a time", piece))
				if err := <-written; err != nil {
					t.Fatal(err)
				}
			}
		}
		const text = "äöü€𝄞"
		written := async(func() error { return writeInPieces(a, OpText, []byte(text), 1) })
		wantMessage(t, b, OpText, text, "characters may be cut by writes")
		if err := <-written; err != nil {
			t.Fatal(err)
		}
	})
}

// TestNextWriterFrames looks at the frames of a message.
func TestNextWriterFrames(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		go readError(c)
		zeros := func(n int) string { return string(make([]byte, n)) }

		w := nextWriter(t, c, OpText)
		closed := async(w.Close)
		p.wantFrame(OpText, "", "a message without a Write is one empty frame")
		if err := <-closed; err != nil {
			t.Fatal(err)
		}

		w = nextWriter(t, c, OpBinary)
		<-writing(t, w, "a")
		<-writing(t, w, "")
		<-writing(t, w, zeros(maxAppend-1))
		closed = async(w.Close)
		p.wantFrame(OpBinary, "a"+zeros(maxAppend-1), "32 KiB leave in one frame")
		if err := <-closed; err != nil {
			t.Fatal(err)
		}

		w = nextWriter(t, c, OpBinary)
		<-writing(t, w, zeros(maxAppend))
		overflow := writing(t, w, "b")
		p.wantFragment(false, OpBinary, zeros(maxAppend), "there is one byte more")
		<-overflow
		p.send(p.frame(true, OpPing, "now"))
		p.wantFrame(OpPong, "now", "control frames pass between fragments")
		large := writing(t, w, zeros(3*maxAppend))
		p.wantFragment(false, OpContinuation, "b", "what was there before goes first")
		p.wantFragment(false, OpContinuation, zeros(3*maxAppend), "a large Write is a frame of its own")
		<-large
		pinged := async(func() error { return c.Ping(t.Context()) })
		h, payload, err := p.readFrame()
		if err != nil || h.Opcode != OpPing {
			t.Fatalf("the peer got a %v frame, error %v, want a Ping between fragments", h.Opcode, err)
		}
		p.send(p.frame(true, OpPong, string(payload)))
		if err := <-pinged; err != nil {
			t.Fatal(err)
		}
		closed = async(w.Close)
		p.wantFragment(true, OpContinuation, "", "the last frame has FIN set")
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
	})
}

// TestNextWriterExcludes: other messages wait for an open one and keep their
// order, and a second Close of a writer does nothing to the next message.
func TestNextWriterExcludes(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		first := nextWriter(t, c, OpText)
		<-writing(t, first, "first")
		var waiters []<-chan error
		for i := range 3 {
			waiters = append(waiters, async(func() error { return c.WriteMessage(OpText, fmt.Append(nil, "waiter ", i)) }))
			waitUntil(t, "the writer waits", waiting(c, i+1))
		}
		second := async(func() *messageWriter { return nextWriter(t, c, OpText) })
		waitUntil(t, "the second NextWriter waits", waiting(c, 4))
		last := async(func() error { return c.WriteMessage(OpText, []byte("last")) })
		waitUntil(t, "the last writer waits", waiting(c, 5))

		closed := async(first.Close)
		p.wantFrame(OpText, "first", "it was begun first")
		for i := range 3 {
			p.wantFrame(OpText, fmt.Sprint("waiter ", i), "it waited")
		}
		for i, result := range append(waiters, closed) {
			if err := <-result; err != nil {
				t.Fatalf("writer %d got %v, want nil", i, err)
			}
		}

		w := <-second
		<-writing(t, w, "sec")
		if err := first.Close(); err != nil {
			t.Fatalf("a second Close returned %v, want nil", err)
		}
		if n, err := first.Write([]byte("x")); n != 0 || err == nil {
			t.Fatalf("a Write after Close returned %d, %v, want 0 and an error", n, err)
		}
		if !waiting(c, 1)() {
			t.Fatal("nobody waits any more: the late Close of one writer has let the next message pass inside another")
		}
		<-writing(t, w, "ond")
		closed = async(w.Close)
		p.wantFrame(OpText, "second", "it was begun and closed, with nothing in between")
		p.wantFrame(OpText, "last", "it waited")
		for range 3 {
			if err := w.Close(); err != nil {
				t.Fatalf("a later Close returned %v, want nil", err)
			}
		}
		if err := errors.Join(<-closed, <-last); err != nil {
			t.Fatal(err)
		}
	})
}

// TestCloseDoesNotWaitForNextWriter: the Close frame goes out between the
// fragments, and what waited is dropped.
func TestCloseDoesNotWaitForNextWriter(t *testing.T) {
	for _, begun := range []bool{false, true} {
		t.Run(fmt.Sprintf("begun=%v", begun), func(t *testing.T) {
			everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
				c, p := newPeer(t, connect, connConfig{client: client})
				w := nextWriter(t, c, OpBinary)
				if begun {
					written := writing(t, w, strings.Repeat("x", 40<<10))
					p.wantFragment(false, OpBinary, strings.Repeat("x", 40<<10), "it was written")
					<-written
				} else {
					<-writing(t, w, "x")
				}
				waiter := async(func() error { return c.WriteMessage(OpText, nil) })
				waitUntil(t, "a writer waits", waiting(c, 1))
				another := async(func() error { _, err := c.NextWriter(OpText); return err })
				waitUntil(t, "two writers wait", waiting(c, 2))

				closed := async(c.Close)
				p.wantClose(StatusNormalClosure, "Close does not wait for the open message")
				_, writeErr := w.Write([]byte("y"))
				for i, err := range []error{<-waiter, <-another, writeErr, w.Close()} {
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("writer %d got %v, want net.ErrClosed", i, err)
					}
				}
				p.send(p.frame(true, OpClose, "\x03\xe8"))
				p.waitSent()
				if client {
					p.close()
				} else {
					p.wantEOF("nothing follows a Close frame")
				}
				if err := <-closed; err != nil {
					t.Fatalf("Close returned %v, want nil", err)
				}
			})
		})
	}
}

// TestCloseNowEndsWriters: all who wait return at once.
func TestCloseNowEndsWriters(t *testing.T) {
	for _, way := range waysToWait {
		t.Run(way.name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
				c, _ := newPeer(t, narrow(connect), connConfig{client: client})
				reader := readError(c)
				writer := way.wait(t, c)
				if err := c.CloseNow(); err != nil {
					t.Fatalf("CloseNow returned %v, want nil", err)
				}
				for what, err := range map[string]error{"reader": <-reader, "writer": <-writer} {
					if !errors.Is(err, net.ErrClosed) {
						t.Errorf("the %s got %v, want net.ErrClosed", what, err)
					}
				}
			})
		})
	}
}

// TestNextWriterRefusesBadText: nothing of a Write that cannot be text is
// taken, and the message goes on as if it had not been called.
func TestNextWriterRefusesBadText(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		w := nextWriter(t, c, OpText)
		refuse := func(bad string) {
			t.Helper()
			if n, err := w.Write([]byte(bad)); n != 0 || !errors.Is(err, ErrInvalidUTF8) {
				t.Fatalf("a Write of %q returned %d, %v, want 0 and ErrInvalidUTF8", bad, n, err)
			}
		}
		refuse("ab\xff")
		refuse(strings.Repeat("x", 100<<10) + "\xc0\x80")
		<-writing(t, w, "a\xe2\x82") // two bytes of €
		refuse("b")
		refuse("\xac\xff")
		<-writing(t, w, "\xac!")
		closed := async(w.Close)
		p.wantFrame(OpText, "a€!", "only that was taken")
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
	})
}

// TestNextWriterInsideCharacter closes text inside a character, before
// anything of it has been sent and after.
func TestNextWriterInsideCharacter(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		w := nextWriter(t, c, OpText)
		<-writing(t, w, "a\xe2\x82")
		waiter := async(func() error { return c.WriteMessage(OpText, []byte("next")) })
		waitUntil(t, "a writer waits", waiting(c, 1))
		if err := w.Close(); !errors.Is(err, ErrInvalidUTF8) {
			t.Fatalf("Close inside a character returned %v, want ErrInvalidUTF8", err)
		}
		p.wantFrame(OpText, "next", "the message before was not sent")
		if err := <-waiter; err != nil {
			t.Fatal(err)
		}

		w = nextWriter(t, c, OpText)
		half := strings.Repeat("x", 40<<10) + "\xe2"
		written := writing(t, w, half)
		p.wantFragment(false, OpText, half, "it was written")
		<-written
		closed := async(w.Close)
		p.wantClose(StatusInternalError, "part of a message that cannot be ended has been sent")
		p.send(p.frame(true, OpClose, "\x03\xf3"))
		p.waitSent()
		p.close()
		if err := <-closed; !errors.Is(err, ErrInvalidUTF8) {
			t.Fatalf("Close inside a character returned %v, want ErrInvalidUTF8", err)
		}
		if err := c.WriteMessage(OpText, nil); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("a later WriteMessage returned %v, want net.ErrClosed", err)
		}
	})
}

// TestNextWriterIsKept: a message may stay open while others are read and
// answered with control frames, and buffers go round in between.
func TestNextWriterIsKept(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		var want bytes.Buffer
		w := nextWriter(t, c, OpBinary)
		for i := range 50 {
			piece := bytes.Repeat([]byte{byte(i)}, 100)
			want.Write(piece)
			<-writing(t, w, string(piece))
			p.send(p.frame(true, OpPing, fmt.Sprint(i)), p.frame(true, OpText, "read on"))
			read := readError(c)
			p.wantFrame(OpPong, fmt.Sprint(i), "a Ping is answered")
			if err := <-read; err != nil {
				t.Fatal(err)
			}
		}
		closed := async(w.Close)
		p.wantFrame(OpBinary, want.String(), "it was written")
		if err := <-closed; err != nil {
			t.Fatal(err)
		}
	})
}
