//go:build unix

package websocket

import (
	"bufio"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// interopTimeout bounds every wait for another program. It is only ever
// reached by a test that fails.
const interopTimeout = time.Minute

func leaveOutIfShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts other programs; left out by -short")
	}
}

// lookFor returns the path of a program. Where there is none, the test is
// skipped with the way to install it, or fails where WEBSOCKET_INTEROP is
// "require".
func lookFor(t *testing.T, program, install string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		notInstalled(t, program, install)
	}
	return path
}

func notInstalled(t *testing.T, what, install string) {
	t.Helper()
	if os.Getenv("WEBSOCKET_INTEROP") == "require" {
		t.Fatalf("%s is not installed, and WEBSOCKET_INTEROP requires it; try: %s", what, install)
	}
	t.Skipf("%s is not installed; try: %s", what, install)
}

// A process is another program, which ends with the test that started it.
type process struct {
	t      *testing.T
	name   string
	stdin  io.Writer
	lines  chan string // what it prints; closed when it does so no more
	stderr string      // the file that holds it
	exited chan error
	cmd    *exec.Cmd
}

// start starts a program. The environment is the test's own with env added.
func start(t *testing.T, cmd *exec.Cmd, env ...string) *process {
	t.Helper()
	p := &process{
		t:      t,
		name:   filepath.Base(cmd.Path),
		lines:  make(chan string, 1000), // so that it never waits for the test
		stderr: filepath.Join(t.TempDir(), "stderr"),
		exited: make(chan error, 1),
		cmd:    cmd,
	}
	stderr, err := os.Create(p.stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	cmd.Stderr = stderr
	cmd.Env = append(cmd.Environ(), "NO_PROXY=*", "no_proxy=*")
	cmd.Env = append(cmd.Env, env...)
	// A group of its own, so that what it starts ends with it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	end := func(s syscall.Signal) { syscall.Kill(-cmd.Process.Pid, s) }
	// Should it take no input, the test is stuck until the watchdog frees it.
	watchdog := time.AfterFunc(3*interopTimeout, func() { end(syscall.SIGKILL) })
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.read(stdout, stop)
		p.exited <- cmd.Wait()
	}()
	t.Cleanup(func() {
		close(stop)
		watchdog.Stop()
		end(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(interopTimeout / 10):
		}
		end(syscall.SIGKILL) // what it leaves behind, or all of it
		<-done
		if t.Failed() {
			t.Logf("stderr of %s:\n%s", p.name, p.errors())
		}
	})
	return p
}

// read passes on the lines of stdout until its end.
func (p *process) read(stdout io.Reader, stop <-chan struct{}) {
	defer close(p.lines)
	r := bufio.NewReader(stdout)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		select {
		case p.lines <- strings.TrimSuffix(line, "\n"):
		case <-stop:
			// Nobody listens any more; the process is about to be killed.
			io.Copy(io.Discard, r)
			return
		}
	}
}

func (p *process) errors() string {
	b, err := os.ReadFile(p.stderr)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// line returns the next line that the process prints.
func (p *process) line() string {
	p.t.Helper()
	select {
	case line, ok := <-p.lines:
		if !ok {
			p.t.Fatalf("%s ended where a line was expected", p.name)
		}
		return line
	case <-time.After(interopTimeout):
		p.t.Fatalf("%s printed nothing for %v", p.name, interopTimeout)
	}
	panic("unreachable")
}

// lineWith skips to the line that holds text, and returns what follows it.
func (p *process) lineWith(text string) string {
	p.t.Helper()
	for {
		if _, rest, ok := strings.Cut(p.line(), text); ok {
			return rest
		}
	}
}

// exit returns how the process ended, once it has.
func (p *process) exit() error {
	p.t.Helper()
	deadline := time.After(interopTimeout)
	for {
		select {
		case _, ok := <-p.lines: // it may have last words
			if !ok {
				p.lines = nil
			}
		case err := <-p.exited:
			return err
		case <-deadline:
			p.t.Fatalf("%s did not end within %v", p.name, interopTimeout)
		}
	}
}
