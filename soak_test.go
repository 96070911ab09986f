package websocket

import (
	"context"
	"errors"
	"flag"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var soak = flag.Duration("soak", 3*time.Second, "how long TestSoak runs")

// soakCompression are the options of clients.
var soakCompression = []*Compression{nil, {}, {ContextTakeover: true}, {ContextTakeover: true, WindowBits: 9, Threshold: -1}}

// A soakServer is one of the servers that clients connect to. It is shut down
// some time, and another takes its place.
type soakServer struct {
	*httptest.Server
	upgrader Upgrader
	soak     *soakTest

	mu    sync.Mutex
	conns map[*Conn]struct{} // for messages to all
}

type soakTest struct {
	t       *testing.T
	ctx     context.Context // ends with the test's duration
	servers [4]atomic.Pointer[soakServer]
	jobs    sync.Map // number -> *soakJob
	serving sync.WaitGroup

	opened, refused, orderly, broken, shutdowns, broadcasts, dropped atomic.Int64
}

// A soakJob is one connection.
type soakJob struct {
	seed     uint64
	messages int
	closer   bool // the server closes
	result   chan trafficEnd
}

// TestSoak keeps hundreds of connections busy: in each several goroutines write
// in every way there is, ping and read, while others move its deadlines, close
// or drop it. Servers send to all, and are shut down and replaced. Whatever
// happens, messages come once and in order, all of them before an orderly
// close, and nothing is left in the end.
func TestSoak(t *testing.T) {
	defer wantNothingLeft(t)()
	ctx, cancel := context.WithTimeout(t.Context(), *soak)
	defer cancel()
	s := &soakTest{t: t, ctx: ctx}
	for i := range s.servers {
		s.start(i)
	}
	var busy sync.WaitGroup
	var number atomic.Uint64
	for range 300 {
		busy.Go(func() {
			for ctx.Err() == nil && !t.Failed() {
				s.connect(number.Add(1))
			}
		})
	}
	for i := range s.servers {
		busy.Go(func() { s.manage(i) })
	}
	busy.Wait()
	for i := range s.servers {
		s.stop(i, t.Context())
	}
	s.serving.Wait()
	t.Logf("%d connections opened, %d refused; %d closed in order, %d otherwise; %d servers shut down; %d messages to all, %d clients dropped because of a full queue",
		s.opened.Load(), s.refused.Load(), s.orderly.Load(), s.broken.Load(), s.shutdowns.Load(), s.broadcasts.Load(), s.dropped.Load())
	if s.orderly.Load() == 0 || s.broken.Load() == 0 || s.broadcasts.Load() == 0 {
		t.Error("not all has been tried")
	}
}

// start puts a new server in place i. The last speaks TLS.
func (s *soakTest) start(i int) {
	server := &soakServer{soak: s, conns: make(map[*Conn]struct{})}
	server.upgrader = Upgrader{PingInterval: 50 * time.Millisecond, PongTimeout: time.Minute, MaxQueued: 256 << 10, Compression: &Compression{ContextTakeover: true}}
	server.Server = httptest.NewUnstartedServer(server)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	if i < len(s.servers)-1 {
		server.Start()
	} else {
		_, server.TLS = testTLS()
		server.TLS = server.TLS.Clone()
		server.StartTLS()
	}
	s.servers[i].Store(server)
}

// stop ends the server in place i.
func (s *soakTest) stop(i int, ctx context.Context) {
	server := s.servers[i].Load()
	err := server.upgrader.Shutdown(ctx)
	if n := tracked(&server.upgrader); n != 0 {
		s.t.Errorf("Shutdown returned %v and has left %d connections", err, n)
	}
	server.CloseClientConnections() // those that are not upgraded yet
	server.Close()
	s.shutdowns.Add(1)
}

// manage has the server in place i send to all, and now and then shuts it down
// with more or less patience.
func (s *soakTest) manage(i int) {
	r := rand.New(rand.NewPCG(uint64(i), 3))
	for n := 1; s.ctx.Err() == nil; n++ {
		s.servers[i].Load().broadcast(n)
		select {
		case <-s.ctx.Done():
		case <-time.After(time.Duration(r.IntN(5)) * time.Millisecond):
		}
		if r.IntN(200) == 0 {
			ctx, cancel := context.WithTimeout(s.ctx, time.Duration(r.IntN(200))*time.Millisecond)
			s.stop(i, ctx)
			cancel()
			s.start(i)
			n = 0
		}
	}
}

func (s *soakServer) broadcast(n int) {
	m, err := NewPreparedMessage(OpBinary, numbered(broadcastWriter, n, 100))
	if err != nil {
		panic(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		switch err := c.Enqueue(m); err {
		case nil:
			s.soak.broadcasts.Add(1)
		case ErrQueueFull:
			s.soak.dropped.Add(1)
			c.CloseNow()
		}
	}
}

func (s *soakServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.soak.serving.Add(1)
	defer s.soak.serving.Done()
	found, ok := s.soak.jobs.Load(r.FormValue("job"))
	if !ok {
		return // the client has given up
	}
	job := found.(*soakJob)
	var end trafficEnd
	defer func() { job.result <- end }()
	c, err := s.upgrader.Upgrade(w, r)
	if err != nil {
		return
	}
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
	end = s.soak.disturbed(c, job.closer, rand.New(rand.NewPCG(job.seed, 2)), job.messages)
}

// connect opens a connection and checks what comes of it.
func (s *soakTest) connect(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	job := &soakJob{seed: seed, messages: r.IntN(50), closer: r.IntN(2) == 0, result: make(chan trafficEnd, 1)}
	key := strconv.FormatUint(seed, 10)
	s.jobs.Store(key, job)
	defer s.jobs.Delete(key)

	i := r.IntN(len(s.servers))
	clientTLS, _ := testTLS()
	d := Dialer{TLSConfig: clientTLS, PingInterval: 50 * time.Millisecond, PongTimeout: time.Minute, Compression: soakCompression[r.IntN(len(soakCompression))]}
	c, _, err := d.Dial(context.Background(), s.servers[i].Load().URL+"?job="+key)
	if err != nil {
		// The server is being shut down: it refuses, or nobody listens.
		refused, ok := errors.AsType[*HandshakeError](err)
		if _, op := errors.AsType[*net.OpError](err); !op && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) && !(ok && refused.Status == http.StatusServiceUnavailable) {
			s.t.Errorf("connection %d: Dial returned %v", seed, err)
		}
		s.refused.Add(1)
		return
	}
	s.opened.Add(1)
	client := s.disturbed(c, !job.closer, r, job.messages)
	server := <-job.result
	closer, other := client, server
	if job.closer {
		closer, other = server, client
	}
	if err := checkTraffic(closer, other); err != nil {
		s.t.Errorf("connection %d: %v", seed, err)
	}
	if errors.Is(other.readErr, &CloseError{Code: StatusNormalClosure}) {
		s.orderly.Add(1)
	} else {
		s.broken.Add(1)
	}
}

// disturbed exchanges messages while another goroutine does what applications
// do at the wrong moment.
func (s *soakTest) disturbed(c *Conn, closer bool, r *rand.Rand, messages int) trafficEnd {
	over := make(chan struct{})
	var disturbing sync.WaitGroup
	own := rand.New(rand.NewPCG(r.Uint64(), 4))
	disturbing.Go(func() {
		for range 5 {
			select {
			case <-over:
				return
			case <-time.After(time.Duration(own.IntN(20_000)) * time.Microsecond):
			}
			disturb(s.ctx, c, own)
		}
	})
	end := converse(context.Background(), c, closer, r, messages)
	close(over)
	disturbing.Wait()
	return end
}

func disturb(ctx context.Context, c *Conn, r *rand.Rand) {
	switch r.IntN(30) {
	case 0:
		c.CloseNow()
	case 1:
		c.SetWriteDeadline(time.Now().Add(time.Duration(r.IntN(2000)) * time.Microsecond))
	case 2:
		var closes sync.WaitGroup
		for range 3 {
			closes.Go(func() { c.CloseWithStatus(4000, "in the middle") })
		}
		closes.Wait()
	case 3:
		c.SetWriteDeadline(time.Now().Add(time.Minute))
		c.SetWriteDeadline(time.Time{})
	case 4, 5, 6:
		ctx, cancel := context.WithTimeout(ctx, time.Duration(r.IntN(2000))*time.Microsecond)
		c.Ping(ctx)
		cancel()
	case 7, 8, 9:
		c.Stats()
		c.SetReadLimit(0)
	default:
		c.SetReadDeadline(time.Now().Add(time.Duration(r.IntN(2000)-1000) * time.Microsecond))
	}
}
