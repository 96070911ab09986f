package websocket

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
)

func TestErrorText(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{&CloseError{Code: StatusNormalClosure}, "websocket: closed by the peer: 1000 (normal closure)"},
		{&CloseError{Code: StatusGoingAway, Reason: "maintenance"}, `websocket: closed by the peer: 1001 (going away): "maintenance"`},
		{&CloseError{Code: 4000, Reason: "a\nb"}, `websocket: closed by the peer: 4000: "a\nb"`},
		{&CloseError{Code: StatusNoStatusReceived}, "websocket: closed by the peer without a status code"},
		{&CloseError{Code: StatusAbnormalClosure, Err: io.ErrUnexpectedEOF}, "websocket: connection broke: unexpected EOF"},

		{errNotMasked, "websocket: failed the connection (1002): frame from a client is not masked"},
		{errTextNotUTF8, "websocket: failed the connection (1007): text is not valid UTF-8"},
		{errReasonNotUTF8, "websocket: failed the connection (1007): close reason is not valid UTF-8"},
		{errMessageTooBig, "websocket: failed the connection (1009): message exceeds the read limit"},

		{&HandshakeError{Status: 403, Err: errors.New("origin not allowed")}, "websocket: handshake failed: origin not allowed"},

		{errClosed, "websocket: use of closed network connection"},
		{errClosedByPeer, "websocket: closed by the peer: use of closed network connection"},
		{errFailed, "websocket: failed because of what the peer sent: use of closed network connection"},
		{errWriteDeadline, "websocket: write: i/o timeout"},
		{errBadText, "websocket: text is not valid UTF-8"},
	} {
		if got := test.err.Error(); got != test.want {
			t.Errorf("the text is\n %q, want\n %q", got, test.want)
		}
	}
}

// TestErrorTextWithoutCause: the fields are exported, so that an application
// may leave Err out, in a test of its own for example.
func TestErrorTextWithoutCause(t *testing.T) {
	for _, err := range []error{
		&CloseError{},
		&CloseError{Code: StatusAbnormalClosure},
		&ProtocolError{Code: StatusProtocolError},
		&HandshakeError{},
	} {
		if text := err.Error(); !strings.HasPrefix(text, "websocket: ") {
			t.Errorf("%T without Err has the text %q, want one that begins with websocket:", err, text)
		}
		if cause := errors.Unwrap(err); cause != nil {
			t.Errorf("%T without Err unwraps to %v, want nil", err, cause)
		}
	}
}

// TestErrorTextPrefix: what the caller sees names the package once, and what is
// only ever wrapped does not name it.
func TestErrorTextPrefix(t *testing.T) {
	for _, err := range []error{
		errLengthNotMinimal, errLengthTopBit, errReservedBits, errReservedOpcode, errMasked, errNotMasked,
		errControlFragmented, errControlTooLong, errNothingToContinue, errMessageInsideMessage,
		errCloseBodyLength, errCloseCode, errTextNotUTF8, errReasonNotUTF8, errMessageTooBig,
		errClosed, errClosedByPeer, errFailed, errDropped, errReadDeadline, errWriteDeadline,
		errBadMessageOpcode, errBadText, errBadCloseCode, errBadCloseReason,
		&CloseError{Code: StatusAbnormalClosure, Err: errCloseTimeout},
		&CloseError{Code: StatusAbnormalClosure, Err: errWriteTimedOut},
		&HandshakeError{Err: io.ErrUnexpectedEOF},
	} {
		if text := err.Error(); !strings.HasPrefix(text, "websocket: ") || strings.Count(text, "websocket:") != 1 {
			t.Errorf("%q should begin with the package's name and have it once", text)
		}
	}
}

