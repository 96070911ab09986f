package websocket

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"testing"
)

// What a peer must not send, as bytes on a connection. Every case is read
// message by message and as streams, in both roles, over every kind of
// connection.

// readAllMessages reads whole messages until there is an error.
func readAllMessages(c *Conn) error {
	for {
		if _, _, err := c.ReadMessage(nil); err != nil {
			return err
		}
	}
}

// readAllStreams reads messages in small pieces until there is an error.
func readAllStreams(c *Conn) error {
	for {
		_, r, err := c.NextReader()
		if err != nil {
			return err
		}
		if _, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{r}, make([]byte, 3)); err != nil {
			return err
		}
	}
}

// skipAllMessages begins messages and reads nothing of them.
func skipAllMessages(c *Conn) error {
	for {
		if _, _, err := c.NextReader(); err != nil {
			return err
		}
	}
}

var waysToRead = []struct {
	name string
	read func(*Conn) error
}{
	{"ReadMessage", readAllMessages},
	{"NextReader", readAllStreams},
	{"skipping", skipAllMessages},
}

// wantFailed: bytes of the peer fail the connection with code. The Close frame
// comes although nothing follows those bytes, and although more follows it
// is the last thing the peer gets, before an orderly end.
func wantFailed(t testing.TB, c *Conn, p *peer, read func(*Conn) error, bytes []byte, code StatusCode, because string) error {
	t.Helper()
	ended := async(func() error { return read(c) })
	p.send(bytes)
	p.wantClose(code, because)
	p.send([]byte("what was under way when the Close frame came"))
	p.wantEOF("the connection has failed: " + because)
	p.close()
	err := <-ended
	wantProtocolError(t, err, code, because)
	wantEnded(t, c, err)
	return err
}

// A violation is a sequence of frames, written as peer.wire takes them, the
// last of which breaks a rule.
type violation struct {
	frames string
	why    string
}

func testViolations(t *testing.T, code StatusCode, cfg connConfig, violations []violation) {
	t.Helper()
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		cfg.client = client
		for _, v := range violations {
			for _, way := range waysToRead {
				c, p := newPeer(t, connect, cfg)
				wantFailed(t, c, p, way.read, p.wire(v.frames), code, v.why+", with "+way.name)
			}
		}
	})
}

func TestServerRefusesFrameWithoutMask(t *testing.T) {
	for _, frame := range []string{"81 05", "81 00", "82 7e 0100", "89 00", "88 02 03e8", "8a 00"} {
		onEvery(t, func(t *testing.T, connect connectFunc) {
			c, p := newPeer(t, connect, connConfig{})
			wantFailed(t, c, p, readAllMessages, unhex(t, frame), StatusProtocolError, "5.1: a client masks all frames")
		})
	}
}

func TestClientRefusesFrameWithMask(t *testing.T) {
	for _, frame := range []string{"81 85 37fa213d", "81 80 00000000", "82 fe 0100 37fa213d", "89 80 37fa213d", "88 82 37fa213d 3412", "8a 80 37fa213d"} {
		onEvery(t, func(t *testing.T, connect connectFunc) {
			c, p := newPeer(t, connect, connConfig{client: true})
			wantFailed(t, c, p, readAllMessages, unhex(t, frame), StatusProtocolError, "5.1: a server must not mask")
		})
	}
}

func TestRefusesLengthWithTopBit(t *testing.T) {
	testViolations(t, StatusProtocolError, connConfig{readLimit: -1}, []violation{
		{"82 7f 8000000000000000", "5.2: the most significant bit MUST be 0"},
		{"82 7f ffffffffffffffff", "5.2: the most significant bit MUST be 0"},
		{"82 7f 8000000000000001", "5.2: the most significant bit MUST be 0"},
		{"02 01 61 | 80 7f 8000000000000000", "5.2: the most significant bit MUST be 0, in a continuation"},
		{"89 7f 8000000000000000", "5.2: the most significant bit MUST be 0, in a Ping"},
	})
}

func TestRefusesLengthPastLimit(t *testing.T) {
	testViolations(t, StatusMessageTooBig, connConfig{}, []violation{
		{"82 7f 7fffffffffffffff", "2^63-1 bytes are more than 1 MiB"},
		{"82 7f 0000000040000000", "1 GiB is more than 1 MiB"},
		{"81 7f 0000000100000000", "2^32 bytes, 0 in 32 bits, are more than 1 MiB"},
		{"82 7f 0000000000100001", "1 MiB and a byte"},
		{"02 01 61 | 00 01 62 | 80 7f 7fffffffffffffff", "fragments add up past an int64"},
		{"02 01 61 | 80 7f 0000000000100000", "fragments add up to 1 MiB and a byte"},
		{"02 01 61 | 8a 01 70 | 80 7f 0000000000100000", "fragments add up to 1 MiB and a byte, with a Pong between"},
	})
}

