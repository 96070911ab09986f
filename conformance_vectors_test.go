package websocket

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

// The vectors are the cases in testdata/conformance; the README there
// describes their notation. This file reads them.

// A vectorCase is one case: a script for the peer of the endpoint under test.
type vectorCase struct {
	number   string // such as "5.19"
	title    string
	where    string // file:line
	sections []string
	role     string // of the endpoint under test: "server", "client", or "" for both
	chop     int    // bytes a write, chopFrames, or 0 for all in one
	rounds   int    // how often the steps are run, at least 1
	limit    int64  // read limit of our own endpoint, 0 for none
	early    bool   // the first frames travel in the packet of the handshake
	request  []string
	response []string
	status   []int           // the HTTP answers wanted for request
	offers   []string        // values of Sec-WebSocket-Extensions for a server
	accept   []wireExtension // what a client's offer is answered with, the first that suits it
	takeover string          // whether what we send may refer to messages before: "yes", "no", or "" for both
	steps    []vectorStep
	end      []vectorEnding // any of them is right
	lax      []vectorEnding // any of them is tolerable
	caller   string         // what our own endpoint's reader sees, "" for what follows from end

	sent, wanted []string // the lines as they stand in the file, for reports
}

const chopFrames = -1

type vectorStep struct {
	kind  stepKind
	frame vectorFrame // of stepSend and stepReceive
}

type stepKind int

const (
	stepSend stepKind = iota
	stepReceive
	stepAwaitClose // the Close frame must have come before anything more is sent
	stepPause      // stop reading
	stepResume     // read again
	stepEOF        // send no more: half-close the connection
)

// A vectorFrame is a frame, or a message in fragments of equal size, as the
// notation has it.
type vectorFrame struct {
	raw       bool // payload is the frame, header and all
	opcode    byte
	more      bool // FIN clear
	rsv       byte // the three bits where the first byte has them
	mask      int8 // 0: as the sender's role demands; +1: masked, -1: not masked
	key       *[4]byte
	last      bool    // of a Pong to receive: those before it may come or not
	form      int     // 16 or 64: the length in that many bits; 0: the shortest
	declare   *uint64 // the length that the header states, nil for the true one
	deflate   bool    // the payload is compressed and RSV1 is set
	fragments int     // bytes of payload a frame, 0 for one frame
	times     int     // how often it is sent
	payload   []payloadItem
}

// A payloadItem is a piece of payload, or a place to cut it.
type payloadItem struct {
	kind byte   // '"' bytes repeated, 'n' noise, 'p' prose, 'd' the next of a document, '|' cut, 'h' cut and hold back
	unit []byte // of '"'
	n    int    // repetitions of unit, bytes of the others
	doc  string // of 'd': its name
}

type vectorEnding struct {
	kind  string // "close", "reply", "fail", "eof", "lost", "refused", "accepted"
	codes []int  // 0 stands for no code
}

func (e vectorEnding) String() string {
	s := e.kind
	for _, c := range e.codes {
		if c == 0 {
			s += " none"
		} else {
			s += " " + strconv.Itoa(c)
		}
	}
	return s
}

// group is the number before the first point.
func (v *vectorCase) group() string {
	g, _, _ := strings.Cut(v.number, ".")
	return g
}

// sum adds up the parts of the number, for choices by turns.
func (v *vectorCase) sum() (n int) {
	for part := range strings.SplitSeq(v.number, ".") {
		i, _ := strconv.Atoi(part)
		n += i
	}
	return n
}

// negotiates reports whether the case is about compression.
func (v *vectorCase) negotiates() bool { return v.offers != nil || v.accept != nil }

// size is the payload of the case's largest message.
func (v *vectorCase) size() int {
	largest, message := 0, 0
	for _, s := range v.steps {
		if s.kind == stepSend && s.frame.opcode < 8 {
			message += s.frame.size()
			largest = max(largest, message)
			if !s.frame.more {
				message = 0
			}
		}
	}
	return largest
}

// total is about how many bytes the case sends.
func (v *vectorCase) total() int {
	n := 0
	for _, s := range v.steps {
		if s.kind == stepSend {
			n += (s.frame.size() + 14) * s.frame.times
			if f := s.frame.fragments; f > 0 {
				n += s.frame.size() / f * 14
			}
		}
	}
	return n * v.rounds
}

func (f *vectorFrame) size() int {
	n := 0
	for _, it := range f.payload {
		if it.kind == '"' {
			n += len(it.unit) * it.n
		} else {
			n += it.n
		}
	}
	return n
}

