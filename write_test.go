package websocket

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
)

// narrow returns a connectFunc whose sockets have small buffers, so that large
// writes have to wait for the reader. They are larger than a segment of the
// loopback interface, or TCP itself would pause.
func narrow(connect connectFunc) connectFunc {
	return func(t testing.TB) (net.Conn, net.Conn) {
		a, b := connect(t)
		for _, nc := range []net.Conn{a, b} {
			if below, ok := nc.(interface{ NetConn() net.Conn }); ok {
				nc = below.NetConn()
			}
			if tcp, ok := nc.(*net.TCPConn); ok {
				tcp.SetReadBuffer(256 << 10)
				tcp.SetWriteBuffer(256 << 10)
			}
		}
		return a, b
	}
}

// tooLarge is more than the buffers of a narrow connection hold.
const tooLarge = 4 << 20

// stuckWriter has c write a message that its peer does not read, and returns
// where its result will be.
func stuckWriter(t testing.TB, c *Conn) <-chan error {
	t.Helper()
	flushing := func(out *writeHalf) bool { return out.flushing }
	waitUntil(t, "nobody writes", inState(c, func(out *writeHalf) bool { return !flushing(out) }))
	result := async(func() error { return c.WriteMessage(OpBinary, make([]byte, tooLarge)) })
	waitUntil(t, "the writer has begun", inState(c, flushing))
	return result
}

// waiting returns a condition for waitUntil: n writers wait.
func waiting(c *Conn, n int) func() bool {
	return inState(c, func(out *writeHalf) bool {
		waiting := 0
		if b := out.backlog; b != nil {
			waiting = len(b.line)
			if b.head != nil {
				waiting++
			}
		}
		return waiting == n
	})
}

// queueEmpty reports whether nothing that has been enqueued is kept.
func queueEmpty(out *writeHalf) bool {
	return out.queued() == 0 && (out.backlog == nil || out.backlog.queue == nil)
}

// A numbered message says who wrote it and when, and shows if it is whole.
func numbered(writer, number, size int) []byte {
	p := bytes.Repeat([]byte{byte(writer*31 + number)}, size)
	binary.BigEndian.PutUint16(p, uint16(writer))
	binary.BigEndian.PutUint16(p[2:], uint16(number))
	return p
}

func parseNumbered(p []byte) (writer, number int, err error) {
	if len(p) < 4 {
		return 0, 0, fmt.Errorf("a message of %d bytes", len(p))
	}
	writer, number = int(binary.BigEndian.Uint16(p)), int(binary.BigEndian.Uint16(p[2:]))
	if !bytes.Equal(p, numbered(writer, number, len(p))) {
		err = fmt.Errorf("message %d of writer %d is mixed with something else", number, writer)
	}
	return writer, number, err
}

// writeInPieces writes p through NextWriter, size bytes at a time.
func writeInPieces(c *Conn, op Opcode, p []byte, size int) error {
	w, err := c.NextWriter(op)
	if err != nil {
		return err
	}
	for piece := range slices.Chunk(p, size) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return w.Close()
}

