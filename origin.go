package websocket

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// An origin is where a script came from (RFC 6454), in lower case, with its
// port spelled out where the scheme has a default.
type origin struct{ scheme, host, port string }

// opaqueOrigin is that of a script that has none to show, such as one of a
// page opened from a file.
var opaqueOrigin = origin{scheme: "null"}

// parseOrigin parses the value of an Origin header field: "null", or scheme,
// host and an optional port (RFC 6454, section 6.2).
func parseOrigin(s string) (_ origin, ok bool) {
	if equalFold(s, "null") {
		return opaqueOrigin, true
	}
	u, err := url.Parse(s)
	// Nothing but scheme and host: no user, path, query or fragment.
	if err != nil || !isHost(u.Host) || !strings.EqualFold(s, u.Scheme+"://"+u.Host) {
		return origin{}, false
	}
	o := origin{u.Scheme, strings.ToLower(u.Hostname()), u.Port()}
	if o.port == "" {
		o.port = defaultPorts[o.scheme]
	}
	return o, o.host != ""
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// parseOriginPattern parses an entry of Upgrader.AllowedOrigins.
func parseOriginPattern(s string) (origin, error) {
	p, ok := parseOrigin(s)
	if host := strings.TrimPrefix(p.host, "*."); !ok || host == "" && p != opaqueOrigin || strings.Contains(host, "*") {
		return origin{}, fmt.Errorf("AllowedOrigins: %q is not like https://example.com, https://*.example.com or null", s)
	}
	return p, nil
}

// matches reports whether o is the origin p or, where p begins with "*.", one
// of any subdomain.
func (p origin) matches(o origin) bool {
	if suffix, wild := strings.CutPrefix(p.host, "*"); wild {
		return p.scheme == o.scheme && p.port == o.port &&
			len(o.host) > len(suffix) && strings.HasSuffix(o.host, suffix)
	}
	return p == o
}

// sameAs reports whether o is the origin of the page that a server would serve
// at host, the Host of a request. Without TLS of its own (secure) the server
// cannot know whether a proxy before it has ended https, so either scheme will
// do; its default port is meant where host names none.
func (o origin) sameAs(host string, secure bool) bool {
	if o.scheme != "https" && (o.scheme != "http" || secure) {
		return false
	}
	self, ok := parseOrigin(o.scheme + "://" + host)
	return ok && self == o
}

// originAllowed reports whether a request with these Origin header fields may
// be upgraded: it has none and so is not a browser's (4.2.1, step 7), or one
// that is the server's own or that an entry of patterns matches. All entries
// are parsed first, so that a wrong one shows at the first request.
func originAllowed(values []string, host string, secure bool, patterns []string) (bool, error) {
	allowed := make([]origin, len(patterns))
	for i, s := range patterns {
		p, err := parseOriginPattern(s)
		if err != nil {
			return false, err
		}
		allowed[i] = p
	}
	if len(values) == 0 {
		return true, nil
	}
	o, ok := parseOrigin(values[0])
	if !ok || len(values) > 1 {
		return false, nil
	}
	return o.sameAs(host, secure) || slices.ContainsFunc(allowed, func(p origin) bool { return p.matches(o) }), nil
}
