package websocket

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A client must not have more than one connection to the same address in
// CONNECTING state; others wait until it has been established or has failed
// (section 4.1, step 2).

// connecting is who may connect now, in all of the program.
var connecting turns

// turns hands out a turn for each address, first come first served.
type turns struct {
	mu    sync.Mutex
	lines map[string]*turnLine
}

// A turnLine is those who want one address: the one whose turn it is, and
// those who wait.
type turnLine struct {
	turn  chan struct{} // holds an element while it is somebody's turn
	count int
}

// enter waits for the caller's turn at addr, a host and port. The turn lasts
// until leave is called.
func (t *turns) enter(ctx context.Context, addr string) (leave func(), err error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	addr = strings.ToLower(addr)
	t.mu.Lock()
	if t.lines == nil {
		t.lines = make(map[string]*turnLine)
	}
	line := t.lines[addr]
	if line == nil {
		line = &turnLine{turn: make(chan struct{}, 1)}
		t.lines[addr] = line
	}
	line.count++
	t.mu.Unlock()

	leave = func() {
		<-line.turn
		t.exit(addr, line)
	}
	select {
	case line.turn <- struct{}{}:
		if ctx.Err() == nil {
			return leave, nil
		}
		leave()
	case <-ctx.Done():
		t.exit(addr, line)
	}
	return nil, &waitError{addr}
}

func (t *turns) exit(addr string, line *turnLine) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if line.count--; line.count == 0 {
		delete(t.lines, addr)
	}
}

// A waitError says that the context ended before it was the caller's turn.
type waitError struct{ addr string }

func (e *waitError) Error() string {
	return "another connection to " + e.addr + " is still being established"
}

// How several addresses of one host are tried, as net.Dialer does it.
const (
	// fallbackDelay is the head start of the preferred address family
	// (RFC 8305, section 8).
	fallbackDelay = 300 * time.Millisecond

	// minConnectTime is what each address gets at least of the time left.
	minConnectTime = 2 * time.Second
)

// connectInTurn resolves the name in addr, a host and port, and connects when it
// is the caller's turn at the address. The turn lasts until leave is called.
func connectInTurn(ctx context.Context, addr string) (_ net.Conn, leave func(), err error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, nil, err
	}
	if len(ips) == 0 {
		return nil, nil, &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
	}
	var preferred, other []netip.AddrPort
	for _, ip := range ips {
		ip = ip.Unmap()
		list := &other
		if ip.Is4() == ips[0].Unmap().Is4() {
			list = &preferred
		}
		if a := netip.AddrPortFrom(ip, uint16(port)); !slices.Contains(*list, a) {
			*list = append(*list, a)
		}
	}
	c := connectFirst(ctx, preferred, other)
	return c.nc, c.leave, c.err
}

// A connected is how connecting went. leave is there with nc.
type connected struct {
	nc    net.Conn
	leave func()
	err   error
}

// connectFirst connects to the first address that answers: of the preferred
// family or, after a while, of the other one. The error is that of the family
// that fails first.
func connectFirst(ctx context.Context, preferred, other []netip.AddrPort) (first connected) {
	if len(other) == 0 {
		return connectOne(ctx, preferred)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan connected)
	running := 0
	start := func(addrs []netip.AddrPort) {
		running++
		go func() { results <- connectOne(ctx, addrs) }()
	}
	start(preferred)
	timer := time.NewTimer(fallbackDelay)
	defer timer.Stop()
	for running > 0 {
		select {
		case <-timer.C:
			start(other)
		case c := <-results:
			running--
			waiting := timer.Stop() // the other family has not been tried
			switch {
			case c.err == nil && first.nc == nil:
				first = c
				cancel()
			case c.err == nil: // too late
				c.nc.Close()
				c.leave()
			case first.nc == nil && first.err == nil:
				first.err = c.err
				if waiting {
					start(other)
				}
			}
		}
	}
	return first
}

// connectOne connects to one of addrs, trying one after the other. The error is
// that of the first.
func connectOne(ctx context.Context, addrs []netip.AddrPort) connected {
	var first error
	for i, addr := range addrs {
		nc, leave, err := connectTo(ctx, addr, len(addrs)-i)
		if err == nil {
			return connected{nc: nc, leave: leave}
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return connected{err: first}
}

// connectTo connects to addr when it is the caller's turn, the first of n
// addresses that have to share the time.
func connectTo(ctx context.Context, addr netip.AddrPort, n int) (net.Conn, func(), error) {
	leave, err := connecting.enter(ctx, addr.String())
	if err != nil {
		return nil, nil, err
	}
	if deadline, ok := ctx.Deadline(); ok && n > 1 {
		share := max(time.Until(deadline)/time.Duration(n), minConnectTime)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, share, fmt.Errorf("no connection within %v", share))
		defer cancel()
	}
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", addr.String())
	if err != nil {
		leave()
		return nil, nil, err
	}
	return nc, leave, nil
}
