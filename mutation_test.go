//go:build unix

package websocket

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// mutable says where the rules stand that the conformance cases have to prove.
// Every condition there under which one of the errors is returned, or false
// where there is none, is switched off in its turn.
var mutable = []struct {
	file, function string
	errors         string // what is returned if the rule is broken
	count          int    // of the rules at least
}{
	{"frame.go", "parse", "errLengthNotMinimal errLengthTopBit", 3},
	{"frame.go", "check", "errReservedBits errCompressedBit errReservedOpcode errMasked errNotMasked errControlFragmented " +
		"errControlTooLong errNothingToContinue errMessageInsideMessage", 10},
	{"close.go", "parseClosePayload", "errCloseBodyLength errCloseCode errReasonNotUTF8", 3},
	{"close.go", "sendable", "", 6},
	{"utf8.go", "write", "", 2},
	{"utf8.go", "complete", "", 1},
	{"read.go", "checkText", "errTextNotUTF8", 1},
	{"read.go", "endText", "errTextNotUTF8", 1},
	{"read.go", "nextDataFrame", "errMessageTooBig", 1},
	{"message_deflate.go", "appendInflated", "errTextNotUTF8", 1},
	{"compress.go", "appendMessage", "errMessageTooBig", 1},
	{"compress.go", "parseDeflateParams", "", 2},
	{"compress.go", "checkAccepted", "Errorf", 1},
	{"inflate.go", "build", "", 2},
	{"inflate.go", "readHeader", "errDeflateTruncated errDeflateInvalid", 3},
	{"inflate.go", "readCodes", "errDeflateTruncated errDeflateInvalid", 8},
	{"inflate.go", "decodeCodes", "errDeflateTruncated errDeflateInvalid", 4},
	{"handshake.go", "check", "refusal upgradeRequired", 8},
	{"handshake.go", "validKey", "", 1},
	{"answer.go", "checkAnswer", "New", 6},
}

// outOfReach are rules that no peer can get at, or whose lack leaves the answer
// as it is.
var outOfReach = []string{
	"r.ProtoMajor > 1", // the cases speak HTTP/1

	// Data that has ended goes on as zeros, and is found to have done so, or
	// to be invalid, a little later.
	"decodeCodes: nacc < 0",
	"readCodes: z.nacc < 0",

	// Codes that are too many do not come to the right sum in the end.
	"build: c > 1<<n",

	// This goes on with lengths of 0, which come to no code that would do.
	"readCodes: d == 0",
}

// TestMutants proves that the conformance cases can fail: each rule is
// switched off in a copy of the library, and at least one case must not be ok
// then, for the server or for the client.
func TestMutants(t *testing.T) {
	leaveOutIfShort(t)
	gotool := lookFor(t, "go", "https://go.dev/dl/")
	program, rules := buildMutant(t, gotool)
	vectors := slices.DeleteFunc(loadVectors(t), func(v *vectorCase) bool {
		// The program has this limit. Large messages are no matter here.
		return v.size() > 80<<10 || v.limit != 0 && v.limit != 64<<10 || v.rounds > 1
	})
	for i, rule := range append([]string{"nothing"}, rules...) {
		t.Run(rule, func(t *testing.T) {
			if slices.ContainsFunc(outOfReach, func(s string) bool { return strings.HasSuffix(rule, s) }) {
				t.Skip("no case can get here")
			}
			t.Parallel()
			broken := fmt.Sprintf("-broken=%d", i)
			patience := 2 * time.Second // silence is red, too
			if i == 0 {
				patience = time.Minute
			}
			red := playServer(t, exec.Command(program, broken), vectors, patience)
			if red == nil {
				red = playClient(t, exec.Command(program, broken), vectors, patience)
			}
			switch {
			case i == 0 && red != nil:
				t.Fatalf("want all cases ok while every rule holds, got:\n%v", red)
			case i > 0 && red == nil:
				t.Fatal("this rule does not hold, and yet all cases are ok")
			case i > 0:
				t.Logf("case %s %s", red.Case, red.Verdict)
			}
		})
	}
}

// playServer plays the cases to a server until one is not ok, which it
// returns.
func playServer(t *testing.T, cmd *exec.Cmd, vectors []*vectorCase, patience time.Duration) *caseResult {
	addr := start(t, cmd).line()
	return playUntilRed("server", vectors, patience, func(r *wireRun) (err error) {
		r.host = addr
		r.nc, err = net.Dial("tcp", addr)
		return err
	})
}

// playClient plays them to a client.
func playClient(t *testing.T, cmd *exec.Cmd, vectors []*vectorCase, patience time.Duration) *caseResult {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd.Args = append(cmd.Args, "-url=ws://"+l.Addr().String())
	client := start(t, cmd)
	first := true
	return playUntilRed("client", vectors, patience, func(r *wireRun) (err error) {
		if !first {
			client.line() // it has done with the case before
		}
		first = false
		l.(*net.TCPListener).SetDeadline(time.Now().Add(interopTimeout))
		r.nc, err = l.Accept()
		return err
	})
}

func playUntilRed(role string, vectors []*vectorCase, patience time.Duration, connect func(*wireRun) error) *caseResult {
	for _, v := range vectors {
		if v.role != "" && v.role != role {
			continue
		}
		r := newRun(v, *conformanceSeed, "mutant")
		r.path = "/"
		r.handshake, r.client = true, role == "server"
		r.patience, r.hurry = patience, patience
		if err := connect(r); err != nil {
			r.note(verdictFailed, "no connection: %v", err)
		} else {
			r.run()
			if strings.HasPrefix(v.caller, "failed ") && r.how.kind != "fail" {
				r.note(verdictFailed, "the caller's read cannot have %s", v.caller)
			}
		}
		if r.verdict != verdictOK {
			res := r.result(role)
			return &res
		}
	}
	return nil
}

