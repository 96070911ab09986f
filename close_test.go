package websocket

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

var (
	closeStateNames = map[closeState]string{stateOpen: "open", stateCloseSent: "closeSent", stateCloseReceived: "closeReceived", stateClosed: "closed"}
	closeEventNames = map[closeEvent]string{eventSend: "send", eventReceive: "receive", eventEnd: "end"}
)

// TestCloseStateTable has every event in every state.
func TestCloseStateTable(t *testing.T) {
	type cell struct {
		s closeState
		e closeEvent
	}
	seen := map[cell]bool{}
	for _, row := range []struct {
		from closeState
		e    closeEvent
		to   closeState
		ok   bool
		want string
	}{
		{stateOpen, eventSend, stateCloseSent, true, "we begin the closing handshake and await the peer's Close frame"},
		{stateOpen, eventReceive, stateCloseReceived, true, "the peer begins the closing handshake and ours is due (5.5.1)"},
		{stateOpen, eventEnd, stateClosed, true, "the connection breaks without a closing handshake"},

		{stateCloseSent, eventSend, stateCloseSent, false, "an endpoint sends one Close frame only (5.5.1)"},
		{stateCloseSent, eventReceive, stateClosed, true, "the peer's Close frame completes the handshake we began (7.1.4)"},
		{stateCloseSent, eventEnd, stateClosed, true, "the peer never answers and the connection ends"},

		{stateCloseReceived, eventSend, stateClosed, true, "our Close frame completes the handshake the peer began (7.1.4)"},
		{stateCloseReceived, eventReceive, stateCloseReceived, false, "what follows a Close frame is ignored, also another one (5.5.1)"},
		{stateCloseReceived, eventEnd, stateClosed, true, "the connection breaks before our answer has left"},

		{stateClosed, eventSend, stateClosed, false, "nothing is sent once it is over"},
		{stateClosed, eventReceive, stateClosed, false, "nothing is received once it is over"},
		{stateClosed, eventEnd, stateClosed, false, "it ends once"},
	} {
		if c := (cell{row.from, row.e}); seen[c] {
			t.Errorf("two rows for %s in %s", closeEventNames[row.e], closeStateNames[row.from])
		} else {
			seen[c] = true
		}
		if to, ok := row.from.next(row.e); to != row.to || ok != row.ok {
			t.Errorf("%s in %s gave %s, %v\nwant %s, %v: %s", closeEventNames[row.e], closeStateNames[row.from],
				closeStateNames[to], ok, closeStateNames[row.to], row.ok, row.want)
		}
	}
	for s := stateOpen; s <= stateClosed; s++ {
		for e := eventSend; e <= eventEnd; e++ {
			if !seen[cell{s, e}] {
				t.Errorf("no row for %s in %s", closeEventNames[e], closeStateNames[s])
			}
		}
	}
}

// TestCloseStateHistories plays every history of up to five events and compares
// with what the RFC says of the whole: the closing handshake is over when both
// Close frames have passed or the connection has ended (7.1.4); before that
// each of them counts once.
func TestCloseStateHistories(t *testing.T) {
	var play func(s closeState, history []string, sent, received, ended bool)
	play = func(s closeState, history []string, sent, received, ended bool) {
		want := stateOpen
		switch {
		case ended || sent && received:
			want = stateClosed
		case sent:
			want = stateCloseSent
		case received:
			want = stateCloseReceived
		}
		if s != want {
			t.Fatalf("after %v the state is %s, want %s", history, closeStateNames[s], closeStateNames[want])
		}
		if len(history) == 5 {
			return
		}
		over := s == stateClosed
		for e := eventSend; e <= eventEnd; e++ {
			news := !over && !(e == eventSend && sent) && !(e == eventReceive && received)
			next, ok := s.next(e)
			if ok != news {
				t.Fatalf("after %v, %s gave %v, want %v", history, closeEventNames[e], ok, news)
			}
			play(next, append(history[:len(history):len(history)], closeEventNames[e]),
				sent || news && e == eventSend, received || news && e == eventReceive, ended || news && e == eventEnd)
		}
	}
	play(stateOpen, nil, false, false, false)
}

// statusCodeRanges says of every status code whether it may be in a Close
// frame.
var statusCodeRanges = []struct {
	first, last int
	sendable    bool
	why         string
}{
	{0, 999, false, "7.4.2: not used"},
	{1000, 1003, true, "7.4.1: defined"},
	{1004, 1004, false, "7.4.1: reserved, its meaning is not defined"},
	{1005, 1006, false, "7.4.1: MUST NOT be set in a Close frame"},
	{1007, 1011, true, "7.4.1: defined"},
	{1012, 1014, true, "11.7: registered since"},
	{1015, 1015, false, "7.4.1: MUST NOT be set in a Close frame"},
	{1016, 2999, false, "7.4.2: reserved for this protocol, not defined"},
	{3000, 3999, true, "7.4.2: for libraries, frameworks and applications"},
	{4000, 4999, true, "7.4.2: for private use"},
	{5000, 65535, false, "7.4.2: in no range"},
}