// TestConcurrentWriters writes messages of all sizes, in all ways, from many
// goroutines with Pings among them and then closes. Each message arrives
// exactly once and whole, those of one goroutine in its order.
func TestConcurrentWriters(t *testing.T) {
	const perWriter = 16
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for _, writers := range []int{8, 64} {
			a, b := newPair(t, narrow(connect), connConfig{readLimit: -1})
			if !client {
				a, b = b, a
			}
			go readError(a) // for Pongs
			var all sync.WaitGroup
			for writer := range writers {
				all.Go(func() {
					for number := range perWriter {
						size := 4 + number*13
						switch {
						case number == 5 && writer%8 == 0:
							size = 1 << 20
						case number%5 == writer%5:
							size = 40 << 10
						}
						p := numbered(writer, number, size)
						var err error
						switch (writer + number) % 4 {
						case 0:
							err = writeInPieces(a, OpBinary, p, 9000)
						case 1:
							if err = a.WriteMessage(OpBinary, p); err == nil && writer%8 == 0 {
								err = a.Ping(context.Background())
							}
						default:
							err = a.WriteMessage(OpBinary, p)
						}
						if err != nil {
							t.Errorf("writer %d got %v for message %d, want nil", writer, err, number)
							return
						}
					}
				})
			}
			closed := async(func() error {
				all.Wait()
				return a.Close()
			})
			next := make([]int, writers)
			var buf []byte
			for {
				var err error
				_, buf, err = b.ReadMessage(buf[:0])
				if err != nil {
					wantCloseError(t, err, StatusNormalClosure, "", "all has been written and Close called")
					break
				}
				writer, number, err := parseNumbered(buf)
				if err != nil || number != next[writer] {
					t.Fatalf("message %d of writer %d came (error %v), want number %d", number, writer, err, next[writer])
				}
				next[writer]++
			}
			for writer, n := range next {
				if n != perWriter {
					t.Errorf("%d messages of writer %d came before the Close frame, want all %d", n, writer, perWriter)
				}
			}
			if err := <-closed; err != nil {
				t.Fatalf("Close returned %v, want nil", err)
			}
		}
	})
}

// TestFirstComeFirstServed has writers of small and large messages wait behind
// one that is stuck.
func TestFirstComeFirstServed(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		a, b := newPair(t, narrow(connect), connConfig{readLimit: -1})
		if !client {
			a, b = b, a
		}
		results := []<-chan error{stuckWriter(t, a)}
		sizes := []int{1 << 20, 10, 40 << 10, 10, 10, 64 << 10, 20}
		for i, size := range sizes {
			results = append(results, async(func() error { return a.WriteMessage(OpBinary, numbered(i, 0, size)) }))
			waitUntil(t, fmt.Sprintf("writer %d waits", i), waiting(a, i+1))
		}
		if _, p, err := b.ReadMessage(nil); err != nil || len(p) != tooLarge {
			t.Fatalf("%d bytes came, error %v, want the first message", len(p), err)
		}
		for want, size := range sizes {
			_, p, err := b.ReadMessage(nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, _, err := parseNumbered(p); got != want || err != nil || len(p) != size {
				t.Fatalf("the message of writer %d came (%v), want that of writer %d, who called before", got, err, want)
			}
		}
		for i, result := range results {
			if err := <-result; err != nil {
				t.Errorf("writer %d got %v, want nil: its message has arrived", i, err)
			}
		}
	})
}

// TestSmallWritesDoNotWait: behind a flusher at work small messages are
// pending, up to 64 KiB of them; then writers wait.
func TestSmallWritesDoNotWait(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		a, b := newPair(t, narrow(connect), connConfig{readLimit: -1})
		if !client {
			a, b = b, a
		}
		stuck := stuckWriter(t, a)
		number := 0
		for ; number < 1000 && inState(a, func(out *writeHalf) bool { return len(out.frames()) <= maxPending })(); number++ {
			if err := a.WriteMessage(OpBinary, numbered(0, number, 1000)); err != nil {
				t.Fatal(err)
			}
		}
		if number*1000 < maxPending || number*1000 > maxPending+1000 {
			t.Fatalf("%d messages of 1000 bytes are pending, want 64 KiB of them", number)
		}
		last := async(func() error { return a.WriteMessage(OpBinary, numbered(0, number, 1000)) })
		waitUntil(t, "one writer more waits", waiting(a, 1))
		if _, _, err := b.ReadMessage(nil); err != nil {
			t.Fatal(err)
		}
		for want := range number + 1 {
			_, p, err := b.ReadMessage(nil)
			if _, got, _ := parseNumbered(p); err != nil || got != want {
				t.Fatalf("message %d came, error %v, want message %d", got, err, want)
			}
		}
		if err := errors.Join(<-stuck, <-last); err != nil {
			t.Fatalf("the writers got %v, want nil", err)
		}
	})
}

