package websocket

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// The negotiation of permessage-deflate (RFC 7692, 5 and 7.1) as the conformance
// cases see it.

const wireDeflateName = "permessage-deflate"

// A wireExtension is an element of Sec-WebSocket-Extensions.
type wireExtension struct {
	name   string
	params []wireParam
	text   string // as it stands there
}

type wireParam struct {
	name, value string
	hasValue    bool
}

// The grammar (RFC 6455, 9.1).
const (
	wireTokenChar  = "[!#$%&'*+.^_`|~0-9A-Za-z-]"
	wireToken      = wireTokenChar + `+`
	wireParamForm  = `[ \t]*;[ \t]*(` + wireToken + `)(?:[ \t]*=[ \t]*(?:(` + wireToken + `)|"((?:\\?` + wireTokenChar + `)+)"))?`
	wireExtForm    = `(` + wireToken + `)((?:` + wireParamForm + `)*)`
	wireExtsAnchor = `^[ \t]*` + wireExtForm + `(?:[ \t]*,[ \t]*` + wireExtForm + `)*[ \t]*$`
)

var (
	wireParamRE = regexp.MustCompile(wireParamForm)
	wireExtRE   = regexp.MustCompile(wireExtForm)
	wireExtsRE  = regexp.MustCompile(wireExtsAnchor)
)

