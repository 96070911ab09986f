package websocket

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
)

// Compression turns on permessage-deflate (RFC 7692) where the peer agrees to
// it. The zero value is a good choice for many connections: no memory for any
// of them while they are idle.
//
// Compressed data tells by its length how alike its parts are. Do not let
// messages have both a secret and what an attacker chooses; with context
// takeover that goes for all the messages of a connection.
type Compression struct {
	// Level is how hard to compress, from 1, the fastest, to 9, the smallest.
	// 0 and whatever else is out of range mean the default, 3.
	Level int

	// ContextTakeover lets each message refer to the messages before it in the
	// same direction (RFC 7692, section 7.1.1), where the peer does not
	// object. Short messages that resemble each other become much smaller.
	// Each connection then keeps up to 96 KiB with windows of 15 bits, half
	// of it with 14, and so on; a direction in which nothing compressed has
	// been sent keeps nothing.
	ContextTakeover bool

	// WindowBits bounds how far back references may go, in both directions, to
	// 1<<WindowBits bytes (RFC 7692, section 7.1.2). It is from 8 to 15; 0
	// is 15. A client that does not say that it can keep to a smaller window
	// is asked not to take over its context instead.
	WindowBits int

	// Threshold is the length in bytes below which a message is sent as it
	// is. 0 is the default: 256, or 32 with context takeover, below which hardly
	// anything is gained; -1 means that every message is compressed. Of a
	// message of NextWriter the first 32 KiB count, with the Write that goes
	// beyond them. Without context takeover a message is sent as it is, too,
	// where compression does not make it shorter.
	Threshold int

	// Allow, if not nil, has to return true for a request, or compression is
	// declined. It is for servers, which may know what clients have trouble
	// with it; a Dialer does not call it.
	Allow func(*http.Request) bool
}

const deflateName = "permessage-deflate"

// The parameters (RFC 7692, section 7.1).
const (
	paramServerNoTakeover = "server_no_context_takeover"
	paramClientNoTakeover = "client_no_context_takeover"
	paramServerWindow     = "server_max_window_bits"
	paramClientWindow     = "client_max_window_bits"
)

func (o *Compression) level() int {
	if o.Level < 1 || o.Level > 9 {
		return defaultLevel
	}
	return o.Level
}

func (o *Compression) windowBits() int {
	if o.WindowBits == 0 {
		return maxWindowBits
	}
	return min(max(o.WindowBits, minWindowBits), maxWindowBits)
}

// threshold returns the length of the shortest message to compress. takeover
// is whether messages go out with context takeover.
func (o *Compression) threshold(takeover bool) int {
	switch {
	case o.Threshold != 0:
		return max(o.Threshold, 0)
	case takeover:
		return 32
	}
	return 256
}

// deflateParams are the parameters of a permessage-deflate offer or response.
type deflateParams struct {
	serverNoTakeover, clientNoTakeover bool
	serverWindow, clientWindow         int  // bits; 0 where there is no such parameter
	clientWindowOpen                   bool // client_max_window_bits without a value
}

// parseDeflateParams returns the parameters of e. ok is false where there is
// one that is not known, stands twice or has a value that it cannot have
// (RFC 7692, section 7).
func parseDeflateParams(e extension) (p deflateParams, ok bool) {
	seen := make(map[string]bool, len(e.params))
	for _, param := range e.params {
		if seen[param.name] {
			return p, false
		}
		seen[param.name] = true
		ok := false
		switch param.name {
		case paramServerNoTakeover: // 7.1.1.1
			p.serverNoTakeover, ok = true, !param.hasValue
		case paramClientNoTakeover: // 7.1.1.2
			p.clientNoTakeover, ok = true, !param.hasValue
		case paramServerWindow: // 7.1.2.1
			p.serverWindow, ok = parseWindowBits(param.value)
		case paramClientWindow: // 7.1.2.2
			if ok = !param.hasValue; ok {
				p.clientWindowOpen = true
			} else {
				p.clientWindow, ok = parseWindowBits(param.value)
			}
		}
		if !ok {
			return p, false
		}
	}
	return p, true
}

// parseWindowBits parses a decimal number from 8 to 15 without leading zeroes
// (RFC 7692, section 7.1.2).
func parseWindowBits(value string) (n int, ok bool) {
	switch value {
	case "8", "9":
		return int(value[0] - '0'), true
	case "10", "11", "12", "13", "14", "15":
		return 10 + int(value[1]-'0'), true
	}
	return 0, false
}

