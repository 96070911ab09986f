package websocket

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// This file is the request of the client's opening handshake (section 4.1), as
// pure functions: what it says, where it goes, and where a redirect leads.

// newKey returns a nonce for Sec-WebSocket-Key (4.1, step 7 of the request).
func newKey() string {
	var nonce [16]byte
	rand.Read(nonce[:])
	return base64.StdEncoding.EncodeToString(nonce[:])
}

// newRequest returns the client's opening handshake. Its URL has the scheme
// http or https and no user.
func (d *Dialer) newRequest(rawURL, key string) (*http.Request, error) {
	u, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	req := &http.Request{
		Method: http.MethodGet,
		URL:    u,
		Host:   u.Host,
		// The names are spelled as the RFC does, for servers that do not
		// know that letter case means nothing.
		Header: http.Header{
			"Upgrade":               {"websocket"},
			"Connection":            {"Upgrade"},
			"Sec-WebSocket-Key":     {key},
			"Sec-WebSocket-Version": {"13"},
		},
	}
	for i, p := range d.Subprotocols {
		if !isToken(p) || slices.Contains(d.Subprotocols[:i], p) {
			return nil, fmt.Errorf("subprotocol %q is not a token or stands twice", p)
		}
	}
	if len(d.Subprotocols) > 0 {
		req.Header["Sec-WebSocket-Protocol"] = []string{strings.Join(d.Subprotocols, ", ")}
	}
	if offer := d.Compression.offer(); offer != nil {
		req.Header["Sec-WebSocket-Extensions"] = []string{offer.String()}
	}
	if u.User != nil {
		password, _ := u.User.Password()
		req.SetBasicAuth(u.User.Username(), password)
		u.User = nil
	}
	for name, values := range d.Header {
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case isHandshakeField(canonical) || isConnectionField(canonical):
			return nil, fmt.Errorf("header field %s is for Dial to set", name)
		case canonical == "Host":
			if len(values) != 1 || !isHost(values[0]) {
				return nil, errors.New("header field Host must be one host with or without a port")
			}
			req.Host = values[0]
			continue
		case canonical == "Authorization":
			req.Header.Del("Authorization")
		case canonical == "Cookie" && len(values) > 0:
			// There may be one such field (RFC 6265, section 5.4), and Jar's
			// cookies are added to it.
			name, values = canonical, []string{strings.Join(values, "; ")}
		}
		if err := checkField(name, values); err != nil {
			return nil, err
		}
		req.Header[name] = slices.Clone(values)
	}
	if d.Jar != nil {
		for _, cookie := range d.Jar.Cookies(cookieURL(req)) {
			req.AddCookie(cookie)
		}
	}
	return req, nil
}

// cookieURL returns the URL that cookies belong to: that of the request, at the
// host which is its Host.
func cookieURL(req *http.Request) *url.URL {
	u := *req.URL
	u.Host = req.Host
	return &u
}

// isRedirect reports whether a response with this status sends its client to
// the URL in Location (RFC 9110, section 15.4).
func isRedirect(status int) bool {
	switch status {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// redirect returns the request that a redirect of the last one, from, leads to,
// and the Dialer that makes it: d without the credentials that are not for the
// new origin.
func (d *Dialer) redirect(from *http.Request, location []string) (*Dialer, *http.Request, error) {
	if len(location) != 1 {
		return nil, nil, errors.New("it has not one Location")
	}
	ref, err := url.Parse(location[0])
	if err != nil {
		return nil, nil, errors.New("Location is not a URL")
	}
	ref = from.URL.ResolveReference(ref)
	ref.Fragment, ref.RawFragment = "", "" // for whom shows the page
	to, err := parseURL(ref.String())
	switch {
	case err != nil:
		return nil, nil, fmt.Errorf("Location: %w", err)
	case to.User != nil:
		// Such a URL is up to no good (RFC 9110, section 4.2.4).
		return nil, nil, errors.New("Location has a user")
	case from.URL.Scheme == "https" && to.Scheme != "https":
		return nil, nil, errors.New("Location is not secure, as the request was")
	}
	next := *d
	next.Header = d.Header.Clone()
	sameOrigin := to.Scheme == from.URL.Scheme && strings.EqualFold(to.Host, from.URL.Host)
	for name := range next.Header {
		switch http.CanonicalHeaderKey(name) {
		case "Host", "Authorization", "Proxy-Authorization", "Cookie":
			if !sameOrigin {
				delete(next.Header, name)
			}
		}
	}
	req, err := next.newRequest(to.String(), newKey())
	if err != nil {
		return nil, nil, err
	}
	if user, ok := from.Header["Authorization"]; ok && sameOrigin {
		req.Header["Authorization"] = user // as the first URL has it
	}
	return &next, req, nil
}

// parseURL parses a WebSocket URI (section 3) and returns it in the terms of
// HTTP: with the scheme http or https, and with a port only where it is not
// the default one, as in Host (4.1, step 4 of the request). No error repeats
// what may be a password.
func parseURL(raw string) (*url.URL, error) {
	if strings.Contains(raw, "#") {
		return nil, errors.New("URL with a fragment, which a WebSocket URL must not have")
	}
	u, err := url.Parse(raw)
	if err != nil {
		if strings.Contains(raw, "@") {
			err = errors.New("malformed URL")
		}
		return nil, err
	}
	switch u.Scheme {
	case "ws", "http":
		u.Scheme = "http"
	case "wss", "https":
		u.Scheme = "https"
	default:
		return nil, errors.New("URL scheme must be ws, wss, http or https")
	}
	if u.Hostname() == "" {
		return nil, errors.New("URL without a host")
	}
	if !isHost(u.Host) {
		return nil, errors.New("URL with a host that is not ASCII or has bytes no host has")
	}
	if port := u.Port(); port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return nil, errors.New("URL with a port above 65535")
		}
	}
	if port := u.Port(); port == "" || port == defaultPorts[u.Scheme] {
		u.Host = strings.TrimSuffix(u.Host, ":"+port)
	}
	u.ForceQuery = false // "?" belongs to the resource name with a query only
	for _, c := range []byte(u.RequestURI()) {
		if c <= ' ' || c >= 0x7F {
			return nil, errors.New("URL with a query that is not percent-encoded")
		}
	}
	return u, nil
}

// hostPort returns where to connect to.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = defaultPorts[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
