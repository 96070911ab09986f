package websocket

import (
	"fmt"
	"slices"
)

// A verdict is how an endpoint did in a case, from best to worst.
type verdict int

const (
	verdictOK       verdict = iota
	verdictLax              // tolerable, though the RFC asks for something else
	verdictLimited          // refused with 1009 for its size
	verdictDeclined         // no extension was agreed upon, so that there was nothing to test
	verdictFailed
)

func (v verdict) String() string { return [...]string{"ok", "lax", "limited", "declined", "failed"}[v] }

// note lowers the verdict.
func (r *wireRun) note(v verdict, format string, args ...any) {
	r.verdict = max(r.verdict, v)
	r.why = append(r.why, fmt.Sprintf(format, args...))
}

// finish does our part of the end of the connection.
func (r *wireRun) finish() {
	if r.ended == nil {
		for _, e := range slices.Concat(r.v.end, r.v.lax) {
			if e.kind == "close" && r.closing == nil {
				code := e.codes[0]
				r.closing = &wireEvent{kind: eventClose, payload: []byte{byte(code >> 8), byte(code)}}
				r.writeFrame(8, r.closing.payload)
			}
		}
		for r.ended == nil && r.step(r.patience) {
		}
	}
	if r.ended == nil {
		r.ended = &wireEvent{kind: eventSilence}
	}
	if r.ended.kind != eventClose {
		return
	}
	if r.closing == nil {
		var body []byte
		if c := r.ended.code; c != 0 {
			body = []byte{byte(c >> 8), byte(c)}
		}
		r.writeFrame(8, body)
	}
	if !r.client {
		r.halfClose() // 7.1.1: the server is the one to close first
	}
	e, ok := r.inbox.take(r.patience)
	r.log(e)
	switch {
	case !ok:
		r.note(verdictFailed, "the TCP connection stayed open after the Close frame (7.1.1)")
	case e.kind == eventLost && r.v.end[0].kind != "fail":
		r.note(verdictLax, "the TCP connection did not end cleanly (7.1.1)")
	case e.kind != eventLost && e.kind != eventEOF:
		r.note(verdictFailed, "after the Close frame came %v", e)
	}
}

// judge compares how the connection ended with how it should have.
func (r *wireRun) judge() {
	if r.verdict == verdictFailed {
		return
	}
	ended := *r.ended
	switch {
	case ended.kind == eventViolation:
		r.note(verdictFailed, "the endpoint itself broke the protocol: %v", ended.err)
		return
	case ended.kind == eventMessage || ended.kind == eventPong:
		return // it was not asked for, and that is noted
	case r.limited():
		r.note(verdictLimited, "refused with %v", ended)
		return
	case r.early:
		r.note(verdictFailed, "the connection ended before the case was through: %v", ended)
		return
	}
	i := slices.IndexFunc(r.v.end, r.matches)
	// Where the connection may be failed or not, failing it leaves out the rest.
	mayFail := slices.ContainsFunc(r.v.end, func(e vectorEnding) bool { return e.kind != "fail" })
	otherwise := i >= 0 && mayFail && r.v.end[i].kind == "fail"
	if len(r.pending) > 0 && !otherwise {
		r.note(verdictLax, "%v never came", r.pending[0])
	}
	if i >= 0 {
		r.how = r.v.end[i]
		return
	}
	closes := ended.kind == eventClose
	switch kind := r.v.end[0].kind; {
	case slices.ContainsFunc(r.v.lax, r.matches):
		r.note(verdictLax, "ended with %v", ended)
	case kind == "fail" && closes && r.closing != nil && ended.code == r.closing.sentCode():
		r.note(r.unless("accepted"), "answered the Close frame as if nothing were wrong: %v", ended)
	case kind == "fail" && closes:
		r.note(verdictLax, "failed with another code: %v", ended)
	case kind == "fail" && (ended.kind == eventEOF || ended.kind == eventLost):
		r.note(verdictLax, "failed without a Close frame (7.1.7): %v", ended)
	case (kind == "close" || kind == "reply") && closes && r.closing != nil:
		r.note(verdictLax, "the Close frame was answered with another code (5.5.1): %v", ended)
	default:
		r.note(verdictFailed, "wanted the end to be %v, got %v", r.v.end, ended)
	}
}

func (r *wireRun) matches(e vectorEnding) bool {
	closes := r.ended.kind == eventClose && slices.Contains(e.codes, r.ended.code)
	switch e.kind {
	case "close", "reply":
		return closes && r.closing != nil
	case "fail":
		return closes
	case "lost":
		return r.ended.kind == eventLost || r.ended.kind == eventEOF
	case "eof":
		return r.ended.kind == eventEOF || r.ended.kind == eventClose
	}
	return false
}

// unless returns lax where the case tolerates that ending, else failed.
func (r *wireRun) unless(kind string) verdict {
	if slices.ContainsFunc(r.v.lax, func(e vectorEnding) bool { return e.kind == kind }) {
		return verdictLax
	}
	return verdictFailed
}

// sentCode is the status code in a Close frame that we have sent, 0 for none.
func (e *wireEvent) sentCode() int {
	if len(e.payload) < 2 {
		return 0
	}
	return int(e.payload[0])<<8 | int(e.payload[1])
}

// limited reports whether the endpoint has refused the size of the case's
// messages, or in how many frames they come. That some use 1008 for it is as
// good: section 7.4.1 names it for want of a better code.
func (r *wireRun) limited() bool {
	if r.ended.kind != eventClose || r.v.size() < 65535 || slices.ContainsFunc(r.v.end, r.matches) {
		return false
	}
	return r.ended.code == 1009 || r.ended.code == 1008
}

// difference says where two long payloads part.
func difference(want, got []byte) string {
	if len(want) <= 32 && len(got) <= 32 {
		return ""
	}
	i := 0
	for i < len(want) && i < len(got) && want[i] == got[i] {
		i++
	}
	return fmt.Sprintf(" (they part at byte %d)", i)
}
