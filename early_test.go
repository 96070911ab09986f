package websocket

import (
	"bytes"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// TestEarlyBytes hands a Conn the beginning of a conversation as bytes that
// came with the handshake, cut at every place; the rest follows.
func TestEarlyBytes(t *testing.T) {
	inTalks(t, func(t *testing.T, talk conversation, client bool, connect connectFunc) {
		wire := talk.wire(&peer{t: t, client: !client})
		for cut := 0; cut <= len(wire); cut++ {
			way := readings[cut%len(readings)]
			how := "with " + strconv.Itoa(cut) + " early bytes and " + way.name
			early := bytes.Clone(wire[:cut])
			cfg := talk.config(client)
			cfg.early = early
			c, p := newPeer(t, connect, cfg)
			clear(early) // they are the caller's, and may be used again
			r := &reading{c: c}
			ended := async(func() error { return way.read(r) })
			p.send(wire[cut:])
			talk.answers(p, how)
			p.close()
			err := <-ended
			talk.check(t, r, err, how)
			wantEnded(t, c, err)
		}
	})
}

// TestManyEarlyBytes: there may be more of them than a read buffer holds.
func TestManyEarlyBytes(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", readBufferSize/8) // twice the buffer
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		p := &peer{t: t, client: !client}
		var wire []byte
		for _, payload := range []string{"before", long, "between", long, "after"} {
			wire = append(wire, p.frame(true, OpText, payload)...)
		}
		for _, cut := range []int{
			readBufferSize - 1, readBufferSize, readBufferSize + 1,
			len(long), 2*len(long) + 25, len(wire) - 7, len(wire),
		} {
			c, p := newPeer(t, connect, connConfig{client: client, early: wire[:cut]})
			p.send(wire[cut:])
			for _, payload := range []string{"before", long, "between", long, "after"} {
				wantMessage(t, c, OpText, payload, strconv.Itoa(cut)+" bytes came early")
			}
		}
	})
}

// A scrambler is a TCP connection that changes every byte on its way, as one
// that throttles, or reads a PROXY header, has methods of its own.
type scrambler struct {
	*net.TCPConn
	reads, writes atomic.Int64
}

func (s *scrambler) Read(p []byte) (int, error) {
	n, err := s.TCPConn.Read(p)
	s.reads.Add(int64(n))
	for i := range p[:n] {
		p[i] ^= 0x55
	}
	return n, err
}

func (s *scrambler) Write(p []byte) (int, error) {
	scrambled := bytes.Clone(p)
	for i := range scrambled {
		scrambled[i] ^= 0x55
	}
	n, err := s.TCPConn.Write(scrambled)
	s.writes.Add(int64(n))
	return n, err
}

// overScrambler connects through TCP with methods that must not be passed
// over.
func overScrambler(t testing.TB) (client, server net.Conn) {
	client, server = overTCP(t)
	return &scrambler{TCPConn: client.(*net.TCPConn)}, &scrambler{TCPConn: server.(*net.TCPConn)}
}

// TestEmbeddedTCPConn: the methods of a type that embeds *net.TCPConn are
// used, for every byte in both directions.
func TestEmbeddedTCPConn(t *testing.T) {
	inBothRoles(t, func(t *testing.T, client bool) {
		c, p := newPeer(t, overScrambler, connConfig{client: client})
		nc := c.NetConn().(*scrambler)
		var sent, received int
		for _, size := range []int{0, 5, 200, maxAppend + 1, 1 << 20} {
			payload := strings.Repeat("x", size)
			frame := p.frame(true, OpText, payload)
			received += len(frame)
			sent += len(rawFrame(FrameHeader{Fin: true, Opcode: OpText}, payload, client))
			p.send(frame)
			wantMessage(t, c, OpText, payload)
			written := async(func() error { return c.WriteMessage(OpText, []byte(payload)) })
			p.wantFrame(OpText, payload, "the connection's own Write was used")
			if err := <-written; err != nil {
				t.Fatal(err)
			}
		}
		if r, w := nc.reads.Load(), nc.writes.Load(); r != int64(received) || w != int64(sent) {
			t.Errorf("%d bytes were read and %d written through the connection's methods, want %d and %d", r, w, received, sent)
		}
	})
}
