package websocket

import (
	"fmt"
	"iter"
	"strings"
)

// This file is what both sides of the opening handshake have to know of the
// header fields of HTTP, as pure functions.

// listElements yields the elements of a comma-separated list without quoted
// strings, which may be spread over several header lines (RFC 9110, sections
// 5.3 and 5.6.1). Empty elements count for nothing.
func listElements(lines []string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range lines {
			for element := range strings.SplitSeq(line, ",") {
				element = strings.Trim(element, " \t")
				if element != "" && !yield(element) {
					return
				}
			}
		}
	}
}

// listHas reports whether token is an element of the list, in any letter case.
func listHas(lines []string, token string) bool {
	for element := range listElements(lines) {
		if equalFold(element, token) {
			return true
		}
	}
	return false
}

// equalFold reports whether s is token, which must be ASCII, in any letter
// case. Folding as Unicode does would take U+212A for a k; with as many bytes
// as token there is no room for such a letter.
func equalFold(s, token string) bool {
	return len(s) == len(token) && strings.EqualFold(s, token)
}

// isToken reports whether s is a token (RFC 9110, section 5.6.2).
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// checkField returns an error unless a header field may be written as it is:
// the name a token, the value without line breaks and other control bytes.
func checkField(name string, values []string) error {
	if !isToken(name) {
		return fmt.Errorf("%q is not a header field name", name)
	}
	for _, v := range values {
		for i := range len(v) {
			if c := v[i]; c < ' ' && c != '\t' || c == 0x7F {
				return fmt.Errorf("control byte in the value of header field %s", name)
			}
		}
	}
	return nil
}

// isHost reports whether s has only bytes that may stand in a host with or
// without a port (RFC 3986, section 3.2), as the ASCII form of every name has.
func isHost(s string) bool {
	for i := range len(s) {
		if c := s[i]; !isAlphanumeric(c) && strings.IndexByte("!$%&'()*+,-.:;=[]_~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// isHandshakeField reports whether only the opening handshake may set the
// header field with this canonical name.
func isHandshakeField(name string) bool { return strings.HasPrefix(name, "Sec-Websocket-") }

// isConnectionField reports whether the header field with this canonical name
// is about the connection or the length of the message (RFC 9110, section
// 7.6.1; RFC 9112, section 6) and thus settled in an opening handshake.
func isConnectionField(name string) bool {
	switch name {
	case "Connection", "Upgrade", "Keep-Alive", "Proxy-Connection", "Te",
		"Content-Length", "Transfer-Encoding", "Trailer":
		return true
	}
	return false
}
