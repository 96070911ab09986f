package websocket

import (
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A conversation is what a peer sends, frame by frame, and what has to come of
// it, however it is cut into pieces.
type conversation struct {
	frames   []conversationFrame
	messages []string // "text Hello"
	code     StatusCode
	reason   string
	deflate  *Compression // nil: without compression
}

type conversationFrame struct {
	fin     bool
	op      Opcode
	payload string
}

// talk has headers of every length, fragments, empty ones too, characters cut
// between them, and control frames everywhere.
var talk = conversation{
	frames: []conversationFrame{
		{true, OpText, "Hello"},
		{true, OpPing, "a"},
		{false, OpText, "κόσ\xce"},
		{true, OpPing, ""},
		{false, OpContinuation, ""},
		{false, OpContinuation, "\xbc"},
		{true, OpPong, "nobody asked"},
		{true, OpPing, "ping inside a message"},
		{true, OpContinuation, "ε"},
		{true, OpBinary, ""},
		{true, OpBinary, strings.Repeat("\x00\xff", 65)},
		{true, OpPing, "b"},
		{true, OpClose, "\x0b\xb8bye"},
	},
	messages: []string{"text Hello", "text κόσμε", "binary ", "binary " + strings.Repeat("\x00\xff", 65)},
	code:     3000,
	reason:   "bye",
}

// deflated is added to the opcode of a frame with RSV1 set.
const deflated Opcode = 0x40

// deflatedTalk has compressed messages, which refer to each other and have what
// is in talk, and others, which are not in the window.
var deflatedTalk = func() conversation {
	const longer = "Hello, κόσμε. Hello again, κόσμε."
	var history []byte
	deflate := func(message string) string {
		p := flateDeflate(history, []byte(message))
		history = append(history, message...)
		return string(p)
	}
	hello, cut, again := deflate("Hello"), deflate(longer), deflate(strings.Repeat(longer, 4))
	return conversation{
		frames: []conversationFrame{
			{true, OpText | deflated, hello},
			{true, OpPing, "a"},
			{false, OpText | deflated, cut[:3]},
			{true, OpPing, ""},
			{false, OpContinuation, ""},
			{false, OpContinuation, cut[3 : len(cut)-1]},
			{true, OpPong, "nobody asked"},
			{true, OpPing, "ping inside a message"},
			{true, OpContinuation, cut[len(cut)-1:]},
			{true, OpText, "Hello hello"},
			{true, OpBinary | deflated, "\x00"},
			{true, OpText | deflated, again},
			{false, OpBinary | deflated, ""},
			{true, OpContinuation, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00"}, // RFC 7692, 7.2.3.4
			{false, OpText, "Hel"},
			{true, OpPing, "b"},
			{true, OpContinuation, "lo"},
			{true, OpClose, "\x0b\xb8bye"},
		},
		messages: []string{"text Hello", "text " + longer, "text Hello hello", "binary ", "text " + strings.Repeat(longer, 4), "binary Hello", "text Hello"},
		code:     3000,
		reason:   "bye",
		deflate:  &Compression{ContextTakeover: true},
	}
}()

var talks = map[string]conversation{"plain": talk, "compressed": deflatedTalk}

// config returns the configuration of a Conn for the conversation.
func (v conversation) config(client bool) connConfig {
	return connConfig{client: client, deflate: agreed(v.deflate, client)}
}

// inTalks runs test with every conversation.
func inTalks(t *testing.T, test func(t *testing.T, talk conversation, client bool, connect connectFunc)) {
	for name, talk := range talks {
		t.Run(name, func(t *testing.T) {
			everywhere(t, func(t *testing.T, client bool, connect connectFunc) { test(t, talk, client, connect) })
		})
	}
}

// pongs are the answers that the conversation calls for.
func (v conversation) pongs() (all []string) {
	for _, f := range v.frames {
		if f.op == OpPing {
			all = append(all, f.payload)
		}
	}
	return all
}

func (v conversation) wire(p *peer) (wire []byte) {
	for _, f := range v.frames {
		h := FrameHeader{Fin: f.fin, RSV1: f.op&deflated != 0, Opcode: f.op &^ deflated}
		wire = append(wire, rawFrame(h, f.payload, p.client)...)
	}
	return wire
}

// A reading reads messages in some way and survives read deadlines.
type reading struct {
	c        *Conn
	deadline func() // called after one has struck
	messages []string
	struck   int
}

// whole reads with ReadMessage.
func (r *reading) whole() error {
	for {
		op, p, err := r.c.ReadMessage([]byte("kept "))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			if string(p) != "kept " || op != 0 {
				return errors.New("a deadline has changed what was to be appended to")
			}
			r.struck++
			r.deadline()
		case err != nil:
			return err
		default:
			r.messages = append(r.messages, op.String()+" "+strings.TrimPrefix(string(p), "kept "))
		}
	}
}

// stream reads with NextReader and small reads.
func (r *reading) stream() error {
	for {
		op, m, err := r.c.NextReader()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.struck++
			r.deadline()
			continue
		}
		if err != nil {
			return err
		}
		payload, err := r.rest(m)
		if err != nil {
			return err
		}
		r.messages = append(r.messages, op.String()+" "+payload)
	}
}

