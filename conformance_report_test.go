package websocket

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"text/tabwriter"
)

// A caseResult is how an endpoint did in a case, as -report writes it.
type caseResult struct {
	Case     string   `json:"case"`
	Title    string   `json:"title"`
	Sections []string `json:"sections"`
	Verdict  string   `json:"verdict"`
	Why      []string `json:"why,omitempty"`
	How      string   `json:"how,omitempty"` // transport, chunking, seed
	Sent     []string `json:"sent,omitempty"`
	Wanted   []string `json:"wanted,omitempty"`
	Came     []string `json:"came,omitempty"`

	verdict verdict
}

// result sums up a run. What was sent and what came is kept unless all was
// well.
func (r *wireRun) result(how string) caseResult {
	res := caseResult{
		Case: r.v.number, Title: r.v.title, Sections: r.v.sections,
		Verdict: r.verdict.String(), verdict: r.verdict,
	}
	if r.verdict != verdictOK {
		res.Why, res.How = r.why, how
		res.Sent, res.Wanted, res.Came = r.v.sent, r.v.wanted, r.came
	}
	return res
}

func (c caseResult) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "case %s: %s: %s\n  section: %s\n", c.Case, c.Verdict, c.Title, sectionNames(c.Sections))
	if c.How != "" {
		fmt.Fprintf(&b, "  how: %s\n", c.How)
	}
	for _, part := range []struct {
		name  string
		lines []string
	}{{"why", c.Why}, {"sent", c.Sent}, {"wanted", c.Wanted}, {"came", c.Came}} {
		for i, line := range part.lines {
			if i == 12 && len(part.lines) > 20 {
				line = fmt.Sprintf("… (%d more)", len(part.lines)-i)
			}
			if r := []rune(line); len(r) > 160 {
				line = string(r[:160]) + "…"
			}
			fmt.Fprintf(&b, "  %-7s %s\n", part.name+":", line)
			if i == 12 && len(part.lines) > 20 {
				break
			}
		}
	}
	return b.String()
}

// sectionNames names sections, those of RFC 6455 first.
func sectionNames(sections []string) string {
	s := strings.Join(sections, ", ")
	if !strings.HasPrefix(s, "RFC") {
		s = "RFC 6455, " + s
	}
	return s
}

// A report collects the results of one endpoint. It may be used by several
// goroutines.
type report struct {
	Endpoint string         `json:"endpoint"`
	Groups   map[string]row `json:"groups"`
	Cases    []caseResult   `json:"cases"`

	mu sync.Mutex
}

// A row counts the verdicts of a group.
type row struct {
	OK       int `json:"ok"`
	Lax      int `json:"lax"`
	Limited  int `json:"limited"`
	Declined int `json:"declined"`
	Failed   int `json:"failed"`
}

// add takes in a result. Of several for the same case the worst counts.
func (p *report) add(c caseResult) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, old := range p.Cases {
		if old.Case == c.Case {
			if c.verdict > old.verdict {
				p.Cases[i] = c
			}
			return
		}
	}
	p.Cases = append(p.Cases, c)
}

// count fills Groups.
func (p *report) count() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.Groups = make(map[string]row)
	sort.SliceStable(p.Cases, func(i, j int) bool { return lessNumber(p.Cases[i].Case, p.Cases[j].Case) })
	for _, c := range p.Cases {
		group, _, _ := strings.Cut(c.Case, ".")
		for _, g := range []string{group, "all"} {
			n := p.Groups[g]
			*[]*int{&n.OK, &n.Lax, &n.Limited, &n.Declined, &n.Failed}[c.verdict]++
			p.Groups[g] = n
		}
	}
}

// table shows the counts by group.
func (p *report) table() string {
	p.count()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(&b, "%s\n", p.Endpoint)
	fmt.Fprintf(w, "group\tok\tlax\tlimited\tdeclined\tfailed\t\n")
	var groups []string
	for g := range p.Groups {
		if g != "all" {
			groups = append(groups, g)
		}
	}
	sort.Slice(groups, func(i, j int) bool { return lessNumber(groups[i], groups[j]) })
	for _, g := range append(groups, "all") {
		n := p.Groups[g]
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t\n", g, n.OK, n.Lax, n.Limited, n.Declined, n.Failed)
	}
	w.Flush()
	return b.String()
}

// write stores the report as JSON.
func (p *report) write(file string) error {
	p.count()
	b, err := json.MarshalIndent(p, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(b, '\n'), 0o666)
}