func TestErrorChains(t *testing.T) {
	cause := &net.OpError{Op: "read", Err: errors.New("connection reset by peer")}
	broke := &CloseError{Code: StatusAbnormalClosure, Err: cause}
	refused := &HandshakeError{Err: cause}
	wrapped := fmt.Errorf("reading: %w", &CloseError{Code: StatusGoingAway, Reason: "bye"})
	for _, test := range []struct {
		name   string
		err    error
		target error
		want   bool
	}{
		{"a CloseError matches its code", wrapped, &CloseError{Code: StatusGoingAway}, true},
		{"whatever the reason", wrapped, &CloseError{Code: StatusGoingAway, Reason: "other"}, true},
		{"and no other code", wrapped, &CloseError{Code: StatusNormalClosure}, false},
		{"nor a CloseError without a code", wrapped, &CloseError{}, false},
		{"nor a nil *CloseError", wrapped, (*CloseError)(nil), false},
		{"a broken connection matches 1006", broke, &CloseError{Code: StatusAbnormalClosure}, true},
		{"and its cause", broke, cause, true},
		{"a Close from the peer is no ProtocolError", wrapped, &ProtocolError{Code: StatusGoingAway}, false},
		{"a ProtocolError is not the peer's Close with the same code", errNotMasked, &CloseError{Code: StatusProtocolError}, false},
		{"two violations with one code differ", errNotMasked, errMasked, false},
		{"a message too long is ErrReadLimit", errMessageTooBig, ErrReadLimit, true},
		{"text from the peer that is not UTF-8 is ErrInvalidUTF8", errTextNotUTF8, ErrInvalidUTF8, true},
		{"text from the caller that is not UTF-8 is ErrInvalidUTF8", errBadText, ErrInvalidUTF8, true},
		{"a HandshakeError matches its cause", refused, cause, true},
		{"closed by us is net.ErrClosed", errClosed, net.ErrClosed, true},
		{"closed by the peer is net.ErrClosed for a writer", errClosedByPeer, net.ErrClosed, true},
		{"failed is net.ErrClosed for a writer", errFailed, net.ErrClosed, true},
		{"a write deadline is os.ErrDeadlineExceeded for the writer", errWriteDeadline, os.ErrDeadlineExceeded, true},
		{"and not for the reader, whose own deadline it was not",
			&CloseError{Code: StatusAbnormalClosure, Err: errWriteTimedOut}, os.ErrDeadlineExceeded, false},
		{"a close timeout is no read deadline either",
			&CloseError{Code: StatusAbnormalClosure, Err: errCloseTimeout}, os.ErrDeadlineExceeded, false},
	} {
		if got := errors.Is(test.err, test.target); got != test.want {
			t.Errorf("%s: errors.Is(%q, %#v) = %v, want %v", test.name, test.err, test.target, got, test.want)
		}
	}

	var op *net.OpError
	for _, err := range []error{broke, refused, fmt.Errorf("dialing: %w", refused)} {
		if op = nil; !errors.As(err, &op) || op != cause {
			t.Errorf("errors.As did not find the cause of %q", err)
		}
	}
	var timeout net.Error
	if !errors.As(errWriteDeadline, &timeout) || !timeout.Timeout() {
		t.Errorf("%q should be a net.Error whose Timeout is true", errWriteDeadline)
	}
}

func TestErrorAs(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("serving: %w", err) }

	var ce *CloseError
	if !errors.As(wrap(&CloseError{Code: 4001, Reason: "r"}), &ce) || ce.Code != 4001 || ce.Reason != "r" {
		t.Errorf("errors.As found %+v, want the CloseError with its code and reason", ce)
	}
	var pe *ProtocolError
	if !errors.As(wrap(errMessageTooBig), &pe) || pe.Code != StatusMessageTooBig || pe.Err != ErrReadLimit {
		t.Errorf("errors.As found %+v, want the ProtocolError with its code", pe)
	}
	var he *HandshakeError
	refusal := &HandshakeError{Status: 401, Header: http.Header{"Www-Authenticate": {"Basic"}}, Body: []byte("no"), Err: io.EOF}
	if !errors.As(wrap(refusal), &he) || he != refusal {
		t.Errorf("errors.As found %+v, want the HandshakeError itself", he)
	}
	if ce = nil; errors.As(error(pe), &ce) {
		t.Error("a ProtocolError is taken for a CloseError: we closed, not the peer")
	}
}
