package main

import (
	"fmt"
	"time"

	"rfc6455.example/websocket/bench/load"
	"rfc6455.example/websocket/bench/peers"
)

// echo measures what an echoed message costs the server: one table for each
// number of connections and of messages under way on each.
func (b *bench) echo() error {
	list := b.peersFor(hasServer)
	for _, inFlight := range b.inFlight {
		for _, conns := range b.conns {
			t := &table{
				Title: fmt.Sprintf("Echo, %s, %s", plural(conns, "connection"), inFlightName(inFlight)),
				Unit:  "Server CPU, µs a message (ratio to the best Go library).",
			}
			var groups []group
			for _, size := range b.sizes {
				if size*conns*inFlight > b.maxFlight {
					t.Note += fmt.Sprintf(" %s left out: more than -maxflight bytes under way.", sizeName(size))
					continue
				}
				opt := load.Options{
					Conns: conns, InFlight: inFlight, Refill: min(b.refill, inFlight),
					Size: size, Payload: b.payload, Spin: !b.sleep,
				}
				groups = append(groups, group{[]string{sizeName(size)}, func(p *peers.Peer) ([]sample, error) {
					s, err := b.echoOnce(p, opt)
					return []sample{s}, err
				}})
			}
			if len(groups) > 0 {
				b.measure(t, list, b.rounds, groups...)
			}
		}
	}
	return nil
}

// echoOnce starts a server, checks its replies, warms it up, measures it and
// checks again.
func (b *bench) echoOnce(p *peers.Peer, opt load.Options) (s sample, err error) {
	server, addr, err := b.server(p)
	if err != nil {
		return s, err
	}
	defer server.Stop()
	opt.Addr = addr
	opt.Raw = p.Kind == peers.Limit
	err = load.On(b.loadCPU, func() error {
		e, err := load.NewEcho(opt)
		if err != nil {
			return err
		}
		defer e.Close()
		if err := e.Verify(); err != nil {
			return err
		}
		if err := e.Run(b.period/4, 0); err != nil {
			return err
		}
		// It begins and ends with nothing under way, so that all that is
		// done for a message is counted with it.
		before := e.Answered()
		w, err := during(server.Pid(), func() error {
			return e.Run(b.period, int64(4*opt.Conns*opt.InFlight))
		})
		if err != nil {
			return err
		}
		n := e.Answered() - before
		s = sample{
			Value:  micros(w.cpu) / float64(n),
			Others: w.others,
			Busy:   float64(w.cpu) / float64(w.wall),
			Kernel: w.kernel,
		}
		return e.Verify()
	})
	return s, err
}

// handshakes measures what a connection costs the server that is opened and
// dropped once the handshake is done.
func (b *bench) handshakes() error {
	t := &table{
		Title: "Handshakes",
		Unit:  "Server CPU, µs a handshake, accepting and dropping the connection included (ratio to the best Go library).",
	}
	var groups []group
	for _, atOnce := range []int{1, 100} {
		groups = append(groups, group{[]string{fmt.Sprintf("%d at once", atOnce)}, func(p *peers.Peer) ([]sample, error) {
			s, err := b.handshakeOnce(p, atOnce)
			return []sample{s}, err
		}})
	}
	b.measure(t, b.peersFor(func(p *peers.Peer) bool {
		// Styles of a library differ in what comes afterwards.
		return hasServer(p) && p.Kind != peers.Limit && (b.names != "" || !p.Variant)
	}), b.rounds, groups...)
	return nil
}

func (b *bench) handshakeOnce(p *peers.Peer, atOnce int) (s sample, err error) {
	server, addr, err := b.server(p)
	if err != nil {
		return s, err
	}
	defer server.Stop()
	err = load.On(b.loadCPU, func() error {
		// The answer is checked in full once.
		e, err := load.NewEcho(load.Options{Addr: addr, Conns: 1, InFlight: 1, Size: 16, Payload: load.Binary})
		if err != nil {
			return err
		}
		e.Close()
		if _, err := load.Handshakes(addr, atOnce, b.period/4); err != nil {
			return err
		}
		var n int64
		w, err := during(server.Pid(), func() (err error) {
			n, err = load.Handshakes(addr, atOnce, b.period)
			return err
		})
		s = sample{
			Value:  micros(w.cpu) / float64(n),
			Others: w.others,
			Busy:   float64(w.cpu) / float64(w.wall),
			Kernel: w.kernel,
		}
		return err
	})
	return s, err
}

// idleMemory measures what connections cost that have echoed one message and
// then wait.
func (b *bench) idleMemory() error {
	t := &table{
		Title: fmt.Sprintf("Idle memory, %s after one echo of 128 bytes each", plural(b.idle, "connection")),
		Unit:  "Growth of the server's resident memory (RSS), bytes a connection (ratio to the best Go library).",
		Note:  "The first column counts what waits for the garbage collector as well.",
	}
	var list []*peers.Peer
	for _, p := range b.selected {
		if hasServer(p) && (b.names != "" || !p.Variant || p.IdleOnly || p.Lean) {
			list = append(list, p)
		}
	}
	columns := []string{"as it stands", "after a collection"}
	b.measure(t, list, b.rounds, group{columns, b.idleOnce})
	return nil
}

func (b *bench) idleOnce(p *peers.Peer) ([]sample, error) {
	server, addr, err := b.server(p)
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	opt := load.Options{
		Addr: addr, Conns: max(b.idle/100, 1), InFlight: 1,
		Size: 128, Payload: load.Binary, Raw: p.Kind == peers.Limit,
	}
	var samples []sample
	err = load.On(b.loadCPU, func() error {
		// The first connections page in the program and fill its pools.
		if err := echoEach(opt, nil); err != nil {
			return err
		}
		base, err := collected(server)
		if err != nil {
			return err
		}
		opt.Conns = b.idle
		return echoEach(opt, func() error {
			now, err := load.RSS(server.Pid())
			if err != nil {
				return err
			}
			after, err := collected(server)
			for _, rss := range []int64{now, after} {
				samples = append(samples, sample{Value: float64(rss-base) / float64(b.idle)})
			}
			return err
		})
	})
	return samples, err
}

// echoEach has each of a number of connections echo one message, calls f, and
// drops them.
func echoEach(opt load.Options, f func() error) error {
	e, err := load.NewEcho(opt)
	if err != nil {
		return err
	}
	defer e.Close()
	if err := e.Verify(); err != nil || f == nil {
		return err
	}
	return f()
}

// collected returns the RSS after a garbage collection.
func collected(server *load.Process) (int64, error) {
	if err := server.Collect(); err != nil {
		return 0, err
	}
	return load.RSS(server.Pid())
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(int64(n)) + " " + noun + "s"
}

func inFlightName(n int) string {
	if n == 1 {
		return "ping-pong"
	}
	return fmt.Sprintf("%d in flight on each", n)
}

func sizeName(n int) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 1<<10 && n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
