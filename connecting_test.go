package websocket

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// inLine returns how many are connecting to addr or wait for that.
func inLine(addr string) int {
	connecting.mu.Lock()
	defer connecting.mu.Unlock()
	if line := connecting.lines[addr]; line != nil {
		return line.count
	}
	return 0
}

// waitInLine waits until so many are.
func waitInLine(addr string, count int) {
	for inLine(addr) < count {
		runtime.Gosched()
	}
}

// wantNobodyConnecting checks that all lines are gone.
func wantNobodyConnecting(t *testing.T) {
	t.Helper()
	connecting.mu.Lock()
	defer connecting.mu.Unlock()
	if len(connecting.lines) > 0 {
		t.Errorf("lines for %d addresses are left where nobody is connecting", len(connecting.lines))
	}
}

// TestDialOneConnecting dials the same address many times at once, by two of
// its names and from several Dialers (4.1, step 2: "even if the remote host is
// known by another name"). The server answers none before all have been made,
// and refuses every other one.
func TestDialOneConnecting(t *testing.T) {
	const dials = 6
	var open, served atomic.Int32
	var several atomic.Bool
	var addr string
	server := startRaw(t, func(nc net.Conn) {
		if open.Add(1) > 1 && !several.Swap(true) {
			t.Error("several connections are in CONNECTING state, want one at a time")
		}
		n := int(served.Add(1))
		key := readKey(t, nc)
		for inLine(addr) < dials+1-n && !several.Load() {
			runtime.Gosched()
		}
		open.Add(-1) // the client will know in a moment
		text := sampleAnswer
		if n%2 == 0 {
			text = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
		}
		io.WriteString(nc, strings.ReplaceAll(text, "KEY", AcceptKey(key)))
	})
	addr = strings.TrimPrefix(server.url, "ws://")
	urls := []string{server.url, strings.Replace(server.url, "127.0.0.1", "localhost", 1)}

	var wg sync.WaitGroup
	var accepted, refused atomic.Int32
	for i := range dials {
		wg.Go(func() {
			conn, _, err := Dial(t.Context(), urls[i%2])
			switch {
			case err == nil:
				accepted.Add(1)
				conn.CloseNow()
			case errors.As(err, new(*HandshakeError)):
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if a, r := accepted.Load(), refused.Load(); a != dials/2 || r != dials/2 {
		t.Errorf("%d connections were accepted and %d refused, want %d of each", a, r, dials/2)
	}
	wantNobodyConnecting(t)
}

// TestDialParallel waives the rule: the server answers nobody before all have
// come.
func TestDialParallel(t *testing.T) {
	const dials = 6
	var arrived sync.WaitGroup
	arrived.Add(dials)
	server := startRaw(t, func(nc net.Conn) {
		arrived.Done()
		arrived.Wait()
		answer(t, sampleAnswer)(nc)
	})
	d := &Dialer{ParallelDials: true}
	var wg sync.WaitGroup
	for range dials {
		wg.Go(func() {
			conn, _, err := d.Dial(t.Context(), server.url)
			if err != nil {
				t.Error(err)
				return
			}
			conn.CloseNow()
		})
	}
	wg.Wait()
}

// TestDialCancelledInLine ends the context of a Dial that waits for another.
func TestDialCancelledInLine(t *testing.T) {
	release := make(chan struct{})
	server := startRaw(t, func(nc net.Conn) {
		<-release
		answer(t, sampleAnswer)(nc)
	})
	addr := strings.TrimPrefix(server.url, "ws://")
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, _, err := Dial(t.Context(), server.url)
		if err != nil {
			t.Error(err)
			return
		}
		conn.CloseNow()
	})
	waitInLine(addr, 1)

	ctx, cancel := context.WithCancelCause(t.Context())
	wg.Go(func() {
		waitInLine(addr, 2)
		cancel(errGivenUp)
	})
	conn, _, err := Dial(ctx, server.url)
	wantGivenUp(t, conn, err)
	if err != nil && !strings.Contains(err.Error(), "another connection to "+addr+" is still being established") {
		t.Errorf("error %q does not say what Dial was waiting for", err)
	}
	close(release)
	wg.Wait()
	wantNobodyConnecting(t)
}

// TestDialTurnsByName dials where the address is for others to know: there it
// is the name and port that count.
func TestDialTurnsByName(t *testing.T) {
	for name, d := range map[string]*Dialer{
		"NetDialContext": {},
		"proxy":          {Proxy: http.ProxyURL(mustParse(t, "http://proxy.example"))},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var called atomic.Int32
				d.NetDialContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
					called.Add(1)
					ours, peer := net.Pipe()
					go io.Copy(io.Discard, peer) // and never answers
					return ours, nil
				}
				errs := make(chan error, 4)
				dial := func(url string, timeout time.Duration) {
					d := *d
					d.HandshakeTimeout = timeout
					go func() {
						_, _, err := d.Dial(t.Context(), url)
						errs <- err
					}()
					synctest.Wait()
				}
				wantCalled := func(want int32, why string) {
					t.Helper()
					if n := called.Load(); n != want {
						t.Errorf("%d connections are being established, want %d: %s", n, want, why)
					}
				}
				dial("ws://turns.example/", time.Minute)
				dial("ws://TURNS.example:80/other", time.Second)
				wantCalled(1, "the second Dial is to the same name and port")
				dial("wss://turns.example/", time.Minute)
				wantCalled(2, "another port")
				dial("ws://other.turns.example/", time.Minute)
				wantCalled(3, "another name")

				// HandshakeTimeout ends them all, the one that waits included.
				for range 4 {
					if err := <-errs; !errors.Is(err, context.DeadlineExceeded) {
						t.Errorf("error %v, want context.DeadlineExceeded", err)
					}
				}
				wantCalled(3, "the second Dial has timed out while it waited")

				// What comes later gets its turn when the first has timed out.
				dial("ws://turns.example/", time.Minute)
				time.Sleep(time.Minute - 1)
				dial("ws://turns.example/", time.Minute)
				wantCalled(4, "the second Dial is to the same name")
				<-errs
				synctest.Wait()
				wantCalled(5, "the first Dial has timed out")
				<-errs
				wantNobodyConnecting(t)
			})
		})
	}
}

