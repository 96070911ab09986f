package websocket

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var matrixRFC = flag.String("rfc", "", "compare the specification matrix with the text of RFC 6455 in this `file`")

// A statement is a requirement of the RFC in testdata/rfc6455.txt.
type statement struct {
	where   string // file:line
	section string
	level   string // such as "must not"
	text    string
	by      []string
	none    string
}

// loadMatrix reads testdata/rfc6455.txt: the statements, and the counts at its
// head.
func loadMatrix(t *testing.T) (all []*statement, counts map[string]int) {
	t.Helper()
	const file = "testdata/rfc6455.txt"
	text, err := os.ReadFile(filepath.FromSlash(file))
	if err != nil {
		t.Fatal(err)
	}
	counts = make(map[string]int)
	section := ""
	var s *statement
	for i, line := range strings.Split(string(text), "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		where := fmt.Sprintf("%s:%d", file, i+1)
		key, value, ok := strings.Cut(line, ": ")
		if !ok || value == "" {
			t.Fatalf("%s: want a line \"key: value\"", where)
		}
		switch key {
		case "count":
			name, number, _ := strings.Cut(value, " ")
			n, err := strconv.Atoi(number)
			if _, twice := counts[name]; err != nil || twice {
				t.Fatalf("%s: want a section that was not there yet, and a number", where)
			}
			counts[name] = n
			continue
		case "section":
			section, _, _ = strings.Cut(value, " ")
			s = nil
			continue
		case "must", "must not", "shall", "shall not", "should", "should not", "required", "recommended", "not recommended":
			s = &statement{where: where, section: section, level: key, text: value}
			all = append(all, s)
			continue
		}
		switch {
		case s == nil:
			t.Fatalf("%s: want a statement before %q", where, key)
		case key == "by":
			s.by = append(s.by, value)
		case key == "none":
			s.none = value
		case key != "note":
			t.Fatalf("%s: unknown key %q", where, key)
		}
	}
	return all, counts
}

// TestMatrix checks that each statement of the RFC has a proof that exists, or
// a reason why it needs none.
func TestMatrix(t *testing.T) {
	all, want := loadMatrix(t)
	proofs := newProofs(t)
	got := make(map[string]int)
	for _, s := range all {
		got[s.section]++
		if (len(s.by) == 0) == (s.none == "") {
			t.Errorf("%s: want tests or cases that prove it, or else a reason why there are none", s.where)
		}
		for _, name := range s.by {
			if err := proofs.find(name); err != nil {
				t.Errorf("%s: %v", s.where, err)
			}
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("the head says that the sections have so many statements:\n%v\nbut they have\n%v", want, got)
	}
	if *matrixRFC != "" {
		compareRFC(t, all, *matrixRFC)
	}
}

// proofs are the tests there are, with the strings in them, which may be names
// of sub-tests, and the cases.
type proofs struct {
	tests map[string][]string
	cases []string
}

func newProofs(t *testing.T) *proofs {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("want test files, found none (%v)", err)
	}
	p := &proofs{tests: make(map[string][]string)}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil {
				p.tests[f.Name.Name] = literals(f)
			}
		}
	}
	for _, v := range loadVectors(t) {
		p.cases = append(p.cases, v.number)
	}
	return p
}

func literals(f *ast.FuncDecl) (all []string) {
	ast.Inspect(f, func(n ast.Node) bool {
		if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
			if s, err := strconv.Unquote(l.Value); err == nil {
				all = append(all, s)
			}
		}
		return true
	})
	return all
}

// find reports whether what a line "by" names exists.
func (p *proofs) find(name string) error {
	kind, rest, _ := strings.Cut(name, " ")
	switch kind {
	case "case", "group":
		for _, number := range strings.Fields(rest) {
			if !slices.ContainsFunc(p.cases, func(c string) bool {
				return c == number && kind == "case" || strings.HasPrefix(c, number+".") && kind == "group"
			}) {
				return fmt.Errorf("there is no %s %s", kind, number)
			}
		}
		return nil
	}
	test, sub, _ := strings.Cut(name, "/")
	known, ok := p.tests[test]
	switch {
	case !ok || !regexp.MustCompile("^(Test|Fuzz|Example)").MatchString(test):
		return fmt.Errorf("there is no test %s", test)
	case sub != "" && !slices.Contains(known, sub):
		return fmt.Errorf("there is no sub-test %q in %s", sub, test)
	}
	return nil
}

var (
	rfcPageBreak = regexp.MustCompile(`(?m)^(Fette & Melnikov|RFC 6455 ).*$`)
	rfcSection   = regexp.MustCompile(`(?m)^([0-9]+(?:\.[0-9]+)*)\.\s+\S`)
	rfcWord      = regexp.MustCompile(`\b((?:MUST|SHALL|SHOULD)(?:\s+NOT)?|REQUIRED|(?:NOT\s+)?RECOMMENDED)\b`)
)

// compareRFC compares the sections and levels of the statements with the words
// in the RFC itself, whose text is not part of this repository.
func compareRFC(t *testing.T, all []*statement, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	rfc := rfcPageBreak.ReplaceAllString(string(text), "")
	var want []string
	heads := rfcSection.FindAllStringSubmatchIndex(rfc, -1)
	for i, h := range heads {
		end := len(rfc)
		if i+1 < len(heads) {
			end = heads[i+1][0]
		}
		for _, word := range rfcWord.FindAllString(rfc[h[0]:end], -1) {
			want = append(want, rfc[h[2]:h[3]]+" "+strings.ToLower(strings.Join(strings.Fields(word), " ")))
		}
	}
	for i, s := range all {
		if got := s.section + " " + s.level; i >= len(want) || want[i] != got {
			t.Fatalf("%s: this is %q, want %q at this place", s.where, got, append(want, "nothing")[min(i, len(want))])
		}
	}
	if len(want) != len(all) {
		t.Errorf("want %d statements, as in the RFC, got %d", len(want), len(all))
	}
	t.Logf("%d statements, as in the RFC", len(want))
}
