package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"rfc6455.example/websocket/bench/load"
	"rfc6455.example/websocket/bench/peers"
)

// A group is columns of a table that one run fills together, or leaves empty by
// returning no sample.
type group struct {
	columns []string
	run     func(p *peers.Peer) ([]sample, error)
}

// measure runs every group with every peer, round by round, and prints the
// table. The peers of a round follow one another, so that what disturbs the
// machine for a while disturbs them all; each round begins with another one.
func (b *bench) measure(t *table, list []*peers.Peer, rounds int, groups ...group) {
	progress := newProgress(t.Title, len(groups)*rounds*len(list))
	for _, g := range groups {
		for _, column := range g.columns {
			for _, p := range list {
				t.declare(column, p)
			}
		}
	}
	for _, g := range groups {
		for round := range rounds {
			for i := range list {
				p := list[(i+round)%len(list)]
				if t.failed(g.columns[0], p) {
					progress.skip()
					continue
				}
				progress.begin("%s, round %d of %d: %s", g.columns[0], round+1, rounds, p.Name)
				samples, err := g.run(p)
				for k, column := range g.columns {
					if err != nil {
						t.add(column, p, sample{}, err)
					} else if len(samples) > 0 {
						t.add(column, p, samples[k], nil)
					}
				}
				progress.end(samples, err)
			}
		}
	}
	progress.close()
	b.tables = append(b.tables, t)
	t.print(os.Stdout)
	fmt.Printf("- load average after it: %s\n", loadAverage())
}

// A window is what happened while something was measured.
type window struct {
	wall, cpu time.Duration
	others    float64
	kernel    float64 // part of cpu spent in the kernel
}

// during runs f and takes the accounts of process pid around it.
func during(pid int, f func() error) (w window, err error) {
	self := os.Getpid()
	var before, after [3]time.Duration
	user0, system0, err := load.SystemShare(pid)
	if err != nil {
		return w, err
	}
	take := func(to *[3]time.Duration) {
		for i, read := range []func() (time.Duration, error){
			func() (time.Duration, error) { return load.CPU(pid) },
			func() (time.Duration, error) { return load.CPU(self) },
			load.Busy,
		} {
			if to[i], err = read(); err != nil {
				return
			}
		}
	}
	if take(&before); err != nil {
		return w, err
	}
	begin := time.Now()
	if err := f(); err != nil {
		return w, err
	}
	w.wall = time.Since(begin)
	if take(&after); err != nil {
		return w, err
	}
	user1, system1, err := load.SystemShare(pid)
	w.cpu = after[0] - before[0]
	others := after[2] - before[2] - w.cpu - (after[1] - before[1])
	w.others = max(0, float64(others)/float64(w.wall))
	if ticks := user1 + system1 - user0 - system0; ticks > 0 {
		w.kernel = float64(system1-system0) / float64(ticks)
	}
	return w, err
}

// Progress goes to standard error: one line that is written over on a
// terminal, a line now and then elsewhere.
type progress struct {
	title       string
	total, done int
	start, last time.Time
	terminal    bool
	what        string
}

func newProgress(title string, total int) *progress {
	info, err := os.Stderr.Stat()
	return &progress{
		title: title, total: total, start: time.Now(),
		terminal: err == nil && info.Mode()&os.ModeCharDevice != 0,
	}
}

func (p *progress) begin(format string, args ...any) { p.what = fmt.Sprintf(format, args...) }

func (p *progress) skip() { p.done++ }

func (p *progress) end(samples []sample, err error) {
	p.done++
	now := time.Now()
	if !p.terminal && err == nil && p.done < p.total && now.Sub(p.last) < 10*time.Second {
		return
	}
	p.last = now
	gone := now.Sub(p.start)
	left := gone / time.Duration(p.done) * time.Duration(p.total-p.done)
	var values []string
	for _, s := range samples {
		values = append(values, significant(s.Value))
	}
	line := fmt.Sprintf("[%d/%d, %v left] %s: %s %s", p.done, p.total, left.Round(time.Second), p.title, p.what, strings.Join(values, " "))
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s: %v\n", line, err)
	case p.terminal:
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s", line)
	default:
		fmt.Fprintln(os.Stderr, line)
	}
}

func (p *progress) close() {
	if p.terminal {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}

func loadAverage() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "not known"
	}
	return strings.Join(strings.Fields(string(b))[:3], ", ")
}
