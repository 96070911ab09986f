package load

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// handshakeTimeout bounds each step of setting a connection up, in seconds.
const handshakeTimeout = 20

func sockaddr(addr string) (*unix.SockaddrInet4, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	ip := net.ParseIP(host).To4()
	if ip == nil {
		return nil, fmt.Errorf("%s: an IPv4 address is needed", addr)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	return &unix.SockaddrInet4{Port: int(n), Addr: [4]byte(ip)}, nil
}

// connect returns a blocking socket with a timeout.
func connect(to *unix.SockaddrInet4) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	err = errors.Join(
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: handshakeTimeout}),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: handshakeTimeout}),
	)
	if err == nil {
		err = unix.Connect(fd, to)
	}
	if err == unix.EINTR {
		err = connected(fd) // it goes on by itself
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// connected waits for the end of a connect that a signal has interrupted.
func connected(fd int) error {
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for {
		n, err := unix.Poll(fds, handshakeTimeout*1000)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return err
		case n == 0:
			return unix.ETIMEDOUT
		}
		errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && errno != 0 {
			err = syscall.Errno(errno)
		}
		return err
	}
}

// drop closes fd with a reset, so that no port is kept in TIME_WAIT.
func drop(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	unix.Close(fd)
}

// A socket is a blocking one, with a timeout, as a reader and writer.
type socket struct {
	fd int

	// spin has it wait by asking the kernel again and again, so that who is
	// at the other end does not pay for waking us.
	spin bool
}

func (s socket) Read(p []byte) (int, error) {
	if err := s.wait(unix.POLLIN); err != nil {
		return 0, err
	}
	for {
		n, err := unix.Read(s.fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, err
		case n == 0:
			return 0, errClosed
		default:
			return n, nil
		}
	}
}

func (s socket) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		if err := s.wait(unix.POLLOUT); err != nil {
			return n, err
		}
		// What has no room does not block where it has been waited for.
		flags := unix.MSG_NOSIGNAL
		if s.spin {
			flags |= unix.MSG_DONTWAIT
		}
		m, err := unix.SendmsgN(s.fd, p[n:], nil, nil, flags)
		switch {
		case err == unix.EINTR || err == unix.EAGAIN && s.spin:
		case err != nil:
			return n, err
		default:
			n += m
		}
	}
	return len(p), nil
}

func (s socket) wait(events int16) error {
	if !s.spin {
		return nil
	}
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: events}}
	for begin := time.Now(); time.Since(begin) < handshakeTimeout*time.Second; {
		n, err := unix.Poll(fds, 0)
		if n > 0 || err != nil && err != unix.EINTR {
			return err
		}
	}
	return errors.New("nothing happened for too long")
}

var errClosed = errors.New("the server closed the connection")

// tryRead and tryWrite are the system calls alone, for sockets that never
// block: Go's scheduler need not hear of them.
func tryRead(fd int, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}

func tryWrite(fd int, p []byte) (int, syscall.Errno) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), errno
}
