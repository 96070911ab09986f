package load

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Options say what load an echo server is put under.
type Options struct {
	Addr     string
	Conns    int
	InFlight int // messages a connection has under way at once
	Refill   int // replies that must have come before more is sent; 0: all of them
	Size     int // of a message
	Payload  Payload
	Raw      bool // plain TCP: no handshake, nothing masked
	Spin     bool // ask the kernel for events again and again, never sleep
	Lockstep bool // send when all replies of all connections have come
}

// An Echo is a set of connections to an echo server, driven by the goroutine
// that calls its methods.
type Echo struct {
	opt    Options
	m      *Messages
	epoll  int
	events []unix.EpollEvent
	conns  []echoConn
	buf    []byte

	checking bool  // compare what comes with what must come
	sending  bool  // answered connections go on
	answered int64 // replies that have come
	open     int   // replies that are due
}

// An echoConn is one connection. The two positions are in the Messages, which
// follow one another in a circle.
type echoConn struct {
	fd      int
	sendAt  int
	unsent  int // bytes to be sent from sendAt on
	recvAt  int
	due     int // replies that have not come
	blocked bool
}

// stall is how long a server may be silent while replies are due.
const stall = 20 * time.Second

// NewEcho connects, and does the opening handshakes one after the other.
func NewEcho(opt Options) (*Echo, error) {
	if opt.Refill == 0 {
		opt.Refill = opt.InFlight
	}
	// One message more than is in flight, so that no message is ever taken
	// for its neighbour.
	e := &Echo{
		opt:    opt,
		m:      NewMessages(opt.InFlight+1, opt.InFlight, opt.Size, opt.Payload, !opt.Raw),
		events: make([]unix.EpollEvent, 256),
		buf:    make([]byte, 256<<10),
	}
	var err error
	if e.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, err
	}
	to, err := sockaddr(opt.Addr)
	if err != nil {
		e.Close()
		return nil, err
	}
	for i := range opt.Conns {
		if err := e.add(to); err != nil {
			e.Close()
			return nil, fmt.Errorf("connection %d: %w", i+1, err)
		}
	}
	return e, nil
}

func (e *Echo) add(to *unix.SockaddrInet4) error {
	fd, err := connect(to)
	if err != nil {
		return err
	}
	e.conns = append(e.conns, echoConn{fd: fd})
	if !e.opt.Raw {
		h := newHandshake(e.opt.Addr)
		s := socket{fd: fd}
		if _, err := s.Write(h.request); err != nil {
			return err
		}
		header, err := readAnswer(s)
		if err != nil {
			return err
		}
		if _, err := h.check(header); err != nil {
			return err
		}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	return unix.EpollCtl(e.epoll, unix.EPOLL_CTL_ADD, fd,
		&unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(len(e.conns) - 1)})
}

// readAnswer reads the answer to a handshake, after which a server is silent.
func readAnswer(s socket) ([]byte, error) {
	var buf [4096]byte
	for n := 0; n < len(buf); {
		m, err := s.Read(buf[n:])
		if err != nil {
			return nil, err
		}
		n += m
		if i := bytes.Index(buf[:n], endOfHeader); i >= 0 {
			if i+len(endOfHeader) < n {
				return nil, errors.New("bytes after the handshake that nobody asked for")
			}
			return buf[:n], nil
		}
	}
	return nil, errors.New("handshake without an end")
}

// Verify sends every connection its fill, waits for all replies and compares
// them byte by byte.
func (e *Echo) Verify() error {
	e.checking = true
	defer func() { e.checking = false }()
	if err := e.start(); err != nil {
		return err
	}
	return e.drain()
}

// Run loads the server for at least d and at least count replies, and returns
// when nothing is due any more.
func (e *Echo) Run(d time.Duration, count int64) error {
	e.sending = true
	before := e.answered
	if err := e.start(); err != nil {
		return err
	}
	if err := e.loop(func(now time.Duration) bool { return now >= d && e.answered-before >= count }); err != nil {
		return err
	}
	return e.drain()
}

// drain waits for the replies that are due and sends nothing more.
func (e *Echo) drain() error {
	e.sending = false
	return e.loop(func(time.Duration) bool { return e.open == 0 })
}

// Answered returns how many replies have come since the connections were made.
func (e *Echo) Answered() int64 { return e.answered }

