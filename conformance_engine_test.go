package websocket

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// A chunking is how the bytes of a case are spread over writes.
type chunking string

const (
	chunkWhole  chunking = "whole" // as the case says; if it says nothing, all at once
	chunkFrames chunking = "frame by frame"
	chunkBytes  chunking = "byte by byte"
	chunkHalves chunking = "in halves"
	chunkRandom chunking = "in random cuts"
	chunkEarly  chunking = "early" // as whole, the first of it in the packet of the handshake
)

// A wireRun plays one case to one connection.
type wireRun struct {
	v         *vectorCase
	nc        net.Conn
	client    bool // we play the client's part, a server is under test
	handshake bool // the connection begins with the opening handshake
	host      string
	path      string
	rounds    int // how often the steps are run
	chunking  chunking
	rnd       *rand.Rand
	patience  time.Duration // for what has to come
	hurry     time.Duration // for a Close frame that must not wait for more

	deflate *wireDeflate   // nil: nothing is compressed
	out, in map[string]int // how far the documents have been sent, and wanted back

	reader     wireReader
	inbox      inbox
	gate       gate
	pending    []expectation
	pinged     [][]byte   // payloads of the Pings and Pongs sent
	closing    *wireEvent // the Close frame we have sent first
	ended      *wireEvent // what ended the script: a Close frame or worse
	early      bool       // it came before everything was sent
	sent       int        // bytes of the script that travelled with the handshake
	writeErr   error
	nonce      string // Sec-WebSocket-Key of the client under test
	unanswered bool   // the connection ended before the server's handshake

	verdict verdict
	how     vectorEnding // the one that came about
	why     []string
	came    []string // the events, for the report
}

// A wireOp is a step of the script, or several of a kind.
type wireOp struct {
	kind   stepKind
	pieces []chunk       // of stepSend, each for a write of its own
	frames []vectorFrame // of stepSend, for what must be remembered of them
	wanted []expectation // of stepReceive
}

// An expectation is a message or a Pong that has to come.
type expectation struct {
	wireEvent
	last bool // of a Pong: others may come before it
}

func (e expectation) same(got wireEvent) bool {
	return e.kind == got.kind && e.opcode == got.opcode && bytes.Equal(e.payload, got.payload)
}

// caseDeadline bounds a case, however slowly its endpoint answers.
const caseDeadline = 2 * time.Minute

// deadline is caseDeadline, or more for more than some megabytes.
func (r *wireRun) deadline() time.Duration {
	const slow = 256 << 10 // bytes a second
	return max(caseDeadline, time.Duration(r.v.total()/slow)*time.Second)
}

// run plays the case and closes the connection.
func (r *wireRun) run() {
	var reading sync.WaitGroup
	defer reading.Wait()
	defer r.nc.Close()
	r.inbox.ready = make(chan struct{}, 1)
	r.reader = wireReader{br: bufio.NewReader(r.nc), fromClient: !r.client, room: r.v.size()}
	var script []wireOp
	if !r.v.negotiates() {
		script = r.compile()
	}
	r.nc.SetDeadline(time.Now().Add(r.patience))
	if r.handshake && !r.shakeHands(script) {
		return
	}
	if r.reader.deflate = r.deflate; r.v.negotiates() {
		script = r.compile()
	}
	r.nc.SetDeadline(time.Now().Add(r.deadline()))
	reading.Go(func() {
		for e := (wireEvent{}); !e.last(); {
			r.gate.pass()
			e = r.reader.next()
			r.inbox.put(e)
		}
	})
	defer r.gate.open()
	r.play(script)
	r.finish()
	r.judge()
}

// compile renders the steps, those of a kind together.
func (r *wireRun) compile() (script []wireOp) {
	for steps := r.v.steps; len(steps) > 0; {
		op := wireOp{kind: steps[0].kind}
		var chunks []chunk
		for len(steps) > 0 && steps[0].kind == op.kind {
			f := steps[0].frame
			switch steps = steps[1:]; op.kind {
			case stepSend:
				for range f.times {
					f := f.next(r.out)
					if f.deflate {
						f.payload = []payloadItem{{kind: '"', unit: r.deflate.compress(f.joined()), n: 1}}
						f.rsv |= 0x40
					}
					chunks = f.appendWire(chunks, r.client, r.rnd)
				}
				if f.opcode >= 8 {
					op.frames = append(op.frames, f)
				}
			case stepReceive:
				f := f.next(r.in)
				e := expectation{last: f.last}
				if e.payload = f.joined(); f.opcode == 10 {
					e.kind = eventPong
				} else {
					e.opcode = f.opcode
				}
				op.wanted = append(op.wanted, e)
			}
		}
		op.pieces = r.cut(chunks)
		script = append(script, op)
	}
	return script
}