// bytes renders the item; a cut has none.
func (it payloadItem) bytes() []byte {
	switch it.kind {
	case '"':
		b := make([]byte, 0, len(it.unit)*it.n)
		for range it.n {
			b = append(b, it.unit...)
		}
		return b
	case 'n':
		return noise(it.n)
	case 'p':
		return prose(it.n)
	}
	return nil
}

// An endless is bytes without a pattern, always the same ones. It grows as
// they are asked for.
type endless struct {
	mu   sync.Mutex
	b    []byte
	rnd  *rand.PCG
	more func(b []byte, u uint64) []byte
}

func (e *endless) first(n int) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.b) < n {
		e.b = e.more(e.b, e.rnd.Uint64())
	}
	return e.b[:n:n]
}

var (
	endlessNoise = endless{rnd: rand.NewPCG(6455, 1), more: binary.LittleEndian.AppendUint64}
	endlessProse = endless{rnd: rand.NewPCG(6455, 2), more: func(b []byte, u uint64) []byte {
		// Some letters, then four characters of one to four bytes.
		b = strconv.AppendUint(b, u, 36)
		for range 4 {
			switch r := rune(u >> 32 & 0xFFFFF); u & 3 {
			case 0:
				b = append(b, byte('!'+r&63))
			case 1:
				b = utf8.AppendRune(b, 0x80+r&0x3FF)
			case 2:
				b = utf8.AppendRune(b, 0x800+r&0x3FFF)
			case 3:
				b = utf8.AppendRune(b, 0x10000+r)
			}
			u = u>>2 | u<<62
		}
		return b
	}}
)

// noise returns n bytes without a pattern.
func noise(n int) []byte { return endlessNoise.first(n) }

// prose returns n bytes of UTF-8 without a pattern.
func prose(n int) []byte {
	b := endlessProse.first(n)
	start := max(0, n-1) // of the last character
	for start > 0 && !utf8.RuneStart(b[start]) {
		start--
	}
	if n == 0 || utf8.FullRune(b[start:]) {
		return b
	}
	if whole, ok := wholeProse.Load(n); ok {
		return whole.([]byte)
	}
	b = slices.Clone(b)
	copy(b[start:], "~~~")
	wholeProse.Store(n, b)
	return b
}

// wholeProse holds, by its length, prose that would end inside a character.
var wholeProse sync.Map

// loadVectors reads every case in testdata/conformance, in the order of their
// numbers.
func loadVectors(t testing.TB) []*vectorCase {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", "conformance", "*.txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("want vectors in testdata/conformance, found none (%v)", err)
	}
	var all []*vectorCase
	known := make(map[string]string)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		vs, err := parseVectors(filepath.ToSlash(file), string(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range vs {
			if other := known[v.number]; other != "" {
				t.Fatalf("%s: case %s stands at %s already", v.where, v.number, other)
			}
			known[v.number] = v.where
		}
		all = append(all, vs...)
	}
	sort.SliceStable(all, func(i, j int) bool { return lessNumber(all[i].number, all[j].number) })
	return all
}

// lessNumber orders 2.9 before 2.10.
func lessNumber(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	return slices.CompareFunc(as, bs, func(x, y string) int {
		xn, _ := strconv.Atoi(x)
		yn, _ := strconv.Atoi(y)
		return xn - yn
	}) < 0
}

// parseVectors reads one file. Whatever it does not know is an error.
func parseVectors(file, text string) ([]*vectorCase, error) {
	var (
		vs []*vectorCase
		v  *vectorCase
	)
	for i, line := range strings.Split(text, "\n") {
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		where := fmt.Sprintf("%s:%d", file, i+1)
		key, value, ok := strings.Cut(line, ":")
		if !ok || line != strings.TrimRight(line, " \t\r") {
			return nil, fmt.Errorf("%s: want a line \"key: value\" without blanks at its end", where)
		}
		value = strings.TrimPrefix(value, " ")
		if key == "case" {
			number, title, _ := strings.Cut(value, " ")
			v = &vectorCase{number: number, title: title, where: where, rounds: 1}
			if strings.Trim(number, "0123456789.") != "" || title == "" {
				return nil, fmt.Errorf("%s: want \"case: NUMBER title\"", where)
			}
			vs = append(vs, v)
			continue
		}
		if v == nil {
			return nil, fmt.Errorf("%s: no case has begun", where)
		}
		if err := v.set(key, value); err != nil {
			return nil, fmt.Errorf("%s: case %s: %s: %w", where, v.number, key, err)
		}
	}
	for _, v := range vs {
		if err := v.complete(); err != nil {
			return nil, fmt.Errorf("%s: case %s: %w", v.where, v.number, err)
		}
	}
	return vs, nil
}

