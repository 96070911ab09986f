// Command verdicts plays the conformance cases of the module above to echo
// servers of several libraries, and prints how they did as a table:
//
//	go run ./cmd/verdicts
//
// It takes some minutes. A server that a case brings to its end
// is started again, and the table says how many cases did.
package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"rfc6455.example/websocket/bench/peers"
)

var groups = map[string]string{
	"1": "framing", "2": "Ping and Pong", "3": "reserved bits", "4": "opcodes", "5": "fragmentation", "6": "UTF-8",
	"7": "closing", "9": "large messages", "10": "fragments by size",
	"12": "compressed messages", "13": "parameters of compression", "20": "beyond that suite",
}

// A verdict is what the runner reports of a peer.
type verdict struct {
	Groups map[string]counts
	ends   int // of its process
}

// counts holds the number of cases by what the runner says of them.
type counts map[string]int

// String gives the number of those that are ok, and what else there is.
func (c counts) String() string {
	s := fmt.Sprint(c["ok"])
	for _, word := range slices.Backward(slices.Sorted(maps.Keys(c))) {
		if word != "ok" && c[word] > 0 {
			s += fmt.Sprintf(", %d %s", c[word], word)
		}
	}
	return s
}

func (c counts) sum() (n int) {
	for _, k := range c {
		n += k
	}
	return n
}

func main() {
	log.SetFlags(0)
	log.SetPrefix("verdicts: ")
	names := flag.String("peers", "ours-takeover,gorilla-deflate,coder-takeover,gobwas-util,gws-takeover", "`names` of peers, by commas; go run ./cmd/echo -list shows them")
	rounds := flag.Int("rounds", 20, "how often `at most` a case that is made of a thousand messages does one of them")
	reports := flag.String("reports", "", "keep the runner's reports in this `directory`")
	flag.Parse()
	dir, err := os.MkdirTemp("", "verdicts-")
	if err == nil {
		err = run(strings.Split(*names, ","), dir, cmp.Or(*reports, dir), *rounds)
		os.RemoveAll(dir)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func run(names []string, dir, reports string, rounds int) error {
	echo := filepath.Join(dir, "echo")
	if out, err := exec.Command("go", "build", "-o", echo, "rfc6455.example/websocket/bench/cmd/echo").CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	versions, err := peers.Versions(echo)
	if err != nil {
		return err
	}
	head, last := []string{"group", "cases"}, []string{"end the process", ""}
	var verdicts []*verdict
	for _, name := range names {
		p, err := peers.Find(name)
		if err != nil {
			return err
		}
		report, err := filepath.Abs(filepath.Join(reports, name+".json"))
		if err != nil {
			return err
		}
		log.Println("playing the cases to", name)
		v, err := play(name, echo, report, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		verdicts = append(verdicts, v)
		library := strings.TrimPrefix(p.Module, "github.com/") + " " + versions[p.Module]
		if p.Kind == peers.Ours {
			library = "this library"
		}
		head = append(head, library)
		last = append(last, fmt.Sprint(v.ends))
	}
	rows := [][]string{head, slices.Repeat([]string{"---"}, len(head))}
	padded := func(a, b string) int { return strings.Compare(fmt.Sprintf("%3s", a), fmt.Sprintf("%3s", b)) }
	for _, g := range slices.SortedFunc(maps.Keys(verdicts[0].Groups), padded) { // "all" is the last
		row := []string{strings.TrimSpace(g + " " + groups[g]), fmt.Sprint(verdicts[0].Groups[g].sum())}
		for _, v := range verdicts {
			row = append(row, v.Groups[g].String())
		}
		rows = append(rows, row)
	}
	fmt.Printf("%s, %s, %s/%s\n\n", time.Now().UTC().Format("2 January 2006"), runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, row := range append(rows, last) {
		fmt.Println("| " + strings.Join(row, " | ") + " |")
	}
	return nil
}

// play plays the cases to one peer.
func play(name, echo, report string, rounds int) (*verdict, error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	addr, ends, err := serve(ctx, echo, name)
	if err != nil {
		return nil, err
	}
	runner := exec.Command("go", "test", "-run=^TestConformance$", "rfc6455.example/websocket", "-server=ws://"+addr+"/", "-report="+report, fmt.Sprint("-rounds=", rounds))
	out, _ := runner.CombinedOutput() // that a case has failed is an error, too
	stop()
	v := &verdict{ends: <-ends}
	b, err := os.ReadFile(report)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, out)
	}
	return v, json.Unmarshal(b, v)
}

// serve runs a peer's echo server at addr until ctx is done, and then sends
// how often it has ended before and was started again.
func serve(ctx context.Context, echo, name string) (addr string, ends <-chan int, err error) {
	start := func(listen string) (cmd *exec.Cmd, addr string, err error) {
		cmd = exec.CommandContext(ctx, echo, "-peer", name, "-addr", listen)
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			return nil, "", err
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		return cmd, strings.TrimPrefix(strings.TrimSpace(line), "listening on "), err
	}
	cmd, addr, err := start("127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	c := make(chan int, 1)
	go func() {
		n := 0
		for cmd.Wait(); ctx.Err() == nil; cmd.Wait() {
			n++
			time.Sleep(300 * time.Millisecond) // for the runner to see that it is gone
			var err error
			if cmd, _, err = start(addr); err != nil {
				break
			}
		}
		c <- n
	}()
	return addr, c, nil
}
