// Command bench measures the library beside others, all in one run, and prints
// tables. See README.md.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"rfc6455.example/websocket/bench/load"
	"rfc6455.example/websocket/bench/peers"
)

// A bench is one run of the command.
type bench struct {
	rounds    int
	period    time.Duration
	sizes     ints
	conns     ints
	inFlight  ints
	refill    int
	maxFlight int
	idle      int
	payload   load.Payload
	sleep     bool
	names     string
	out       string

	dir                string // the programs built
	serverCPU, loadCPU int
	selected           []*peers.Peer // named, or all
	tables             []*table
}

// The parts, in the order in which they run.
var parts = []struct {
	name, what string
	run        func(*bench) error
}{
	{"echo", "server CPU per echoed message", (*bench).echo},
	{"idle", "memory of idle connections", (*bench).idleMemory},
	{"handshakes", "server CPU per opening handshake", (*bench).handshakes},
	{"deflate", "server CPU and bytes for an echo of compressed messages", (*bench).deflate},
	{"syscalls", "system calls per message, by strace", (*bench).syscalls},
	{"writers", "eight concurrent writers on one connection", (*bench).concurrentWriters},
	{"inproc", "read and write in process, with allocations", (*bench).inProcess},
	{"utf8", "reading text", (*bench).utf8},
	{"mask", "masking functions", (*bench).mask},
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("bench: ")
	b := &bench{
		sizes: ints{16, 128, 1 << 10, 16 << 10, 1 << 20}, conns: ints{1, 100, 1000}, inFlight: ints{1, 16},
		payload: load.Binary,
	}
	flag.IntVar(&b.rounds, "rounds", 5, "`rounds` whose median counts")
	flag.DurationVar(&b.period, "time", time.Second, "measured time of one run")
	flag.Var(&b.sizes, "sizes", "payload `bytes` of messages")
	flag.Var(&b.conns, "conns", "echo: numbers of `connections`")
	flag.Var(&b.inFlight, "inflight", "echo: `messages` under way on a connection")
	flag.IntVar(&b.refill, "refill", 0, "echo: send again when so many `replies` have come (0: all that are due)")
	flag.IntVar(&b.maxFlight, "maxflight", 1<<30, "echo: leave out loads with more `bytes` under way")
	flag.Var(&b.payload, "payload", "echo: `kind` of messages: binary, ascii or mixed text")
	flag.BoolVar(&b.sleep, "sleep", false, "echo: the load generator sleeps while there is nothing to do, so that servers pay for waking it")
	flag.IntVar(&b.idle, "idle", 10000, "idle: number of `connections`")
	flag.StringVar(&b.names, "peers", "", "`names` of peers, by commas; go run ./cmd/echo -list shows them (default all)")
	flag.StringVar(&b.out, "json", "", "write all samples to this `file`")
	quick := flag.Bool("quick", false, "one short round of few loads: a check that everything runs")
	flag.Usage = usage
	flag.Parse()
	if *quick {
		b.rounds, b.period, b.idle = 1, 100*time.Millisecond, 500
		b.sizes, b.conns = ints{128, 16 << 10}, ints{100}
	}
	if err := b.run(flag.Args()); err != nil {
		log.Fatal(err)
	}
}

func usage() {
	fmt.Fprint(os.Stderr, "usage: go run . [flags] [part ...]\n\nWithout a part, all of them:\n")
	for _, p := range parts {
		fmt.Fprintf(os.Stderr, "  %-12s %s\n", p.name, p.what)
	}
	fmt.Fprintln(os.Stderr, "\nFlags:")
	flag.PrintDefaults()
}

func (b *bench) run(names []string) (err error) {
	todo := parts[:0:0]
	for _, p := range parts {
		if len(names) == 0 || slices.Contains(names, p.name) {
			todo = append(todo, p)
		}
	}
	for _, name := range names {
		if !slices.Contains(partNames(), name) {
			return fmt.Errorf("no part %q; there are %s", name, strings.Join(partNames(), ", "))
		}
	}
	if err := b.selectPeers(); err != nil {
		return err
	}
	if b.serverCPU, b.loadCPU, err = load.CPUs(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt)
	go func() {
		<-interrupted
		os.RemoveAll(b.dir)
		os.Exit(130) // the children end with this process
	}()
	if err := b.build(); err != nil {
		return err
	}
	if err := b.describe(os.Stdout); err != nil {
		return err
	}
	for _, p := range todo {
		if err := p.run(b); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	if b.out != "" {
		if err := b.save(); err != nil {
			return err
		}
	}
	return b.failures()
}

func partNames() (names []string) {
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// selectPeers finds the peers that are named, or all that can run here.
func (b *bench) selectPeers() error {
	if b.names != "" {
		for name := range strings.SplitSeq(b.names, ",") {
			p, err := peers.Find(name)
			if err != nil {
				return err
			}
			if err := p.Available(); err != nil {
				return err
			}
			b.selected = append(b.selected, p)
		}
		return nil
	}
	for _, p := range peers.All() {
		if err := p.Available(); err != nil {
			log.Printf("%s is left out: %v", p.Name, err)
			continue
		}
		b.selected = append(b.selected, p)
	}
	return nil
}

// peersFor returns the selected peers that fit; lean styles and those that
// differ in memory only, where they are named.
func (b *bench) peersFor(fit func(*peers.Peer) bool) []*peers.Peer {
	var all []*peers.Peer
	for _, p := range b.selected {
		if (p.Lean || p.IdleOnly) && b.names == "" || !fit(p) {
			continue
		}
		all = append(all, p)
	}
	return all
}

func hasServer(p *peers.Peer) bool {
	return (p.Serve != nil || p.Command != nil) && p.Deflate == peers.NotCompressed
}

// build builds the programs that are measured.
func (b *bench) build() error {
	fmt.Fprintln(os.Stderr, "building the peers")
	cmd := exec.Command("go", "build", "-o", b.dir+"/", "rfc6455.example/websocket/bench/cmd/...")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// server starts a peer's echo server on the CPU of servers.
func (b *bench) server(p *peers.Peer) (*load.Process, string, error) {
	return load.StartServer(b.serverCPU, filepath.Join(b.dir, "echo"), "-peer", p.Name)
}

func (b *bench) save() error {
	type record struct {
		Table, Unit, Column, Peer string
		Samples                   []sample
	}
	var records []record
	for _, t := range b.tables {
		for _, column := range t.columns {
			for _, p := range t.rows {
				if c := t.cells[cellKey{column, p.Name}]; c != nil {
					records = append(records, record{t.Title, t.Unit, column, p.Name, c.samples})
				}
			}
		}
	}
	data, err := json.MarshalIndent(records, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(b.out, append(data, '\n'), 0o666)
}

func (b *bench) failures() error {
	n := 0
	for _, t := range b.tables {
		for _, c := range t.cells {
			if c.err != nil {
				n++
			}
		}
	}
	if n > 0 {
		return fmt.Errorf("%d figures could not be taken", n)
	}
	return nil
}

// ints is a flag of numbers, by commas.
type ints []int

func (v *ints) String() string {
	var s []string
	for _, n := range *v {
		s = append(s, strconv.Itoa(n))
	}
	return strings.Join(s, ",")
}

func (v *ints) Set(s string) error {
	*v = nil
	for f := range strings.SplitSeq(s, ",") {
		n, err := strconv.Atoi(f)
		if err != nil || n < 1 {
			return errors.New("whole numbers above zero, by commas")
		}
		*v = append(*v, n)
	}
	return nil
}
