package websocket

import (
	"context"
	"errors"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// A faultBench is a server behind a faultyProxy, and clients that get at it
// only through that.
type faultBench struct {
	t       *testing.T
	proxies [2]*faultyProxy // to a server without and with TLS
	servers [2]*httptest.Server
	dialer  Dialer
	patient Upgrader // for connections that have time
	quick   Upgrader // for those that have to find out that nothing comes
	jobs    sync.Map // number -> *faultJob
	serving sync.WaitGroup
	counts  struct{ orderly, broken, refused [faults]atomic.Int64 }
}

// A faultJob is what the server has to know about one connection.
type faultJob struct {
	seed     uint64
	messages int
	closer   bool // the server closes
	result   chan trafficEnd
}

const (
	faultPatience = time.Minute // never reached
	faultInterval = 200 * time.Millisecond
)

func newFaultBench(t *testing.T) *faultBench {
	b := &faultBench{t: t}
	b.patient = Upgrader{CloseTimeout: faultPatience, Compression: &Compression{ContextTakeover: true}}
	b.quick = Upgrader{CloseTimeout: faultInterval, PingInterval: faultInterval, WriteTimeout: 2 * faultInterval, Compression: &Compression{ContextTakeover: true}}
	clientTLS, serverTLS := testTLS()
	b.dialer = Dialer{TLSConfig: clientTLS, HandshakeTimeout: faultPatience, CloseTimeout: faultPatience}
	for i := range b.servers {
		s := httptest.NewUnstartedServer(http.HandlerFunc(b.serve))
		s.Config.ErrorLog = log.New(io.Discard, "", 0) // handshakes that were cut
		s.TLS = serverTLS.Clone()
		if i == 0 {
			s.Start()
		} else {
			s.StartTLS()
		}
		b.servers[i] = s
		b.proxies[i] = startProxy(t, s.Listener.Addr().String())
	}
	return b
}

func (b *faultBench) close() {
	for i := range b.servers {
		b.proxies[i].close()
		b.servers[i].Close()
	}
	b.serving.Wait()
}

func (b *faultBench) serve(w http.ResponseWriter, r *http.Request) {
	b.serving.Add(1) // the client's job cannot be over yet
	defer b.serving.Done()
	found, ok := b.jobs.Load(r.FormValue("job"))
	if !ok {
		return // the client has given up
	}
	job := found.(*faultJob)
	u := &b.patient
	if r.URL.Path == "/quick" {
		u = &b.quick
	}
	c, err := u.Upgrade(w, r)
	if err != nil {
		return
	}
	job.result <- converse(context.Background(), c, job.closer, rand.New(rand.NewPCG(job.seed, 2)), job.messages)
}

// run makes a connection, with some fault, and checks what comes of it.
func (b *faultBench) run(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	way := randomRoute(r)
	job := &faultJob{seed: seed, messages: r.IntN(12), closer: r.IntN(2) == 0, result: make(chan trafficEnd, 1)}
	key := strconv.FormatUint(seed, 10)
	b.jobs.Store(key, job)
	defer b.jobs.Delete(key)

	d, kind, url := b.dialer, 0, "ws://example.com"
	if seed%5 == 0 { // not many: fewer bytes pass the fault by
		d.Compression = &Compression{ContextTakeover: seed%2 == 0}
	}
	if seed%8 == 0 {
		kind, url = 1, "wss://example.com"
	}
	d.NetDialContext = func(context.Context, string, string) (net.Conn, error) { return b.proxies[kind].dial(way) }
	if way.fault.stalls() {
		url += "/quick"
		d.HandshakeTimeout, d.CloseTimeout, d.PingInterval, d.WriteTimeout = 10*faultInterval, faultInterval, faultInterval, 2*faultInterval
	}
	c, _, err := d.Dial(context.Background(), url+"?job="+key)
	if err != nil {
		if way.fault == noFault {
			b.t.Errorf("connection %d (%v): Dial returned %v", seed, way, err)
		}
		b.counts.refused[way.fault].Add(1)
		return
	}
	client := converse(context.Background(), c, !job.closer, r, job.messages)
	server := <-job.result
	closer, other := client, server
	if job.closer {
		closer, other = server, client
	}
	if err := checkTraffic(closer, other); err != nil {
		b.t.Errorf("connection %d (%v): %v", seed, way, err)
	}
	orderly := errors.Is(other.readErr, &CloseError{Code: StatusNormalClosure})
	switch {
	case closer.closeErr == nil && !orderly:
		b.t.Errorf("connection %d (%v): Close returned nil, but the other end's reading ended with %v", seed, way, other.readErr)
	case way.fault == noFault && (!orderly || !closer.complete || closer.closeErr != nil || other.closeErr != nil):
		b.t.Errorf("connection %d (%v): Close returned %v and %v at the other end, whose reading ended with %v: there was no fault",
			seed, way, closer.closeErr, other.closeErr, other.readErr)
	}
	if orderly {
		b.counts.orderly[way.fault].Add(1)
	} else {
		b.counts.broken[way.fault].Add(1)
	}
}

// openDescriptors returns what the descriptors of this process are, or nothing
// where that cannot be known.
func openDescriptors() (open []string) {
	const dir = "/proc/self/fd"
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			open = append(open, to)
		}
	}
	return open
}

