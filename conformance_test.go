package websocket

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var (
	conformanceServer   = flag.String("server", "", "play the conformance cases to the echo server at this `URL`")
	conformanceListen   = flag.String("listen", "", "play the conformance cases to the clients that connect to this `address` and echo")
	conformanceReport   = flag.String("report", "", "write the results of -server or -listen to this `file` as JSON")
	conformanceMax      = flag.Int("max", 0, "leave out conformance cases with messages of more than this many `bytes`")
	conformanceRounds   = flag.Int("rounds", 1000, "how often at most -server and -listen repeat the steps of a case that asks for it")
	conformanceCases    = flag.String("cases", "", "play only the conformance cases with these `numbers`, or that begin with them, such as 5,6.4")
	conformancePatience = flag.Duration("patience", 5*time.Second, "how long -server and -listen wait for an answer")
	conformanceSeed     = flag.Uint64("seed", rand.Uint64(), "for the random choices of the conformance cases")
)

// TestConformance plays the cases in testdata/conformance; the README there
// says how to play them to other endpoints.
func TestConformance(t *testing.T) {
	vectors := slices.DeleteFunc(loadVectors(t), func(v *vectorCase) bool {
		return *conformanceMax > 0 && v.size() > *conformanceMax || !chosen(v.number)
	})
	if len(vectors) == 0 {
		t.Fatal("want a case, -max and -cases leave none")
	}
	switch {
	case *conformanceServer != "":
		testServer(t, *conformanceServer, vectors)
	case *conformanceListen != "":
		testClients(t, *conformanceListen, vectors)
	default:
		t.Run("server", func(t *testing.T) { testOwn(t, "server", vectors) })
		t.Run("client", func(t *testing.T) { testOwn(t, "client", vectors) })
	}
}

func chosen(number string) bool {
	if *conformanceCases == "" {
		return true
	}
	for c := range strings.SplitSeq(*conformanceCases, ",") {
		if number == c || strings.HasPrefix(number, strings.TrimSuffix(c, ".")+".") {
			return true
		}
	}
	return false
}

// testOwn plays the cases to our own endpoint in a role, in every way.
func testOwn(t *testing.T, role string, vectors []*vectorCase) {
	p := &report{Endpoint: "our own " + role}
	t.Run("cases", func(t *testing.T) {
		for _, v := range vectors {
			if v.role != "" && v.role != role {
				continue
			}
			t.Run(v.number, func(t *testing.T) {
				t.Parallel()
				playOwn(t, p, role, v)
			})
		}
	})
	t.Log("\n" + p.table())
}

// ownRounds is how often our own endpoint does the steps of a case with
// compression: so often that the messages come to about as many bytes as two
// windows have, but often enough for a history. The race detector makes
// compressing twenty times slower, so that a message has to do under it where
// that alone fills the window.
func ownRounds(v *vectorCase) int {
	least, most := 3, v.rounds
	if raceDetector {
		least, most = 1, 100
	}
	return min(v.rounds, max(64<<10/max(1, v.size()), least), most)
}

// playOwn plays one case over each transport, in each chunking that makes
// sense for it, and to a caller of each part of the API.
func playOwn(t *testing.T, p *report, role string, v *vectorCase) {
	e := newOwnEndpoint(t, v, role)
	for _, tcp := range []bool{false, true} {
		for i, chunking := range chunkings(v, tcp) {
			// The reader changes with each chunking, and every chunking meets
			// both, on one transport or on the other.
			e.streams = (i%2 == 0) == tcp
			e.options = &Compression{ContextTakeover: (i+v.sum()/2)%2 == 0 == tcp, Threshold: -1}
			if v.takeover != "" {
				e.options.ContextTakeover = v.takeover == "yes"
			}
			how := fmt.Sprintf("%s, %s, %s", map[bool]string{false: "in memory", true: "TCP"}[tcp], chunking,
				map[bool]string{false: "ReadMessage", true: "NextReader"}[e.streams])
			r := newRun(v, *conformanceSeed, how)
			r.chunking, r.client, r.handshake = chunking, role == "server", tcp
			if v.negotiates() {
				r.rounds = ownRounds(v)
			}
			// What does not come within a minute will not come at all.
			r.patience, r.hurry = time.Minute, time.Minute
			if err := e.connect(r); err != nil {
				t.Fatal(err)
			}
			r.run()
			if r.verdict == verdictOK && (r.ended != nil || role == "client") {
				select {
				case end := <-e.ended:
					r.checkCaller(end)
				case <-time.After(r.patience):
					r.note(verdictFailed, "reading from our own endpoint has not ended")
				}
			}
			if v.rounds > 1 && r.deflate != nil && v.size() >= 256 && v.steps[0].frame.opcode == 1 && r.deflate.count < r.rounds {
				r.note(verdictFailed, "want every message compressed, %d of %d were", r.deflate.count, r.rounds)
			}
			res := r.result(fmt.Sprintf("%s, -seed %d", how, *conformanceSeed))
			p.add(res)
			if res.verdict != verdictOK {
				t.Fatal("\n" + res.String())
			}
		}
	}
}

