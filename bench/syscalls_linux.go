package main

import (
	"bufio"
	"errors"
	"fmt"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"rfc6455.example/websocket/bench/load"
	"rfc6455.example/websocket/bench/peers"
)

// syscalls counts system calls with strace.
func (b *bench) syscalls() error {
	if _, err := exec.LookPath("strace"); err != nil {
		log.Print("the part syscalls is left out: strace is not installed")
		return nil
	}
	t := &table{
		Title:  "System calls of the server, 128 B messages, 100 connections",
		Unit:   "Calls a message (ratio to the best Go library), and the most frequent ones.",
		Note:   "The load sends to all connections when all have answered.",
		Counts: true,
	}
	var groups []group
	for _, inFlight := range []int{1, 16} {
		groups = append(groups, group{[]string{inFlightName(inFlight)}, func(p *peers.Peer) ([]sample, error) {
			s, err := b.straceServer(p, inFlight)
			return []sample{s}, err
		}})
	}
	b.measure(t, b.peersFor(hasServer), 1, groups...)

	t = &table{
		Title:  "System calls of a client that writes",
		Unit:   "Calls a message (ratio to the best Go library), and the most frequent ones.",
		Counts: true,
	}
	groups = nil
	for _, size := range []int{128, 16 << 10} {
		groups = append(groups, group{[]string{sizeName(size)}, func(p *peers.Peer) ([]sample, error) {
			s, err := b.straceClient(p, size)
			return []sample{s}, err
		}})
	}
	b.measure(t, b.endpoints("client"), 1, groups...)
	return nil
}

// straceServer attaches to a server between two loads, so that only messages
// are counted.
func (b *bench) straceServer(p *peers.Peer, inFlight int) (s sample, err error) {
	server, addr, err := b.server(p)
	if err != nil {
		return s, err
	}
	defer server.Stop()
	file := filepath.Join(b.dir, "strace")
	err = load.On(b.loadCPU, func() error {
		e, err := load.NewEcho(load.Options{
			Addr: addr, Conns: 100, InFlight: inFlight,
			Size: 128, Payload: load.Binary, Raw: p.Kind == peers.Limit,
			// strace makes every call slow: without it the next message
			// would be there before the server has asked for it.
			Lockstep: true,
		})
		if err != nil {
			return err
		}
		defer e.Close()
		if err := e.Verify(); err != nil {
			return err
		}
		tracer, err := load.Start(b.loadCPU, "strace", "-f", "-c", "-o", file, "-p", strconv.Itoa(server.Pid()))
		if err != nil {
			return err
		}
		defer tracer.Stop()
		if err := tracer.StderrHas("attached"); err != nil {
			return err
		}
		before := e.Answered()
		if err := e.Run(b.period, 10000); err != nil {
			return err
		}
		tracer.Interrupt()
		tracer.Wait()
		s, err = readStrace(file, e.Answered()-before)
		return err
	})
	return s, err
}

// straceClient counts from the client's start; there are so many messages that
// it does not show.
func (b *bench) straceClient(p *peers.Peer, size int) (s sample, err error) {
	const count = 50000
	file := filepath.Join(b.dir, "strace")
	r := inprocRun{op: "write", role: "client", size: size, tcp: true, cpu: b.serverCPU}
	cost, _, err := b.overTCP(r, []string{
		"strace", "-f", "-c", "-o", file, filepath.Join(b.dir, "inproc"), "-peer", p.Name, "-op", r.op, "-role", r.role,
		"-size", strconv.Itoa(size), "-count", strconv.Itoa(count), "-time", "1ms",
	})
	if err != nil {
		return s, err
	}
	return readStrace(file, cost.All)
}

// readStrace reads the table that strace -c makes. nanosleep does not count:
// it is how the Go runtime's monitor passes the time, whatever the messages.
func readStrace(file string, messages int64) (s sample, err error) {
	f, err := os.Open(file)
	if err != nil {
		return s, err
	}
	defer f.Close()
	type call struct {
		name string
		n    float64
	}
	var calls []call
	total := 0.0
	for in := bufio.NewScanner(f); in.Scan(); {
		// % time, seconds, usecs/call, calls, perhaps errors, and the name.
		fields := strings.Fields(in.Text())
		if len(fields) < 5 {
			continue
		}
		n, err := strconv.ParseFloat(fields[3], 64)
		name := fields[len(fields)-1]
		if err != nil || name == "total" || name == "nanosleep" {
			continue
		}
		calls = append(calls, call{name, n / float64(messages)})
		total += n / float64(messages)
	}
	if total == 0 {
		return s, errors.New("strace counted nothing")
	}
	slices.SortFunc(calls, func(a, b call) int { return int(1e6 * (b.n - a.n)) })
	var most []string
	for _, c := range calls[:min(3, len(calls))] {
		if c.n >= 0.01 {
			most = append(most, fmt.Sprintf("%s %.2f", c.name, c.n))
		}
	}
	return sample{Value: total, Extra: strings.Join(most, ", ")}, nil
}
