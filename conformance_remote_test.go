package websocket

import (
	"crypto/tls"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"testing"
	"time"
)

// newRun prepares a run of v. The random choices follow from the seed, the
// case and how it is played.
func newRun(v *vectorCase, seed uint64, how string) *wireRun {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s", v.number, how)
	return &wireRun{v: v, rnd: rand.New(rand.NewPCG(seed, h.Sum64())), chunking: chunkWhole}
}

// testRemote plays every case that suits the endpoint's role. connect returns
// a connection for the next case.
func testRemote(t *testing.T, p *report, role string, vectors []*vectorCase, connect func(*wireRun) error) {
	defer func() {
		fmt.Println(p.table())
		if *conformanceReport != "" {
			if err := p.write(*conformanceReport); err != nil {
				t.Error(err)
			}
		}
	}()
	nonces := make(map[string]bool)
	before := "none"
	for _, v := range vectors {
		if v.role != "" && v.role != role {
			continue
		}
		r := newRun(v, *conformanceSeed, "remote")
		r.patience, r.hurry = *conformancePatience, min(*conformancePatience, time.Second)
		r.handshake, r.client = true, role == "server"
		if err := connect(r); err != nil {
			t.Fatalf("no connection for case %s (before it: %s), nor after it: %v", v.number, before, err)
		}
		before = v.number
		r.run()
		if r.nonce != "" && nonces[r.nonce] {
			r.note(verdictLax, "Sec-WebSocket-Key %s was used before (4.1)", r.nonce)
		}
		nonces[r.nonce] = true
		res := r.result("")
		p.add(res)
		switch {
		case res.verdict == verdictFailed:
			t.Error(res)
		case res.verdict != verdictOK:
			t.Log(res)
		}
	}
}

// testServer plays the cases to the echo server at rawURL.
func testServer(t *testing.T, rawURL string, vectors []*vectorCase) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss" {
		t.Fatalf("-server: want ws://host:port/path or wss://host:port/path, got %q", rawURL)
	}
	addr := u.Host
	if u.Port() == "" {
		addr = net.JoinHostPort(u.Hostname(), map[string]string{"ws": "80", "wss": "443"}[u.Scheme])
	}
	p := &report{Endpoint: "server " + rawURL}
	testRemote(t, p, "server", vectors, func(r *wireRun) (err error) {
		r.host, r.path = u.Host, u.RequestURI()
		// A server that a case has brought down may be about to come back.
		for end := time.Now().Add(r.patience); ; {
			d := &net.Dialer{Deadline: end}
			if u.Scheme == "wss" {
				r.nc, err = tls.DialWithDialer(d, "tcp", addr, &tls.Config{NextProtos: []string{"http/1.1"}})
			} else {
				r.nc, err = d.Dial("tcp", addr)
			}
			if err == nil || len(p.Cases) == 0 || time.Now().After(end) {
				return err
			}
			<-time.After(100 * time.Millisecond)
		}
	})
}

// testClients plays one case to each connection that a client opens to addr.
func testClients(t *testing.T, addr string, vectors []*vectorCase) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fmt.Fprintf(os.Stderr, "waiting for a client that echoes at ws://%s/\n", l.Addr())
	p := &report{Endpoint: "client of " + addr}
	testRemote(t, p, "client", vectors, func(r *wireRun) (err error) {
		l.(*net.TCPListener).SetDeadline(time.Now().Add(caseDeadline))
		if r.nc, err = l.Accept(); err != nil {
			err = fmt.Errorf("no client has connected within %v: %w", caseDeadline, err)
		}
		return err
	})
}