// String returns p as an element of Sec-WebSocket-Extensions.
func (p deflateParams) String() string {
	s := deflateName
	if p.serverNoTakeover {
		s += "; " + paramServerNoTakeover
	}
	if p.clientNoTakeover {
		s += "; " + paramClientNoTakeover
	}
	if p.serverWindow != 0 {
		s += "; " + paramServerWindow + "=" + strconv.Itoa(p.serverWindow)
	}
	if p.clientWindow != 0 {
		s += "; " + paramClientWindow + "=" + strconv.Itoa(p.clientWindow)
	} else if p.clientWindowOpen {
		s += "; " + paramClientWindow
	}
	return s
}

// accept returns the response to the first of the client's offers, in the
// order in which it prefers them, that can be accepted (RFC 7692, section 5),
// or nil. The caller has asked Allow.
func (o *Compression) accept(offers []extension) *deflateParams {
	for _, e := range offers {
		if e.name != deflateName {
			continue
		}
		if offer, ok := parseDeflateParams(e); ok {
			response := o.respond(offer)
			return &response
		}
	}
	return nil
}

// respond returns the response to an offer. All that an offer can ask for can
// be granted.
func (o *Compression) respond(offer deflateParams) (r deflateParams) {
	// The server may demand that there be no takeover in either direction, or
	// a smaller window for itself, unasked (7.1.1.1, 7.1.1.2, 7.1.2.1).
	r.serverNoTakeover = offer.serverNoTakeover || !o.ContextTakeover
	r.clientNoTakeover = offer.clientNoTakeover || !o.ContextTakeover
	bits := o.windowBits()
	switch {
	case offer.serverWindow != 0:
		r.serverWindow = min(offer.serverWindow, bits)
	case bits < maxWindowBits:
		r.serverWindow = bits
	}
	// A window for the client may be in the response only if one was in the
	// offer (7.1.2.2).
	switch {
	case offer.clientWindow != 0:
		r.clientWindow = min(offer.clientWindow, bits)
	case bits == maxWindowBits:
	case offer.clientWindowOpen:
		r.clientWindow = bits
	default:
		r.clientNoTakeover = true
	}
	return r
}

// offer returns what a client offers, nil without options.
func (o *Compression) offer() *deflateParams {
	if o == nil {
		return nil
	}
	p := new(deflateParams)
	p.serverNoTakeover = !o.ContextTakeover
	p.clientNoTakeover = !o.ContextTakeover
	if bits := o.windowBits(); bits < maxWindowBits {
		p.serverWindow, p.clientWindow = bits, bits
	} else {
		p.clientWindowOpen = true
	}
	return p
}

// checkAccepted returns what the server accepted, nil for nothing, or why the
// client has to fail the connection (RFC 7692, section 5.1). offer is nil where
// nothing was offered.
func checkAccepted(offer *deflateParams, list []extension) (*deflateParams, error) {
	for _, e := range list {
		if offer == nil || e.name != deflateName {
			return nil, fmt.Errorf("the server uses extension %.100q, which was not asked for", e.name)
		}
	}
	switch len(list) {
	case 0:
		return nil, nil
	case 1:
	default:
		return nil, errors.New("the server accepted " + deflateName + " more than once")
	}
	r, ok := parseDeflateParams(list[0])
	reason := ""
	switch {
	case !ok || r.clientWindowOpen:
		reason = "a parameter that is unknown, doubled or has an invalid value"
	case offer.serverNoTakeover && !r.serverNoTakeover: // 7.1.1.1
		reason = "not with " + paramServerNoTakeover
	case offer.serverWindow != 0 && (r.serverWindow == 0 || r.serverWindow > offer.serverWindow): // 7.1.2.1
		reason = "not with the " + paramServerWindow + " that was asked for"
	case r.clientWindow != 0 && offer.clientWindow == 0 && !offer.clientWindowOpen: // 7.1.2.2
		reason = "with " + paramClientWindow + ", which was not offered"
	case offer.clientWindow != 0 && r.clientWindow > offer.clientWindow: // 7.1.2.2
		reason = "with a larger " + paramClientWindow + " than offered"
	default:
		return &r, nil
	}
	return nil, errors.New("the server accepted " + deflateName + ", but " + reason)
}

// A direction is what has been agreed upon for one direction.
type direction struct {
	takeover   bool
	windowBits int
}

// agreed returns what a response means for the end whose options o are.
func (o *Compression) agreed(r deflateParams, isClient bool) (write, read direction) {
	window := func(bits int) int {
		if bits == 0 {
			return maxWindowBits
		}
		return bits
	}
	write = direction{!r.serverNoTakeover, window(r.serverWindow)}
	read = direction{!r.clientNoTakeover, window(r.clientWindow)}
	if isClient {
		write, read = read, write
	}
	// To make less of it than the peer has to expect is always allowed.
	write.takeover = write.takeover && o.ContextTakeover
	write.windowBits = min(write.windowBits, o.windowBits())
	return write, read
}

