package websocket

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"
)

// segmentPipe returns the two ends of a connection in memory on which, unlike
// on TCP, what one Write brings is never joined with what another brings:
// each Read gets the rest of one Write at most. Each direction holds some KiB
// and then makes its writer wait, as TCP does, and each can be closed alone.
func segmentPipe() (a, b *segmentConn) {
	ab, ba := newSegments(), newSegments()
	return &segmentConn{in: ba, out: ab}, &segmentConn{in: ab, out: ba}
}

type segmentConn struct{ in, out *segments }

func (c *segmentConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *segmentConn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *segmentConn) CloseWrite() error           { c.out.end(io.EOF, errSegmentClosed); return nil }

func (c *segmentConn) Close() error {
	c.in.end(net.ErrClosed, errSegmentClosed)
	c.out.end(io.EOF, net.ErrClosed)
	return nil
}

func (c *segmentConn) LocalAddr() net.Addr  { return segmentAddr{} }
func (c *segmentConn) RemoteAddr() net.Addr { return segmentAddr{} }

func (c *segmentConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *segmentConn) SetReadDeadline(t time.Time) error {
	c.in.setDeadline(&c.in.readBy, t)
	return nil
}

func (c *segmentConn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(&c.out.writeBy, t)
	return nil
}

type segmentAddr struct{}

func (segmentAddr) Network() string { return "memory" }
func (segmentAddr) String() string  { return "memory" }

var errSegmentClosed = errors.New("closed by the other end")

const segmentsMax = 64 << 10

// segments are the bytes on their way in one direction.
type segments struct {
	mu      sync.Mutex
	changed sync.Cond
	queue   [][]byte
	held    int   // bytes in queue
	readErr error // once the queue is empty; io.EOF or net.ErrClosed
	sendErr error
	readBy  segmentDeadline
	writeBy segmentDeadline
}

type segmentDeadline struct {
	timer  *time.Timer
	passed bool
}

func newSegments() *segments {
	s := new(segments)
	s.changed.L = &s.mu
	return s
}

func (s *segments) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.readErr == net.ErrClosed:
			return 0, s.readErr
		case s.readBy.passed:
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case len(s.queue) > 0:
			n := copy(p, s.queue[0])
			if s.queue[0] = s.queue[0][n:]; len(s.queue[0]) == 0 {
				s.queue = s.queue[1:]
			}
			s.held -= n
			s.changed.Broadcast()
			return n, nil
		case s.readErr != nil:
			return 0, s.readErr
		}
		s.changed.Wait()
	}
}

func (s *segments) write(p []byte) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n < len(p) || len(p) == 0 {
		switch room := segmentsMax - s.held; {
		case s.sendErr != nil:
			return n, s.sendErr
		case s.writeBy.passed:
			return n, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case room > 0:
			part := p[n:][:min(room, len(p)-n)]
			s.queue = append(s.queue, append([]byte(nil), part...))
			s.held += len(part)
			n += len(part)
			s.changed.Broadcast()
			continue
		}
		s.changed.Wait()
	}
	return n, nil
}

// end lets the reader have what is on its way and then readErr, and refuses
// more. The first end of a side counts, except that its own Close comes last.
func (s *segments) end(readErr, sendErr error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readErr == nil || readErr == net.ErrClosed {
		s.readErr = readErr
	}
	if s.sendErr == nil || sendErr == net.ErrClosed {
		s.sendErr = sendErr
	}
	s.changed.Broadcast()
}

func (s *segments) setDeadline(d *segmentDeadline, t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.passed = !t.IsZero() && !t.After(time.Now()); !d.passed && !t.IsZero() {
		var timer *time.Timer
		timer = time.AfterFunc(time.Until(t), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			if d.timer == timer { // not one that was replaced as it went off
				d.passed = true
				s.changed.Broadcast()
			}
		})
		d.timer = timer
	}
	s.changed.Broadcast()
}

func TestSegmentPipe(t *testing.T) {
	a, b := segmentPipe()
	for _, s := range []string{"one", "two"} {
		if n, err := a.Write([]byte(s)); n != 3 || err != nil {
			t.Fatalf("want a write of 3 bytes, got %d, %v", n, err)
		}
	}
	buf := make([]byte, 16)
	for _, want := range []string{"one", "two"} {
		if n, err := b.Read(buf); string(buf[:n]) != want || err != nil {
			t.Fatalf("want the bytes of one Write, %q, got %q, %v", want, buf[:n], err)
		}
	}
	a.CloseWrite()
	if _, err := b.Read(buf); err != io.EOF {
		t.Errorf("want EOF after CloseWrite, got %v", err)
	}
	if _, err := b.Write([]byte("back")); err != nil {
		t.Errorf("want the other direction open, got %v", err)
	}
	if n, err := a.Read(buf); string(buf[:n]) != "back" || err != nil {
		t.Errorf("want \"back\", got %q, %v", buf[:n], err)
	}
	a.SetReadDeadline(time.Unix(1, 0))
	if _, err := a.Read(buf); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("want the deadline to have passed, got %v", err)
	}
	a.Close()
	if _, err := a.Read(buf); !errors.Is(err, net.ErrClosed) {
		t.Errorf("want net.ErrClosed after Close, got %v", err)
	}
	if _, err := b.Write([]byte("lost")); err == nil {
		t.Error("want an error from a Write to a closed end")
	}
	// A direction that nobody reads fills up, and its writer waits.
	a, b = segmentPipe()
	a.SetWriteDeadline(time.Now().Add(time.Hour))
	done := make(chan error)
	go func() {
		_, err := a.Write(make([]byte, 2*segmentsMax))
		done <- err
	}()
	got, err := io.ReadFull(b, make([]byte, 2*segmentsMax))
	if err := errors.Join(err, <-done); got != 2*segmentsMax || err != nil {
		t.Errorf("want all bytes of a large Write, got %d, %v", got, err)
	}
	a.SetWriteDeadline(time.Time{})
}
