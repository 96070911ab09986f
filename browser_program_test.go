//go:build unix

package websocket

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestBrowserWASM runs testdata/interop/wasm, a program that uses this library
// in a browser, against a server of this library.
func TestBrowserWASM(t *testing.T) {
	leaveOutIfShort(t)
	b := startBrowser(t)
	gotool := lookFor(t, "go", "https://go.dev/dl/")
	goroot, err := exec.Command(gotool, "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	support := filepath.Join(strings.TrimSpace(string(goroot)), "lib", "wasm", "wasm_exec.js")
	if _, err := os.Stat(support); err != nil {
		notInstalled(t, "wasm_exec.js, a part of Go", "a Go installation with lib/wasm")
	}
	program := filepath.Join(t.TempDir(), "program.wasm")
	build := exec.Command(gotool, "build", "-buildvcs=false", "-o", program, "./testdata/interop/wasm")
	build.Env = append(os.Environ(), "GOOS=js", "GOARCH=wasm", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}

	ends := make(chan string, 100) // how the connections of /echo ended
	released := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		fmt.Fprint(w, `<!doctype html><title>wasm</title><pre id=state></pre><pre id=log></pre>
			<script src=wasm_exec.js></script>
			<script>
				const go = new Go();
				WebAssembly.instantiateStreaming(fetch("program.wasm"), go.importObject)
					.then((result) => go.run(result.instance))
					.catch((error) => { document.getElementById("state").append("broken: " + error); });
			</script>`)
	})
	mux.HandleFunc("/wasm_exec.js", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, support) })
	mux.HandleFunc("/program.wasm", func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, program) })
	upgrader := Upgrader{Subprotocols: []string{"superchat"}, ReadLimit: -1}
	handle := func(path string, serve func(c *Conn)) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			c, err := upgrader.Upgrade(w, r)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				return
			}
			defer c.CloseNow()
			serve(c)
		})
	}
	handle("/echo", func(c *Conn) {
		var err error
		for err == nil {
			var op Opcode
			var p []byte
			if op, p, err = c.ReadMessage(nil); err == nil {
				err = c.WriteMessage(op, p)
			}
		}
		closed, _ := errors.AsType[*CloseError](err)
		if closed == nil {
			t.Errorf("a connection ended with %v, want a Close frame from the browser", err)
			return
		}
		ends <- strings.TrimSpace(fmt.Sprint(int(closed.Code), " ", closed.Reason))
	})
	handle("/close", func(c *Conn) { c.CloseWithStatus(4002, "bis später") })
	handle("/drop", func(c *Conn) { c.CloseNow() })
	handle("/deaf", func(c *Conn) { <-released })
	mux.HandleFunc("/refuse", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "no", http.StatusForbidden) })
	mux.HandleFunc("/silent", func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) })
	mux.HandleFunc("/never", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-released:
		}
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	defer close(released)

	b.open(server.URL + "/")
	var log string
	b.call("POST", "/execute/async", map[string]any{
		"args": []any{(interopTimeout * 9 / 10).Milliseconds()},
		"script": `
			const [patience, done] = arguments;
			const text = (id) => document.getElementById(id).innerText;
			const look = () => { if (text("state").trim()) done(text("state") + text("log")); };
			new MutationObserver(look).observe(document, { subtree: true, childList: true });
			setTimeout(() => done("not finished\n" + text("log")), patience);
			look();`,
	}, &log)
	t.Logf("the page says:\n%s", log)
	if !strings.HasPrefix(log, "passed") || strings.Contains(log, "FAILED") {
		t.Error("the program in the browser has failed")
	}

	var got []string
	for range 4 {
		select {
		case end := <-ends:
			got = append(got, end)
		case <-time.After(interopTimeout):
			t.Fatalf("connections ended with %q, and there should be more", got)
		}
	}
	// 1005: for the read limit, since a browser does not send 1009, and for
	// CloseNow.
	want := []string{"1000", "1005", "1005", "4001 grüß dich"}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Errorf("connections ended with %q, want %q", got, want)
	}
}