// listenLoopback returns a listener that accepts connections and keeps them
// until the test ends, and its address.
func listenLoopback(t *testing.T) netip.AddrPort {
	server := startRaw(t, func(net.Conn) {})
	return netip.MustParseAddrPort(strings.TrimPrefix(server.url, "ws://"))
}

// TestConnectFirst connects to a host with several addresses.
func TestConnectFirst(t *testing.T) {
	listening := listenLoopback(t)
	other := listenLoopback(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := netip.MustParseAddrPort(ln.Addr().String())
	taken := listenLoopback(t)
	ln.Close() // nobody listens there now, and no other listener got its port
	leave, err := connecting.enter(t.Context(), taken.String())
	if err != nil {
		t.Fatal(err)
	}
	type list = []netip.AddrPort
	for _, test := range []struct {
		name             string
		preferred, other list
		want             netip.AddrPort // zero: none
	}{
		{"one address", list{listening}, nil, listening},
		{"one address, where nobody listens", list{closed}, nil, netip.AddrPort{}},
		{"the second address", list{closed, listening}, nil, listening},
		{"both families", list{listening}, list{closed}, listening},
		{"the other family", list{closed, closed}, list{closed, other}, other},
		{"the other family, while it is not our turn", list{taken}, list{other}, other},
		{"nobody listens", list{closed}, list{closed}, netip.AddrPort{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := connectFirst(t.Context(), test.preferred, test.other)
			if !test.want.IsValid() {
				if _, ok := errors.AsType[*net.OpError](c.err); c.nc != nil || !ok {
					t.Errorf("connection %v, error %v; want none and that nobody listens", c.nc, c.err)
				}
			} else if c.err != nil {
				t.Error(c.err)
			} else {
				if got := c.nc.RemoteAddr().String(); got != test.want.String() {
					t.Errorf("connected to %s, want %s", got, test.want)
				}
				if n := inLine(test.want.String()); n != 1 {
					t.Errorf("%d in line for the address that is connected to, want 1", n)
				}
				c.leave()
				c.nc.Close()
			}
			for _, addr := range []netip.AddrPort{listening, other, closed} {
				if n := inLine(addr.String()); n != 0 {
					t.Errorf("%d are left in line for %s", n, addr)
				}
			}
		})
	}

	t.Run("neither, while it is not our turn", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			waitInLine(taken.String(), 3)
			cancel()
		})
		c := connectFirst(ctx, list{taken}, list{taken})
		wg.Wait()
		if !errors.As(c.err, new(*waitError)) {
			t.Errorf("error %v, want one that says for whom it waited", c.err)
		}
	})
	leave()
	wantNobodyConnecting(t)
}

// TestDialUnknownHost checks that what the resolver says stays reachable.
func TestDialUnknownHost(t *testing.T) {
	// A label has at most 63 bytes, so that no server has to be asked.
	_, _, err := Dial(t.Context(), "ws://"+strings.Repeat("x", 64)+".invalid/")
	if _, ok := errors.AsType[*net.DNSError](err); !ok {
		t.Errorf("error %v, want a *net.DNSError", err)
	}
	wantNobodyConnecting(t)
}