// parseWireExtensions parses the values of Sec-WebSocket-Extensions.
func parseWireExtensions(values []string) (all []wireExtension, ok bool) {
	for _, value := range values {
		if !wireExtsRE.MatchString(value) {
			return nil, false
		}
		for _, m := range wireExtRE.FindAllStringSubmatch(value, -1) {
			e := wireExtension{name: m[1], text: m[0]}
			for _, p := range wireParamRE.FindAllStringSubmatch(m[2], -1) {
				v := p[2] + strings.ReplaceAll(p[3], `\`, "")
				e.params = append(e.params, wireParam{p[1], v, v != ""})
			}
			all = append(all, e)
		}
	}
	return all, true
}

// wireTerms are the parameters of an offer or a response.
type wireTerms struct {
	serverNoTakeover, clientNoTakeover bool
	serverBits, clientBits             int  // 0 for none
	clientBitsOpen                     bool // client_max_window_bits without a value
}

// terms returns the parameters of e, unless one is unknown, doubled or has a
// value that it cannot have.
func (e wireExtension) terms() (t wireTerms, ok bool) {
	known := make(map[string]bool)
	for _, p := range e.params {
		bits, err := strconv.Atoi(p.value)
		isBits := err == nil && bits >= 8 && bits <= 15 && p.value == strconv.Itoa(bits)
		switch {
		case known[p.name]:
			return t, false
		case p.name == "server_no_context_takeover" && !p.hasValue:
			t.serverNoTakeover = true
		case p.name == "client_no_context_takeover" && !p.hasValue:
			t.clientNoTakeover = true
		case p.name == "server_max_window_bits" && isBits:
			t.serverBits = bits
		case p.name == "client_max_window_bits" && isBits:
			t.clientBits = bits
		case p.name == "client_max_window_bits" && !p.hasValue:
			t.clientBitsOpen = true
		default:
			return t, false
		}
		known[p.name] = true
	}
	return t, e.name == wireDeflateName
}

// deflateOffers returns the offers that can be accepted.
func deflateOffers(all []wireExtension) (offers []wireTerms) {
	for _, e := range all {
		if t, ok := e.terms(); ok {
			offers = append(offers, t)
		}
	}
	return offers
}

// permits says why a response does not answer an offer, "" if it does.
func (offer wireTerms) permits(r wireTerms) string {
	switch {
	case r.clientBitsOpen:
		return "client_max_window_bits without a value (RFC 7692, 7.1.2.2)"
	case offer.serverNoTakeover && !r.serverNoTakeover:
		return "not server_no_context_takeover, which was asked for (RFC 7692, 7.1.1.1)"
	case offer.serverBits != 0 && (r.serverBits == 0 || r.serverBits > offer.serverBits):
		return "not the server_max_window_bits that was asked for (RFC 7692, 7.1.2.1)"
	case r.clientBits != 0 && offer.clientBits == 0 && !offer.clientBitsOpen:
		return "client_max_window_bits, which was not offered (RFC 7692, 7.1.2.2)"
	case offer.clientBits != 0 && r.clientBits > offer.clientBits:
		return "a larger client_max_window_bits than was offered (RFC 7692, 7.1.2.2)"
	}
	return ""
}

// agree takes in what a server has made of our offers, and says what is wrong
// with that. Both are values of Sec-WebSocket-Extensions.
func (r *wireRun) agree(ours, theirs []string) error {
	all, _ := parseWireExtensions(ours) // some cases offer what is not of the grammar
	offers := deflateOffers(all)
	got, ok := parseWireExtensions(theirs)
	switch {
	case !ok:
		return wireViolation(fmt.Sprintf("Sec-WebSocket-Extensions: %q is not of the grammar (9.1)", theirs))
	case len(got) == 0 && len(offers) > 0:
		r.decline("accepted none of the offers")
		return nil
	case len(got) == 0:
		return nil
	case len(got) > 1 || got[0].name != wireDeflateName || len(offers) == 0:
		return wireViolation(fmt.Sprintf("extensions %q, of which some were not offered (4.2.2)", theirs))
	}
	response, ok := got[0].terms()
	if !ok {
		return wireViolation(fmt.Sprintf("a parameter that is unknown, doubled or has an invalid value: %q (RFC 7692, 7)", theirs))
	}
	why := ""
	for _, offer := range offers {
		full := offer.serverBits == 15 && response.serverBits == 0 // which makes no difference
		if full {
			offer.serverBits = 0
		}
		if why = offer.permits(response); why != "" {
			continue
		}
		if full {
			r.note(verdictLax, "the response has no server_max_window_bits, which was asked for (RFC 7692, 7.1.2.1): %q", theirs)
		}
		d := newWireDeflate(response, true, r.rnd)
		if !r.v.suits(d) {
			r.decline(fmt.Sprintf("has chosen %q, with which the case makes no sense", got[0].text))
		} else {
			r.deflate = d
		}
		return nil
	}
	return wireViolation(fmt.Sprintf("the response has %s: %q", why, theirs))
}

// answer returns our response to a client's offers, "" for none: the first
// that the case names and the client permits, with what it asks for.
func (r *wireRun) answer(theirs []string) (string, error) {
	all, ok := parseWireExtensions(theirs)
	if !ok {
		return "", wireViolation(fmt.Sprintf("Sec-WebSocket-Extensions: %q is not of the grammar (9.1)", theirs))
	}
	if r.v.accept == nil {
		return "", nil
	}
	for _, e := range r.v.accept {
		for _, offer := range deflateOffers(all) {
			t, _ := e.terms()
			text := e.text
			if offer.serverNoTakeover && !t.serverNoTakeover {
				t.serverNoTakeover = true
				text += "; server_no_context_takeover"
			}
			if offer.serverBits != 0 && t.serverBits == 0 {
				t.serverBits = offer.serverBits
				text += "; server_max_window_bits=" + strconv.Itoa(t.serverBits)
			}
			if d := newWireDeflate(t, false, r.rnd); offer.permits(t) == "" && r.v.suits(d) {
				r.deflate = d
				return text, nil
			}
		}
	}
	r.decline(fmt.Sprintf("offers nothing that the case could accept: %q", theirs))
	return "", nil
}

// suits reports whether the case can be played with what was agreed upon.
func (v *vectorCase) suits(d *wireDeflate) bool {
	return v.takeover == "" || (v.takeover == "yes") == d.out.takeover
}

// decline notes that there will be no compression. What remains of the case
// is to close.
func (r *wireRun) decline(why string) {
	r.note(verdictDeclined, "%s", why)
	v := *r.v
	v.steps, v.rounds, v.end, v.lax, v.caller = nil, 1, []vectorEnding{{"close", []int{1000}}}, nil, ""
	r.v, r.rounds = &v, 1
}