func TestStatusCodeSendable(t *testing.T) {
	next := 0
	for _, r := range statusCodeRanges {
		if r.first != next {
			t.Fatalf("the ranges of the test leave out %d or have it twice", next)
		}
		next = r.last + 1
		for n := r.first; n <= r.last; n++ {
			body := []byte{byte(n >> 8), byte(n)}
			code, reason, err := parseClosePayload(body)
			switch {
			case StatusCode(n).sendable() != r.sendable:
				t.Fatalf("sendable(%d) = %v, want %v (%s)", n, !r.sendable, r.sendable, r.why)
			case r.sendable && (int(code) != n || reason != "" || err != nil):
				t.Fatalf("a Close frame with code %d gave %v, %q, %v, want the code (%s)", n, code, reason, err, r.why)
			case !r.sendable && (err != errCloseCode || code != 0 || reason != ""):
				t.Fatalf("a Close frame with code %d gave %v, %q, %v, want %v (%s)", n, code, reason, err, errCloseCode, r.why)
			case r.sendable && !bytes.Equal(appendClosePayload(nil, code, ""), body):
				t.Fatalf("code %d is encoded as % x, want % x", n, appendClosePayload(nil, code, ""), body)
			}
		}
	}
	if next != 1<<16 {
		t.Errorf("the ranges of the test end at %d, want 65536", next)
	}
}

func TestStatusCodeString(t *testing.T) {
	names := map[StatusCode]string{
		1000: "1000 (normal closure)",
		1001: "1001 (going away)",
		1002: "1002 (protocol error)",
		1003: "1003 (unsupported data)",
		1005: "1005 (no status received)",
		1006: "1006 (abnormal closure)",
		1007: "1007 (invalid payload data)",
		1008: "1008 (policy violation)",
		1009: "1009 (message too big)",
		1010: "1010 (mandatory extension)",
		1011: "1011 (internal error)",
		1012: "1012 (service restart)",
		1013: "1013 (try again later)",
		1014: "1014 (bad gateway)",
		1015: "1015 (TLS handshake)",
	}
	for n := range 1 << 16 {
		want, ok := names[StatusCode(n)]
		if !ok {
			want = fmt.Sprint(n)
		}
		if got := StatusCode(n).String(); got != want {
			t.Fatalf("StatusCode(%d).String() = %q, want %q", n, got, want)
		}
	}
}

// TestStatusCodeConstants holds the constants against the numbers of section
// 7.4.1 and of the registry.
func TestStatusCodeConstants(t *testing.T) {
	for want, codes := range map[int][]StatusCode{
		1000: {StatusNormalClosure, StatusGoingAway, StatusProtocolError, StatusUnsupportedData},
		1005: {StatusNoStatusReceived, StatusAbnormalClosure, StatusInvalidPayload, StatusPolicyViolation, StatusMessageTooBig,
			StatusMandatoryExtension, StatusInternalError, StatusServiceRestart, StatusTryAgainLater, StatusBadGateway, StatusTLSHandshake},
	} {
		for i, code := range codes {
			if int(code) != want+i {
				t.Errorf("%v should be %d", code, want+i)
			}
		}
	}
}

func TestClosePayload(t *testing.T) {
	longest := strings.Repeat("é", 61) + "!" // 123 bytes
	for _, test := range []struct {
		name   string
		body   string
		code   StatusCode
		reason string
		err    error
	}{
		{"no body is code 1005 (7.1.5)", "", StatusNoStatusReceived, "", nil},
		{"one byte is no code (5.5.1)", "\x03", 0, "", errCloseBodyLength},
		{"code without a reason", "\x03\xe8", StatusNormalClosure, "", nil},
		{"code and reason", "\x03\xe9bye", StatusGoingAway, "bye", nil},
		{"private code", "\x13\x87x", 4999, "x", nil},
		{"longest reason", "\x03\xe8" + longest, StatusNormalClosure, longest, nil},
		{"reason with NUL", "\x03\xe8\x00", StatusNormalClosure, "\x00", nil},
		{"code that must not be sent", "\x03\xed", 0, "", errCloseCode},
		{"code that must not be sent, reason not UTF-8", "\x03\xed\xff", 0, "", errCloseCode},
		{"reason not UTF-8 (5.5.1)", "\x03\xe8\xff", 0, "", errReasonNotUTF8},
		{"reason with a surrogate", "\x03\xe8\xed\xa0\x80", 0, "", errReasonNotUTF8},
		{"reason that ends inside a character", "\x03\xe8\xe2\x82", 0, "", errReasonNotUTF8},
	} {
		body := []byte(test.body)
		code, reason, err := parseClosePayload(body)
		if code != test.code || reason != test.reason || err != test.err {
			t.Errorf("%s: %q gave %v, %q, %v\nwant %v, %q, %v", test.name, body, code, reason, err, test.code, test.reason, test.err)
		}
		if err != nil {
			continue
		}
		if got := appendClosePayload([]byte("before"), code, reason); string(got) != "before"+test.body {
			t.Errorf("%s: %v, %q was appended as %q, want %q after the bytes already there", test.name, code, reason, got, test.body)
		}
		// The reason is the caller's and outlives the buffer of the frame.
		for i := range body {
			body[i] = '#'
		}
		if reason != test.reason {
			t.Errorf("%s: the reason changed to %q with the bytes it was decoded from", test.name, reason)
		}
	}
	if got := len(longest); got != maxCloseReason {
		t.Errorf("maxCloseReason is %d, want %d: 125 bytes (5.5) less the status code", maxCloseReason, got)
	}
	for err, want := range map[error]StatusCode{
		errCloseBodyLength: 1002, // 5.5.1: "the first two bytes of the body MUST be" the code
		errCloseCode:       1002,
		errReasonNotUTF8:   1007, // 8.1
	} {
		var pe *ProtocolError
		if !errors.As(err, &pe) || pe.Code != want {
			t.Errorf("%q is to fail the connection with code %d", err, want)
		}
	}
}

// TestAppendClosePayloadWithoutCode: without a code there is no room for a
// reason.
func TestAppendClosePayloadWithoutCode(t *testing.T) {
	if got := appendClosePayload(nil, StatusNoStatusReceived, "reason"); len(got) != 0 {
		t.Errorf("StatusNoStatusReceived was encoded as %q, want no body", got)
	}
}