// rest reads a message to its end.
func (r *reading) rest(m io.Reader) (string, error) {
	var payload []byte
	buf := make([]byte, 7)
	for {
		n, err := m.Read(buf)
		payload = append(payload, buf[:n]...)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			r.struck++
			r.deadline()
		case err == io.EOF:
			return string(payload), nil
		case err != nil:
			return "", err
		}
	}
}

// mixed calls ReadMessage and, when a deadline has struck, NextReader, which
// yields the message from its beginning.
func (r *reading) mixed() error {
	for {
		op, p, err := r.c.ReadMessage(nil)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			r.struck++
			r.deadline()
			var m io.Reader
			op, m, err = r.c.NextReader()
			if errors.Is(err, os.ErrDeadlineExceeded) {
				r.struck++
				r.deadline()
				continue
			}
			if err == nil {
				var payload string
				payload, err = r.rest(m)
				p = []byte(payload)
			}
		}
		if err != nil {
			return err
		}
		r.messages = append(r.messages, op.String()+" "+string(p))
	}
}

// lent reads with ReadMessage as after a long message, into memory with room for
// another one, which is used again.
func (r *reading) lent() error {
	memory := make([]byte, len("kept ")+minLent+maxHeaderSize)
	for in := &r.c.in; ; {
		if !in.inMessage && !in.compressed && !in.resumes {
			in.size = minLent
		}
		op, p, err := r.c.ReadMessage(append(memory[:0], "kept "...))
		payload, kept := strings.CutPrefix(string(p), "kept ")
		for i := range memory {
			memory[i] = 0xDB // whoever still needs it gets this
		}
		switch {
		case !kept:
			return errors.New("what was to be appended to has changed")
		case errors.Is(err, os.ErrDeadlineExceeded):
			r.struck++
			r.deadline()
		case err != nil:
			return err
		default:
			r.messages = append(r.messages, op.String()+" "+payload)
		}
	}
}

var readings = []struct {
	name string
	read func(*reading) error
}{
	{"ReadMessage", (*reading).whole},
	{"NextReader", (*reading).stream},
	{"ReadMessage, then NextReader", (*reading).mixed},
	{"ReadMessage, into what was lent", (*reading).lent},
}

// check: the conversation has come as it was sent.
func (v conversation) check(t testing.TB, r *reading, err error, how string) {
	t.Helper()
	if !slices.Equal(r.messages, v.messages) {
		t.Fatalf("%s: the messages read are %q\nwant %q", how, r.messages, v.messages)
	}
	wantCloseError(t, err, v.code, v.reason, how)
}

