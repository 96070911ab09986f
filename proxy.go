package websocket

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
)

// A client that is configured to use a proxy asks it for a connection to the
// server (section 4.1, step 3): with CONNECT or as SOCKS 5 has it.

var proxyPorts = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}

// proxyFor returns the proxy to use, or nil for none.
func (d *Dialer) proxyFor(ctx context.Context, req *http.Request) (*url.URL, error) {
	choose := d.Proxy
	if choose == nil {
		choose = http.ProxyFromEnvironment
	}
	proxy, err := choose(req.Clone(ctx))
	switch {
	case err != nil:
		return nil, fmt.Errorf("choosing a proxy: %w", err)
	case proxy == nil:
		return nil, nil
	case proxyPorts[proxy.Scheme] == "":
		return nil, errors.New("proxy with a scheme other than http, https, socks5 and socks5h")
	case proxy.Hostname() == "":
		return nil, errors.New("proxy without a host")
	}
	return proxy, nil
}

func proxyHostPort(proxy *url.URL) string {
	port := proxy.Port()
	if port == "" {
		port = proxyPorts[proxy.Scheme]
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}

// tunnel has the proxy at the other end of raw connect to addr, and returns the
// connection that leads there. An answer that refuses is returned together with
// the *HandshakeError.
func (d *Dialer) tunnel(ctx context.Context, raw net.Conn, proxy *url.URL, addr string) (net.Conn, *http.Response, error) {
	if proxy.Scheme == "socks5" || proxy.Scheme == "socks5h" {
		return raw, nil, socksConnect(raw, proxy.User, addr)
	}
	req, err := d.newConnect(proxy.User, addr)
	if err != nil {
		return nil, nil, err
	}
	nc := raw
	if proxy.Scheme == "https" {
		tc := tls.Client(raw, d.proxyTLSConfig(proxy.Hostname()))
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, nil, fmt.Errorf("connecting to the proxy: %w", err)
		}
		nc = tc
	}
	if err := writeRequest(nc, req); err != nil {
		return nil, nil, fmt.Errorf("asking the proxy: %w", err)
	}
	// What is behind the header comes from the server.
	a := newAnswerReader(byteReader{nc}, "proxy")
	resp, err := a.read(req)
	if err != nil {
		return nil, nil, err
	}
	if resp.StatusCode/100 != 2 {
		return nil, resp, a.refusal(ctx, raw, resp)
	}
	return nc, nil, nil
}

// A byteReader reads byte by byte, so that whoever has a buffer above takes
// nothing from below that is not for him.
type byteReader struct{ r io.Reader }

func (b byteReader) Read(p []byte) (int, error) { return b.r.Read(p[:min(len(p), 1)]) }

// proxyTLSConfig is tlsConfig for a proxy: what is in it about the server's name
// does not count.
func (d *Dialer) proxyTLSConfig(host string) *tls.Config {
	cfg := d.tlsConfig(host)
	cfg.ServerName = host
	cfg.EncryptedClientHelloConfigList = nil
	return cfg
}

// newConnect returns the request for a connection to addr (RFC 9110, section
// 9.3.6).
func (d *Dialer) newConnect(user *url.Userinfo, addr string) (*http.Request, error) {
	req := &http.Request{
		Method: http.MethodConnect,
		URL:    &url.URL{Opaque: addr},
		Host:   addr,
		Header: make(http.Header),
	}
	if user != nil {
		password, _ := user.Password()
		credentials := base64.StdEncoding.EncodeToString([]byte(user.Username() + ":" + password))
		req.Header.Set("Proxy-Authorization", "Basic "+credentials)
	}
	for name, values := range d.ProxyHeader {
		switch canonical := http.CanonicalHeaderKey(name); canonical {
		case "Host", "Content-Length", "Transfer-Encoding", "Trailer":
			return nil, fmt.Errorf("header field %s of ProxyHeader is for Dial to set", name)
		case "Proxy-Authorization":
			req.Header.Del(canonical)
		}
		if err := checkField(name, values); err != nil {
			return nil, err
		}
		req.Header[name] = values
	}
	return req, nil
}

// The bytes of RFC 1928 and RFC 1929.
const (
	socksVersion      = 5
	socksNoAuth       = 0
	socksPassword     = 2
	socksNoMethod     = 0xFF
	socksPasswordAuth = 1 // version of the subnegotiation
	socksCommand      = 1 // CONNECT
	socksIPv4         = 1
	socksName         = 3
	socksIPv6         = 4
)