// next returns f with the parts of documents that come next.
func (f vectorFrame) next(at map[string]int) vectorFrame {
	f.payload = slices.Clone(f.payload)
	for i, it := range f.payload {
		if it.kind != 'd' {
			continue
		}
		document := documents[it.doc]()
		b := make([]byte, 0, it.n)
		for len(b) < it.n {
			from := at[it.doc] % len(document)
			n := min(it.n-len(b), len(document)-from)
			b = append(b, document[from:from+n]...)
			at[it.doc] += n
		}
		f.payload[i] = payloadItem{kind: '"', unit: b, n: 1}
	}
	return f
}

// joined is the payload without its cuts.
func (f *vectorFrame) joined() []byte {
	if len(f.payload) == 1 {
		return f.payload[0].bytes()
	}
	var b []byte
	for _, it := range f.payload {
		b = append(b, it.bytes()...)
	}
	return b
}

// cut spreads chunks over pieces, each for a write of its own.
func (r *wireRun) cut(chunks []chunk) (pieces []chunk) {
	var parts [][]byte
	for i, c := range chunks {
		parts = append(parts, c.b)
		framewise := r.chunking == chunkFrames || r.chunking == chunkWhole && r.v.chop == chopFrames
		if i < len(chunks)-1 && !c.flush && !(c.frameEnd && framewise) {
			continue
		}
		whole := parts[0]
		if len(parts) > 1 {
			whole = slices.Concat(parts...)
		}
		parts = parts[:0]
		for len(whole) > 0 {
			n := r.pieceSize(len(whole))
			pieces = append(pieces, chunk{b: whole[:n:n]})
			whole = whole[n:]
		}
		if c.hold {
			pieces[len(pieces)-1].hold = true
		}
	}
	return pieces
}

// pieceSize says how many of n bytes the next write takes.
func (r *wireRun) pieceSize(n int) int {
	switch r.chunking {
	case chunkBytes:
		return 1
	case chunkHalves:
		return (n + 1) / 2
	case chunkRandom:
		// Mostly a few bytes, but megabytes within some hundred writes.
		if n > 16<<10 || r.rnd.IntN(4) == 0 {
			return 1 + r.rnd.IntN(min(n, 64<<10))
		}
		return 1 + r.rnd.IntN(min(n, 8))
	}
	if r.v.chop > 0 {
		return min(n, r.v.chop)
	}
	return n
}

// play runs the script until it is through or the connection has ended.
func (r *wireRun) play(script []wireOp) {
	for round := range r.rounds {
		if round > 0 && r.v.negotiates() && r.ended == nil {
			script = r.compile() // other parts of the documents, after another history
		}
		for _, op := range script {
			if r.ended != nil {
				r.early = r.early || op.kind == stepSend
				continue
			}
			switch op.kind {
			case stepSend:
				if r.send(op) {
					return
				}
			case stepReceive:
				r.pending = append(r.pending, op.wanted...)
				for len(r.pending) > 0 && r.ended == nil {
					r.step(r.patience)
				}
			case stepAwaitClose:
				if r.awaitClose() {
					return
				}
			case stepPause:
				// An endpoint may stop reading while nobody reads what it
				// has to say. Then we have to.
				r.gate.close(r.patience)
			case stepResume:
				if r.gate.open() {
					r.note(verdictLax, "stopped reading while its answers were not read")
				}
			case stepEOF:
				r.halfClose()
			}
		}
	}
}

// send reports whether the connection has been failed while something was
// held back, just as the case wants it.
func (r *wireRun) send(op wireOp) (failed bool) {
	for _, f := range op.frames {
		if f.opcode != 8 {
			r.pinged = append(r.pinged, f.joined())
		} else if r.closing == nil {
			r.closing = &wireEvent{kind: eventClose, payload: f.joined()}
		}
	}
	for _, p := range op.pieces {
		n := min(r.sent, len(p.b))
		r.sent -= n
		r.write(p.b[n:])
		if p.hold && r.awaitClose() {
			return true
		}
	}
	return false
}

// write sends b. That the endpoint wants no more of it may be just what the
// case is about, so an error is only kept.
func (r *wireRun) write(b []byte) {
	if r.writeErr == nil && len(b) > 0 {
		_, r.writeErr = r.nc.Write(b)
	}
}

// writeFrame sends a frame that the script does not hold.
func (r *wireRun) writeFrame(opcode byte, payload []byte) {
	f := vectorFrame{opcode: opcode, payload: []payloadItem{{kind: '"', unit: payload, n: 1}}}
	for _, p := range r.cut(f.appendWire(nil, r.client, r.rnd)) {
		r.write(p.b)
	}
}

