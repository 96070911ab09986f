package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"rfc6455.example/websocket/bench/peers"
)

// A sample is what one run of a peer came to.
type sample struct {
	Value float64 // in the table's unit

	// Others is the part of one CPU that processes which do not belong to
	// the measurement took meanwhile, the hypervisor's theft included.
	Others float64

	Busy   float64 // part of its CPU that the server used; 0: not known
	Kernel float64 // part of that in the kernel
	Extra  string  // shown behind the value
}

// A table collects the samples of peers under several loads, its columns.
type table struct {
	Title  string
	Unit   string
	Note   string
	More   bool // more is better
	Counts bool // the values are counts, which noise does not change

	columns []string
	rows    []*peers.Peer
	cells   map[cellKey]*cell
}

type cellKey struct {
	column string
	peer   string
}

type cell struct {
	samples []sample
	err     error
}

// declare makes room for the samples of p under a load, so that rows and
// columns stand in the order in which they are declared.
func (t *table) declare(column string, p *peers.Peer) {
	if t.cells == nil {
		t.cells = map[cellKey]*cell{}
	}
	if !slices.Contains(t.columns, column) {
		t.columns = append(t.columns, column)
	}
	if !slices.Contains(t.rows, p) {
		t.rows = append(t.rows, p)
	}
	t.cells[cellKey{column, p.Name}] = &cell{}
}

func (t *table) add(column string, p *peers.Peer, s sample, err error) {
	c := t.cells[cellKey{column, p.Name}]
	if err != nil {
		c.err = err
		return
	}
	c.samples = append(c.samples, s)
}

// failed reports whether a run of p has failed; others would too.
func (t *table) failed(column string, p *peers.Peer) bool {
	return t.cells[cellKey{column, p.Name}].err != nil
}

// ok reports whether every run of the cell gave a value.
func (c *cell) ok() bool { return c != nil && c.err == nil && len(c.samples) > 0 }

func (c *cell) median(of func(sample) float64) float64 {
	return quantile(c.sorted(of), 0.5)
}

func (c *cell) sorted(of func(sample) float64) []float64 {
	var v []float64
	for _, s := range c.samples {
		v = append(v, of(s))
	}
	slices.Sort(v)
	return v
}

// value is the median of the rounds.
func (c *cell) value() float64 { return c.median(func(s sample) float64 { return s.Value }) }

// spread is how far apart the middle half of the rounds lies, or all of them
// where they are fewer than four, as a part of the median.
func (c *cell) spread() float64 {
	v := c.sorted(func(s sample) float64 { return s.Value })
	low, high := v[0], v[len(v)-1]
	if len(v) >= 4 {
		low, high = quantile(v, 0.25), quantile(v, 0.75)
	}
	if m := quantile(v, 0.5); m != 0 {
		return (high - low) / math.Abs(m)
	}
	return 0
}

// quantile of sorted values, between two of them by weight.
func quantile(v []float64, q float64) float64 {
	at := q * float64(len(v)-1)
	i := int(at)
	if i+1 >= len(v) {
		return v[i]
	}
	return v[i] + (at-float64(i))*(v[i+1]-v[i])
}

// Trust, in three grades. The bounds are for a difference of a few per cent
// between peers to mean something.
const (
	fair         = "~"
	poor         = "?"
	fairSpread   = 0.04
	poorSpread   = 0.10
	fairOthers   = 0.03
	poorOthers   = 0.10
	enoughRounds = 5
)

// trust grades a cell and says why it is not the best grade.
func (c *cell) trust() (grade string, why []string) {
	spread := c.spread()
	others := c.median(func(s sample) float64 { return s.Others })
	if spread > fairSpread {
		grade = fair
		why = append(why, fmt.Sprintf("rounds %.0f %% apart", 100*spread))
	}
	if others > fairOthers {
		grade = fair
		why = append(why, fmt.Sprintf("other processes took %.0f %% of a CPU", 100*others))
	}
	if spread > poorSpread || others > poorOthers {
		grade = poor
	}
	return grade, why
}

// best returns the reference of a column: the best Go library but ours.
func (t *table) best(column string) (float64, bool) {
	best, found := 0.0, false
	for _, p := range t.rows {
		c := t.cells[cellKey{column, p.Name}]
		if p.Kind != peers.Go || !c.ok() {
			continue
		}
		if v := c.value(); !found || t.More && v > best || !t.More && v < best {
			best, found = v, true
		}
	}
	return best, found
}

