package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// CPUs returns the CPU for the servers and the one for the load. They are the
// same where there is only one, and the figures are then worth little.
func CPUs() (server, load int, err error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return 0, 0, err
	}
	var cpus []int
	for i := range 1024 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus[0], cpus[len(cpus)-1], nil
}

// On runs f on one CPU only. Processes that f starts stay there.
func On(cpu int, f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before, only unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return err
	}
	only.Set(cpu)
	if err := unix.SchedSetaffinity(0, &only); err != nil {
		return err
	}
	return errors.Join(f(), unix.SchedSetaffinity(0, &before))
}

// A Process is a child whose resources are accounted for.
type Process struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stdout *bufio.Reader
	stderr tail
	exited chan struct{}
}

// Start starts argv on the given CPU, or on all of them if it is negative.
func Start(cpu int, argv ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(argv[0], argv[1:]...), exited: make(chan struct{})}
	p.stderr.more = make(chan struct{}, 1)
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	// A pipe of our own: that of StdoutPipe is closed by Wait.
	out, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.stdout = bufio.NewReader(out)
	p.cmd.Stdout = in
	if cpu >= 0 {
		err = On(cpu, p.cmd.Start)
	} else {
		err = p.cmd.Start()
	}
	in.Close()
	if err != nil {
		out.Close()
		return nil, err
	}
	go func() {
		p.cmd.Wait()
		close(p.exited)
	}()
	return p, nil
}

// Line returns the next line that the process writes.
func (p *Process) Line() (string, error) {
	line, err := p.stdout.ReadString('\n')
	if err != nil {
		p.Stop()
		return "", fmt.Errorf("%s ended: %s", p.cmd.Path, p.stderr.String())
	}
	return strings.TrimSpace(line), nil
}

// StartServer starts an echo server and returns the address it listens on.
func StartServer(cpu int, argv ...string) (*Process, string, error) {
	p, err := Start(cpu, argv...)
	if err != nil {
		return nil, "", err
	}
	line, err := p.Line()
	if err != nil {
		return nil, "", err
	}
	addr, ok := strings.CutPrefix(line, "listening on ")
	if !ok {
		p.Stop()
		return nil, "", fmt.Errorf("%s says %q", argv[0], line)
	}
	return p, addr, nil
}

// Collect has a server give back the memory it does not use.
func (p *Process) Collect() error {
	if _, err := io.WriteString(p.stdin, "collect\n"); err != nil {
		return err
	}
	line, err := p.Line()
	if err == nil && line != "collected" {
		err = fmt.Errorf("server says %q", line)
	}
	return err
}

// Pid returns the process's number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Stop kills the process and waits until it is gone.
func (p *Process) Stop() {
	p.cmd.Process.Kill()
	p.Wait()
}

// Interrupt asks the process to end, as Ctrl-C does.
func (p *Process) Interrupt() { p.cmd.Process.Signal(os.Interrupt) }

// Wait waits until the process has ended.
func (p *Process) Wait() { <-p.exited }

// Used returns the CPU time that a process has used which has ended.
func (p *Process) Used() time.Duration {
	state := p.cmd.ProcessState
	return state.UserTime() + state.SystemTime()
}

// StderrHas waits until the process has written text to standard error.
func (p *Process) StderrHas(text string) error {
	for {
		p.stderr.mu.Lock()
		found, more := bytes.Contains(p.stderr.b, []byte(text)), p.stderr.more
		p.stderr.mu.Unlock()
		if found {
			return nil
		}
		select {
		case <-more:
		case <-p.exited:
			return fmt.Errorf("%s ended: %s", p.cmd.Path, p.stderr.String())
		}
	}
}

// CPU returns the CPU time that a process has used, all its threads and
// system calls included: the kernel's account of what /proc/PID/stat rounds.
func CPU(pid int) (time.Duration, error) {
	var ts unix.Timespec
	// The clock of a process's CPU time, as clock_getcpuclockid(3) makes it.
	clock := int32(^pid<<3 | 2)
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// SelfCPU returns the CPU time that this process has used.
func SelfCPU() time.Duration {
	d, err := CPU(os.Getpid())
	if err != nil {
		panic(err) // a process has a clock
	}
	return d
}

// SystemShare returns which part of its CPU time a process has spent in the
// kernel, by /proc/PID/stat.
func SystemShare(pid int) (user, system time.Duration, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The second field may hold anything, but it ends with the last
	// parenthesis; utime and stime are fields 14 and 15.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 13 {
		return 0, 0, errors.New("short /proc/PID/stat")
	}
	u, err1 := strconv.ParseInt(fields[11], 10, 64)
	s, err2 := strconv.ParseInt(fields[12], 10, 64)
	const tick = time.Second / 100 // USER_HZ is 100 on every Linux
	return time.Duration(u) * tick, time.Duration(s) * tick, errors.Join(err1, err2)
}

// RSS returns the resident memory of a process in bytes.
func RSS(pid int) (int64, error) {
	// VmRSS in /proc/PID/status is only near the truth.
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Rss:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			return kib << 10, err
		}
	}
	return 0, errors.New("no Rss in smaps_rollup")
}

// Busy returns the time that all CPUs together have not been idle, that which
// the hypervisor took from them included.
func Busy() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, errors.New("unknown /proc/stat")
	}
	var sum time.Duration
	for i, f := range fields[1:9] {
		if i == 3 || i == 4 { // idle, iowait
			continue
		}
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * time.Second / 100
	}
	return sum, nil
}

// A tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	b    []byte
	more chan struct{} // holds a value when something was written
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if n := len(t.b); n > 4096 {
		t.b = append(t.b[:0], t.b[n-2048:]...)
	}
	select {
	case t.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
