//go:build unix

package websocket

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestInteropChromium opens the page of examples/echo in a browser: first as
// it runs by itself, then by hand.
func TestInteropChromium(t *testing.T) {
	leaveOutIfShort(t)
	b := startBrowser(t)
	gotool := lookFor(t, "go", "https://go.dev/dl/")
	echo := filepath.Join(t.TempDir(), "echo")
	if out, err := exec.Command(gotool, "build", "-buildvcs=false", "-o", echo, "./examples/echo").CombinedOutput(); err != nil {
		t.Fatalf("building examples/echo: %v\n%s", err, out)
	}
	server := start(t, exec.Command(echo, "-addr", "localhost:0"))
	page, _, _ := strings.Cut(server.lineWith("page at "), ",")

	b.open(page) // returns when the demonstration is over
	b.want("#state", "closed 1000")
	b.want("#log .sent", "Message to send")
	b.want("#log .received", "Message to send")
	b.want("#log li:last-child", "closed 1000, no reason, wasClean true")
	server.lineWith("closeReceived=1000")
	b.screenshot("echo.png")

	b.click("#connect")
	b.waitFor("#state", "open")
	b.fill("#message", "grüß dich, 世界")
	b.click("#send")
	b.waitFor("#log .received:last-child", "grüß dich, 世界")
	b.click("#close")
	b.waitFor("#state", "closed 1000")
	b.want("#log li:last-child", "closed 1000, no reason, wasClean true")
	server.lineWith("closeReceived=1000")

	b.click("#connect")
	b.waitFor("#state", "open")
	if err := server.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	b.waitFor("#state", "closed 1001")
	b.want("#log li:last-child", "closed 1001, no reason, wasClean true")
	if err := server.exit(); err != nil {
		t.Errorf("examples/echo ended with %v after an interrupt, want exit status 0", err)
	}
	b.screenshot("echo-shutdown.png")
}

// A browser is a headless Chromium, driven through its WebDriver
// (https://www.w3.org/TR/webdriver2/).
type browser struct {
	t       *testing.T
	client  *http.Client
	session string // URL
}

func startBrowser(t *testing.T) *browser {
	t.Helper()
	const install = "apt-get install chromium chromium-driver"
	chromium := lookFor(t, "chromium", install)
	driver := lookFor(t, "chromedriver", install)

	// Chromium may go on writing here for a moment after it has been killed,
	// which t.TempDir would report as a failure.
	dir, err := os.MkdirTemp("", "browser")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := start(t, exec.Command(driver, "--port=0"), "TMPDIR="+dir)
	port := strings.TrimSuffix(p.lineWith("started successfully on port "), ".")

	b := &browser{
		t:       t,
		client:  &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * interopTimeout},
		session: "http://127.0.0.1:" + port + "/session",
	}
	var created struct{ SessionID string }
	b.call("POST", "", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"timeouts": map[string]any{"script": interopTimeout.Milliseconds()},
		"goog:chromeOptions": map[string]any{
			"binary": chromium,
			"args": []string{
				"--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
				"--disable-quic", "--no-first-run", "--disable-background-networking",
				"--disable-component-update", "--disable-sync", "--no-proxy-server",
				"--window-size=800,700",
			},
		},
	}}}, &created)
	b.session += "/" + created.SessionID
	t.Cleanup(func() { b.call("DELETE", "", nil, nil) })
	return b
}

// call gives the browser a command and decodes its answer into result.
func (b *browser) call(method, path string, body, result any) {
	b.t.Helper()
	var payload io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			b.t.Fatal(err)
		}
		payload = bytes.NewReader(encoded)
	}
	// Not the test's context, which has ended when the cleanup runs.
	req, err := http.NewRequestWithContext(context.Background(), method, b.session+path, payload)
	if err != nil {
		b.t.Fatal(err)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		b.t.Fatalf("the browser does not answer: %v", err)
	}
	defer resp.Body.Close()
	answer := struct{ Value any }{result}
	if resp.StatusCode != http.StatusOK {
		answer.Value = &json.RawMessage{}
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		b.t.Fatalf("the browser's answer to %s %s: %v", method, path, err)
	}
	if resp.StatusCode != http.StatusOK {
		b.t.Fatalf("the browser refuses %s %s %.200v: %.500s", method, path, body, answer.Value)
	}
}

func (b *browser) open(url string) {
	b.t.Helper()
	b.call("POST", "/url", map[string]any{"url": url}, nil)
}

// run runs JavaScript in the page.
func (b *browser) run(result any, script string, args ...any) {
	b.t.Helper()
	b.call("POST", "/execute/sync", map[string]any{"script": script, "args": append([]any{}, args...)}, result)
}

// waitFor waits until an element that matches the CSS selector shows text.
func (b *browser) waitFor(selector, text string) {
	b.t.Helper()
	var shown string
	b.call("POST", "/execute/async", map[string]any{
		"args": []any{selector, text, interopTimeout.Milliseconds() / 2},
		"script": `
			const [selector, text, patience, done] = arguments;
			const look = () => {
				const found = [...document.querySelectorAll(selector)];
				if (found.some((e) => e.innerText.includes(text))) done(text);
			};
			new MutationObserver(look).observe(document,
				{ subtree: true, childList: true, characterData: true, attributes: true });
			setTimeout(() => done(document.body.innerText), patience);
			look();`,
	}, &shown)
	if shown != text {
		b.t.Fatalf("%s never showed %q; the page says:\n%s", selector, text, shown)
	}
}

// want fails unless the element shows text now.
func (b *browser) want(selector, text string) {
	b.t.Helper()
	var shown string
	b.run(&shown, `return (document.querySelector(arguments[0]) || document.body).innerText`, selector)
	if !strings.Contains(shown, text) {
		b.t.Errorf("%s shows %q, want %q", selector, shown, text)
	}
}

// find returns the path of an element for further commands.
func (b *browser) find(selector string) string {
	b.t.Helper()
	var element map[string]string
	b.call("POST", "/element", map[string]any{"using": "css selector", "value": selector}, &element)
	for _, id := range element {
		return "/element/" + id
	}
	b.t.Fatalf("the browser found %s but does not say where", selector)
	return ""
}

func (b *browser) click(selector string) {
	b.t.Helper()
	b.call("POST", b.find(selector)+"/click", map[string]any{}, nil)
}

func (b *browser) fill(selector, text string) {
	b.t.Helper()
	element := b.find(selector)
	b.call("POST", element+"/clear", map[string]any{}, nil)
	b.call("POST", element+"/value", map[string]any{"text": text}, nil)
}

// screenshot keeps a picture of the page in the folder that
// WEBSOCKET_ARTIFACTS names, if any.
func (b *browser) screenshot(name string) {
	b.t.Helper()
	dir := os.Getenv("WEBSOCKET_ARTIFACTS")
	if dir == "" {
		return
	}
	var picture string
	b.call("GET", "/screenshot", nil, &picture)
	png, err := base64.StdEncoding.DecodeString(picture)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), png, 0o644)
	}
	if err != nil {
		b.t.Error(fmt.Errorf("keeping a screenshot: %w", err))
	}
}
