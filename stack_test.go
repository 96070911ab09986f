//go:build unix

package websocket

import (
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// TestSmallStacks: a goroutine that echoes messages and waits for the next one
// gets by with its first 2 KiB of stack, and a handler of net/http with 4 KiB.
// Whatever takes one above that doubles its stack for good.
func TestSmallStacks(t *testing.T) {
	leaveOutIfShort(t)
	if raceDetector || runtime.GOARCH != "amd64" {
		t.Skip("frames are of other sizes here")
	}
	// In a process of its own, where new goroutines do not begin with as much
	// stack as those before them had.
	const own = "adaptivestackstart=0"
	if os.Getenv("GODEBUG") != own {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSmallStacks$")
		cmd.Env = append(os.Environ(), "GODEBUG="+own)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}

	const kib = 1 << 10
	inGoroutine := func(loop func(c *Conn)) func() *Conn {
		return func() *Conn {
			client, server := newPair(t, overTCP, connConfig{})
			go loop(server)
			return client
		}
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := new(Upgrader).Upgrade(w, r)
		if err == nil {
			stackOfMessages(c)
		}
	}))
	defer server.Close()
	for _, style := range []struct {
		name  string
		most  int64
		begin func() *Conn // returns the client of a new echo server
	}{
		{"ReadMessage", 2 * kib, inGoroutine(stackOfMessages)},
		{"NextReader", 2 * kib, inGoroutine(stackOfReaders)},
		{"in the handler", 4 * kib, func() *Conn {
			c, _, err := Dial(t.Context(), server.URL)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.CloseNow() })
			return c
		}},
	} {
		t.Run(style.name, func(t *testing.T) {
			const conns = 200
			echoOne(t, style.begin()) // fills the pools
			each := int64(math.MaxInt64)
			// On a busy machine the scheduler interrupts goroutines, for which it
			// uses their stacks: the best of some rounds counts.
			for range 10 {
				before := stackMemory()
				for range conns {
					client := style.begin()
					echoOne(t, client)
					echoOne(t, client)
				}
				if each = min(each, (stackMemory()-before)/conns); each <= style.most+kib/2 {
					return
				}
			}
			t.Errorf("a goroutine that waits for a message has %d bytes of stack, want %d", each, style.most)
		})
	}
}

// applicationFrame is how much stack the loops below take for themselves, in
// bytes.
const applicationFrame = 128

func stackOfMessages(c *Conn) {
	var own [applicationFrame]byte
	buf := make([]byte, 0, 64)
	for {
		own[0]++
		op, p, err := c.ReadMessage(buf[:0])
		if err != nil || c.WriteMessage(op, p) != nil {
			break
		}
	}
	runtime.KeepAlive(&own)
}

func stackOfReaders(c *Conn) {
	var own [applicationFrame]byte
	buf := make([]byte, 64)
	for {
		own[0]++
		op, r, err := c.NextReader()
		if err != nil {
			break
		}
		n, err := r.Read(buf)
		if _, end := r.Read(buf[n:]); err != nil || end != io.EOF || c.WriteMessage(op, buf[:n]) != nil {
			break
		}
	}
	runtime.KeepAlive(&own)
}

func echoOne(t *testing.T, client *Conn) {
	t.Helper()
	if err := client.WriteMessage(OpText, []byte("message")); err != nil {
		t.Fatal(err)
	}
	wantMessage(t, client, OpText, "message", "it was sent")
}

// stackMemory returns how many bytes of stack are in use, those that wait for
// another goroutine not among them.
func stackMemory() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.StackInuse)
}
