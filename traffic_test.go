package websocket

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"time"
)

const (
	trafficWriters = 2

	lastWriter      = 1000 // of the message that says that there are no more
	broadcastWriter = 1001 // of those that the server sends to all
)

// What one end of a connection has seen of its traffic.
type trafficEnd struct {
	sent      [trafficWriters]int // messages of which writing returned nil
	got       [trafficWriters]int // messages of the other end, each once and in order
	broadcast int                 // number of the last message to all
	complete  bool                // the other end has said that this was all
	readErr   error               // what ended reading
	closeErr  error               // what Close returned
	wrong     error               // a message came that was not the next of its writer
}

// converse sends messages from several goroutines and in every way there is,
// while it reads those of the other end, which does the same. When that has
// said that there are no more, the closer closes.
func converse(ctx context.Context, c *Conn, closer bool, r *rand.Rand, messages int) (end trafficEnd) {
	complete := make(chan struct{})
	readDone := make(chan struct{})
	go func() {
		defer close(readDone)
		var buf []byte
		for {
			_, p, err := c.ReadMessage(buf[:0])
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.SetReadDeadline(time.Time{}) // somebody tries whether anything is lost by it
				continue
			}
			if err != nil {
				end.readErr = err
				return
			}
			buf = p
			w, n, err := parseNumbered(p)
			switch {
			case err == nil && w == broadcastWriter && n > end.broadcast:
				end.broadcast = n
			case err == nil && w == lastWriter && !end.complete:
				end.complete = true
				close(complete)
			case err == nil && w < trafficWriters && n == end.got[w] && !end.complete:
				end.got[w]++
			default:
				end.wrong = fmt.Errorf("message %d of writer %d came (%v) after %v, complete: %v", n, w, err, end.got, end.complete)
				end.readErr = end.wrong
				c.CloseNow()
				return
			}
		}
	}()
	var writers sync.WaitGroup
	for w := range trafficWriters {
		r := rand.New(rand.NewPCG(r.Uint64(), r.Uint64()))
		writers.Go(func() {
			for end.sent[w] < messages && sendAnyhow(ctx, c, numbered(w, end.sent[w], randomSize(r)), r) == nil {
				end.sent[w]++
			}
		})
	}
	writers.Wait()
	c.WriteMessage(OpBinary, numbered(lastWriter, 0, 4))
	if closer {
		select {
		case <-complete:
		case <-readDone:
		}
		end.closeErr = c.Close()
		<-readDone
	} else {
		<-readDone
		end.closeErr = c.Close()
	}
	c.CloseNow()
	return end
}

func randomSize(r *rand.Rand) int {
	switch r.IntN(20) {
	case 0:
		return 4 + r.IntN(50_000)
	case 1, 2, 3:
		return 4 + r.IntN(3000)
	}
	return 4 + r.IntN(150)
}

// sendAnyhow sends p by one of the ways to send.
func sendAnyhow(ctx context.Context, c *Conn, p []byte, r *rand.Rand) error {
	switch r.IntN(8) {
	case 0, 1:
		m, err := NewPreparedMessage(OpBinary, p)
		if err != nil {
			return err
		}
		if err := c.Enqueue(m); err != ErrQueueFull {
			return err
		}
		return c.WritePrepared(m)
	case 2:
		w, err := c.NextWriter(OpBinary)
		if err != nil {
			return err
		}
		for cut := r.IntN(len(p) + 1); cut > 0; cut = min(len(p), 40_000) {
			if _, err := w.Write(p[:cut]); err != nil {
				return err
			}
			p = p[cut:]
			runtime.Gosched() // somebody may have something to enqueue
		}
		if _, err := w.Write(p); err != nil {
			return err
		}
		return w.Close()
	case 3:
		if r.IntN(4) == 0 {
			if err := c.Ping(ctx); err != nil {
				return err
			}
		}
	}
	return c.WriteMessage(OpBinary, p)
}

// checkTraffic returns what is wrong with what the two ends have seen.
func checkTraffic(closer, other trafficEnd) error {
	if err := errors.Join(closer.wrong, other.wrong); err != nil {
		return err
	}
	for _, each := range []struct {
		what     string
		from, to trafficEnd
		all      bool
	}{
		{"the end that closes", closer, other, errors.Is(other.readErr, &CloseError{Code: StatusNormalClosure})},
		{"the other end", other, closer, closer.complete},
	} {
		for w := range trafficWriters {
			sent, got := each.from.sent[w], each.to.got[w]
			if got > sent+1 { // one write may have failed and been received all the same
				return fmt.Errorf("%d messages of a writer at %s were received, only %d sent", got, each.what, sent)
			}
			if each.all && got != sent {
				return fmt.Errorf("%d messages of a writer at %s were received before an orderly close, want all %d that were sent", got, each.what, sent)
			}
		}
	}
	return nil
}
