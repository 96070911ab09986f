package peers

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

const gobwasModule = "github.com/gobwas/ws"

var gobwasPeers = []*Peer{
	{
		Name: "gobwas", Style: "low level, frames through kept buffers, loop in the handler",
		Module: gobwasModule, Kind: Go,
		Serve: serveHTTP(func(w http.ResponseWriter, r *http.Request) {
			nc, rw, _, err := ws.UpgradeHTTP(r, w)
			if err != nil {
				return // it has answered
			}
			defer nc.Close()
			(&gobwasFrames{r: rw.Reader, w: nc, state: ws.StateServerSide}).echo()
		}),
		Server: gobwasServer,
		Client: gobwasClient,
		Mask:   func(b []byte, key [4]byte) { ws.Cipher(b, key, 0) },
	},
	{
		Name: "gobwas-util", Style: "wsutil.ReadClientData, WriteServerMessage",
		Module: gobwasModule, Kind: Go, Variant: true, ChecksText: true,
		Serve: serveHTTP(func(w http.ResponseWriter, r *http.Request) {
			nc, rw, _, err := ws.UpgradeHTTP(r, w)
			if err != nil {
				return
			}
			go gobwasUtilLoop(nc, rw.Reader)
		}),
		Server: gobwasUtilServer,
		Client: gobwasUtilClient,
	},
	{
		Name: "gobwas-lean", Style: "no net/http, own goroutine, no read buffer, pooled messages",
		Module: gobwasModule, Kind: Go, Lean: true,
		Serve: func(ln net.Listener) error {
			for {
				nc, err := ln.Accept()
				if err != nil {
					return err
				}
				go gobwasUpgrade(nc)
			}
		},
	},
}

// gobwasFrames reads and writes frames as the library's low level asks its
// users to do: one buffer for reading, and one for the message, which leaves
// room for the header so that a frame is written at once.
type gobwasFrames struct {
	r      io.Reader
	w      io.Writer
	state  ws.State
	header [ws.MaxHeaderSize]byte
	frame  []byte // room for the header, then the payload
	room   headerRoom
	size   int // of the payload
}

// next reads a frame, unmasked.
func (f *gobwasFrames) next() (ws.Header, error) {
	h, err := ws.ReadHeaderBuffer(f.r, f.header[:])
	if err != nil {
		return h, err
	}
	if err := ws.CheckHeader(h, f.state); err != nil {
		return h, err
	}
	if h.Length > maxMessage {
		return h, ws.ErrHeaderLengthUnexpected
	}
	switch {
	case h.OpCode.IsControl():
	case h.Fin:
		f.state = f.state.Clear(ws.StateFragmented)
	default:
		f.state = f.state.Set(ws.StateFragmented)
	}
	f.size = int(h.Length)
	f.frame = grow(f.frame, ws.MaxHeaderSize+f.size)
	payload := f.frame[ws.MaxHeaderSize:]
	if _, err := io.ReadFull(f.r, payload); err != nil {
		return h, err
	}
	if h.Masked {
		ws.Cipher(payload, h.Mask, 0)
	}
	return h, nil
}

// send writes the payload in f.frame under h, masked where h says so.
func (f *gobwasFrames) send(h ws.Header) error {
	begin := ws.MaxHeaderSize - ws.HeaderSize(h)
	if h.Masked {
		ws.Cipher(f.frame[ws.MaxHeaderSize:], h.Mask, 0)
	}
	f.room.b = f.frame[begin:begin]
	if err := ws.WriteHeaderBuffer(&f.room, h, f.header[:]); err != nil {
		return err
	}
	_, err := f.w.Write(f.frame[begin : ws.MaxHeaderSize+f.size])
	return err
}

// headerRoom is a writer to the room before a payload.
type headerRoom struct{ b []byte }

func (w *headerRoom) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

// echo answers frames until the connection ends.
func (f *gobwasFrames) echo() {
	for f.echoOne() == nil {
	}
}

func (f *gobwasFrames) echoOne() error {
	h, err := f.next()
	if err != nil {
		return err
	}
	h.Masked = false
	switch h.OpCode {
	case ws.OpPong:
		return nil
	case ws.OpPing:
		h.OpCode = ws.OpPong
	case ws.OpClose:
		f.send(h)
		return io.EOF
	}
	return f.send(h)
}