func TestRefusesFragmentsPastInt(t *testing.T) {
	testViolations(t, StatusMessageTooBig, connConfig{readLimit: -1}, []violation{
		{"02 01 61 | 80 7f 7fffffffffffffff", "fragments add up past an int64"},
		{"02 03 616263 | 00 7f 7ffffffffffffffd", "fragments add up to 2^63"},
	})
}

// TestDeclaredLengthCostsNothing: memory grows with what has come and not with
// what was announced, be it refused or not.
func TestDeclaredLengthCostsNothing(t *testing.T) {
	const gib = "82 7f 0000000040000000"
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for _, test := range []struct {
			limit   int64
			header  string
			payload int // bytes that come
			want    func(testing.TB, error, string)
		}{
			{1 << 30, gib, 0, wantBroken},
			{1 << 30, gib, 1000, wantBroken},
			{1 << 30, gib, 300 << 10, wantBroken},
			{0, gib, 0, wantTooBig},
			{0, "82 7f 7fffffffffffffff", 1000, wantTooBig},
			{-1, "02 01 61 | 80 7f 7fffffffffffffff", 1000, wantTooBig},
		} {
			for _, way := range waysToRead {
				c, p := newPeer(t, connect, connConfig{client: client, readLimit: test.limit})
				wire := append(p.wire(test.header), make([]byte, test.payload)...)
				var before, after runtime.MemStats
				ended := make(chan error, 1)
				runtime.ReadMemStats(&before)
				go func() {
					err := way.read(c)
					runtime.ReadMemStats(&after)
					ended <- err
				}()
				p.send(wire)
				p.waitSent()
				p.closeWrite()
				test.want(t, <-ended, way.name)
				// Growing step by step costs several times the payload in all,
				// and the race detector has pools forget their buffers.
				if got, most := after.TotalAlloc-before.TotalAlloc, uint64(256<<10+5*test.payload); got > most && !raceDetector {
					t.Errorf("%s: %q with %d bytes of payload took %d bytes of memory, want at most %d", way.name, test.header, test.payload, got, most)
				}
			}
		}
	})
}

func wantBroken(t testing.TB, err error, because string) {
	t.Helper()
	wantCloseError(t, err, StatusAbnormalClosure, "", because)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("the error is %v, want one that Is io.ErrUnexpectedEOF: %s", err, because)
	}
}

func wantTooBig(t testing.TB, err error, because string) {
	t.Helper()
	wantProtocolError(t, err, StatusMessageTooBig, because)
	if !errors.Is(err, ErrReadLimit) {
		t.Fatalf("the error is %v, want one that Is ErrReadLimit: %s", err, because)
	}
}

func TestRefusesLengthNotShortest(t *testing.T) {
	testViolations(t, StatusProtocolError, connConfig{}, []violation{
		{"81 7e 007d", "5.2: 125 in 16 bits"},
		{"81 7e 0000", "5.2: 0 in 16 bits"},
		{"82 7f 000000000000ffff", "5.2: 65535 in 64 bits"},
		{"82 7f 0000000000000005", "5.2: 5 in 64 bits"},
		{"82 7f 0000000000000000", "5.2: 0 in 64 bits"},
		{"02 01 61 | 80 7e 0001", "5.2: 1 in 16 bits, in a continuation"},
		{"89 7e 0004", "5.2: 4 in 16 bits, in a Ping"},
		{"88 7f 0000000000000002", "5.2: 2 in 64 bits, in a Close"},
	})
}

func TestRefusesReservedBits(t *testing.T) {
	var all []violation
	for _, op := range []Opcode{OpText, OpBinary, OpPing, OpPong, OpClose} {
		for rsv := 1; rsv < 8; rsv++ {
			all = append(all, violation{fmt.Sprintf("%02x 05", finBit|rsv<<4|int(op)), fmt.Sprintf("5.2: reserved bits %03b in a %v frame", rsv, op)})
		}
	}
	for rsv := 1; rsv < 8; rsv++ {
		all = append(all,
			violation{fmt.Sprintf("01 01 61 | %02x 01", finBit|rsv<<4), "5.2: reserved bits in a continuation"},
			violation{fmt.Sprintf("%02x 01", rsv<<4|int(OpText)), "5.2: reserved bits in a first fragment"})
	}
	testViolations(t, StatusProtocolError, connConfig{}, all)
}

