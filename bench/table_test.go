package main

import (
	"errors"
	"math"
	"strings"
	"testing"

	"rfc6455.example/websocket/bench/peers"
)

func TestMedianAndSpread(t *testing.T) {
	c := &cell{}
	for _, v := range []float64{5, 1, 2, 100, 3} {
		c.samples = append(c.samples, sample{Value: v})
	}
	if got := c.value(); got != 3 {
		t.Errorf("the median of 1 2 3 5 100 is 3, not %v", got)
	}
	if got := c.spread(); math.Abs(got-1) > 1e-9 {
		t.Errorf("the middle half of 1 2 3 5 100 lies 3 apart, as much as the median, not %v", got)
	}
	c.samples = c.samples[:2]
	if got := c.value(); got != 3 {
		t.Errorf("the median of 1 5 is 3, not %v", got)
	}
}

// The reference is the best Go library, neither ours nor another language's,
// and a figure that was disturbed is marked.
func TestTable(t *testing.T) {
	ours := &peers.Peer{Name: "ours", Kind: peers.Ours}
	slow := &peers.Peer{Name: "slow", Kind: peers.Go}
	best := &peers.Peer{Name: "best", Kind: peers.Go}
	other := &peers.Peer{Name: "other", Kind: peers.Other}
	gone := &peers.Peer{Name: "gone", Kind: peers.Go}
	tb := &table{Title: "T", Unit: "u."}
	for _, p := range []*peers.Peer{ours, slow, best, other, gone} {
		tb.declare("x", p)
	}
	for i := range 5 {
		tb.add("x", ours, sample{Value: 1.5}, nil)
		tb.add("x", slow, sample{Value: 4 + float64(i)}, nil)
		tb.add("x", best, sample{Value: 2}, nil)
		tb.add("x", other, sample{Value: 1, Others: 0.05}, nil)
	}
	tb.add("x", gone, sample{}, errors.New("it went away"))

	var b strings.Builder
	tb.print(&b)
	for _, want := range []string{
		"| ours  | 1.50 (0.75)  |",
		"| slow  | 6.00 (3.00)? |",
		"| best  | 2.00 (1.00)  |",
		"| other | 1.00 (0.50)~ |",
		"| gone  | failed       |",
		"do not trust slow, x: rounds 33 % apart",
		"**failed**: gone, x: it went away",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table should have %q:\n%s", want, b.String())
		}
	}

	tb.More = true
	if v, _ := tb.best("x"); v != 6 {
		t.Errorf("where more is better the reference is 6, not %v", v)
	}
}