// buildMutant builds testdata/mutant with a copy of the library that can be
// broken, and returns the program and the rules in the order of their numbers,
// from 1 on.
func buildMutant(t *testing.T, gotool string) (program string, rules []string) {
	t.Helper()
	dir := t.TempDir()
	sources, err := filepath.Glob("*.*[os]") // .go and .s
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(sources, "go.mod") {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if ok, _ := build.Default.MatchFile(".", name); ok && strings.HasSuffix(name, ".go") {
			text, rules = breakRules(t, name, text, rules)
		}
		write(t, filepath.Join(dir, name), text)
	}
	write(t, filepath.Join(dir, "broken.go"), []byte(`package websocket

// Broken is the number of the rule that does not hold, 0 for none.
var Broken int

// unless returns v, or a value that it cannot be if rule n does not hold.
func unless(n, v int) int {
	if Broken == n {
		return -1
	}
	return v
}
`))
	main, err := os.ReadFile(filepath.Join("testdata", "mutant", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "mutant", "main.go"), main)

	program = filepath.Join(dir, "echo")
	cmd := exec.Command(gotool, "build", "-buildvcs=false", "-o", program, "./mutant")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "GOPROXY=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building the copy: %v\n%s", err, out)
	}
	return program, rules
}

func write(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o666); err != nil {
		t.Fatal(err)
	}
}

// An insertion is text to be put into a source.
type insertion struct {
	at   int
	text string
}

// A breaker makes the rules of a file switchable.
type breaker struct {
	fset   *token.FileSet
	source []byte
	edits  []insertion
	rules  []string
	errors []string // what the rules of this function return
	where  string   // file and function
}

// breakRules makes the rules in a file switchable and appends their names to
// rules.
func breakRules(t *testing.T, name string, source []byte, rules []string) ([]byte, []string) {
	t.Helper()
	b := &breaker{fset: token.NewFileSet(), source: source, rules: rules}
	file, err := parser.ParseFile(b.fset, name, source, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutable {
		if m.file != name {
			continue
		}
		before := len(b.rules)
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Name.Name == m.function {
				b.where = name + " " + m.function + ": "
				b.errors = strings.Fields(m.errors)
				ast.Inspect(f.Body, b.visit)
			}
		}
		if n := len(b.rules) - before; n < m.count {
			t.Fatalf("%s: want at least %d rules in %s, found %d: the table does not fit the source any more", name, m.count, m.function, n)
		}
	}
	slices.SortStableFunc(b.edits, func(x, y insertion) int { return y.at - x.at })
	for _, e := range b.edits {
		source = slices.Insert(slices.Clone(source), e.at, []byte(e.text)...)
	}
	return source, b.rules
}

// visit finds the rules in a function.
func (b *breaker) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.IfStmt:
		if b.refuses(n.Body.List) {
			b.switchable(n.Cond, "Broken != %d && (", ")")
		}
	case *ast.SwitchStmt:
		for _, s := range n.Body.List {
			clause := s.(*ast.CaseClause)
			switch {
			case b.refuses(clause.Body) && n.Tag == nil:
				for _, cond := range clause.List {
					b.switchable(cond, "Broken != %d && (", ")")
				}
			case b.refuses(clause.Body):
				for _, value := range clause.List {
					b.switchable(value, "unless(%d, ", ")")
				}
			case returns(clause.Body, "true"):
				for _, cond := range clause.List {
					ast.Inspect(cond, b.visitBounds)
				}
			}
		}
	case *ast.ReturnStmt:
		if len(b.errors) == 0 && len(n.Results) == 1 {
			if _, ok := n.Results[0].(*ast.BinaryExpr); ok {
				b.switchable(n.Results[0], "Broken == %d || (", ")")
			}
		}
	}
	return true
}

// visitBounds finds the limits in a condition that lets values pass.
func (b *breaker) visitBounds(n ast.Node) bool {
	if e, ok := n.(*ast.BinaryExpr); ok && (e.Op == token.GEQ || e.Op == token.LEQ) {
		b.switchable(e, "(Broken == %d || ", ")")
	}
	return true
}

// switchable puts a condition between before, which takes the number of the
// rule, and after.
func (b *breaker) switchable(e ast.Expr, before, after string) {
	from, to := b.fset.Position(e.Pos()).Offset, b.fset.Position(e.End()).Offset
	b.rules = append(b.rules, b.where+string(b.source[from:to]))
	b.edits = append(b.edits, insertion{from, fmt.Sprintf(before, len(b.rules))}, insertion{to, after})
}

// refuses reports whether statements end with returning one of the errors, or
// false where there are none.
func (b *breaker) refuses(body []ast.Stmt) bool {
	if len(b.errors) == 0 {
		return returns(body, "false")
	}
	return returns(body, b.errors...)
}

// returns reports whether statements end with a return of one of the names, or
// of what a function with such a name returns.
func returns(body []ast.Stmt, names ...string) bool {
	if len(body) == 0 {
		return false
	}
	ret, ok := body[len(body)-1].(*ast.ReturnStmt)
	if !ok || len(ret.Results) == 0 {
		return false
	}
	e := ret.Results[len(ret.Results)-1]
	if call, ok := e.(*ast.CallExpr); ok {
		e = call.Fun
	}
	if selector, ok := e.(*ast.SelectorExpr); ok {
		e = selector.Sel
	}
	name, ok := e.(*ast.Ident)
	return ok && slices.Contains(names, name.Name)
}
