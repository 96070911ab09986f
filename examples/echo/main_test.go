package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"rfc6455.example/websocket"
)

// TestMain lets the test binary be the program itself.
func TestMain(m *testing.M) {
	if os.Getenv("ECHO_RUN_MAIN") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "ECHO_RUN_MAIN=1")
	return cmd
}

// start runs the program on a free port. It returns the page's URL and the
// rest of what the program prints.
func start(t *testing.T, args ...string) (cmd *exec.Cmd, page string, stdout *bufio.Reader) {
	t.Helper()
	cmd = program(append(args, "-addr", "localhost:0")...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	stdout = bufio.NewReader(pipe)
	line, err := stdout.ReadString('\n')
	_, page, ok := strings.Cut(line, "page at ")
	if err != nil || !ok {
		t.Fatalf("the program began with %q, want where the page is", line)
	}
	page, _, _ = strings.Cut(page, ",")
	return cmd, page, stdout
}

func dial(t *testing.T, page, origin string) (*websocket.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	dialer := websocket.Dialer{Header: http.Header{"Origin": {origin}}}
	c, _, err := dialer.Dial(ctx, page+"echo")
	if err == nil {
		t.Cleanup(func() { c.CloseNow() })
	}
	return c, err
}

func TestEcho(t *testing.T) {
	cmd, page, stdout := start(t)

	resp, err := http.Get(page)
	if err != nil {
		t.Fatal(err)
	}
	html, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil || !strings.Contains(string(html), "new WebSocket") {
		t.Errorf("%s is not the page (%v)", page, err)
	}

	c, err := dial(t, page, strings.TrimSuffix(page, "/"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"Message to send", "", "grüß dich"} {
		if err := c.WriteMessage(websocket.OpText, []byte(text)); err != nil {
			t.Fatal(err)
		}
		op, msg, err := c.ReadMessage(nil)
		if err != nil || op != websocket.OpText || string(msg) != text {
			t.Fatalf("%q came back as %v %q, %v", text, op, msg, err)
		}
	}

	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be interrupted on Windows")
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.ReadMessage(nil); !errors.Is(err, &websocket.CloseError{Code: websocket.StatusGoingAway}) {
		t.Errorf("after an interrupt reading ends with %v, want 1001", err)
	}
	log, err := io.ReadAll(stdout)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the program ended with %v after an interrupt, want exit status 0", err)
	}
	if lines := strings.Count(string(log), "\n"); lines != 2 {
		t.Errorf("a connection leaves %d lines, want one for its beginning and one for its end:\n%s", lines, log)
	}
}

func TestOrigin(t *testing.T) {
	_, page, _ := start(t, "-origin", "null", "-origin", "https://*.example.com")
	for origin, want := range map[string]bool{
		strings.TrimSuffix(page, "/"): true,
		"null":                        true,
		"https://app.example.com":     true,
		"https://example.net":         false,
	} {
		_, err := dial(t, page, origin)
		refused, _ := errors.AsType[*websocket.HandshakeError](err)
		switch {
		case want && err != nil:
			t.Errorf("a page from %s is refused: %v", origin, err)
		case !want && (refused == nil || refused.Status != http.StatusForbidden):
			t.Errorf("a page from %s gets %v, want status 403", origin, err)
		}
	}
}

// A port that is taken is one line for a reader, and no trace.
func TestPortTaken(t *testing.T) {
	_, page, _ := start(t)
	addr := strings.TrimSuffix(strings.TrimPrefix(page, "http://"), "/")

	cmd := program("-addr", addr)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err := cmd.Run()
	exit, _ := errors.AsType[*exec.ExitError](err)
	if exit == nil || exit.ExitCode() != 1 {
		t.Errorf("the program ended with %v, want exit status 1", err)
	}
	text := stderr.String()
	if !strings.HasPrefix(text, "echo: listen tcp") || strings.Count(text, "\n") != 1 {
		t.Errorf("stderr is %q, want one line that says what could not be done", text)
	}
}