// set takes in one line of a case.
func (v *vectorCase) set(key, value string) (err error) {
	line := key + ": " + value
	switch key {
	case "section":
		v.sections = strings.Split(value, ", ")
	case "role":
		if v.role = value; value != "server" && value != "client" {
			err = errors.New("want server or client")
		}
	case "chop":
		if value == "frames" {
			v.chop = chopFrames
		} else if v.chop, err = strconv.Atoi(value); v.chop < 1 {
			err = errors.New("want frames, or a positive number of bytes")
		}
	case "rounds":
		if v.rounds, err = strconv.Atoi(value); v.rounds < 1 {
			err = errors.New("want a positive number")
		}
	case "limit":
		v.limit, err = strconv.ParseInt(value, 10, 64)
	case "early":
		if v.early = value == "yes"; !v.early {
			err = errors.New("want yes")
		}
	case "request":
		v.request = append(v.request, value)
		v.sent = append(v.sent, line)
	case "response":
		v.response = append(v.response, value)
		v.sent = append(v.sent, line)
	case "offer":
		v.offers = append(v.offers, value)
		v.sent = append(v.sent, line)
	case "accept":
		var ok bool
		if v.accept, ok = parseWireExtensions([]string{value}); !ok || v.accept == nil {
			err = errors.New("want a list of extensions")
		}
		v.sent = append(v.sent, line)
	case "takeover":
		if v.takeover = value; value != "yes" && value != "no" {
			err = errors.New("want yes or no")
		}
	case "status":
		for s := range strings.SplitSeq(value, " or ") {
			n, e := strconv.Atoi(s)
			v.status, err = append(v.status, n), errors.Join(err, e)
		}
		v.wanted = append(v.wanted, line)
	case "send", "recv", "echo":
		var f vectorFrame
		if f, err = parseVectorFrame(value); err != nil {
			break
		}
		if key != "recv" {
			v.steps = append(v.steps, vectorStep{stepSend, f})
			v.sent = append(v.sent, line)
		}
		if key != "send" {
			f.fragments = 0
			v.steps = append(v.steps, vectorStep{stepReceive, f})
			v.wanted = append(v.wanted, line)
		}
	case "then":
		kinds := map[string]stepKind{"await close": stepAwaitClose, "stop reading": stepPause, "read again": stepResume, "send eof": stepEOF}
		kind, ok := kinds[value]
		if !ok {
			err = errors.New("unknown step")
		}
		v.steps = append(v.steps, vectorStep{kind: kind})
		v.sent = append(v.sent, line)
	case "end", "lax":
		var es []vectorEnding
		for s := range strings.SplitSeq(value, " or ") {
			e, e2 := parseEnding(s)
			es, err = append(es, e), errors.Join(err, e2)
		}
		if key == "end" {
			v.end = es
		} else {
			v.lax = es
		}
		v.wanted = append(v.wanted, line)
	case "caller":
		v.caller = value
		v.wanted = append(v.wanted, line)
	default:
		err = errors.New("unknown key")
	}
	return err
}

func (v *vectorCase) complete() error {
	switch {
	case len(v.sections) == 0:
		return errors.New("want a section")
	case len(v.end) == 0:
		return errors.New("want an end")
	case v.request != nil && (v.role != "server" || v.status == nil):
		return errors.New("a request is for a server, and wants a status")
	case v.response != nil && v.role != "client":
		return errors.New("a response is for a client")
	case v.response == nil && v.request == nil && v.status != nil:
		return errors.New("a status without a request")
	case v.offers != nil && (v.request != nil || v.role == "client"):
		return errors.New("an offer is for a server, and has no place beside a request")
	case v.accept != nil && (v.response != nil || v.role == "server"):
		return errors.New("an answer to an offer is for a client, and has no place beside a response")
	case v.negotiates() && v.role == "" && (v.offers == nil || v.accept == nil):
		return errors.New("want an offer for a server and an answer for a client")
	case v.negotiates() && v.early:
		return errors.New("what is agreed upon is not known in the packet of the handshake")
	}
	for _, e := range v.end {
		if e.kind == "close" && len(e.codes) != 1 {
			return errors.New("want one code to close with")
		}
	}
	return nil
}