// TestBothEndsWriteLarge has both ends write more than the connection holds,
// answer Pings and read, all at the same time.
func TestBothEndsWriteLarge(t *testing.T) {
	const messages = 6
	onEvery(t, func(t *testing.T, connect connectFunc) {
		a, b := newPair(t, narrow(connect), connConfig{readLimit: -1})
		var ends []<-chan error
		for _, c := range []*Conn{a, b} {
			ends = append(ends,
				async(func() error {
					for i := range messages {
						if err := c.WriteMessage(OpBinary, numbered(0, i, 1<<20)); err != nil {
							return err
						}
					}
					return nil
				}),
				async(func() error {
					for range messages {
						if err := c.Ping(context.Background()); err != nil {
							return err
						}
					}
					return nil
				}),
				async(func() error {
					for i := range messages {
						_, p, err := c.ReadMessage(nil)
						if err != nil {
							return err
						}
						if _, number, err := parseNumbered(p); err != nil || number != i {
							return fmt.Errorf("message %d came (%v), want %d", number, err, i)
						}
					}
					readError(c) // for the Pongs that are still to come
					return nil
				}))
		}
		for _, end := range ends {
			if err := <-end; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestReadingDoesNotWaitForWriting reads while the peer reads nothing and
// Pongs cannot be sent.
func TestReadingDoesNotWaitForWriting(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, narrow(connect), connConfig{client: client})
		stuck := stuckWriter(t, c)
		for range 100 {
			p.send(p.frame(true, OpPing, "are you there?"), p.frame(true, OpText, "hello"))
			wantMessage(t, c, OpText, "hello", "the peer may send and not read")
		}
		c.CloseNow()
		if err := <-stuck; !errors.Is(err, net.ErrClosed) {
			t.Fatalf("the writer got %v, want net.ErrClosed", err)
		}
	})
}

// TestCallersSlice: what a caller hands over is never changed, also not while
// it is written, and may be changed as soon as the call has returned.
func TestCallersSlice(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		a, b := newPair(t, narrow(connect), connConfig{readLimit: -1})
		if !client {
			a, b = b, a
		}
		for _, size := range []int{10, 5000, 32 << 10, 100 << 10, 1 << 20} {
			write := func(how string, write func(p []byte) error) {
				t.Helper()
				p := numbered(1, size>>10, size)
				want := bytes.Clone(p)
				written := async(func() error {
					err := write(p)
					if !bytes.Equal(p, want) {
						t.Errorf("%s of %d bytes has changed its argument", how, size)
					}
					clear(p)
					return err
				})
				wantMessage(t, b, OpBinary, string(want), how+" was called with it")
				if err := <-written; err != nil {
					t.Fatal(err)
				}
			}
			write("WriteMessage", func(p []byte) error { return a.WriteMessage(OpBinary, p) })
			write("a Write of NextWriter", func(p []byte) error { return writeInPieces(a, OpBinary, p, len(p)) })
		}

		// Pending behind a flusher at work, too.
		stuck := stuckWriter(t, a)
		p := numbered(2, 0, 1000)
		if err := a.WriteMessage(OpBinary, p); err != nil {
			t.Fatal(err)
		}
		clear(p)
		if _, _, err := b.ReadMessage(nil); err != nil {
			t.Fatal(err)
		}
		wantMessage(t, b, OpBinary, string(numbered(2, 0, 1000)), "it was that when WriteMessage was called")
		if err := <-stuck; err != nil {
			t.Fatal(err)
		}
	})
}

