package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"rfc6455.example/websocket/bench/peers"
)

// describe writes what the figures depend on: the machine, and the versions of
// all that takes part.
func (b *bench) describe(w io.Writer) error {
	versions, err := peers.Versions(filepath.Join(b.dir, "echo"))
	if err != nil {
		return err
	}

	fmt.Fprintf(w, "## Benchmarks, %s\n\n", time.Now().UTC().Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(w, "%s, Linux %s, %d CPUs, %s/%s, %s; load average before: %s\n\n",
		cpuModel(), readLine("/proc/sys/kernel/osrelease"), runtime.NumCPU(),
		runtime.GOOS, runtime.GOARCH, runtime.Version(), loadAverage())
	if b.serverCPU == b.loadCPU {
		fmt.Fprint(w, "**There is one CPU only, which servers and load share: the figures are worth little.**\n\n")
	} else {
		fmt.Fprintf(w, "Servers on CPU %d, load on CPU %d. %d rounds of %v.\n\n", b.serverCPU, b.loadCPU, b.rounds, b.period)
	}
	grid := [][]string{{"peer", "version", "style"}}
	for _, p := range b.selected {
		version := versions[p.Module]
		if p.Command != nil {
			version = commandVersion(p)
		}
		grid = append(grid, []string{p.Name, version, p.Style})
	}
	writeGrid(w, grid)
	return nil
}

func commandVersion(p *peers.Peer) string {
	argv, err := p.Command("127.0.0.1:0")
	if err != nil {
		return ""
	}
	out, err := exec.Command(argv[0], "--version").Output()
	if err != nil {
		return "not known"
	}
	return strings.TrimSpace(string(out))
}

func cpuModel() string {
	b, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "CPU not known"
	}
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "CPU not known"
}

func readLine(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "not known"
	}
	return strings.TrimSpace(string(b))
}
