package websocket

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
)

// ErrReadLimit is what a *[ProtocolError] with code [StatusMessageTooBig]
// wraps: the peer sent a message longer than the read limit.
var ErrReadLimit = errors.New("message exceeds the read limit")

// ErrInvalidUTF8 is what the writing methods' error wraps for text that is not
// UTF-8 (section 5.6), without harm to the connection, and what the
// *[ProtocolError] with code [StatusInvalidPayload] wraps that reports such a
// message from the peer.
var ErrInvalidUTF8 = errors.New("text is not valid UTF-8")

// ErrPeerSilent is what a *[CloseError] with code [StatusAbnormalClosure] wraps
// when the peer has not answered the Ping of keepalive.
var ErrPeerSilent = errors.New("no answer to keepalive: the peer has been silent")

// ErrQueueFull is what [Conn.Enqueue] returns, without harm to the connection,
// when the message would make more than MaxQueued bytes wait.
var ErrQueueFull = errors.New("websocket: queue is full")

// A CloseError says how the connection ended: with a Close frame from the
// peer, whose code and reason it carries, or without one. In the latter case
// Code is [StatusAbnormalClosure] and Err tells why.
//
// errors.Is(err, &CloseError{Code: code}) matches any CloseError with that
// code.
type CloseError struct {
	Code   StatusCode
	Reason string // UTF-8, at most 123 bytes
	Err    error  // what broke the connection; nil where a Close frame came
}

func (e *CloseError) Error() string {
	switch {
	case e.Err != nil:
		return "websocket: connection broke: " + e.Err.Error()
	case e.Code == StatusNoStatusReceived:
		return "websocket: closed by the peer without a status code"
	case e.Reason != "":
		return fmt.Sprintf("websocket: closed by the peer: %v: %q", e.Code, e.Reason)
	}
	return fmt.Sprintf("websocket: closed by the peer: %v", e.Code)
}

// Unwrap returns e.Err.
func (e *CloseError) Unwrap() error { return e.Err }

// Is reports whether target is a *CloseError with the same code.
func (e *CloseError) Is(target error) bool {
	t, ok := target.(*CloseError)
	return ok && t != nil && t.Code == e.Code
}

// A ProtocolError says what the peer did wrong. The connection has been failed
// with a Close frame that carries Code (section 7.1.7).
type ProtocolError struct {
	Code StatusCode
	Err  error
}

func (e *ProtocolError) Error() string {
	return fmt.Sprintf("websocket: failed the connection (%d): %v", e.Code, e.Err)
}

// Unwrap returns e.Err.
func (e *ProtocolError) Unwrap() error { return e.Err }

func protocolError(text string) error {
	return &ProtocolError{Code: StatusProtocolError, Err: errors.New(text)}
}

func policyViolation(text string) error {
	return &ProtocolError{Code: StatusPolicyViolation, Err: errors.New(text)}
}

func invalidPayload(text string) error {
	return &ProtocolError{Code: StatusInvalidPayload, Err: errors.New(text)}
}

// What a peer can do wrong, and the status code that says so.
var (
	errLengthNotMinimal     = protocolError("payload length not in its shortest form")
	errLengthTopBit         = protocolError("payload length with its most significant bit set")
	errReservedBits         = protocolError("reserved bit set without an extension that defines it")
	errCompressedBit        = protocolError("bit of compression set on a frame that begins no message")
	errReservedOpcode       = protocolError("reserved opcode")
	errMasked               = protocolError("masked frame from a server")
	errNotMasked            = protocolError("frame from a client is not masked")
	errControlFragmented    = protocolError("fragmented control frame")
	errControlTooLong       = protocolError("control frame with more than 125 bytes of payload")
	errNothingToContinue    = protocolError("continuation frame without a message to continue")
	errMessageInsideMessage = protocolError("new message inside a fragmented one")
	errManyFragments        = policyViolation("message in too many small fragments")
	errControlFlood         = policyViolation("too many control frames")
	errCloseBodyLength      = protocolError("close frame with a body of one byte")
	errCloseCode            = protocolError("close frame with a status code that must not be sent")

	errTextNotUTF8      error = &ProtocolError{Code: StatusInvalidPayload, Err: ErrInvalidUTF8}
	errReasonNotUTF8    error = &ProtocolError{Code: StatusInvalidPayload, Err: errors.New("close reason is not valid UTF-8")}
	errDeflateInvalid         = invalidPayload("compressed data is invalid")
	errDeflateTruncated       = invalidPayload("compressed data ends inside a block")

	errMessageTooBig error = &ProtocolError{Code: StatusMessageTooBig, Err: ErrReadLimit}
)

// A HandshakeError says why an opening handshake came to nothing (section 4).
//
// From [Dial] it means that the server's answer was not the one section 4.1
// demands, or that a proxy refused to connect to the server, as the text then
// says: Status and Header are the server's or the proxy's, and Body is the
// first KiB of its body. A SOCKS proxy has none of these; Status is 0 then.
// From [Upgrade] it means that the request was refused, and that the answer
// has been written: Status, Header and Body are what the client got.
type HandshakeError struct {
	Status int // HTTP status code
	Header http.Header
	Body   []byte
	Err    error
}

func (e *HandshakeError) Error() string {
	return fmt.Sprintf("websocket: handshake failed: %v", e.Err)
}

// Unwrap returns e.Err.
func (e *HandshakeError) Unwrap() error { return e.Err }

// What later calls return once this end has closed the connection, or the
// peer has.
var (
	errClosed       = fmt.Errorf("websocket: %w", net.ErrClosed)
	errClosedByPeer = fmt.Errorf("websocket: closed by the peer: %w", net.ErrClosed)
	errFailed       = fmt.Errorf("websocket: failed because of what the peer sent: %w", net.ErrClosed)
)

// What ends a connection beside the peer, and what a deadline does.
var (
	errDropped       = fmt.Errorf("websocket: dropped without a closing handshake: %w", net.ErrClosed)
	errCloseTimeout  = errors.New("the closing handshake did not end in time")
	errWriteTimedOut = errors.New("a write did not end before its deadline")
)

// A deadlineError is what a deadline ends a read or a write with. It is a
// [net.Error], which users of a net.Conn look for without unwrapping: crypto/tls
// takes any other error of reading for good.
type deadlineError struct{ op string }

var (
	errReadDeadline  error = &deadlineError{"read"}
	errWriteDeadline error = &deadlineError{"write"}
)

func (e *deadlineError) Error() string   { return "websocket: " + e.op + ": " + e.Unwrap().Error() }
func (e *deadlineError) Timeout() bool   { return true }
func (e *deadlineError) Temporary() bool { return true }
func (e *deadlineError) Unwrap() error   { return os.ErrDeadlineExceeded }

// What a caller can do wrong. None of it harms the connection.
var (
	errBadMessageOpcode = errors.New("websocket: a message is OpText or OpBinary")
	errBadText          = fmt.Errorf("websocket: %w", ErrInvalidUTF8)
	errBadCloseCode     = errors.New("websocket: status code must be 1000 to 1003, 1007 to 1014 or 3000 to 4999")
	errBadCloseReason   = errors.New("websocket: close reason must be UTF-8 of at most 123 bytes")
)