// print writes the table in Markdown, and below it what is to be known about
// its figures.
func (t *table) print(w io.Writer) {
	fmt.Fprintf(w, "\n### %s\n\n%s", t.Title, t.Unit)
	if t.Note != "" {
		fmt.Fprintf(w, " %s", strings.TrimSpace(t.Note))
	}
	fmt.Fprint(w, "\n\n")
	grid := [][]string{append([]string{""}, t.columns...)}
	var doubts, failures []string
	fairCells := 0
	for _, p := range t.rows {
		line := []string{p.Name}
		for _, column := range t.columns {
			c := t.cells[cellKey{column, p.Name}]
			switch {
			case c == nil || c.err == nil && len(c.samples) == 0:
				line = append(line, "")
				continue
			case c.err != nil:
				line = append(line, "failed")
				failures = append(failures, fmt.Sprintf("%s, %s: %v", p.Name, column, c.err))
				continue
			}
			grade, why := c.trust()
			if t.Counts {
				grade = ""
			}
			switch grade {
			case fair:
				fairCells++
			case poor:
				doubts = append(doubts, fmt.Sprintf("%s, %s: %s", p.Name, column, strings.Join(why, ", ")))
			}
			line = append(line, t.format(column, c)+grade)
		}
		grid = append(grid, line)
	}
	writeGrid(w, grid)
	fmt.Fprintln(w)
	t.printBusy(w)
	t.printTrust(w, doubts, fairCells)
	for _, f := range failures {
		fmt.Fprintf(w, "- **failed**: %s\n", f)
	}
}

func (t *table) format(column string, c *cell) string {
	s := significant(c.value())
	if best, ok := t.best(column); ok && best > 0 {
		s += fmt.Sprintf(" (%.2f)", c.value()/best)
	}
	if extra := c.samples[len(c.samples)-1].Extra; extra != "" {
		s += " " + extra
	}
	return s
}

// printBusy says how busy the servers were, by column: where they had to wait
// for the load, the cost of falling asleep and waking up is part of a message.
func (t *table) printBusy(w io.Writer) {
	var busy, kernel []string
	for _, column := range t.columns {
		if s := t.between(column, func(s sample) float64 { return s.Busy }); s != "" {
			busy = append(busy, column+" "+s)
		}
		if s := t.between(column, func(s sample) float64 { return s.Kernel }); s != "" {
			kernel = append(kernel, column+" "+s)
		}
	}
	if len(busy) > 0 {
		fmt.Fprintf(w, "- servers' use of their CPU: %s\n", strings.Join(busy, "; "))
		fmt.Fprintf(w, "- of that in the kernel: %s\n", strings.Join(kernel, "; "))
	}
}

// between returns the least and the greatest median of a column.
func (t *table) between(column string, of func(sample) float64) string {
	low, high := math.Inf(1), 0.0
	for _, p := range t.rows {
		if c := t.cells[cellKey{column, p.Name}]; c.ok() {
			v := c.median(of)
			low, high = min(low, v), max(high, v)
		}
	}
	if high == 0 {
		return ""
	}
	return fmt.Sprintf("%.0f-%.0f %%", 100*low, 100*high)
}

func (t *table) printTrust(w io.Writer, doubts []string, fairCells int) {
	if t.Counts {
		return
	}
	rounds := math.MaxInt
	for _, c := range t.cells {
		if c.ok() {
			rounds = min(rounds, len(c.samples))
		}
	}
	if rounds < enoughRounds {
		fmt.Fprintf(w, "- %d rounds only: for a first look\n", rounds)
	}
	if fairCells > 0 {
		fmt.Fprintf(w, "- %s: %d figures with rounds more than %.0f %% apart, or with more than %.0f %% of a CPU in other processes: differences of a few per cent mean nothing\n",
			fair, fairCells, 100*fairSpread, 100*fairOthers)
	}
	if n := len(doubts); n > 8 {
		fmt.Fprintf(w, "- %s: do not trust these %d figures: %s\n", poor, n, t.worst())
	} else {
		for _, d := range doubts {
			fmt.Fprintf(w, "- %s: do not trust %s\n", poor, d)
		}
	}
	if fairCells == 0 && len(doubts) == 0 && rounds >= enoughRounds {
		fmt.Fprintf(w, "- every row is to be trusted: %d rounds at most %.0f %% apart, other processes below %.0f %% of a CPU\n",
			rounds, 100*fairSpread, 100*fairOthers)
	}
}

// worst sums up what many figures suffer from.
func (t *table) worst() string {
	spread, others := 0.0, 0.0
	for _, c := range t.cells {
		if c.ok() {
			spread = max(spread, c.spread())
			others = max(others, c.median(func(s sample) float64 { return s.Others }))
		}
	}
	return fmt.Sprintf("rounds up to %.0f %% apart, other processes took up to %.0f %% of a CPU", 100*spread, 100*others)
}

func significant(v float64) string {
	switch {
	case v >= 100:
		return thousands(int64(math.Round(v)))
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func thousands(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// writeGrid writes a Markdown table, aligned to be read as it is.
func writeGrid(w io.Writer, grid [][]string) {
	width := make([]int, len(grid[0]))
	for _, line := range grid {
		for i, s := range line {
			width[i] = max(width[i], len([]rune(s)), 3)
		}
	}
	for n, line := range grid {
		for i, s := range line {
			fmt.Fprintf(w, "| %-*s ", width[i], s)
		}
		fmt.Fprintln(w, "|")
		if n > 0 {
			continue
		}
		for i := range line {
			fmt.Fprintf(w, "|%s", strings.Repeat("-", width[i]+2))
		}
		fmt.Fprintln(w, "|")
	}
}