func TestRefusesReservedOpcodes(t *testing.T) {
	var all []violation
	for _, op := range []int{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		all = append(all,
			violation{fmt.Sprintf("%02x 05", finBit|op), fmt.Sprintf("5.2: opcode %d, before any payload", op)},
			violation{fmt.Sprintf("%02x 00", op), fmt.Sprintf("5.2: opcode %d with FIN clear", op)},
			violation{fmt.Sprintf("01 01 61 | %02x 00", finBit|op), fmt.Sprintf("5.2: opcode %d inside a message", op)})
	}
	testViolations(t, StatusProtocolError, connConfig{}, all)
}

func TestRefusesFragmentsOutOfPlace(t *testing.T) {
	testViolations(t, StatusProtocolError, connConfig{}, []violation{
		{"80 05", "5.4: continuation as the first frame"},
		{"80 00", "5.4: empty continuation as the first frame"},
		{"00 05", "5.4: continuation with FIN clear as the first frame"},
		{"81 01 61 | 80 05", "5.4: continuation after a whole message"},
		{"01 01 61 | 80 01 62 | 80 05", "5.4: continuation after the last fragment"},
		{"81 01 61 | 8a 00 | 00 05", "5.4: continuation after a whole message and a Pong"},
		{"01 01 61 | 81 05", "5.4: text inside a fragmented text"},
		{"01 01 61 | 01 05", "5.4: first fragment inside a fragmented text"},
		{"01 01 61 | 82 05", "5.4: binary inside a fragmented text"},
		{"02 01 61 | 82 05", "5.4: binary inside a fragmented binary"},
		{"02 00 | 00 00 | 81 00", "5.4: text inside a message without payload so far"},
		{"01 01 61 | 8a 00 | 81 05", "5.4: text inside a fragmented text, after a Pong"},
	})
}

func TestRefusesControlFrames(t *testing.T) {
	var all []violation
	for _, op := range []Opcode{OpClose, OpPing, OpPong} {
		all = append(all,
			violation{fmt.Sprintf("%02x 00", int(op)), fmt.Sprintf("5.5: fragmented %v", op)},
			violation{fmt.Sprintf("%02x 7d", int(op)), fmt.Sprintf("5.5: fragmented %v, before its payload", op)},
			violation{fmt.Sprintf("%02x 7e 007e", finBit|int(op)), fmt.Sprintf("5.5: %v of 126 bytes", op)},
			violation{fmt.Sprintf("%02x 7e ffff", finBit|int(op)), fmt.Sprintf("5.5: %v of 65535 bytes", op)},
			violation{fmt.Sprintf("%02x 7f 7fffffffffffffff", finBit|int(op)), fmt.Sprintf("5.5: %v of 2^63-1 bytes", op)},
			violation{fmt.Sprintf("01 01 61 | %02x 7e 007e", finBit|int(op)), fmt.Sprintf("5.5: %v of 126 bytes inside a message", op)})
	}
	testViolations(t, StatusProtocolError, connConfig{}, all)
}

func TestRefusesCloseBodyOfOneByte(t *testing.T) {
	testViolations(t, StatusProtocolError, connConfig{}, []violation{
		{"88 01 03", "5.5.1: the first two bytes are the code"},
		{"01 01 61 | 88 01 00", "5.5.1: the first two bytes are the code; inside a message"},
	})
}

func TestRefusesCloseCodes(t *testing.T) {
	var all []violation
	for _, code := range []int{0, 1, 100, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 10000, 65535} {
		all = append(all,
			violation{fmt.Sprintf("88 02 %04x", code), fmt.Sprintf("7.4: code %d must not be sent", code)},
			violation{fmt.Sprintf("88 05 %04x 627965", code), fmt.Sprintf("7.4: code %d must not be sent, with a reason", code)})
	}
	testViolations(t, StatusProtocolError, connConfig{}, all)
}

func TestRefusesCloseReason(t *testing.T) {
	testViolations(t, StatusInvalidPayload, connConfig{}, []violation{
		{"88 03 03e8 ff", "5.5.1: the reason is UTF-8"},
		{"88 05 03e8 eda080", "5.5.1: the reason is UTF-8, which has no surrogates"},
		{"88 04 03e8 e282", "5.5.1: the reason is UTF-8, not cut inside a character"},
		{"88 06 03e8 f4908080", "5.5.1: the reason is UTF-8, which ends at U+10FFFF"},
	})
}

