package load

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A DeflateEcho is a set of connections with permessage-deflate to an echo
// server. Each has one message under way, of a series of JSON texts that comes
// round again and again; the messages of all connections are sent, then their
// replies are taken.
type DeflateEcho struct {
	messages [][]byte
	frames   [][]byte // the same, compressed and masked
	window   []byte   // the messages one behind the other, twice
	takeover bool
	conns    []deflateConn
	next     int // which message is sent next
	buf      []byte

	answered   int64
	replyBytes int64
}

type deflateConn struct {
	s    socket
	kept []byte // read, and behind the reply that was looked at last
}

// deflateMessages is the length of the series: with messages of 1 KiB, more
// than a window.
const deflateMessages = 64

// NewDeflateEcho connects, with context takeover in both directions or with
// none. It fails where the server does not agree to that.
func NewDeflateEcho(addr string, conns, size int, takeover bool) (*DeflateEcho, error) {
	e := &DeflateEcho{messages: jsonTexts(deflateMessages, size), takeover: takeover, buf: make([]byte, 64<<10)}
	e.window = bytes.Repeat(bytes.Join(e.messages, nil), 2)
	to, err := sockaddr(addr)
	if err != nil {
		return nil, err
	}
	clientTakeover := takeover
	for range conns {
		s, response, err := e.connect(to, addr)
		if err == nil {
			clientTakeover, err = checkDeflate(response, takeover)
		}
		if err != nil {
			e.Close()
			return nil, err
		}
		s.spin = true
		e.conns = append(e.conns, deflateConn{s: s})
	}
	e.frames = compressed(e.messages, clientTakeover)
	return e, nil
}

func (e *DeflateEcho) connect(to *unix.SockaddrInet4, addr string) (s socket, response *http.Response, err error) {
	h := newHandshake(addr)
	offer := "permessage-deflate"
	if !e.takeover {
		offer += "; server_no_context_takeover; client_no_context_takeover"
	}
	h.request = append(bytes.TrimSuffix(h.request, []byte("\r\n")), "Sec-WebSocket-Extensions: "+offer+"\r\n\r\n"...)
	fd, err := connect(to)
	if err != nil {
		return s, nil, err
	}
	s = socket{fd: fd}
	if _, err = s.Write(h.request); err == nil {
		var header []byte
		if header, err = readAnswer(s); err == nil {
			response, err = h.check(header)
		}
	}
	if err != nil {
		drop(fd)
	}
	return s, response, err
}

// checkDeflate reports whether the client may take over its context.
func checkDeflate(response *http.Response, takeover bool) (client bool, err error) {
	agreed := strings.ToLower(strings.Join(response.Header.Values("Sec-WebSocket-Extensions"), ","))
	server := !strings.Contains(agreed, "server_no_context_takeover")
	switch {
	case !strings.HasPrefix(agreed, "permessage-deflate"):
		return false, errors.New("the server does not compress")
	case strings.Contains(agreed, "client_max_window_bits"):
		return false, errors.New("the server asks for a window that it was not offered")
	case server != takeover:
		return false, fmt.Errorf("the server answers with %q", agreed)
	}
	return takeover && !strings.Contains(agreed, "client_no_context_takeover"), nil
}

// compressed returns the messages as frames of a client. With takeover each but
// the first refers back to those before it.
func compressed(messages [][]byte, takeover bool) (frames [][]byte) {
	var b bytes.Buffer
	z, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err != nil {
		panic(err) // the level is a good one
	}
	for _, m := range messages {
		if !takeover {
			z.Reset(&b)
		}
		z.Write(m)
		z.Flush()
		frame := appendFrame(nil, 1, bytes.TrimSuffix(b.Bytes(), flushed), true)
		frame[0] |= rsv1
		frames = append(frames, frame)
		b.Reset()
	}
	return frames
}

const rsv1 = 0x40

// flushed is what a sender leaves out at the end of a message and a receiver
// adds (RFC 7692, section 7.2).
var flushed = []byte("\x00\x00\xff\xff")

// Close drops all connections.
func (e *DeflateEcho) Close() {
	for i := range e.conns {
		drop(e.conns[i].s.fd)
	}
}

// Answered returns how many replies have come, and how many bytes they had on
// the wire.
func (e *DeflateEcho) Answered() (n, wire int64) { return e.answered, e.replyBytes }