// Close drops all connections.
func (e *Echo) Close() {
	for i := range e.conns {
		drop(e.conns[i].fd)
	}
	unix.Close(e.epoll)
}

func (e *Echo) start() error {
	for i := range e.conns {
		if err := e.send(i, e.opt.InFlight); err != nil {
			return err
		}
	}
	return nil
}

// loop handles events until done, which is asked after each round of them.
func (e *Echo) loop(done func(time.Duration) bool) error {
	timeout := 100
	if e.opt.Spin {
		timeout = 0
	}
	begin := time.Now()
	last, seen := begin, e.answered
	for {
		now := time.Now()
		if done(now.Sub(begin)) {
			return nil
		}
		if e.answered != seen {
			last, seen = now, e.answered
		} else if now.Sub(last) > stall {
			return fmt.Errorf("no reply for %v while %d are due", stall, e.open)
		}
		n, err := unix.EpollWait(e.epoll, e.events, timeout)
		if err != nil && err != unix.EINTR {
			return err
		}
		for _, event := range e.events[:max(n, 0)] {
			if err := e.handle(int(event.Fd), event.Events); err != nil {
				return err
			}
		}
	}
}

func (e *Echo) handle(i int, events uint32) error {
	c := &e.conns[i]
	if events&unix.EPOLLOUT != 0 && c.blocked {
		if err := e.write(i); err != nil {
			return err
		}
	}
	if events&^unix.EPOLLOUT == 0 {
		return nil
	}
	n, errno := tryRead(c.fd, e.buf)
	switch {
	case errno == unix.EAGAIN || errno == unix.EINTR:
		return nil
	case errno != 0:
		return errno
	case n == 0:
		return errClosed
	}
	if err := e.received(c, e.buf[:n]); err != nil {
		return err
	}
	switch {
	case !e.sending:
	case e.opt.Lockstep:
		if e.open == 0 {
			return e.start()
		}
	case e.opt.InFlight-c.due >= e.opt.Refill:
		return e.send(i, e.opt.InFlight-c.due)
	}
	return nil
}

// received accounts for p, all of which is to be what an echo sends.
func (e *Echo) received(c *echoConn, p []byte) error {
	if e.checking {
		at := c.recvAt
		for rest := p; len(rest) > 0; {
			n := min(len(rest), len(e.m.In)-at)
			if want := e.m.In[at : at+n]; !bytes.Equal(rest[:n], want) {
				return e.differs(at, rest[:n], want)
			}
			rest = rest[n:]
			at = (at + n) % len(e.m.In)
		}
	}
	end := c.recvAt + len(p)
	k := end/e.m.InLen - c.recvAt/e.m.InLen
	c.recvAt = end % len(e.m.In)
	c.due -= k
	if c.due < 0 || c.due == 0 && c.recvAt%e.m.InLen != 0 {
		return errors.New("more bytes than an echo has")
	}
	e.open -= k
	e.answered += int64(k)
	return nil
}

func (e *Echo) differs(at int, got, want []byte) error {
	i := 0
	for got[i] == want[i] {
		i++
	}
	return fmt.Errorf("not an echo: byte %d of message %d is %#x, it should be %#x (frames of %d bytes)",
		(at+i)%e.m.InLen, (at+i)/e.m.InLen+1, got[i], want[i], e.m.InLen)
}

// send sends k messages more on connection i.
func (e *Echo) send(i, k int) error {
	c := &e.conns[i]
	c.due += k
	e.open += k
	c.unsent += k * e.m.OutLen
	if c.blocked {
		return nil
	}
	return e.write(i)
}

func (e *Echo) write(i int) error {
	c := &e.conns[i]
	for c.unsent > 0 {
		n, errno := tryWrite(c.fd, e.m.Out[c.sendAt:min(c.sendAt+c.unsent, len(e.m.Out))])
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			return e.watch(i, true)
		case errno != 0:
			return errno
		}
		c.unsent -= n
		c.sendAt = (c.sendAt + n) % e.m.OutCycle
	}
	return e.watch(i, false)
}

// watch says whether room to write is waited for.
func (e *Echo) watch(i int, blocked bool) error {
	c := &e.conns[i]
	if c.blocked == blocked {
		return nil
	}
	c.blocked = blocked
	event := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(i)}
	if blocked {
		event.Events |= unix.EPOLLOUT
	}
	return unix.EpollCtl(e.epoll, unix.EPOLL_CTL_MOD, c.fd, &event)
}