// TestCloseEchoed: a Close frame is answered with its own code, and what
// follows it is ignored.
func TestCloseEchoed(t *testing.T) {
	after := map[string]string{
		"nothing":                      "",
		"a message":                    "| 81 05 48656c6c6f",
		"frames that break every rule": "| ff 7f ffffffffffffffff | 80 00 | 88 01 00",
		"half a header":                "| 81 7e 01",
		"a Ping and a second Close":    "| 89 00 | 88 02 03e9",
	}
	codes := []StatusCode{StatusNoStatusReceived, 1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for what, frames := range after {
			for i, code := range codes {
				reason := ""
				if i%2 == 1 {
					reason = "adieu, mes élèves"
				}
				way := waysToRead[i%len(waysToRead)]
				c, p := newPeer(t, connect, connConfig{client: client})
				ended := async(func() error { return way.read(c) })
				sent := p.frame(true, OpClose, string(appendClosePayload(nil, code, reason)))
				if frames != "" {
					sent = append(sent, p.wire(frames[2:])...)
				}
				p.send(p.wire("81 02 6869"), sent)
				if got := p.wantClose(code, "7.1.5: a Close frame with "+what+" behind it is answered"); got != "" {
					t.Errorf("the answer to a Close frame has the reason %q, want none: it is the peer's", got)
				}
				if client {
					p.close() // 7.1.1: the server closes the connection first
				} else {
					p.wantEOF("7.1.1: the server closes the connection, with " + what + " behind the Close frame")
					p.close()
				}
				err := <-ended
				wantCloseError(t, err, code, reason, "that is what the peer sent")
				wantEnded(t, c, err)
				if err := c.Close(); err != nil {
					t.Errorf("Close after the peer's returned %v, want nil: both Close frames were exchanged", err)
				}
			}
		}
	})
}

// TestTooBigArrives: the Close frame that says why reaches a peer that has
// megabytes under way, and the peer can send them all: nothing is reset.
func TestTooBigArrives(t *testing.T) {
	payload := string(make([]byte, 4<<20))
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for _, way := range waysToRead {
			wire := rawFrame(FrameHeader{Fin: true, Opcode: OpBinary}, payload, !client)
			c, p := newPeer(t, connect, connConfig{client: client, readLimit: 1000})
			ended := async(func() error { return way.read(c) })
			if _, err := p.nc.Write(wire); err != nil {
				t.Fatalf("%s: the peer's write failed: %v\nwant all its bytes taken, so that it gets to reading", way.name, err)
			}
			p.wantClose(StatusMessageTooBig, "4 MiB are over the limit")
			p.wantEOF("the connection has failed")
			p.close()
			err := <-ended
			wantTooBig(t, err, way.name)
			wantEnded(t, c, err)
		}
	})
}

// TestFailureTellsPeerThatHasEnded: a peer that closed its sending direction
// behind what it did wrong is told all the same.
func TestFailureTellsPeerThatHasEnded(t *testing.T) {
	for _, connect := range []connectFunc{overTCP, overTLS, overScrambler} {
		inBothRoles(t, func(t *testing.T, client bool) {
			for range 20 {
				c, p := newPeer(t, connect, connConfig{client: client})
				p.send(p.wire("83 00"))
				p.waitSent()
				p.closeWrite()
				ended := readError(c)
				p.wantClose(StatusProtocolError, "5.2: opcode 3, and the end of input right behind it")
				p.wantEOF("the connection has failed")
				p.close()
				wantProtocolError(t, <-ended, StatusProtocolError, "5.2: opcode 3")
			}
		})
	}
}

// TestMuchAfterClose: a peer that goes on behind its Close frame, in the same
// packet, can send all that and gets the answer, with nothing reset.
func TestMuchAfterClose(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		c, p := newPeer(t, connect, connConfig{client: client})
		ended := readError(c)
		wire := append(p.frame(true, OpClose, "\x03\xe8bye"), make([]byte, 4<<20)...)
		sent := async(func() error { _, err := p.nc.Write(wire); return err })
		p.wantClose(StatusNormalClosure, "it answers the peer's, with 4 MiB behind that")
		if err := <-sent; err != nil {
			t.Fatalf("the peer's write failed: %v\nwant all its bytes taken", err)
		}
		if !client {
			p.wantEOF("7.1.1: the server closes the connection")
		}
		p.close()
		err := <-ended
		wantCloseError(t, err, StatusNormalClosure, "bye", "that is what the peer sent")
		wantEnded(t, c, err)
	})
}
