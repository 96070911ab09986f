package websocket

import (
	"bytes"
	"errors"
	"net"
	"testing"
)

func smokePair(t testing.TB, tcp bool) (client, server *Conn) {
	var a, b net.Conn
	if tcp {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		a, err = net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		b, err = l.Accept()
		if err != nil {
			t.Fatal(err)
		}
	} else {
		a, b = net.Pipe()
	}
	return newConn(a, connConfig{client: true, readLimit: -1}), newConn(b, connConfig{readLimit: -1})
}

func TestSmoke(t *testing.T) {
	for _, tcp := range []bool{true, false} {
		c, s := smokePair(t, tcp)
		done := make(chan error, 1)
		go func() {
			var buf []byte
			for {
				op, p, err := s.ReadMessage(buf[:0])
				if err != nil {
					done <- err
					return
				}
				buf = p
				if err := s.WriteMessage(op, p); err != nil {
					done <- err
					return
				}
			}
		}()
		for _, n := range []int{0, 1, 125, 126, 65535, 65536, 1 << 20, 5 << 20} {
			msg := bytes.Repeat([]byte("x"), n)
			if err := c.WriteMessage(OpText, msg); err != nil {
				t.Fatal(err)
			}
			op, p, err := c.ReadMessage(nil)
			if err != nil || op != OpText || !bytes.Equal(p, msg) {
				t.Fatal(n, op, len(p), err)
			}
		}
		if err := c.CloseWithStatus(3000, "bye"); err != nil {
			t.Fatal(err)
		}
		err := <-done
		var ce *CloseError
		if !errors.As(err, &ce) || ce.Code != 3000 || ce.Reason != "bye" {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkEchoTCP(b *testing.B) {
	c, s := smokePair(b, true)
	go func() {
		var buf []byte
		for {
			op, p, err := s.ReadMessage(buf[:0])
			if err != nil {
				return
			}
			buf = p
			if s.WriteMessage(op, p) != nil {
				return
			}
		}
	}()
	msg := make([]byte, 128)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		c.WriteMessage(OpBinary, msg)
		_, buf, _ = c.ReadMessage(buf[:0])
	}
	c.Close()
}
