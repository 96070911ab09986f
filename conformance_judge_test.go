package websocket

import (
	"bufio"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestVerdicts plays cases to servers that only recite, and looks what the
// runner makes of it.
func TestVerdicts(t *testing.T) {
	const (
		violation = "case: 1.1 A\nsection: 5.2\nsend: text rsv1 \"x\"\nend: fail 1002"
		tolerable = "case: 1.2 B\nsection: 5.2\nsend: text len16 \"x\"\nsend: ping len16 \"y\"\nend: fail 1002\nlax: accepted"
		closing   = "case: 1.3 C\nsection: 5.5.1\nsend: close \"x\"\nend: fail 1002\nlax: accepted"
		echo      = "case: 1.4 D\nsection: 5.2\necho: text \"x\"\nend: close 1000"
		large     = "case: 1.5 E\nsection: 5.2\necho: binary noise 65536\nend: close 1000"
		reply     = "case: 1.6 F\nsection: 5.5.1\nsend: close 1001\nend: reply 1001"
		ping      = "case: 1.7 G\nsection: 5.5.2\nsend: ping \"x\"\nrecv: pong \"x\"\nend: close 1000"
	)
	for _, test := range []struct {
		name, vector string
		answer       string // in hex; then the server ends the connection
		want         verdict
	}{
		{"the code asked for", violation, "8802 03ea", verdictOK},
		{"another code", violation, "8802 03ef", verdictLax},
		{"a Close frame without a code", violation, "8800", verdictLax},
		{"no Close frame", violation, "", verdictLax},
		{"half a Close frame", violation, "8802 03", verdictLax},
		{"a frame that should have been refused is echoed", violation, "8101 78", verdictFailed},
		{"the Close frame is masked", violation, "8882 00000000 03ea", verdictFailed},
		{"the Close frame has a code that must not be sent", violation, "8802 03ed", verdictFailed},
		{"a frame comes after the Close frame", violation, "8802 03ea 8900", verdictFailed},
		{"what only its sender does wrong is refused", tolerable, "8802 03ea", verdictOK},
		{"and echoed", tolerable, "8101 78", verdictLax},
		{"and answered with a Pong", tolerable, "8a01 79", verdictLax},
		{"a bad Close frame is refused", closing, "8802 03ea", verdictOK},
		{"and answered as if it were good", closing, "8800", verdictLax},
		{"a good echo", echo, "8101 78 8802 03e8", verdictOK},
		{"a good echo in fragments", echo, "0101 78 8000 8802 03e8", verdictOK},
		{"an echo with a Pong of the server's own accord", echo, "8a01 7a 8101 78 8802 03e8", verdictOK},
		{"another text", echo, "8101 79 8802 03e8", verdictFailed},
		{"another opcode", echo, "8201 78 8802 03e8", verdictFailed},
		{"no echo", echo, "8802 03e8", verdictFailed},
		{"two echoes", echo, "8101 78 8101 78 8802 03e8", verdictFailed},
		{"an echo whose length is not minimal", echo, "817e0001 78 8802 03e8", verdictFailed},
		{"no answer to the Close frame", echo, "8101 78", verdictFailed},
		{"too large for the server", large, "8802 03f1", verdictLimited},
		{"any other refusal of it", large, "8802 03eb", verdictFailed},
		{"a Close frame answered with its code", reply, "8802 03e9", verdictOK},
		{"and with another", reply, "8802 03e8", verdictLax},
		{"and with the end of the connection", reply, "", verdictFailed},
		{"a Pong", ping, "8a01 78 8802 03e8", verdictOK},
		{"a Pong with another payload", ping, "8a01 79 8802 03e8", verdictFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer, err := hex.DecodeString(strings.ReplaceAll(test.answer, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			r := newRun(oneVector(t, test.vector), 1, "")
			r.client, r.patience, r.hurry = true, time.Minute, time.Minute
			ours, theirs := segmentPipe()
			r.nc = ours
			go func() {
				theirs.Write(answer)
				theirs.CloseWrite()
				io.Copy(io.Discard, theirs)
			}()
			if r.run(); r.verdict != test.want {
				t.Errorf("want %v, got %v: %v", test.want, r.verdict, r.why)
			}
		})
	}
}

func oneVector(t *testing.T, text string) *vectorCase {
	vs, err := parseVectors("test", text)
	if err != nil || len(vs) != 1 {
		t.Fatalf("want one case, got %d: %v", len(vs), err)
	}
	return vs[0]
}

// TestServerBroughtDown has a server go down in the middle of the cases: the
// one that did it has failed, and the others are none the worse for it.
func TestServerBroughtDown(t *testing.T) {
	const (
		up      = "up"      // a server answers
		drops   = "drops"   // the connection is lost before it answers
		back    = "back"    // as up, after nobody could connect for a while
		relapse = "relapse" // as drops, after nobody could connect
		gone    = "gone"    // nobody can connect any more
	)
	refused := errors.New("connection refused")
	for _, test := range []struct {
		name   string
		conns  []string // what becomes of each connection, in turn
		failed []string // cases
		err    error
	}{
		{"nothing happens", []string{up, up, up, up}, nil, nil},
		{"the first case does it, and the next finds nobody", []string{up, back, up, up}, []string{"1.1"}, nil},
		{"the first case does it, and the next is lost with it", []string{up, drops, back, up, up}, []string{"1.1"}, nil},
		{"the second does it by its handshake", []string{up, drops, relapse, back, up}, []string{"1.2"}, nil},
		{"the first does it, and the server is back at once", []string{up, drops, up, up, up}, []string{"1.1"}, nil},
		{"the second is refused without an answer", []string{up, drops, drops, up, up}, []string{"1.2"}, nil},
		{"the last does it", []string{up, up, up, back}, []string{"1.3"}, nil},
		{"the last does it for good", []string{up, up, up, gone}, []string{"1.3"}, nil},
		{"the second does it for good", []string{up, up, gone}, []string{"1.2"}, refused},
	} {
		t.Run(test.name, func(t *testing.T) {
			var vectors []*vectorCase
			for i := range 3 {
				vectors = append(vectors, oneVector(t, fmt.Sprintf("case: 1.%d X\nsection: 5.2\necho: text \"x\"\nend: close 1000", i+1)))
			}
			conns := test.conns
			p := new(report)
			err := playRemote(p, "server", vectors, func(r *wireRun) (down, err error) {
				if len(conns) == 0 {
					t.Fatal("want no more connections")
				}
				how := conns[0]
				conns = conns[1:]
				if how == back || how == relapse || how == gone {
					down = refused
				}
				if how == gone {
					return down, refused
				}
				r.host, r.path = "localhost", "/"
				var theirs net.Conn
				r.nc, theirs = segmentPipe()
				if how == drops || how == relapse {
					theirs.Close()
				} else {
					go upgradeAndEcho(theirs)
				}
				return down, nil
			}, func(caseResult) {})
			if !errors.Is(err, test.err) {
				t.Errorf("want the error %v, got %v", test.err, err)
			}
			var failed []string
			for _, c := range p.Cases {
				if c.verdict != verdictOK {
					failed = append(failed, c.Case)
				}
			}
			if !slices.Equal(failed, test.failed) {
				t.Errorf("want the failed cases to be %v, got %v", test.failed, failed)
			}
			if len(conns) > 0 {
				t.Errorf("want %d more connections", len(conns))
			}
		})
	}
}

// upgradeAndEcho is a server on nc.
func upgradeAndEcho(nc net.Conn) {
	defer nc.Close()
	req, err := http.ReadRequest(bufio.NewReader(nc))
	if err != nil {
		return
	}
	fmt.Fprintf(nc, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n",
		AcceptKey(req.Header.Get("Sec-WebSocket-Key")))
	echoMessages(new(Upgrader).Server(nc))
}