// wantNothingLeft returns a function to be called at the end: there are no more
// goroutines and descriptors than there are now.
func wantNothingLeft(t testing.TB) (check func()) {
	a, b := overTCPServerLetGo(t) // the poller has descriptors of its own, from the first use on
	a.Close()
	b.Close()
	goroutines, descriptors := runtime.NumGoroutine(), openDescriptors()
	return func() {
		t.Helper()
		checkNothingLeft(t, goroutines, descriptors)
	}
}

func checkNothingLeft(t testing.TB, goroutines int, descriptors []string) {
	t.Helper()
	waitUntil(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= goroutines })
	var now []string
	defer func() {
		if t.Failed() && len(now) > len(descriptors) {
			t.Logf("the descriptors were\n%v\nand are\n%v", descriptors, now)
		}
	}()
	waitUntil(t, "no descriptor is left", func() bool {
		now = openDescriptors()
		return len(now) <= len(descriptors)
	})
}

// heapInUse returns the bytes in use once all garbage is gone.
func heapInUse() int64 {
	for range 3 { // pools give up their contents in two steps, cleanups may free more
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestFaults runs thousands of connections through a proxy that delays, cuts,
// truncates, splits, half-closes and resets them. Each write that returned nil
// before an orderly close is received once and in order. Of the others a prefix
// is. Nothing is left of any of them.
func TestFaults(t *testing.T) {
	connections := 10_000
	if testing.Short() {
		connections = 1000
	}
	defer wantNothingLeft(t)()
	b := newFaultBench(t)
	defer b.close()
	b.runAll(0, 200) // so that all pools and caches are there
	const tolerance = 8 << 20
	memory := heapInUse() + tolerance
	b.runAll(200, connections)
	waitUntil(t, "memory is what it was", func() bool { return heapInUse() < memory })
	for f := range faults {
		t.Logf("fault %-13v %5d orderly, %5d broken, %5d in the handshake", f,
			b.counts.orderly[f].Load(), b.counts.broken[f].Load(), b.counts.refused[f].Load())
	}
}

// runAll runs the connections from one seed to another, many at a time.
func (b *faultBench) runAll(from, to int) {
	var next atomic.Int64
	next.Store(int64(from))
	var workers sync.WaitGroup
	for range 128 {
		workers.Go(func() {
			for !b.t.Failed() {
				seed := next.Add(1) - 1
				if seed >= int64(to) {
					return
				}
				b.run(uint64(seed))
			}
		})
	}
	workers.Wait()
}
