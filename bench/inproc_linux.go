package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"rfc6455.example/websocket/bench/load"
	"rfc6455.example/websocket/bench/peers"
)

// An inprocRun is one run of the inproc command.
type inprocRun struct {
	op, role string
	size     int
	payload  load.Payload
	writers  int
	tcp      bool // over a TCP connection to the load generator, not memory
	cpu      int  // negative: all
	period   time.Duration
}

// inProcess measures reading and writing, first with no network below, then
// over TCP.
func (b *bench) inProcess() error {
	for _, tcp := range []bool{false, true} {
		for _, role := range []string{"server", "client"} {
			for _, op := range []string{"read", "write"} {
				t := &table{
					Title: fmt.Sprintf("In process, %s, %s %s", role, op, over(tcp)),
					Unit:  "Process CPU, ns a message (ratio to the best Go library).",
				}
				if !tcp {
					t.Note = "a: allocations a message."
					if op == "write" {
						t.Note += " w: calls of the connection's Write a message."
					}
				}
				var groups []group
				for _, size := range b.sizes {
					r := inprocRun{op: op, role: role, size: size, payload: load.Binary, tcp: tcp, cpu: b.serverCPU, period: b.period}
					if !tcp {
						r.period = b.period / 3
					}
					groups = append(groups, group{[]string{sizeName(size)}, func(p *peers.Peer) ([]sample, error) {
						s, _, err := b.inprocOnce(p.Name, r)
						return []sample{s}, err
					}})
				}
				b.measure(t, b.endpoints(role), b.rounds, groups...)
			}
		}
	}
	return nil
}

func over(tcp bool) string {
	if tcp {
		return "over TCP"
	}
	return "over memory"
}

func (b *bench) endpoints(role string) []*peers.Peer {
	return b.peersFor(func(p *peers.Peer) bool {
		if role == "client" {
			return p.Client != nil
		}
		return p.Server != nil
	})
}

// concurrentWriters has eight goroutines write to one connection.
func (b *bench) concurrentWriters() error {
	const writers = 8
	for _, cpu := range []int{-1, b.serverCPU} {
		t := &table{
			Title: fmt.Sprintf("%d goroutines write 128 bytes each to one server connection, %s", writers, cpuName(cpu)),
			Unit:  "ns a message (ratio to the best Go library).",
			Note:  "Libraries that allow one writer at a time have a mutex around them.",
		}
		r := inprocRun{
			op: "write", role: "server", size: 128, payload: load.Binary,
			writers: writers, tcp: true, cpu: cpu, period: b.period,
		}
		b.measure(t, b.endpoints("server"), b.rounds, group{[]string{"CPU", "time"}, func(p *peers.Peer) ([]sample, error) {
			s, cost, err := b.inprocOnce(p.Name, r)
			if err != nil {
				return nil, err
			}
			elapsed := s
			elapsed.Value = float64(cost.Wall) / float64(cost.Messages)
			return []sample{s, elapsed}, nil
		}})
	}
	return nil
}

func cpuName(cpu int) string {
	if cpu < 0 {
		return "on all CPUs, the reader on one of them"
	}
	return "on one CPU, the reader on another"
}

// utf8 measures what it costs to read text rather than bytes.
func (b *bench) utf8() error {
	const size = 16 << 10
	t := &table{
		Title: "Reading text, server, 16 KiB messages over memory",
		Unit:  "GB/s of payload, more is better (ratio to the best Go library).",
		Note:  "Only these check that text is UTF-8, as section 8.1 asks:",
		More:  true,
	}
	rows := []*peers.Peer{{Name: "utf8.Valid", Kind: peers.Limit}}
	for _, p := range b.endpoints("server") {
		rows = append(rows, p)
		if p.ChecksText {
			t.Note += " " + p.Name
		}
	}
	t.Note += "."
	var groups []group
	for _, payload := range []load.Payload{load.Binary, load.ASCII, load.Mixed} {
		groups = append(groups, group{[]string{string(payload)}, func(p *peers.Peer) ([]sample, error) {
			r := inprocRun{op: "read", role: "server", size: size, payload: payload, cpu: b.serverCPU, period: b.period / 3}
			if p.Kind == peers.Limit {
				if !payload.IsText() {
					return nil, nil
				}
				r.op = "utf8"
			}
			return b.throughput(p, r)
		}})
	}
	b.measure(t, rows, b.rounds, groups...)
	return nil
}

