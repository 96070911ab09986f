//go:build unix

package websocket

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBrowserChat opens the page of examples/chat in two tabs, which talk, see
// the server go, and come back when it does.
func TestBrowserChat(t *testing.T) {
	leaveOutIfShort(t)
	b := startBrowser(t)
	gotool := lookFor(t, "go", "https://go.dev/dl/")
	chat := filepath.Join(t.TempDir(), "chat")
	if out, err := exec.Command(gotool, "build", "-buildvcs=false", "-o", chat, "./examples/chat").CombinedOutput(); err != nil {
		t.Fatalf("building examples/chat: %v\n%s", err, out)
	}
	server := start(t, exec.Command(chat, "-addr", "localhost:0"))
	page, _, _ := strings.Cut(server.lineWith("open "), " ")
	addr := strings.TrimSuffix(strings.TrimPrefix(page, "http://"), "/")

	join := func(name string) (tab string) {
		tab = b.newTab()
		b.open(page)
		b.fill("#name", name)
		b.click("#join button")
		b.waitFor("#state", "connected")
		return tab
	}
	ann := join("Ann")
	bob := join("Bob <b>bold</b>")
	b.want("#people", "Ann\nBob <b>bold</b>")
	b.want("#people .me", "Bob <b>bold</b>")
	b.say(`<img src=x onerror="document.title='hacked'">`)
	b.waitFor("#messages .mine", "<img src=x")
	b.switchTo(ann)
	b.waitFor("#messages .note", "Bob <b>bold</b> joined")
	b.waitFor("#messages .said", `<img src=x onerror="document.title='hacked'">`)
	var title string
	if b.run(&title, `return document.title`); title != "Chat" {
		t.Errorf("the page's title is %q: what somebody has typed was run", title)
	}
	b.say("hello Bob, grüß dich")
	b.waitFor("#messages .mine", "hello Bob, grüß dich")

	// A tab that is frozen hears what was said when it thaws. Its connection
	// may be over by then: that is up to the browser.
	b.switchTo(bob)
	b.waitFor("#messages .said", "hello Bob")
	b.devTools("Page.setWebLifecycleState", map[string]any{"state": "frozen"})
	b.switchTo(ann)
	b.say("are you asleep?")
	b.waitFor("#messages .mine", "are you asleep?")
	b.switchTo(bob)
	b.devTools("Page.setWebLifecycleState", map[string]any{"state": "active"})
	b.waitFor("#messages .said", "are you asleep?")
	b.waitFor("#state", "connected")

	if err := server.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	for _, tab := range []string{bob, ann} {
		b.switchTo(tab)
		b.waitFor("#messages .note", "Connection closed: 1001 (server is going away)")
	}
	b.waitFor("#state", "again in")
	b.screenshot("chat-closed.png")
	if err := server.exit(); err != nil {
		t.Errorf("examples/chat ended with %v after an interrupt, want exit status 0: all tabs have answered", err)
	}
	log := server.errors()
	opened, closed := strings.Count(log, "websocket opened"), strings.Count(log, "websocket closed")
	if opened < 2 || closed != opened || strings.Contains(log, "WARN") {
		t.Errorf("the log is\n%s\nwant a record for the beginning and the end of each connection, and all of them in order", log)
	}

	server = start(t, exec.Command(chat, "-addr", addr))
	server.lineWith("open ")
	for _, tab := range []string{ann, bob} {
		b.switchTo(tab)
		b.waitFor("#state", "connected")
		b.waitFor("#people", "Ann")
		b.waitFor("#people", "Bob <b>bold</b>")
	}
	b.say("here we are again")
	b.switchTo(ann)
	b.waitFor("#messages .said", "here we are again")
	b.waitFor("#messages .said", "are you asleep?") // from before
	b.screenshot("chat.png")
}

// say types a message into the chat and sends it.
func (b *browser) say(text string) {
	b.t.Helper()
	b.fill("#text", text)
	b.click("#send")
}

// newTab opens a tab and goes there.
func (b *browser) newTab() (tab string) {
	b.t.Helper()
	var created struct{ Handle string }
	b.call("POST", "/window/new", map[string]any{"type": "tab"}, &created)
	b.switchTo(created.Handle)
	return created.Handle
}

func (b *browser) switchTo(tab string) {
	b.t.Helper()
	b.call("POST", "/window", map[string]any{"handle": tab}, nil)
}

// devTools gives a command of the Chrome DevTools Protocol.
func (b *browser) devTools(command string, params map[string]any) {
	b.t.Helper()
	b.call("POST", "/goog/cdp/execute", map[string]any{"cmd": command, "params": params}, nil)
}