// socksReplies are what a proxy can have against a request (RFC 1928, section
// 6).
var socksReplies = []string{
	1: "general SOCKS server failure",
	2: "connection not allowed by ruleset",
	3: "network unreachable",
	4: "host unreachable",
	5: "connection refused",
	6: "TTL expired",
	7: "command not supported",
	8: "address type not supported",
}

// socksConnect asks the SOCKS proxy at the other end of nc for a connection to
// addr. It reads not one byte more than the proxy's answers have.
func socksConnect(nc net.Conn, user *url.Userinfo, addr string) error {
	request, err := appendSOCKSRequest(nil, addr)
	if err != nil {
		return err
	}
	methods := []byte{socksNoAuth}
	var credentials []byte
	if user != nil {
		if credentials, err = appendSOCKSPassword(nil, user); err != nil {
			return err
		}
		methods = append(methods, socksPassword)
	}

	// Which method? (RFC 1928, section 3)
	greeting := append([]byte{socksVersion, byte(len(methods))}, methods...)
	answer, err := socksExchange(nc, greeting, 2)
	switch {
	case err != nil:
		return err
	case answer[0] != socksVersion:
		return errors.New("the proxy does not speak SOCKS 5")
	case answer[1] == socksNoMethod:
		return socksRefusal("no acceptable authentication method")
	case answer[1] == socksPassword && user != nil:
		if answer, err = socksExchange(nc, credentials, 2); err != nil {
			return err
		}
		if answer[1] != 0 { // RFC 1929, section 2
			return socksRefusal("wrong user or password")
		}
	case answer[1] != socksNoAuth:
		return errors.New("the proxy chose an authentication method that was not offered")
	}

	// The request and its reply (RFC 1928, sections 4 and 6), which ends with
	// an address that means nothing to us.
	answer, err = socksExchange(nc, request, 2)
	switch {
	case err != nil:
		return err
	case answer[0] != socksVersion:
		return errors.New("the proxy does not speak SOCKS 5")
	case answer[1] != 0:
		if code := int(answer[1]); code < len(socksReplies) {
			return socksRefusal(socksReplies[code])
		}
		return socksRefusal("reply code " + strconv.Itoa(int(answer[1])))
	}
	answer, err = socksExchange(nc, nil, 3) // of the address the first byte
	if err != nil {
		return err
	}
	rest := 2 // the port
	switch answer[1] {
	case socksIPv4:
		rest += net.IPv4len - 1
	case socksIPv6:
		rest += net.IPv6len - 1
	case socksName:
		rest += int(answer[2])
	default:
		return errors.New("the proxy answered with an unknown type of address")
	}
	_, err = socksExchange(nc, nil, rest)
	return err
}

// socksExchange writes p and reads an answer of n bytes.
func socksExchange(nc net.Conn, p []byte, n int) ([]byte, error) {
	if len(p) > 0 {
		if _, err := nc.Write(p); err != nil {
			return nil, fmt.Errorf("asking the proxy: %w", err)
		}
	}
	answer := make([]byte, n)
	if _, err := io.ReadFull(nc, answer); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("reading the proxy's answer: %w", err)
	}
	return answer, nil
}

func socksRefusal(text string) error {
	return &HandshakeError{Err: errors.New("the proxy refused: " + text)}
}

// appendSOCKSRequest appends the request for a connection to addr, a host and
// port. A name is left to the proxy to resolve.
func appendSOCKSRequest(dst []byte, addr string) ([]byte, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, err
	}
	dst = append(dst, socksVersion, socksCommand, 0)
	ip, err := netip.ParseAddr(host)
	switch ip = ip.Unmap(); {
	case err != nil && len(host) > 255:
		return nil, errors.New("host with more than the 255 bytes that SOCKS has room for")
	case err != nil:
		dst = append(dst, socksName, byte(len(host)))
		dst = append(dst, host...)
	case ip.Is4():
		dst = append(append(dst, socksIPv4), ip.AsSlice()...)
	default:
		dst = append(append(dst, socksIPv6), ip.AsSlice()...)
	}
	return binary.BigEndian.AppendUint16(dst, uint16(port)), nil
}

// appendSOCKSPassword appends the request of RFC 1929.
func appendSOCKSPassword(dst []byte, user *url.Userinfo) ([]byte, error) {
	name := user.Username()
	password, _ := user.Password()
	if name == "" || len(name) > 255 || len(password) > 255 {
		return nil, errors.New("proxy with a user of 0 or more than 255 bytes, or a password of more than 255")
	}
	dst = append(dst, socksPasswordAuth, byte(len(name)))
	dst = append(dst, name...)
	dst = append(dst, byte(len(password)))
	return append(dst, password...), nil
}