// chunkings returns the ways to cut the bytes of v.
func chunkings(v *vectorCase, tcp bool) []chunking {
	shakes := v.request != nil || v.response != nil
	volume := v.negotiates() && v.rounds > 1 // group 12 or 13
	switch total := v.total(); {
	case shakes && tcp:
		return []chunking{chunkWhole, chunkRandom, chunkHalves, chunkBytes}
	case shakes:
		return nil // in memory there is no opening handshake
	case volume && raceDetector && tcp != (v.sum()%2 == 0):
		return nil // one of the two is enough
	case volume && tcp:
		return []chunking{chunkWhole}
	case volume:
		return []chunking{chunkRandom}
	case v.negotiates() && tcp:
		return []chunking{chunkWhole, chunkRandom, chunkHalves, chunkFrames, chunkBytes}
	case v.size() > 1<<20 && tcp:
		return []chunking{chunkWhole}
	case v.size() > 1<<20:
		return []chunking{chunkRandom}
	case v.group() == "9" && tcp:
		return []chunking{chunkWhole, chunkRandom, chunkEarly}
	case v.group() == "9":
		return []chunking{chunkWhole, chunkRandom}
	case tcp && total <= 4<<10:
		return []chunking{chunkWhole, chunkRandom, chunkEarly, chunkHalves, chunkFrames, chunkBytes}
	case tcp:
		return []chunking{chunkWhole, chunkRandom, chunkEarly, chunkHalves, chunkFrames}
	case total <= 128<<10:
		return []chunking{chunkWhole, chunkRandom, chunkHalves, chunkFrames, chunkBytes}
	}
	return []chunking{chunkWhole, chunkRandom, chunkHalves, chunkFrames}
}

// checkCaller compares what the caller got with how the connection ended.
func (r *wireRun) checkCaller(got callerEnd) {
	want := r.v.caller
	var (
		code     int
		reason   string
		refused  *HandshakeError
		protocol *ProtocolError
		closed   *CloseError
	)
	switch {
	case r.ended == nil:
		isHTTP := strings.HasPrefix(r.v.response[0], "HTTP/")
		if got.refused == nil || isHTTP && !errors.As(got.refused, &refused) {
			r.note(verdictFailed, "Dial returned %v, want a *HandshakeError", got.refused)
		}
		return
	case got.refused != nil:
		r.note(verdictFailed, "the handshake failed with %v", got.refused)
		return
	case want != "":
	case r.ended.kind != eventClose:
		want = "broken"
	case r.how.kind == "fail":
		want = fmt.Sprintf("failed %d", r.ended.code)
	default:
		if code = r.closing.sentCode(); code == 0 {
			code = 1005
		} else {
			reason = string(r.closing.payload[2:])
		}
		want = fmt.Sprintf("closed %d", code)
	}
	is := "neither closed nor failed nor broken"
	switch {
	case errors.As(got.read, &protocol):
		is = fmt.Sprintf("failed %d", protocol.Code)
	case errors.As(got.read, &closed) && closed.Err == nil:
		is = fmt.Sprintf("closed %d", closed.Code)
		if closed.Reason != reason {
			r.note(verdictFailed, "the caller got the reason %q, want %q", closed.Reason, reason)
		}
	case errors.As(got.read, &closed) && closed.Code == 1006 && errors.Is(got.read, io.ErrUnexpectedEOF):
		is = "broken"
	}
	if is != want {
		r.note(verdictFailed, "the caller's read ended with %v, want it to be %q", got.read, want)
	}
	if !reflect.DeepEqual(got.again, got.read) {
		r.note(verdictFailed, "a later read returned %v, want %v again", got.again, got.read)
	}
	if is != "broken" && !errors.Is(got.write, net.ErrClosed) || is == "broken" && !errors.As(got.write, &closed) {
		r.note(verdictFailed, "a later write returned %v", got.write)
	}
}
