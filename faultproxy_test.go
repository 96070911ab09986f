package websocket

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"
)

// A fault is what a faultyProxy does to a connection at a certain byte.
type fault int

const (
	noFault       fault = iota // splits and delays only
	faultCut                   // close both ends
	faultTruncate              // close the receiver's input, take and drop the rest
	faultReset                 // reset both ends
	faultResetOne              // reset the receiver, close the sender's end
	faultFreeze                // take everything, pass nothing on
	faultBlock                 // take nothing any more, so that the sender is held
	faults
)

func (f fault) String() string {
	return [...]string{"none", "cut", "truncate", "reset", "reset one end", "freeze", "block"}[f]
}

// stalls reports whether the ends hear nothing of f and have to find out.
func (f fault) stalls() bool { return f == faultFreeze || f == faultBlock }

// A route is what a faultyProxy does to one connection.
type route struct {
	fault   fault
	to      bool // it strikes what goes to the server
	at      int  // after so many bytes
	piece   int  // the largest piece that is passed on, 0: as it comes
	pieces  int  // so many are that small
	delays  int  // so many come late
	delayed time.Duration
}

func (r route) String() string {
	return fmt.Sprintf("fault %v after %d bytes (to the server: %v), pieces of %d", r.fault, r.at, r.to, r.piece)
}

func randomRoute(r *rand.Rand) route {
	way := route{to: r.IntN(2) == 0, delays: r.IntN(4), delayed: time.Duration(r.IntN(1000)) * time.Microsecond}
	if r.IntN(3) > 0 {
		way.fault = fault(r.IntN(int(faults)))
	}
	switch way.at = r.IntN(500); r.IntN(3) { // in the handshake or the first frames
	case 0:
		way.at = r.IntN(10_000)
	case 1:
		way.at = r.IntN(3000)
	}
	switch r.IntN(10) {
	case 0:
		way.piece, way.pieces = 1, 600
	case 1, 2, 3:
		way.piece, way.pieces = 1+r.IntN(200), 100
	}
	return way
}

// A faultyProxy passes TCP connections on to a server, each by a route of its
// own.
type faultyProxy struct {
	listener net.Listener
	backend  string
	routes   sync.Map // the client's address -> chan route
	running  sync.WaitGroup
}

func startProxy(t *testing.T, backend string) *faultyProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &faultyProxy{listener: l, backend: backend}
	p.running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			p.running.Go(func() { p.serve(client.(*net.TCPConn)) })
		}
	})
	return p
}

// close waits until all connections are over.
func (p *faultyProxy) close() {
	p.listener.Close()
	p.running.Wait()
}

// routeOf returns where the route of a client passes from dial to serve.
func (p *faultyProxy) routeOf(client net.Addr) chan route {
	ch, _ := p.routes.LoadOrStore(client.String(), make(chan route, 1))
	return ch.(chan route)
}

// dial connects to the server by way of the proxy.
func (p *faultyProxy) dial(way route) (net.Conn, error) {
	nc, err := net.Dial("tcp", p.listener.Addr().String())
	if err == nil {
		p.routeOf(nc.LocalAddr()) <- way
	}
	return nc, err
}

func (p *faultyProxy) serve(client *net.TCPConn) {
	defer client.Close()
	way := <-p.routeOf(client.RemoteAddr())
	p.routes.Delete(client.RemoteAddr().String())
	nc, err := net.Dial("tcp", p.backend)
	if err != nil {
		return // the test is over
	}
	server := nc.(*net.TCPConn)
	defer server.Close()
	back := way
	if way.to {
		back.fault = noFault
	} else {
		way.fault = noFault
	}
	var pumps sync.WaitGroup
	pumps.Go(func() { pump(server, client, way) })
	pumps.Go(func() { pump(client, server, back) })
	pumps.Wait()
}

// blockTime is how long faultBlock takes nothing before both ends are closed.
const blockTime = time.Second

// pump passes on what src sends, until it ends or the fault strikes.
func pump(dst, src *net.TCPConn, way route) {
	buf := make([]byte, 4<<10)
	passed, pieces := 0, 0
	for {
		n, err := src.Read(buf)
		for b := buf[:n]; len(b) > 0; {
			size := len(b)
			if way.piece > 0 && pieces < way.pieces {
				size = min(size, way.piece)
			}
			if way.fault != noFault {
				size = min(size, way.at-passed)
			}
			if pieces++; pieces <= way.delays {
				<-time.After(way.delayed)
			}
			if _, err := dst.Write(b[:size]); err != nil {
				// dst is gone, and src hears of it.
				src.Close()
				return
			}
			passed += size
			b = b[size:]
			if way.fault != noFault && passed == way.at {
				strike(dst, src, way.fault)
				return
			}
		}
		if err == io.EOF {
			dst.CloseWrite()
			return
		}
		if err != nil {
			dst.SetLinger(0)
			dst.Close()
			return
		}
	}
}

func strike(dst, src *net.TCPConn, f fault) {
	switch f {
	case faultCut:
	case faultTruncate:
		dst.CloseWrite()
		io.Copy(io.Discard, src)
		return // what comes from dst still passes
	case faultReset:
		dst.SetLinger(0)
		src.SetLinger(0)
	case faultResetOne:
		dst.SetLinger(0)
	case faultFreeze:
		io.Copy(io.Discard, src)
	case faultBlock:
		<-time.After(blockTime)
	}
	dst.Close()
	src.Close()
}
