package websocket

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// TestVerdictsDeflate plays cases about compression to servers that only
// recite, and looks what the runner makes of it.
func TestVerdictsDeflate(t *testing.T) {
	const (
		hello = "echo: text deflate \"Hello\"\n"
		twice = hello + hello
		plain = "permessage-deflate"
		anew  = "permessage-deflate; server_no_context_takeover"
		nine  = "permessage-deflate; server_max_window_bits=9"
		same  = "f248cdc9c90700" // Hello
		back  = "f200110000"     // the same five bytes again
	)
	// 512 bytes, and 258 of those from 512 or 513 bytes before their end on.
	stored := "C2 7E 0206 00 0002 fffd " + hex.EncodeToString(noise(512)) + "00"
	long := "echo: binary noise 512\n"
	within := "echo: binary noise 512 noise 258\n"
	for _, test := range []struct {
		name, offer, response string
		steps                 string
		answer                string // in hex; then the server ends the connection
		want                  verdict
		why                   string // a part of the reason
	}{
		{"nothing is accepted", plain, "", hello, "8802 03e8", verdictDeclined, "none of the offers"},
		{"and nothing was offered that could be", plain + "; x", "", "echo: text \"Hello\"\n", "8105 48656c6c6f 8802 03e8", verdictOK, ""},
		{"compressed", plain, plain, hello, "C107" + same + "8802 03e8", verdictOK, ""},
		{"not compressed", plain, plain, hello, "8105 48656c6c6f 8802 03e8", verdictOK, ""},
		{"in fragments", plain, plain, hello, "4103 f248cd 0000 8004 c9c90700 8802 03e8", verdictOK, ""},
		{"BFINAL is set", plain, plain, hello, "C108 f348cdc9c9070000 8802 03e8", verdictOK, ""},
		{"with context takeover", plain, plain, twice, "C107" + same + "C105" + back + "8802 03e8", verdictOK, ""},
		{"without", anew, anew, twice, "C107" + same + "C107" + same + "8802 03e8", verdictOK, ""},
		{"with context takeover, though without was agreed upon", anew, anew, twice, "C107" + same + "C105" + back + "8802 03e8", verdictFailed, "inflated"},
		{"other text", plain, plain, hello, "C107 f34ccdc9c90700 8802 03e8", verdictFailed, ""},
		{"RSV1 without an extension", plain + "; x", "", "echo: text \"Hello\"\n", "C107" + same + "8802 03e8", verdictFailed, "reserved bit"},
		{"RSV2", plain, plain, hello, "E107" + same + "8802 03e8", verdictFailed, "reserved bit"},
		{"RSV1 on a continuation", plain, plain, hello, "4103 f248cd C004 c9c90700 8802 03e8", verdictFailed, "begins no message"},
		{"RSV1 on a Pong", plain, plain, hello, "CA00 C107" + same + "8802 03e8", verdictFailed, "begins no message"},
		{"RSV1 on the Close frame", plain, plain, hello, "C107" + same + "C802 03e8", verdictFailed, "begins no message"},
		{"garbage", plain, plain, hello, "C103 ffffff 8802 03e8", verdictFailed, "inflated"},
		{"truncated", plain, plain, hello, "C103 f248cd 8802 03e8", verdictFailed, "inflated"},
		{"the bytes that are left out are there", plain, plain, hello, "C10b f248cdc9c907000000ffff 8802 03e8", verdictFailed, "inflated"},
		{"text that is not UTF-8", plain, plain, hello, "C107 000200fdffc328 00 8802 03e8", verdictFailed, ""},
		{"512 bytes back with 9 bits", nine, nine, long + "echo: binary noise 258\n", stored + "C205 1a8d7f0000 8802 03e8", verdictOK, ""},
		{"513 bytes back with 9 bits, after a message of 512", nine, nine, long + "echo: binary noise 258\n", stored + "C205 1a4d000000 8802 03e8", verdictFailed, "inflated"},
		{"513 bytes back with 9 bits, within a message", nine, nine, within,
			"C27E 020b 00 0102 fefd" + hex.EncodeToString(noise(1)) + hex.EncodeToString(noise(512)) + "1a4d000000 8802 03e8", verdictFailed, "over 513 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			answer, err := hex.DecodeString(strings.ReplaceAll(test.answer, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			r := newRun(oneVector(t, "case: 1.1 A\nsection: 5.2\nrole: server\noffer: "+test.offer+"\n"+test.steps+"end: close 1000"), 1, "")
			r.client, r.patience, r.hurry = true, time.Minute, time.Minute
			var response []string
			if test.response != "" {
				response = []string{test.response}
			}
			if err := r.agree(r.v.offers, response); err != nil {
				t.Fatal(err)
			}
			ours, theirs := segmentPipe()
			r.nc = ours
			go func() {
				theirs.Write(answer)
				theirs.CloseWrite()
				io.Copy(io.Discard, theirs)
			}()
			r.run()
			if why := strings.Join(r.why, "; "); r.verdict != test.want || !strings.Contains(why, test.why) {
				t.Errorf("want %v with %q, got %v: %s", test.want, test.why, r.verdict, why)
			}
		})
	}
}

