package websocket

import (
	"io"
	"net"
	"testing"
)

// An ownEndpoint makes connections to our own server, or from our own client,
// which echo.
type ownEndpoint struct {
	role string
	l    net.Listener
}

func newOwnEndpoint(t *testing.T, role string) *ownEndpoint {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &ownEndpoint{role, l}
}

// connect gives r a connection to an endpoint that echoes, by NextReader or
// by ReadMessage. The channel yields how that ended.
func (e *ownEndpoint) connect(r *wireRun, tcp, streams bool) <-chan callerEnd {
	ended := make(chan callerEnd, 1)
	var theirs net.Conn
	if tcp {
		r.handshake = false
		r.nc, _ = net.Dial("tcp", e.l.Addr().String())
		theirs, _ = e.l.Accept()
	} else {
		r.nc, theirs = segmentPipe()
	}
	limit := r.v.limit
	if limit == 0 {
		limit = -1
	}
	c := newConn(theirs, connConfig{client: e.role == "client", readLimit: limit})
	go func() { ended <- echo(c, streams) }()
	return ended
}

// echo sends back every message until the connection ends, and then looks
// what later calls return.
func echo(c *Conn, streams bool) (end callerEnd) {
	if streams {
		end.read = echoStreams(c)
	} else {
		end.read = echoMessages(c)
	}
	_, _, end.again = c.ReadMessage(nil)
	end.write = c.WriteMessage(OpText, nil)
	c.CloseNow()
	return end
}

func echoMessages(c *Conn) error {
	var buf []byte
	for {
		op, p, err := c.ReadMessage(buf[:0])
		if err != nil {
			return err
		}
		// An error in writing is followed by one in reading, which says why.
		c.WriteMessage(op, p)
		buf = p
	}
}

func echoStreams(c *Conn) error {
	buf := make([]byte, 3000)
	for {
		op, r, err := c.NextReader()
		if err != nil {
			return err
		}
		w, err := c.NextWriter(op)
		if err != nil {
			// Read on, to learn why.
			if _, err := io.Copy(io.Discard, r); err != nil {
				return err
			}
			continue
		}
		for {
			n, err := r.Read(buf)
			w.Write(buf[:n])
			if err == io.EOF {
				break
			}
			if err != nil {
				return err
			}
		}
		w.Close()
	}
}
