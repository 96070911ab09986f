package load

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// A Wire is the far end of one connection that a process under measurement
// makes: it sends ready-made frames as fast as they are taken, or takes what
// the process sends.
type Wire struct {
	listener int
	Addr     string
	Spin     bool // never sleep while there is nothing to read or to write
}

// NewWire listens for the process.
func NewWire() (*Wire, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	w := &Wire{listener: fd}
	err = errors.Join(
		unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}),
		unix.Listen(fd, 1),
		// Accept obeys it as well.
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: handshakeTimeout}),
	)
	if err != nil {
		w.Close()
		return nil, err
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		w.Close()
		return nil, err
	}
	w.Addr = fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
	return w, nil
}

// Close stops listening.
func (w *Wire) Close() { unix.Close(w.listener) }

// accept waits for the process and sees the handshake through, in which the
// process is a client or says what a server says.
func (w *Wire) accept(fromClient bool) (socket, error) {
	fd, _, err := unix.Accept4(w.listener, unix.SOCK_CLOEXEC)
	for err == unix.EINTR {
		fd, _, err = unix.Accept4(w.listener, unix.SOCK_CLOEXEC)
	}
	if err != nil {
		return socket{}, err
	}
	s := socket{fd: fd}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: handshakeTimeout}),
	)
	if err == nil && fromClient {
		var response []byte
		if response, err = Answer(s); err == nil {
			_, err = s.Write(response)
		}
	} else if err == nil {
		_, err = readHeader(s)
	}
	if err != nil {
		drop(fd)
		return socket{}, err
	}
	s.spin = w.Spin
	// What a process writes is taken in large pieces: a reader that gets hold
	// of every message by itself makes the cost of a write depend on which of
	// the two is a little faster.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVLOWAT, 128<<10); err != nil {
		drop(fd)
		return socket{}, err
	}
	return s, nil
}

// Feed sends m in a circle until the process hangs up.
func (w *Wire) Feed(m *Messages, toClient bool) error {
	s, err := w.accept(toClient)
	if err != nil {
		return err
	}
	defer drop(s.fd)
	for {
		if _, err := s.Write(m.Out[:m.OutCycle]); err != nil {
			return nil
		}
	}
}

// checked is how many messages of what a process sends are looked at in full.
const checked = 4096

// Drain takes what the process sends until it hangs up, and returns how many
// messages that were: size bytes each as [Pattern] makes them, whole or in
// fragments. The payload of the first few thousand is compared, the headers of
// all are.
func (w *Wire) Drain(size int, fromClient bool) (int64, error) {
	s, err := w.accept(fromClient)
	if err != nil {
		return 0, err
	}
	defer drop(s.fd)
	f := frames{masked: fromClient, size: size, compare: min(checked, 64<<20/(size+1))}
	buf := make([]byte, 256<<10)
	kept := 0
	for {
		n, err := s.Read(buf[kept:])
		if err != nil {
			break // the process hangs up as it likes
		}
		rest, err := f.take(buf[:kept+n])
		if err != nil {
			return f.messages, fmt.Errorf("message %d: %w", f.messages+1, err)
		}
		kept = copy(buf, rest)
	}
	if kept > 0 || f.left > 0 || f.open {
		return f.messages, errors.New("the last message is cut short")
	}
	return f.messages, nil
}

// frames follows a stream of frames.
type frames struct {
	masked  bool
	size    int  // of a message
	compare int  // how many messages to look at in full
	open    bool // a message has begun and not ended
	left    int  // payload bytes of the frame that have not come
	fin     bool // it is the last of its message
	key     []byte
	pos     int    // place in the frame's payload
	got     int    // payload bytes of the message so far
	message []byte // those to be compared

	messages int64
}

// take goes through p and returns what of it is the beginning of a header.
func (f *frames) take(p []byte) (rest []byte, err error) {
	for {
		if f.left > 0 {
			n := min(f.left, len(p))
			f.payload(p[:n])
			p = p[n:]
			if f.left > 0 {
				return nil, nil
			}
			if err := f.end(); err != nil {
				return nil, err
			}
		}
		n, err := f.header(p)
		if n == 0 || err != nil {
			return p, err
		}
		p = p[n:]
		if f.left == 0 {
			if err := f.end(); err != nil {
				return nil, err
			}
		}
	}
}

// header begins a frame and returns the length of its header, 0 where it has
// not come whole.
func (f *frames) header(p []byte) (int, error) {
	if len(p) < 2 {
		return 0, nil
	}
	n, length := 2, int(p[1]&0x7F)
	extended := 0
	switch length {
	case 126:
		extended = 2
	case 127:
		extended = 8
	}
	n += extended
	if f.masked {
		n += 4
	}
	if len(p) < n {
		return 0, nil
	}
	if extended > 0 {
		length = 0
		for _, b := range p[2 : 2+extended] {
			length = length<<8 | int(b)
		}
	}
	opcode := byte(2)
	if f.open {
		opcode = 0
	}
	switch {
	case p[0]&0x7F != opcode:
		return 0, fmt.Errorf("a frame begins with %#x", p[0])
	case p[1]&0x80 != 0 != f.masked:
		return 0, errors.New("a frame of a client is masked, one of a server is not")
	case length < 0 || length > f.size-f.got:
		return 0, errors.New("the message is too long")
	}
	f.open = true
	f.fin = p[0]&0x80 != 0
	f.left, f.pos = length, 0
	if f.masked {
		f.key = append(f.key[:0], p[n-4:n]...)
	}
	return n, nil
}

func (f *frames) payload(p []byte) {
	f.left -= len(p)
	f.got += len(p)
	if f.messages >= int64(f.compare) {
		return
	}
	for _, b := range p {
		if f.masked {
			b ^= f.key[f.pos&3]
			f.pos++
		}
		f.message = append(f.message, b)
	}
}

// end ends a frame, and with the last one the message.
func (f *frames) end() error {
	if !f.fin {
		return nil
	}
	if f.got != f.size {
		return errors.New("the message is too short")
	}
	if f.messages < int64(f.compare) && f.size > 0 && !bytes.Equal(f.message, Pattern(f.size, f.message[0])) {
		return errors.New("the payload differs")
	}
	f.messages++
	f.message = f.message[:0]
	f.open, f.fin, f.got = false, false, 0
	return nil
}

// Pattern returns the payload of a message that a [Wire] can check. Messages
// with different marks differ in every fourth byte.
func Pattern(size int, mark byte) []byte {
	p := make([]byte, size)
	for i := range p {
		p[i] = 'a' + byte(i%26)
		if i%4 == 0 {
			p[i] = mark
		}
	}
	return p
}