// An inflater inflates messages one after another. The zero value does so
// without context takeover.
type inflater struct {
	window  int    // bytes of history that are kept; 0 without context takeover
	history []byte // the end of the messages before, a few more bytes than window
}

// newInflater returns an inflater with context takeover for a peer that
// compresses with a window of 1<<windowBits bytes.
func newInflater(windowBits int) *inflater {
	// Some peers take 8 bits for 9, since zlib did so for a long time.
	return &inflater{window: 1 << max(windowBits, 9)}
}

// appendMessage inflates a message and appends it to dst. It fails with
// errMessageTooBig once there are more than limit bytes, and with a
// *ProtocolError of code 1007 for what is not the whole of a message. On an
// error dst is returned as it was.
//
// Memory grows with the output; no more than limit+1 bytes are produced.
func (f *inflater) appendMessage(dst, compressed []byte, limit int64) ([]byte, error) {
	z := getBlockDecoder(compressed)
	defer putBlockDecoder(z)
	start, n := len(dst), 0
	most := int(min(limit, math.MaxInt-1)) + 1
	buf := slices.Grow(dst, min(most, 2*len(compressed)))
	for {
		out := buf[start:cap(buf)]
		out = out[:min(len(out), most)]
		var err error
		n, err = z.decode(f.recent(), out, n)
		switch {
		case n == most:
			return dst, errMessageTooBig
		case err == io.EOF:
			f.remember(out[:n])
			return buf[:start+n], nil
		case err != nil:
			return dst, err
		}
		buf = slices.Grow(buf[:start+n], min(most-n, max(n, 512)))
	}
}

// recent returns the history that may be referred to.
func (f *inflater) recent() []byte { return f.history[max(0, len(f.history)-f.window):] }

// remember takes the end of a message into the history.
func (f *inflater) remember(message []byte) {
	if f.window == 0 {
		return
	}
	message = message[max(0, len(message)-f.window):]
	if need := len(f.history) + len(message); need > cap(f.history) {
		// Grow up to what there is room for beside the window, so that not
		// every message moves it.
		most := f.window + f.window/4
		if cap(f.history) < most {
			grown := make([]byte, len(f.history), min(most, max(need, 2*cap(f.history))))
			copy(grown, f.history)
			f.history = grown
		}
		if need > cap(f.history) {
			keep := f.history[len(f.history)-(f.window-len(message)):]
			f.history = f.history[:copy(f.history, keep)]
		}
	}
	f.history = append(f.history, message...)
}

// An inflateReader reads one message as a stream, from its compressed bytes in
// memory. It has a pooled blockDecoder until the end of the message, an error or
// release.
type inflateReader struct {
	f      *inflater
	z      *blockDecoder
	left   int64 // how many bytes may come yet
	n      int   // of z.out have been decoded,
	served int   // and returned
	err    error
}

const inflateRoom = 32 << 10 // what z.out has beside the window

// open begins to read a message. compressed must not change until its end.
func (f *inflater) open(compressed []byte, limit int64) *inflateReader {
	z := getBlockDecoder(compressed)
	if z.out == nil {
		z.out = make([]byte, 1<<maxWindowBits+inflateRoom)
	}
	return &inflateReader{f: f, z: z, left: limit}
}

// next returns up to most bytes of the message, which are good until the next
// call. It returns io.EOF at the end, after which the next message may be begun,
// and else fails like appendMessage.
func (r *inflateReader) next(most int) ([]byte, error) {
	if most == 0 {
		return nil, nil
	}
	if r.served == r.n && r.err == nil {
		r.decode()
	}
	if r.served == r.n {
		r.release()
		return nil, r.err
	}
	b := r.z.out[r.served:min(r.n, r.served+most)]
	r.served += len(b)
	return b, nil
}

// decode decodes more of the message, all of which has been returned.
func (r *inflateReader) decode() {
	z := r.z
	if r.n == len(z.out) {
		r.n = copy(z.out, z.out[r.n-1<<maxWindowBits:])
		r.served = r.n
	}
	most := r.n + 1 + int(min(r.left, int64(len(z.out)-r.n-1)))
	n, err := z.decode(r.f.recent(), z.out[:most], r.n)
	switch {
	case int64(n-r.n) > r.left:
		n, err = n-1, errMessageTooBig
	case err == io.EOF:
		r.f.remember(z.out[:n])
	}
	r.left -= int64(n - r.n)
	r.n, r.err = n, err
}

// release gives back what r has from the pool. Reading fails from then on.
func (r *inflateReader) release() {
	if r.z != nil {
		putBlockDecoder(r.z)
		r.z = nil
	}
	if r.err == nil || r.served < r.n {
		r.err = errStaleReader
	}
	r.n, r.served = 0, 0
}
