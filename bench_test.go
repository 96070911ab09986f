package websocket

import (
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// For benchstat:
//
//	go test -run '^$' -bench . -count 10

var benchSizes = []int{16, 128, 1 << 10, 16 << 10, 128 << 10, 1 << 20}

func sizeName(n int) string {
	switch {
	case n >= 1<<20:
		return fmt.Sprintf("%dMiB", n>>20)
	case n >= 1<<10:
		return fmt.Sprintf("%dKiB", n>>10)
	}
	return fmt.Sprintf("%dB", n)
}

func benchRoles(b *testing.B, bench func(b *testing.B, client bool)) {
	b.Run("server", func(b *testing.B) { bench(b, false) })
	b.Run("client", func(b *testing.B) { bench(b, true) })
}

func benchPerSize(b *testing.B, bench func(b *testing.B, client bool, size int)) {
	benchRoles(b, func(b *testing.B, client bool) {
		for _, size := range benchSizes {
			b.Run(sizeName(size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				bench(b, client, size)
			})
		}
	})
}

// A memoryConn takes all that is written and brings the same bytes again and
// again.
type memoryConn struct {
	net.Conn // for its addresses
	input    []byte
	pos      int
}

func (c *memoryConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c *memoryConn) Close() error                     { return nil }
func (c *memoryConn) SetReadDeadline(time.Time) error  { return nil }
func (c *memoryConn) SetWriteDeadline(time.Time) error { return nil }

func (c *memoryConn) Read(p []byte) (n int, err error) {
	if len(c.input) == 0 {
		return 0, io.EOF
	}
	for n < len(p) {
		m := copy(p[n:], c.input[c.pos:])
		n += m
		c.pos = (c.pos + m) % len(c.input)
	}
	return n, nil
}

// benchConn returns a Conn to whose reader the same message comes again and
// again.
func benchConn(client bool, op Opcode, size int) *Conn {
	payload := make([]byte, size)
	for i := range payload {
		payload[i] = 'a' + byte(i%26)
	}
	frame := rawFrame(FrameHeader{Fin: true, Opcode: op}, string(payload), !client)
	return newConn(&memoryConn{input: frame}, connConfig{client: client, readLimit: -1})
}

func BenchmarkWriteMessage(b *testing.B) {
	benchPerSize(b, func(b *testing.B, client bool, size int) {
		c := benchConn(client, OpBinary, 0)
		p := make([]byte, size)
		for b.Loop() {
			if err := c.WriteMessage(OpBinary, p); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkNextWriter(b *testing.B) {
	benchPerSize(b, func(b *testing.B, client bool, size int) {
		c := benchConn(client, OpBinary, 0)
		p := make([]byte, size)
		for b.Loop() {
			w, err := c.NextWriter(OpBinary)
			if err != nil {
				b.Fatal(err)
			}
			w.Write(p)
			if err := w.Close(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkReadMessage(b *testing.B) {
	for _, op := range []Opcode{OpBinary, OpText} {
		b.Run(op.String(), func(b *testing.B) {
			benchPerSize(b, func(b *testing.B, client bool, size int) {
				c := benchConn(client, op, size)
				var buf []byte
				for b.Loop() {
					var err error
					if _, buf, err = c.ReadMessage(buf[:0]); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

func BenchmarkNextReader(b *testing.B) {
	benchPerSize(b, func(b *testing.B, client bool, size int) {
		c := benchConn(client, OpBinary, size)
		p := make([]byte, 32<<10)
		for b.Loop() {
			_, r, err := c.NextReader()
			for err == nil {
				_, err = r.Read(p)
			}
			if err != io.EOF {
				b.Fatal(err)
			}
		}
	})
}

// benchCompressed runs bench without and with context takeover, for messages of
// 1 KiB as applications send them.
func benchCompressed(b *testing.B, bench func(b *testing.B, client bool, o Compression, messages [][]byte)) {
	messages := newCorpus(1).messages(500, 1<<10)
	for _, mode := range []string{"no takeover", "takeover"} {
		b.Run(mode, func(b *testing.B) {
			benchRoles(b, func(b *testing.B, client bool) {
				b.SetBytes(1 << 10)
				b.ReportAllocs()
				bench(b, client, bothModes[mode], messages)
			})
		})
	}
}

// BenchmarkWriteCompressed reports what fraction of the size remains as ratio.
func BenchmarkWriteCompressed(b *testing.B) {
	benchCompressed(b, func(b *testing.B, client bool, o Compression, messages [][]byte) {
		c := newConn(&memoryConn{}, connConfig{client: client, deflate: agreed(&o, client)})
		for i := 0; b.Loop(); i++ {
			if err := c.WriteMessage(OpText, messages[i%len(messages)]); err != nil {
				b.Fatal(err)
			}
		}
		s := c.Stats()
		b.ReportMetric(float64(s.CompressedBytesSent)/float64(s.BytesSent), "ratio")
	})
}

func BenchmarkReadCompressed(b *testing.B) {
	benchCompressed(b, func(b *testing.B, client bool, o Compression, messages [][]byte) {
		// The same messages again and again, each referring to those before:
		// what goes back over the beginning finds the same as the last time.
		var wire []byte
		z := newDeflater(defaultLevel, maxWindowBits)
		for range 2 {
			wire = wire[:0]
			for _, m := range messages {
				if !o.ContextTakeover {
					z.forget()
				}
				wire = append(wire, rawFrame(FrameHeader{Fin: true, RSV1: true, Opcode: OpText}, string(z.appendMessage(nil, m)), !client)...)
			}
		}
		c := newConn(&memoryConn{input: wire}, connConfig{client: client, deflate: agreed(&o, client)})
		for _, m := range messages { // what the first would refer to
			c.deflate.inflater.remember(m)
		}
		var buf []byte
		for b.Loop() {
			var err error
			if _, buf, err = c.ReadMessage(buf[:0]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// benchEcho sends messages from a client to a server that echoes them, over
// TCP, with this many on the way.
func benchEcho(b *testing.B, size, inFlight int) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	client, server := newPair(b, overTCP, connConfig{readLimit: -1})
	ended := async(func() error { return echo(server) })
	p := make([]byte, size)
	// All in one write, so that what is measured is the server.
	m := make([]byte, 0, inFlight*(size+maxHeaderSize))
	for range inFlight {
		m = append(m, rawFrame(FrameHeader{Fin: true, Opcode: OpBinary}, string(p), true)...)
	}
	var buf []byte
	for i := 0; b.Loop(); i++ {
		if i%inFlight != 0 {
			continue // a share of the last round
		}
		if _, err := client.NetConn().Write(m); err != nil {
			b.Fatal(err)
		}
		for range inFlight {
			var err error
			if _, buf, err = client.ReadMessage(buf[:0]); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.StopTimer()
	client.Close()
	<-ended
}

func BenchmarkEchoPingPong(b *testing.B) {
	for _, size := range benchSizes {
		b.Run(sizeName(size), func(b *testing.B) { benchEcho(b, size, 1) })
	}
}

func BenchmarkEcho16InFlight(b *testing.B) {
	for _, size := range []int{16, 128, 1 << 10} {
		b.Run(sizeName(size), func(b *testing.B) { benchEcho(b, size, 16) })
	}
}

// BenchmarkConcurrentWriters has 8 goroutines write to one connection, whose
// peer reads.
func BenchmarkConcurrentWriters(b *testing.B) {
	benchRoles(b, func(b *testing.B, client bool) {
		for _, size := range []int{128, 16 << 10} {
			b.Run(sizeName(size), func(b *testing.B) {
				b.SetBytes(int64(size))
				b.ReportAllocs()
				writer, reader := newPair(b, overTCP, connConfig{})
				if !client {
					writer, reader = reader, writer
				}
				go io.Copy(io.Discard, reader.NetConn())
				const writers = 8
				p := make([]byte, size)
				var all sync.WaitGroup
				b.ResetTimer()
				for i := range writers {
					all.Go(func() {
						for range (b.N + i) / writers {
							if err := writer.WriteMessage(OpBinary, p); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				all.Wait()
				b.StopTimer()
				writer.CloseNow()
			})
		}
	})
}

// BenchmarkPing is a Ping and its Pong over TCP.
func BenchmarkPing(b *testing.B) {
	b.ReportAllocs()
	client, server := newPair(b, overTCP, connConfig{})
	go readError(client)
	go readError(server)
	ctx := b.Context()
	for b.Loop() {
		if err := client.Ping(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