func gobwasUpgrade(nc net.Conn) {
	defer nc.Close()
	if _, err := ws.Upgrade(nc); err != nil {
		return
	}
	// The wait is for two bytes, with no buffer of any size at hand.
	var first [2]byte
	state := ws.StateServerSide
	for {
		if _, err := io.ReadFull(nc, first[:]); err != nil {
			return
		}
		f := framesPool.Get().(*gobwasFrames)
		f.r, f.w, f.state = &prefixed{first, 0, nc}, nc, state
		err := f.echoOne()
		state = f.state
		f.r, f.w = nil, nil
		framesPool.Put(f)
		if err != nil {
			return
		}
	}
}

var framesPool = sync.Pool{New: func() any { return new(gobwasFrames) }}

// prefixed reads two bytes and then from r.
type prefixed struct {
	first [2]byte
	n     int
	r     io.Reader
}

func (p *prefixed) Read(b []byte) (int, error) {
	if p.n < len(p.first) {
		n := copy(b, p.first[p.n:])
		p.n += n
		return n, nil
	}
	return p.r.Read(b)
}

type readWriter struct {
	io.Reader
	io.Writer
}

func gobwasUtilLoop(nc net.Conn, br *bufio.Reader) {
	defer nc.Close()
	rw := readWriter{br, nc}
	for {
		p, op, err := wsutil.ReadClientData(rw)
		if err != nil {
			return
		}
		if wsutil.WriteServerMessage(nc, op, p) != nil {
			return
		}
	}
}

type gobwasEndpoint struct {
	in  gobwasFrames
	mu  sync.Mutex // the library allows one writer at a time
	out gobwasFrames
}

func gobwasServer(nc net.Conn) (Endpoint, error) {
	br, err := gobwasAccept(nc)
	return newGobwasEndpoint(nc, br, ws.StateServerSide), err
}

func gobwasClient(nc net.Conn) (Endpoint, error) {
	br, err := gobwasDial(nc)
	return newGobwasEndpoint(nc, br, ws.StateClientSide), err
}

func gobwasAccept(nc net.Conn) (*bufio.Reader, error) {
	w, r := upgradeOn(nc)
	_, rw, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return nil, err
	}
	return rw.Reader, nil
}

func gobwasDial(nc net.Conn) (*bufio.Reader, error) {
	u, err := url.Parse(clientURL)
	if err != nil {
		return nil, err
	}
	d := ws.Dialer{NetDial: func(context.Context, string, string) (net.Conn, error) { return nc, nil }}
	br, _, err := d.Upgrade(nc, u)
	if br == nil {
		br = bufio.NewReader(nc)
	}
	return br, err
}

func newGobwasEndpoint(nc net.Conn, br *bufio.Reader, state ws.State) *gobwasEndpoint {
	return &gobwasEndpoint{
		in:  gobwasFrames{r: br, state: state},
		out: gobwasFrames{w: nc, state: state},
	}
}

func (e *gobwasEndpoint) Receive(each func(n int) bool) error {
	for {
		if _, err := e.in.next(); err != nil {
			return err
		}
		if !each(e.in.size) {
			return nil
		}
	}
}

func (e *gobwasEndpoint) Send(text bool, p []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := ws.Header{Fin: true, OpCode: ws.OpBinary, Length: int64(len(p))}
	if text {
		h.OpCode = ws.OpText
	}
	if e.out.state.ClientSide() {
		h.Masked = true
		h.Mask = ws.NewMask()
	}
	e.out.size = len(p)
	e.out.frame = grow(e.out.frame, ws.MaxHeaderSize+len(p))
	copy(e.out.frame[ws.MaxHeaderSize:], p)
	return e.out.send(h)
}

type gobwasUtilEndpoint struct {
	rw    readWriter
	state ws.State
	mu    sync.Mutex
}

func gobwasUtilServer(nc net.Conn) (Endpoint, error) {
	br, err := gobwasAccept(nc)
	return &gobwasUtilEndpoint{rw: readWriter{br, nc}, state: ws.StateServerSide}, err
}

func gobwasUtilClient(nc net.Conn) (Endpoint, error) {
	br, err := gobwasDial(nc)
	return &gobwasUtilEndpoint{rw: readWriter{br, nc}, state: ws.StateClientSide}, err
}

func (e *gobwasUtilEndpoint) Receive(each func(n int) bool) error {
	for {
		p, _, err := wsutil.ReadData(e.rw, e.state)
		if err != nil {
			return err
		}
		if !each(len(p)) {
			return nil
		}
	}
}

func (e *gobwasUtilEndpoint) Send(text bool, p []byte) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	op := ws.OpBinary
	if text {
		op = ws.OpText
	}
	return wsutil.WriteMessage(e.rw, e.state, op, p)
}