// TestRefusedMessages: what must not be sent is refused, without harm to the
// connection.
func TestRefusedMessages(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		for _, op := range []Opcode{OpContinuation, 3, OpClose, OpPing, OpPong, 0xF, 0x11} {
			if err := c.WriteMessage(op, nil); err != errBadMessageOpcode {
				t.Errorf("WriteMessage with %v returned %v, want %v", op, err, errBadMessageOpcode)
			}
			if _, err := c.NextWriter(op); err != errBadMessageOpcode {
				t.Errorf("NextWriter with %v returned %v, want %v", op, err, errBadMessageOpcode)
			}
		}
		if err := c.WriteMessage(OpText, []byte("a\xff")); !errors.Is(err, ErrInvalidUTF8) {
			t.Errorf("WriteMessage of text that is not UTF-8 returned %v, want ErrInvalidUTF8", err)
		}
		for _, code := range []StatusCode{0, 999, 1004, StatusNoStatusReceived, StatusAbnormalClosure, StatusTLSHandshake, 1016, 2999, 5000} {
			if err := c.CloseWithStatus(code, ""); err != errBadCloseCode {
				t.Errorf("CloseWithStatus(%d) returned %v, want %v", code, err, errBadCloseCode)
			}
		}
		for _, reason := range []string{"\xff", string(make([]byte, 124))} {
			if err := c.CloseWithStatus(1000, reason); err != errBadCloseReason {
				t.Errorf("CloseWithStatus with the reason %q returned %v, want %v", reason, err, errBadCloseReason)
			}
		}
		written := async(func() error { return c.WriteMessage(OpBinary, []byte("\xff")) })
		p.wantFrame(OpBinary, "\xff", "nothing before was sent")
		if err := <-written; err != nil {
			t.Fatal(err)
		}
	})
}

// TestFreshMaskingKeys: each frame of a client is masked with a key of its own
// (5.3), whatever the frame.
func TestFreshMaskingKeys(t *testing.T) {
	onEvery(t, func(t *testing.T, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: true})
		go readError(c)
		const rounds = 25
		written := async(func() error {
			for range rounds {
				if err := errors.Join(c.WriteMessage(OpText, []byte("same")), c.WriteMessage(OpBinary, make([]byte, 40<<10)),
					writeInPieces(c, OpBinary, make([]byte, 70<<10), 35<<10)); err != nil {
					return err
				}
			}
			return nil
		})
		keys := make(map[[4]byte]bool)
		const frames = rounds * 5
		for range frames {
			h, _, err := p.readFrame()
			if err != nil {
				t.Fatal(err)
			}
			p.checkHeader(h)
			keys[h.MaskKey] = true
		}
		if len(keys) < frames-2 { // two may be the same by chance
			t.Fatalf("%d frames had %d different masking keys, want one each", frames, len(keys))
		}
		if err := <-written; err != nil {
			t.Fatal(err)
		}
	})
}

// TestCustomConnMethods: where the connection is of a type that embeds a
// *net.TCPConn its own methods are used, and it is not waited for otherwise.
func TestCustomConnMethods(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		c, p := newPeer(t, func(t testing.TB) (net.Conn, net.Conn) {
			a, b := overTCP(t)
			return rot1{a.(*net.TCPConn)}, rot1{b.(*net.TCPConn)}
		}, connConfig{client: client})
		ended := async(func() error { return echo(c) })
		for _, size := range []int{1, 1000, 100 << 10} {
			message := string(bytes.Repeat([]byte("x"), size))
			p.send(p.frame(true, OpText, message))
			p.wantFrame(OpText, message, "both ends change bytes on the way in the same manner")
		}
		p.send(p.frame(true, OpClose, ""))
		p.wantClose(StatusNoStatusReceived, "the peer closed")
		p.close()
		wantCloseError(t, <-ended, StatusNoStatusReceived, "", "the peer closed")
	})
}

// A rot1 adds one to each byte on the way out and takes it away on the way in.
type rot1 struct{ *net.TCPConn }

func (r rot1) Read(p []byte) (int, error) {
	n, err := r.TCPConn.Read(p)
	for i := range p[:n] {
		p[i]--
	}
	return n, err
}

func (r rot1) Write(p []byte) (int, error) {
	p = bytes.Clone(p)
	for i := range p {
		p[i]++
	}
	return r.TCPConn.Write(p)
}

func (r rot1) ReadFrom(io.Reader) (int64, error) { return 0, errors.New("not to be used") }