// answers: the peer gets the Pongs and the Close frame that the conversation
// calls for, whatever the pieces were.
func (v conversation) answers(p *peer, how string) {
	p.t.Helper()
	for _, payload := range v.pongs() {
		p.wantFrame(OpPong, payload, how)
	}
	p.wantClose(v.code, how)
}

// TestReadSplitAnywhere sends a conversation in two pieces, cut at every place,
// and byte by byte.
func TestReadSplitAnywhere(t *testing.T) {
	inTalks(t, func(t *testing.T, talk conversation, client bool, connect connectFunc) {
		size := len(talk.wire(&peer{t: t, client: !client}))
		for cut := 0; cut <= size; cut++ {
			way := readings[cut%len(readings)]
			c, p := newPeer(t, connect, talk.config(client))
			wire := talk.wire(p)
			pieces := [][]byte{wire[:cut], wire[cut:]}
			how := "cut at byte " + strconv.Itoa(cut) + " with " + way.name
			if cut == size {
				pieces, how = slices.Collect(slices.Chunk(wire, 1)), "byte by byte with "+way.name
			}
			r := &reading{c: c}
			ended := async(func() error { return way.read(r) })
			p.send(pieces...)
			talk.answers(p, how)
			p.close()
			err := <-ended
			talk.check(t, r, err, how)
			wantEnded(t, c, err)
		}
	})
}

// TestReadSplitHeader cuts a header of every kind at every byte. What was
// before it has been read by then, and its first part waits in the Conn alone.
func TestReadSplitHeader(t *testing.T) {
	everywhere(t, func(t *testing.T, client bool, connect connectFunc) {
		for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
			payload := strings.Repeat("x", size)
			c, p := newPeer(t, connect, connConfig{client: client})
			frame := p.frame(true, OpText, payload)
			for cut := 1; cut < len(frame)-size; cut++ {
				p.send(p.frame(true, OpText, "before"), frame[:cut])
				wantMessage(t, c, OpText, "before")
				p.send(frame[cut:])
				wantMessage(t, c, OpText, payload, "its header was cut after "+strconv.Itoa(cut)+" bytes")
			}
		}
	})
}

// TestEOFInsideMessage ends the connection at every byte. What was cut is never
// taken for a whole message.
func TestEOFInsideMessage(t *testing.T) {
	inTalks(t, func(t *testing.T, talk conversation, client bool, connect connectFunc) {
		wire := talk.wire(&peer{t: t, client: !client})
		for cut := range wire {
			way := readings[cut%len(readings)]
			c, p := newPeer(t, connect, talk.config(client))
			r := &reading{c: c}
			ended := async(func() error { return way.read(r) })
			async(func() int64 { n, _ := io.Copy(io.Discard, p.nc); return n }) // the Pongs
			p.send(wire[:cut])
			p.waitSent()
			p.closeWrite()
			err := <-ended
			how := "end of input after byte " + strconv.Itoa(cut) + " with " + way.name
			if _, ok := p.nc.(interface{ CloseWrite() error }); ok {
				wantBroken(t, err, how)
			} else { // a Pong may have met the end first
				wantCloseError(t, err, StatusAbnormalClosure, "", how)
			}
			if n := len(r.messages); n > len(talk.messages) || !slices.Equal(r.messages, talk.messages[:n]) {
				t.Fatalf("%s: the messages read are %q\nwant none but whole ones of %q", how, r.messages, talk.messages)
			}
			for range 3 {
				if _, _, again := c.ReadMessage(nil); again != err {
					t.Fatalf("%s: a later read returned %v, want the first error, %v", how, again, err)
				}
				if werr := c.WriteMessage(OpText, nil); werr != err {
					t.Fatalf("%s: a later write returned %v, want what broke the connection, %v", how, werr, err)
				}
			}
			p.close()
		}
	})
}
