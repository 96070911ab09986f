package peers

import (
	_ "embed"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

//go:embed bun.js
var bunScript string

var bunPeers = []*Peer{{
	Name: "bun", Style: "Bun.serve (uWebSockets, C++)",
	Kind:    Other,
	Command: bunCommand("none"),
}}

// FindBun returns the path of the bun program: the value of BUN, or bun in
// PATH, or where npm puts it below the current folder.
func FindBun() (string, error) {
	for _, name := range []string{os.Getenv("BUN"), "bun", filepath.Join("node_modules", ".bin", "bun")} {
		if name == "" {
			continue
		}
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", errors.New("bun is not installed (npm install bun, or set BUN to its path)")
}

func bunCommand(compressor string) func(addr string) ([]string, error) {
	return func(addr string) ([]string, error) {
		bun, err := FindBun()
		if err != nil {
			return nil, err
		}
		host, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		return []string{bun, "-e", bunScript, host, port, compressor}, nil
	}
}
