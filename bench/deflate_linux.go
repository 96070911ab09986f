package main

import (
	"fmt"

	"rfc6455.example/websocket/bench/load"
	"rfc6455.example/websocket/bench/peers"
)

// deflate measures what an echoed message costs that is compressed both ways,
// and how long the reply is.
func (b *bench) deflate() error {
	const conns, size = 100, 1 << 10
	for _, mode := range []struct {
		deflate peers.Deflate
		name    string
	}{
		{peers.NoTakeover, "without context takeover"},
		{peers.Takeover, "with context takeover"},
	} {
		t := &table{
			Title: fmt.Sprintf("Compressed echo of JSON, %s, %s, %s", sizeName(size), plural(conns, "connection"), mode.name),
			Unit:  "Server CPU in µs a message, and bytes of a reply on the wire (ratio to the best Go library).",
		}
		list := b.peersFor(func(p *peers.Peer) bool { return p.Deflate == mode.deflate })
		columns := []string{"CPU", "bytes"}
		b.measure(t, list, b.rounds, group{columns, func(p *peers.Peer) ([]sample, error) {
			return b.deflateOnce(p, conns, size)
		}})
	}
	return nil
}

func (b *bench) deflateOnce(p *peers.Peer, conns, size int) (samples []sample, err error) {
	server, addr, err := b.server(p)
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	err = load.On(b.loadCPU, func() error {
		e, err := load.NewDeflateEcho(addr, conns, size, p.Deflate == peers.Takeover)
		if err != nil {
			return err
		}
		defer e.Close()
		if err := e.Verify(); err != nil {
			return err
		}
		if err := e.Run(b.period / 4); err != nil {
			return err
		}
		n0, wire0 := e.Answered()
		w, err := during(server.Pid(), func() error { return e.Run(b.period) })
		if err != nil {
			return err
		}
		n, wire := e.Answered()
		samples = []sample{{
			Value:  micros(w.cpu) / float64(n-n0),
			Others: w.others,
			Busy:   float64(w.cpu) / float64(w.wall),
			Kernel: w.kernel,
		}, {
			Value:  float64(wire-wire0) / float64(n-n0),
			Others: w.others,
		}}
		return e.Verify()
	})
	return samples, err
}