// Size returns the length of a message that is not compressed.
func (e *DeflateEcho) Size() int { return len(e.messages[0]) }

// Verify sends every connection the whole series, and inflates and compares the
// replies.
func (e *DeflateEcho) Verify() error {
	for range e.messages {
		if err := e.round(true); err != nil {
			return err
		}
	}
	return nil
}

// Run loads the server for at least d.
func (e *DeflateEcho) Run(d time.Duration) error {
	for begin := time.Now(); time.Since(begin) < d; {
		if err := e.round(false); err != nil {
			return err
		}
	}
	return nil
}

// round sends every connection a message and takes the replies.
func (e *DeflateEcho) round(check bool) error {
	k := e.next
	e.next = (k + 1) % len(e.messages)
	for i := range e.conns {
		if _, err := e.conns[i].s.Write(e.frames[k]); err != nil {
			return err
		}
	}
	for i := range e.conns {
		payload, err := e.reply(&e.conns[i])
		if err != nil {
			return err
		}
		if check {
			if err := e.compare(k, payload); err != nil {
				return fmt.Errorf("message %d: %w", k+1, err)
			}
		}
	}
	return nil
}

// reply takes one message, compressed and in one frame, and returns its
// payload, which is good until the next call.
func (e *DeflateEcho) reply(c *deflateConn) ([]byte, error) {
	n := copy(e.buf, c.kept)
	for {
		b := e.buf[:n]
		header, length := 2, 0
		if n >= 2 {
			if length = int(b[1]); length == 126 {
				header = 4
			}
		}
		if n >= header {
			if header == 4 {
				length = int(b[2])<<8 | int(b[3])
			}
			switch {
			case b[0] != 0x80|rsv1|1:
				return nil, fmt.Errorf("a reply begins with %#x, not as a compressed text in one frame", b[0])
			case length > 2*e.Size():
				return nil, errors.New("a reply is too long")
			}
			if end := header + length; n >= end {
				c.kept = append(c.kept[:0], b[end:]...)
				e.answered++
				e.replyBytes += int64(end)
				return b[header:end], nil
			}
		}
		m, err := c.s.Read(e.buf[n:])
		if err != nil {
			return nil, err
		}
		n += m
	}
}

// compare inflates a reply, which may refer to the replies before it only with
// takeover.
func (e *DeflateEcho) compare(k int, payload []byte) error {
	var history []byte
	if e.takeover {
		end := (len(e.messages) + k) * e.Size()
		history = e.window[end-32<<10 : end]
	}
	z := flate.NewReaderDict(io.MultiReader(bytes.NewReader(payload), strings.NewReader("\x00\x00\xff\xff\x01\x00\x00\xff\xff")), history)
	got, err := io.ReadAll(z)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, e.messages[k]) {
		return errors.New("not an echo")
	}
	return nil
}

// jsonTexts returns texts of size bytes each such as a service sends them: alike
// in their names, different in their values.
func jsonTexts(count, size int) (texts [][]byte) {
	r := rand.New(rand.NewPCG(7, 692))
	symbols := []string{"EURUSD", "GBPUSD", "USDJPY", "AUDCAD", "NZDCHF", "EURSEK", "USDNOK", "GBPJPY"}
	venues := []string{"london", "frankfurt", "new-york", "singapore", "tokyo"}
	for i := range count {
		var b bytes.Buffer
		fmt.Fprintf(&b, `{"type":"orders","sequence":%d,"time":"2026-11-%02dT%02d:%02d:%02d.%06dZ","orders":[`,
			71_000_000+i, 1+r.IntN(30), r.IntN(24), r.IntN(60), r.IntN(60), r.IntN(1e6))
		for b.Len() < size {
			side := "buy"
			if r.IntN(2) == 0 {
				side = "sell"
			}
			fmt.Fprintf(&b, `{"id":"%08x","symbol":%q,"side":%q,"price":%.5f,"quantity":%d,"venue":%q,"open":%t},`,
				r.Uint32(), symbols[r.IntN(len(symbols))], side, 0.5+2*r.Float64(), 100*(1+r.IntN(500)),
				venues[r.IntN(len(venues))], r.IntN(4) > 0)
		}
		texts = append(texts, append(b.Bytes()[:size-2], "]}"...))
	}
	return texts
}
