package websocket

import (
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"sync"
	"testing"
)

// TestBroadcast sends to thousands of connections, some of which never read:
// the others get everything in order, however far those are behind, and what
// waits for those is bounded by their MaxQueued.
func TestBroadcast(t *testing.T) {
	connections, never := 2000, 100
	if room := descriptorLimit(2*connections+200) - 200; room < 2*connections {
		connections, never = room/2, room/40
		t.Logf("this system allows only %d sockets: scaled down to %d connections", room, connections)
	}
	const (
		maxQueued = 64 << 10
		size      = 1 << 10
		messages  = 140 // for a slow one that is more than its queue
		window    = 20  // how far the fast ones may be behind
	)
	u := Upgrader{MaxQueued: maxQueued}
	defer u.Shutdown(t.Context())

	type member struct {
		c       *Conn
		slow    bool // never reads
		refused int
	}
	var room []*member
	var fast sync.WaitGroup
	received := make(chan int, connections) // numbers, at the end of each window
	var clients []net.Conn
	for i := range connections {
		client, server := overTCP(t)
		if i < never {
			// So that the queue fills, and not the system's buffers.
			client.(*net.TCPConn).SetReadBuffer(4 << 10)
			server.(*net.TCPConn).SetWriteBuffer(4 << 10)
		}
		room = append(room, &member{c: u.Server(server), slow: i < never})
		clients = append(clients, client)
	}
	for _, client := range clients[never:] {
		fast.Go(func() {
			c := new(Dialer).Client(client)
			defer c.CloseNow()
			var buf []byte
			for want := range messages {
				_, p, err := c.ReadMessage(buf[:0])
				if err != nil || len(p) != size || binary.BigEndian.Uint32(p) != uint32(want) {
					t.Errorf("message %s came, error %v, want number %d", brief(p), err, want)
					received <- messages // so that nobody waits
					return
				}
				buf = p
				if want%window == window-1 {
					received <- want
				}
			}
			if _, _, err := c.ReadMessage(buf[:0]); !errors.Is(err, &CloseError{Code: StatusGoingAway}) {
				t.Errorf("reading ended with %v, want 1001", err)
			}
		})
	}
	var before int64
	for n := range messages {
		members := room
		if n < window {
			members = room[never:] // until all have the memory that they need
		} else if n == window {
			before = heapInUse()
		}
		p := make([]byte, size)
		binary.BigEndian.PutUint32(p, uint32(n))
		m := prepared(t, OpBinary, p)
		for _, member := range members {
			switch err := member.c.Enqueue(m); {
			case err == ErrQueueFull && member.slow:
				member.refused++
			case err != nil:
				t.Fatalf("Enqueue returned %v (the client never reads: %v)", err, member.slow)
			}
		}
		if n%window == window-1 {
			for range connections - never {
				<-received
			}
		}
		if t.Failed() {
			return
		}
	}
	// Besides its queue each has a pooled buffer on its way, with the message at
	// which the system's buffers were full.
	const beside, noise = 4<<10 + 1<<10, 256 << 10
	if grown, most := heapInUse()-before, int64(never)*(maxQueued+beside)+noise; grown > most {
		t.Errorf("memory has grown by %d bytes, want at most the %d that %d slow connections may need", grown, most, never)
	} else {
		t.Logf("memory has grown by %d KiB, the slow connections may queue %d KiB", grown>>10, most>>10)
	}
	refused := 0
	for i, member := range room {
		refused += member.refused
		waiting := member.c.queuedBytes()
		if full := waiting > maxQueued-size-maxHeaderSize; member.slow != full || member.slow != (member.refused > 0) || waiting > maxQueued {
			t.Errorf("connection %d has %d bytes waiting and was refused %d messages (it never reads: %v)", i, waiting, member.refused, member.slow)
		}
	}
	t.Logf("%d of %d messages were refused, all to the slow", refused, never*messages)

	for _, member := range room[:never] {
		member.c.CloseNow() // what a server does with them
	}
	if err := u.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown returned %v, want nil: only those are left that read", err)
	}
	fast.Wait()
	runtime.KeepAlive(room)
}

func (c *Conn) queuedBytes() int64 {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return int64(len(c.out.frames())) + c.out.leaving + c.out.queued()
}
