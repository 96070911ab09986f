// Command inproc measures one connection of one library from within: what a
// message costs that is read from or written to it, its allocations, and how
// fast it is masked. It is run by the bench command and prints one line of
// JSON, a [load.Cost].
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"rfc6455.example/websocket/bench/load"
	"rfc6455.example/websocket/bench/peers"
)

var (
	name    = flag.String("peer", "", "library and style")
	op      = flag.String("op", "read", "read, write, mask or utf8")
	role    = flag.String("role", "server", "server or client")
	size    = flag.Int("size", 128, "payload bytes of a message")
	writers = flag.Int("writers", 1, "goroutines that write at once")
	count   = flag.Int64("count", 0, "write so many messages, whatever -time says")
	period  = flag.Duration("time", time.Second, "how long to measure")
	addr    = flag.String("addr", "", "TCP address of the far end; none: memory")
	payload = load.Binary
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("inproc: ")
	flag.Var(&payload, "payload", "binary, ascii or mixed")
	flag.Parse()
	cost, err := run()
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(cost)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run() (load.Cost, error) {
	if *op == "mask" {
		for _, p := range peers.Masks() {
			if p.Name == *name {
				return mask(p.Mask), nil
			}
		}
		return load.Cost{}, fmt.Errorf("no masking function of %q", *name)
	}
	if *op == "utf8" {
		return valid(), nil
	}
	p, err := peers.Find(*name)
	if err != nil {
		return load.Cost{}, err
	}
	open := p.Server
	if *role == "client" {
		open = p.Client
	}
	if open == nil {
		return load.Cost{}, fmt.Errorf("%s has no %s in process", p.Name, *role)
	}

	var nc net.Conn
	var mem *memConn
	if *addr != "" {
		if nc, err = net.Dial("tcp", *addr); err != nil {
			return load.Cost{}, err
		}
	} else {
		mem = new(memConn)
		if *role == "client" {
			mem.answered = make(chan struct{})
		}
		nc = mem
	}
	end, err := open(nc)
	if err != nil {
		return load.Cost{}, err
	}
	m := &meter{mem: mem}
	switch *op {
	case "read":
		if mem != nil {
			mem.frames = circle(*role == "server").Out
		}
		err = read(end, m)
	case "write":
		err = write(end, m)
	default:
		err = fmt.Errorf("no operation %q", *op)
	}
	// The far end counts what it got until the connection ends.
	if tc, ok := nc.(*net.TCPConn); ok && *op == "write" {
		tc.CloseWrite()
	} else {
		nc.Close()
	}
	return m.cost, err
}

// circle returns messages to be read, enough of them that the processor's
// nearest cache does not hold them all, nor its branch prediction.
func circle(client bool) *load.Messages {
	n := max(2, 256<<10/(*size+1))
	return load.NewMessages(min(n, 4096), 0, *size, payload, client)
}

// every is how many messages go by between two looks at the clock.
func every() int64 { return int64(min(max(64<<10/(*size+1), 1), 256)) }

func read(end peers.Endpoint, m *meter) error {
	n, step := int64(0), every()
	wrong := false
	err := end.Receive(func(got int) bool {
		if got != *size {
			wrong = true
			return false
		}
		n++
		return n%step != 0 || m.goOn(step)
	})
	if wrong {
		return errors.New("a message of another length was read")
	}
	return err
}

func write(end peers.Endpoint, m *meter) error {
	step := every()
	if *writers == 1 {
		p := load.Pattern(*size, 'A')
		for {
			for range step {
				if err := end.Send(payload.IsText(), p); err != nil {
					return err
				}
			}
			if !m.goOn(step) {
				return nil
			}
		}
	}
	var (
		wg   sync.WaitGroup
		mu   sync.Mutex // guards m
		stop atomic.Bool
		sent atomic.Int64
		errs = make([]error, *writers)
	)
	for i := range *writers {
		wg.Go(func() {
			p := load.Pattern(*size, 'A'+byte(i))
			for !stop.Load() {
				for range step {
					if errs[i] = end.Send(payload.IsText(), p); errs[i] != nil {
						stop.Store(true)
						return
					}
				}
				sent.Add(step)
				mu.Lock()
				if !stop.Load() && !m.goOn(step) {
					stop.Store(true)
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	m.cost.All = sent.Load()
	return errors.Join(errs...)
}

func mask(f func(b []byte, key [4]byte)) load.Cost {
	b, key := make([]byte, *size), [4]byte{1, 2, 3, 4}
	return repeat(func() { f(b, key) })
}

// valid is what checking text costs at least.
func valid() load.Cost {
	messages, at := circle(false), 0
	return repeat(func() {
		text := messages.In[at:][messages.InLen-*size : messages.InLen]
		if at += messages.InLen; at == len(messages.In) {
			at = 0
		}
		if !utf8.Valid(text) {
			panic("text is not UTF-8")
		}
	})
}

func repeat(f func()) load.Cost {
	m := &meter{}
	step := every()
	for {
		for range step {
			f()
		}
		if !m.goOn(step) {
			return m.cost
		}
	}
}

// A meter takes the costs of a steady state: it begins some time after the
// first message.
type meter struct {
	mem           *memConn
	cost          load.Cost
	begin         time.Time // of all
	since         time.Time // of the measured part
	cpu           time.Duration
	stats         runtime.MemStats
	reads, writes int64
}

// goOn accounts for n messages more and reports whether there shall be others.
func (m *meter) goOn(n int64) bool {
	m.cost.All += n
	now := time.Now()
	if m.begin.IsZero() {
		m.begin = now
	}
	if m.since.IsZero() {
		if now.Sub(m.begin) >= *period/4 {
			m.start(now)
		}
	} else {
		m.cost.Messages += n
	}
	done := !m.since.IsZero() && now.Sub(m.since) >= *period
	if *count > 0 {
		done = m.cost.All >= *count
	}
	if done && !m.since.IsZero() {
		m.finish(now)
	}
	return !done
}

func (m *meter) start(now time.Time) {
	runtime.ReadMemStats(&m.stats)
	if m.mem != nil {
		m.reads, m.writes = m.mem.reads, m.mem.writes
	}
	m.cpu, _ = load.CPU(os.Getpid())
	m.since = now
}

func (m *meter) finish(now time.Time) {
	cpu, _ := load.CPU(os.Getpid())
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	m.cost.CPU, m.cost.Wall = cpu-m.cpu, now.Sub(m.since)
	m.cost.Allocs = int64(stats.Mallocs - m.stats.Mallocs)
	m.cost.Bytes = int64(stats.TotalAlloc - m.stats.TotalAlloc)
	if m.mem != nil {
		m.cost.Reads, m.cost.Writes = m.mem.reads-m.reads, m.mem.writes-m.writes
	}
}