// mask measures the masking functions alone.
func (b *bench) mask() error {
	t := &table{
		Title: "Masking",
		Unit:  "GB/s, more is better (ratio to the best Go library).",
		More:  true,
	}
	var rows []*peers.Peer
	for _, p := range peers.Masks() {
		if b.names == "" || p.Kind == peers.Limit || slices.Contains(b.selected, p) {
			rows = append(rows, p)
		}
	}
	var groups []group
	for _, size := range []int{16, 128, 1 << 10, 16 << 10, 1 << 20} {
		groups = append(groups, group{[]string{sizeName(size)}, func(p *peers.Peer) ([]sample, error) {
			return b.throughput(p, inprocRun{op: "mask", role: "server", size: size, payload: load.Binary, cpu: b.serverCPU, period: b.period / 4})
		}})
	}
	b.measure(t, rows, b.rounds, groups...)
	return nil
}

// throughput turns ns a message into GB/s.
func (b *bench) throughput(p *peers.Peer, r inprocRun) ([]sample, error) {
	s, _, err := b.inprocOnce(p.Name, r)
	s.Value = float64(r.size) / s.Value
	s.Extra = ""
	return []sample{s}, err
}

// inprocOnce runs the inproc command and, over TCP, its far end. The value of
// the sample is in ns of CPU a message.
func (b *bench) inprocOnce(peer string, r inprocRun) (s sample, cost load.Cost, err error) {
	argv := []string{
		filepath.Join(b.dir, "inproc"), "-peer", peer, "-op", r.op, "-role", r.role,
		"-size", fmt.Sprint(r.size), "-payload", string(r.payload),
		"-writers", fmt.Sprint(max(r.writers, 1)), "-time", r.period.String(),
	}
	busy0, err := load.Busy()
	if err != nil {
		return s, cost, err
	}
	self0, begin := load.SelfCPU(), time.Now()
	var used time.Duration
	if r.tcp {
		cost, used, err = b.overTCP(r, argv)
	} else {
		cost, used, err = inprocCommand(r.cpu, argv)
	}
	if err != nil {
		return s, cost, err
	}
	busy1, err := load.Busy()
	others := busy1 - busy0 - used - (load.SelfCPU() - self0)
	n := float64(cost.Messages)
	s = sample{
		Value:  float64(cost.CPU) / n,
		Others: max(0, float64(others)/float64(time.Since(begin))),
	}
	if !r.tcp {
		s.Extra = short(float64(cost.Allocs)/n) + "a"
		if r.op == "write" {
			s.Extra += " " + short(float64(cost.Writes)/n) + "w"
		}
	}
	return s, cost, err
}

// short writes a number of things a message.
func short(v float64) string {
	return strconv.FormatFloat(math.Round(10*v)/10, 'f', -1, 64)
}

// inprocCommand returns what the command says, and the CPU time that the
// process used in all.
func inprocCommand(cpu int, argv []string) (cost load.Cost, used time.Duration, err error) {
	child, err := load.Start(cpu, argv...)
	if err != nil {
		return cost, 0, err
	}
	line, err := child.Line()
	if err != nil {
		return cost, 0, err
	}
	child.Wait()
	err = json.Unmarshal([]byte(line), &cost)
	if err == nil && cost.Messages == 0 {
		err = errors.New("nothing was measured")
	}
	return cost, child.Used(), err
}

// overTCP is the far end of a run over TCP: it feeds what is to be read, or
// takes what is written and checks it.
func (b *bench) overTCP(r inprocRun, argv []string) (cost load.Cost, used time.Duration, err error) {
	wire, err := load.NewWire()
	if err != nil {
		return cost, 0, err
	}
	defer wire.Close()
	// On all CPUs the process needs the one of the load as well.
	wire.Spin = !b.sleep && r.cpu >= 0
	type outcome struct {
		n   int64
		err error
	}
	far := make(chan outcome, 1)
	go func() {
		var o outcome
		err := load.On(b.loadCPU, func() (err error) {
			if r.op == "read" {
				messages := load.NewMessages(max(2, 256<<10/(r.size+1)), 0, r.size, r.payload, r.role == "server")
				return wire.Feed(messages, r.role == "client")
			}
			o.n, err = wire.Drain(r.size, r.role == "client")
			return err
		})
		far <- outcome{o.n, err}
	}()
	cost, used, err = inprocCommand(r.cpu, append(argv, "-addr", wire.Addr))
	if err != nil {
		return cost, used, err // the far end gives up by itself
	}
	o := <-far
	if o.err == nil && r.op == "write" && o.n != cost.All {
		o.err = fmt.Errorf("%d messages were written, %d arrived", cost.All, o.n)
	}
	return cost, used, o.err
}