// TestVerdictsNegotiation has servers answer an offer, and clients offer, in
// all ways, right and wrong.
func TestVerdictsNegotiation(t *testing.T) {
	const name = "permessage-deflate"
	for _, test := range []struct {
		offers, response string
		want             string // a part of what is wrong; "declined"; "" where all is well
	}{
		{name, "", "declined"},
		{name, name, ""},
		{name + "; client_max_window_bits", name + "; client_max_window_bits=9", ""},
		{name, name + "; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=\"10\"", ""},
		{name + "; a, " + name, name, ""},
		{name + "; a", "", ""},
		{name + "; a", name, "not offered"},
		{"x", "x", "not offered"},
		{name, name + ", " + name, "not offered"},
		{name, name + ";", "grammar"},
		{name, name + "; a", "unknown, doubled"},
		{name, name + "; server_no_context_takeover; server_no_context_takeover", "unknown, doubled"},
		{name, name + "; server_max_window_bits=16", "unknown, doubled"},
		{name, name + "; server_max_window_bits=09", "unknown, doubled"},
		{name + "; client_max_window_bits", name + "; client_max_window_bits", "without a value"},
		{name, name + "; client_max_window_bits=15", "not offered"},
		{name + "; client_max_window_bits=10", name + "; client_max_window_bits=11", "larger client_max_window_bits"},
		{name + "; server_max_window_bits=10", name, "not the server_max_window_bits"},
		{name + "; server_max_window_bits=10", name + "; server_max_window_bits=11", "not the server_max_window_bits"},
		{name + "; server_no_context_takeover", name, "not server_no_context_takeover"},
		{name + "; server_no_context_takeover, " + name, name, ""},
		{name + "; server_max_window_bits=15", name + "; server_max_window_bits=15", ""},
		{name + "; server_max_window_bits=15", name, "lax"},
	} {
		r := newRun(oneVector(t, "case: 1.1 A\nsection: 9\nrole: server\noffer: "+test.offers+"\nend: close 1000"), 1, "")
		var response []string
		if test.response != "" {
			response = []string{test.response}
		}
		got, err := "", r.agree(r.v.offers, response)
		if err != nil {
			got = err.Error()
		} else if r.verdict != verdictOK {
			got = r.verdict.String()
		}
		if (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
			t.Errorf("%q answered with %q: want %q, got %q", test.offers, test.response, test.want, got)
		}
		if (r.deflate != nil) != (err == nil && test.response != "") {
			t.Errorf("%q answered with %q: compression is %v", test.offers, test.response, r.deflate)
		}
	}
	for _, test := range []struct{ offers, accept, want string }{
		{name, name, name},
		{"", name, "declined"},
		{name + "; a", name, "declined"},
		{name + "; a, " + name, name, name},
		{name, name + "; client_max_window_bits=9", "declined"},
		{name, name + "; client_max_window_bits=9, " + name, name},
		{name + "; client_max_window_bits=8", name + "; client_max_window_bits=9", "declined"},
		{name + "; client_max_window_bits", name + "; client_max_window_bits=9", name + "; client_max_window_bits=9"},
		{name + "; server_no_context_takeover; server_max_window_bits=10", name, name + "; server_no_context_takeover; server_max_window_bits=10"},
		{name + "; server_max_window_bits=10", name + "; server_max_window_bits=\"9\"", name + "; server_max_window_bits=\"9\""},
		{name + "; server_max_window_bits=10", name + "; server_max_window_bits=11", "declined"},
		{name + ";", name, "grammar"},
	} {
		r := newRun(oneVector(t, "case: 1.1 A\nsection: 9\nrole: client\naccept: "+test.accept+"\nend: close 1000"), 1, "")
		var offers []string
		if test.offers != "" {
			offers = []string{test.offers}
		}
		got, err := r.answer(offers)
		if err != nil {
			got = err.Error()
		} else if r.verdict == verdictDeclined {
			got = "declined"
		}
		if got != test.want && (err == nil || !strings.Contains(got, test.want)) {
			t.Errorf("a client offers %q, the case has %q: want %q, got %q", test.offers, test.accept, test.want, got)
		}
	}
}

// TestWireDeflate has two ends of the runner's own compression talk, over all
// windows. The one that receives checks the distances.
func TestWireDeflate(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	for bits := 8; bits <= 15; bits++ {
		for _, anew := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bits, no context takeover %v", bits, anew), func(t *testing.T) {
				terms := wireTerms{clientNoTakeover: anew, clientBits: bits}
				client, server := newWireDeflate(terms, true, rnd), newWireDeflate(terms, false, rnd)
				in, out := 0, 0
				for _, p := range newCorpus(7).messages(4, 5000) {
					for _, p := range [][]byte{p, nil, p[:10], prose(70_000)} {
						message := client.compress(p)
						got, err := server.inflate(message)
						if err != nil || !bytes.Equal(got, p) {
							t.Fatalf("a message of %d bytes was inflated to %d, %v", len(p), len(got), err)
						}
						if len(p) == 5000 {
							in += len(p)
							out += len(message)
						}
					}
				}
				if out > in*3/4 {
					t.Errorf("%d bytes were compressed to %d", in, out)
				}
			})
		}
	}
}