// halfClose ends our half of the connection.
func (r *wireRun) halfClose() {
	if c, ok := r.nc.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	}
	r.writeErr = net.ErrClosed
}

// awaitClose reports whether the connection has been failed by now, before
// the rest is sent.
func (r *wireRun) awaitClose() bool {
	for r.ended == nil {
		if !r.step(r.hurry) {
			r.note(verdictLax, "not failed as soon as it could have been")
			return false
		}
	}
	return true
}

// step takes in the next event. It reports false if none came.
func (r *wireRun) step(patience time.Duration) bool {
	e, ok := r.inbox.take(patience)
	if !ok {
		if len(r.pending) > 0 {
			r.ended = &e
		}
		return false
	}
	r.log(e)
	switch e.kind {
	case eventMessage:
		r.gotMessage(e)
	case eventPong:
		r.gotPong(e)
	case eventPing:
		if r.closing == nil {
			r.writeFrame(10, e.payload)
		}
	default:
		r.ended = &e
	}
	return true
}

func (r *wireRun) log(e wireEvent) {
	switch {
	case len(r.came) < 40 || e.kind >= eventClose:
		r.came = append(r.came, e.String())
	case len(r.came) == 40:
		r.came = append(r.came, "…")
	}
}

func (r *wireRun) gotMessage(e wireEvent) {
	i := slices.IndexFunc(r.pending, func(w expectation) bool { return w.kind == eventMessage })
	switch {
	case i < 0:
		r.unasked("message", e)
	case !r.pending[i].same(e):
		r.note(verdictFailed, "wanted %v, got %v%s", r.pending[i], e, difference(r.pending[i].payload, e.payload))
		r.ended = &e
	default:
		if i > 0 {
			r.note(verdictLax, "a Pong came later than the message after it (5.5.2)")
		}
		r.pending = slices.Delete(r.pending, i, i+1)
	}
}

func (r *wireRun) gotPong(e wireEvent) {
	isPong := func(w expectation) bool { return w.kind == eventPong }
	if i := slices.IndexFunc(r.pending, func(w expectation) bool { return w.same(e) }); i >= 0 {
		if slices.ContainsFunc(r.pending[:i], isPong) {
			r.note(verdictLax, "not every Ping was answered (5.5.2, but 5.5.3 allows it)")
		}
		before := slices.DeleteFunc(slices.Clone(r.pending[:i]), isPong)
		r.pending = append(before, r.pending[i+1:]...)
		return
	}
	if slices.ContainsFunc(r.pending, func(w expectation) bool { return w.last }) {
		return
	}
	// A Pong of the endpoint's own accord is a heartbeat (5.5.3).
	if slices.ContainsFunc(r.pinged, func(p []byte) bool { return bytes.Equal(p, e.payload) }) {
		r.unasked("Pong", e)
	}
}

// unasked ends the case with an answer to what should have been refused.
func (r *wireRun) unasked(what string, e wireEvent) {
	r.note(r.unless("accepted"), "a %s that the case does not ask for: %v", what, e)
	r.ended = &e
}

// An inbox holds the events until the script gets to them, so that reading
// never waits for writing.
type inbox struct {
	mu     sync.Mutex
	events []wireEvent
	ready  chan struct{} // has room for one
}

func (b *inbox) put(e wireEvent) {
	b.mu.Lock()
	b.events = append(b.events, e)
	b.mu.Unlock()
	select {
	case b.ready <- struct{}{}:
	default:
	}
}

// take returns the next event, or silence and false if none comes in time.
func (b *inbox) take(patience time.Duration) (e wireEvent, ok bool) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		b.mu.Lock()
		if len(b.events) > 0 {
			e, b.events = b.events[0], b.events[1:]
			b.mu.Unlock()
			return e, true
		}
		b.mu.Unlock()
		select {
		case <-b.ready:
		case <-timer.C:
			return wireEvent{kind: eventSilence}, false
		}
	}
}

// A gate stops the reading for a while.
type gate struct {
	mu    sync.Mutex
	shut  chan struct{} // nil while open
	timer *time.Timer
	late  bool // the timer has opened it
}

func (g *gate) pass() {
	g.mu.Lock()
	shut := g.shut
	g.mu.Unlock()
	if shut != nil {
		<-shut
	}
}

// close shuts the gate until open is called, or for the time given at most.
func (g *gate) close(most time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut, g.late = make(chan struct{}), false
	g.timer = time.AfterFunc(most, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.shut != nil {
			close(g.shut)
			g.shut, g.late = nil, true
		}
	})
}

// open opens the gate and reports whether it was too late for that.
func (g *gate) open() (late bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut != nil {
		g.timer.Stop()
		close(g.shut)
		g.shut = nil
	}
	late, g.late = g.late, false
	return late
}
