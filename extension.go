package websocket

import "strings"

// An extension is an element of Sec-WebSocket-Extensions (section 9.1): an
// offer in a request, what was accepted in a response.
type extension struct {
	name   string
	params []extensionParam
}

// An extensionParam is a parameter of an extension. Its value is a token; it
// does not matter whether it stood in quotes.
type extensionParam struct {
	name, value string
	hasValue    bool
}

// parseExtensions parses the lines of Sec-WebSocket-Extensions (section 9.1):
//
//	extension-list  = 1#extension
//	extension       = extension-token *( ";" extension-param )
//	extension-param = token [ "=" (token | quoted-string) ]
//
// where the value of a quoted-string, too, is a token. ok is false where there
// are lines and they do not follow that grammar.
func parseExtensions(lines []string) (list []extension, ok bool) {
	for _, line := range lines {
		p := extensionParser{line}
		for p.skipSpace(); p.rest != ""; p.skipSpace() {
			if p.accept(',') {
				continue // an empty element (RFC 9110, section 5.6.1)
			}
			e, ok := p.extension()
			if !ok || p.rest != "" && !p.accept(',') {
				return nil, false
			}
			list = append(list, e)
		}
	}
	return list, len(lines) == 0 || len(list) > 0
}

// An extensionParser has what is left of a line. All methods skip the white
// space after what they take.
type extensionParser struct{ rest string }

func (p *extensionParser) skipSpace() { p.rest = strings.TrimLeft(p.rest, " \t") }

// accept takes the next byte if it is c.
func (p *extensionParser) accept(c byte) bool {
	if p.rest == "" || p.rest[0] != c {
		return false
	}
	p.rest = p.rest[1:]
	p.skipSpace()
	return true
}

func (p *extensionParser) extension() (e extension, ok bool) {
	if e.name, ok = p.token(); !ok {
		return extension{}, false
	}
	for p.accept(';') {
		var param extensionParam
		if param.name, ok = p.token(); !ok {
			return extension{}, false
		}
		if p.accept('=') {
			if param.value, ok = p.value(); !ok {
				return extension{}, false
			}
			param.hasValue = true
		}
		e.params = append(e.params, param)
	}
	return e, true
}

func (p *extensionParser) token() (token string, ok bool) {
	end := strings.IndexAny(p.rest, " \t,;=\"")
	if end < 0 {
		end = len(p.rest)
	}
	token, p.rest = p.rest[:end], p.rest[end:]
	p.skipSpace()
	return token, isToken(token)
}

// value takes a token or a quoted-string (RFC 9110, section 5.6.4).
func (p *extensionParser) value() (value string, ok bool) {
	if p.rest == "" || p.rest[0] != '"' {
		return p.token()
	}
	var b []byte
	for i := 1; i < len(p.rest); i++ {
		switch c := p.rest[i]; {
		case c == '"':
			p.rest = p.rest[i+1:]
			p.skipSpace()
			return string(b), isToken(string(b))
		case c == '\\' && i+1 < len(p.rest):
			i++
			b = append(b, p.rest[i])
		default:
			b = append(b, c)
		}
	}
	return "", false
}
