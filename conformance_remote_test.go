package websocket

import (
	"crypto/tls"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"slices"
	"testing"
	"time"
)

// newRun prepares a run of v. The random choices follow from the seed, the
// case and how it is played.
func newRun(v *vectorCase, seed uint64, how string) *wireRun {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s %s", v.number, how)
	return &wireRun{
		v: v, rounds: v.rounds, chunking: chunkWhole,
		out: make(map[string]int), in: make(map[string]int),
		rnd: rand.New(rand.NewPCG(seed, h.Sum64())),
	}
}

// A connector gives r a connection. It returns the reason as down if nobody
// could be reached for a while.
type connector func(r *wireRun) (down, err error)

// testRemote plays every case that suits the endpoint's role, and reports.
func testRemote(t *testing.T, p *report, role string, vectors []*vectorCase, connect connector) {
	err := playRemote(p, role, vectors, connect, func(res caseResult) {
		switch {
		case res.verdict == verdictFailed:
			t.Error(res)
		case res.verdict == verdictDeclined:
			// The table says enough.
		case res.verdict != verdictOK:
			t.Log(res)
		}
	})
	if err != nil {
		t.Error(err)
	}
	fmt.Println(p.table())
	if *conformanceReport != "" {
		if err := p.write(*conformanceReport); err != nil {
			t.Error(err)
		}
	}
}

// playRemote plays the cases and calls each with what came of them; a second
// time for a case that turns out to have brought the server down.
func playRemote(p *report, role string, vectors []*vectorCase, connect connector, each func(caseResult)) error {
	settle := func(r *wireRun, down error) {
		if down != nil {
			r.note(verdictFailed, "the server went down: %v", down)
		}
		res := r.result("")
		p.add(res)
		each(res)
	}
	next := func(v *vectorCase) (r *wireRun, down, err error) {
		r = newRun(v, *conformanceSeed, "remote")
		r.patience, r.hurry = *conformancePatience, min(*conformancePatience, time.Second)
		r.handshake, r.client = true, role == "server"
		r.rounds = max(1, min(v.rounds, *conformanceRounds))
		down, err = connect(r)
		return r, down, err
	}
	var before *wireRun
	nonces := make(map[string]bool)
	// A last connection shows whether there still is a server.
	goodbye := &vectorCase{role: "server", rounds: 1, end: []vectorEnding{{"close", []int{1000}}}}
	for _, v := range append(slices.Clip(vectors), goodbye) {
		if v.role != "" && v.role != role {
			continue
		}
		r, down, err := next(v)
		if down != nil && before != nil {
			settle(before, down)
		}
		if err == nil {
			r.run()
		}
		down = nil
		if err == nil && r.unanswered && before != nil {
			// Perhaps a server that the case before has brought down took this
			// connection with it. Then there is an answer now.
			var again *wireRun
			if again, down, err = next(v); err == nil {
				again.run()
			}
			if err == nil && !again.unanswered {
				if down == nil {
					down = errors.New("the first connection was lost")
				}
				settle(before, down)
				r, down = again, nil
			}
		}
		if v == goodbye {
			break
		}
		if err != nil {
			return fmt.Errorf("no connection for case %s, nor after it: %w", v.number, err)
		}
		if r.nonce != "" && nonces[r.nonce] {
			r.note(verdictLax, "Sec-WebSocket-Key %s was used before (4.1)", r.nonce)
		}
		nonces[r.nonce] = true
		settle(r, down)
		before = r
	}
	return nil
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
	testRemote(t, p, "server", vectors, func(r *wireRun) (down, err error) {
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
				return down, err
			}
			if down == nil {
				down = err
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
	testRemote(t, p, "client", vectors, func(r *wireRun) (_, err error) {
		l.(*net.TCPListener).SetDeadline(time.Now().Add(caseDeadline))
		if r.nc, err = l.Accept(); err != nil {
			err = fmt.Errorf("no client has connected within %v: %w", caseDeadline, err)
		}
		return nil, err
	})
}
