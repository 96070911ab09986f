package load

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Handshakes opens connections to a server for at least d, atOnce of them
// under way at any time, each dropped once the handshake is done, and returns
// how many there were. The caller has checked the server's answer with
// [NewEcho]; here its first line and its Sec-WebSocket-Accept are.
func Handshakes(addr string, atOnce int, d time.Duration) (int64, error) {
	to, err := sockaddr(addr)
	if err != nil {
		return 0, err
	}
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return 0, err
	}
	h := dialing{to: to, epoll: epoll, handshake: newHandshake(addr), open: map[int]bool{}}
	defer h.close()
	for range atOnce {
		if err := h.dial(); err != nil {
			return 0, err
		}
	}
	return h.run(d)
}

type dialing struct {
	to        *unix.SockaddrInet4
	epoll     int
	handshake handshake
	open      map[int]bool // the sockets
	buf       [4096]byte
}

func (h *dialing) dial() error {
	fd, err := connect(h.to) // to loopback this takes no time
	if err != nil {
		return err
	}
	h.open[fd] = true
	if _, err := (socket{fd: fd}).Write(h.handshake.request); err != nil {
		return err
	}
	return unix.EpollCtl(h.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

func (h *dialing) run(d time.Duration) (int64, error) {
	events := make([]unix.EpollEvent, 256)
	done := int64(0)
	begin := time.Now()
	last := begin
	for {
		now := time.Now()
		if now.Sub(begin) >= d {
			return done, nil
		}
		if now.Sub(last) > stall {
			return done, fmt.Errorf("no answer to a handshake for %v", stall)
		}
		n, err := unix.EpollWait(h.epoll, events, 100)
		if err != nil && err != unix.EINTR {
			return done, err
		}
		for _, event := range events[:max(n, 0)] {
			answered, err := h.read(int(event.Fd))
			if err != nil {
				return done, err
			}
			if answered {
				done++
				last = now
				if err := h.dial(); err != nil {
					return done, err
				}
			}
		}
	}
}

// read reads what has come, which is a whole answer in practice; where it is
// not, the beginning is not read twice but left in the socket.
func (h *dialing) read(fd int) (answered bool, err error) {
	n, _, err := unix.Recvfrom(fd, h.buf[:], unix.MSG_PEEK)
	if err == unix.EINTR {
		return false, nil // epoll says so again
	}
	if err != nil {
		return false, err
	}
	if n == 0 {
		return false, errClosed
	}
	answer := h.buf[:n]
	if !bytes.Contains(answer, endOfHeader) {
		if n == len(h.buf) {
			return false, errors.New("handshake without an end")
		}
		return false, nil
	}
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 101 ")) || !bytes.Contains(answer, []byte(h.handshake.accept)) {
		return false, fmt.Errorf("handshake answered with %q", answer)
	}
	delete(h.open, fd)
	drop(fd)
	return true, nil
}

func (h *dialing) close() {
	for fd := range h.open {
		drop(fd)
	}
	unix.Close(h.epoll)
}
