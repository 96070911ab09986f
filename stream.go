package websocket

import (
	"errors"
	"io"
	"net"
	"sync"
	"unicode/utf8"
)

// StreamConn returns c as a stream of bytes, for protocols made for one. op is
// [OpText] or [OpBinary].
//
// A Write sends p as a message of type op, or as several of up to 32 KiB, so that
// no length of it exceeds the peer's read limit; text has to be UTF-8. A Read returns the payload of the
// messages one after another, without a trace of where one ends; a message of
// the other type fails the connection with [StatusUnsupportedData]. Where the
// peer closes with [StatusNormalClosure] or [StatusGoingAway] the stream ends
// with io.EOF. Close performs the closing handshake. Deadlines are those of c:
// one for reading may strike and be moved, one for writing is final.
func StreamConn(c *Conn, op Opcode) net.Conn {
	return &streamConn{Conn: c, op: op}
}

// A streamConn is a Conn but for Read and Write.
type streamConn struct {
	*Conn
	op Opcode

	mu      sync.Mutex
	message io.Reader // what is left of one; nil between messages
	err     error     // what every read returns from now on

	writing sync.Mutex
}

var errOtherType = errors.New("websocket: message of a type that the stream does not carry")

func (s *streamConn) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil || len(p) == 0 {
		return 0, s.err
	}
	for {
		if s.message == nil {
			op, r, err := s.NextReader()
			if err != nil {
				return 0, streamEnd(err)
			}
			if op != s.op {
				s.err = errOtherType
				s.closeWith(StatusUnsupportedData, "this stream is of "+s.op.String()+" messages")
				return 0, s.err
			}
			s.message = r
		}
		n, err := s.message.Read(p)
		if err == io.EOF {
			s.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, streamEnd(err)
		}
	}
}

// streamEnd makes a normal closure the end of the stream.
func streamEnd(err error) error {
	if errors.Is(err, &CloseError{Code: StatusNormalClosure}) || errors.Is(err, &CloseError{Code: StatusGoingAway}) {
		return io.EOF
	}
	return err
}

func (s *streamConn) Write(p []byte) (n int, err error) {
	if s.op == OpText && !utf8.Valid(p) {
		return 0, errBadText
	}
	s.writing.Lock() // the messages of one Write stay together
	defer s.writing.Unlock()
	for {
		part := p[n:]
		if len(part) > maxAppend {
			end := maxAppend
			for s.op == OpText && !utf8.RuneStart(part[end]) {
				end--
			}
			part = part[:end]
		}
		if err := s.WriteMessage(s.op, part); err != nil {
			return n, err
		}
		if n += len(part); n == len(p) {
			return n, nil
		}
	}
}

var _ net.Conn = (*streamConn)(nil)
