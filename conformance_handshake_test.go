package websocket

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
)

// This file is the opening handshake as the conformance cases see it, written
// by hand on one side and read by net/http.

// maxEarly is how much travels with the handshake: more than net/http's
// buffers hold, but not so much that it could not be written before the answer
// is read.
const maxEarly = 6 << 10

// shakeHands does the opening handshake and reports whether frames follow.
func (r *wireRun) shakeHands(script []wireOp) bool {
	var early []byte
	if (r.v.early || r.chunking == chunkEarly) && len(script) > 0 && len(script[0].pieces) > 0 {
		early = script[0].pieces[0].b
		early = early[:min(len(early), maxEarly)]
		r.sent = len(early)
	}
	if r.client {
		return r.shakeAsClient(early)
	}
	return r.shakeAsServer(early)
}

// writeLines sends a request or response and what travels along with it.
func (r *wireRun) writeLines(lines []string, early []byte, fill *strings.Replacer) {
	b := append([]byte(fill.Replace(strings.Join(lines, "\r\n"))+"\r\n\r\n"), early...)
	pieces := []chunk{{b: b}}
	if r.chunking != chunkWhole {
		pieces = r.cut(pieces)
	}
	for _, p := range pieces {
		r.write(p.b)
	}
}

func (r *wireRun) shakeAsClient(early []byte) bool {
	var nonce [16]byte
	for i := range nonce {
		nonce[i] = byte(r.rnd.Uint32())
	}
	key := base64.StdEncoding.EncodeToString(nonce[:])
	lines := r.v.request
	if lines == nil {
		lines = plainRequest
	}
	for _, offer := range r.v.offers {
		lines = append(slices.Clip(lines), extensionsField+offer)
	}
	r.writeLines(lines, early, strings.NewReplacer("{path}", r.path, "{host}", r.host, "{key}", key))

	resp, err := http.ReadResponse(r.reader.br, &http.Request{Method: "GET"})
	if err != nil {
		r.came = append(r.came, "no HTTP answer: "+err.Error())
		mayRefuse := r.unless("refused") == verdictLax || r.v.status != nil && !slices.Contains(r.v.status, 101)
		if r.unanswered = dropped(err); mayRefuse && r.unanswered {
			r.note(verdictLax, "refused without an HTTP answer (10.7)")
		} else {
			r.note(verdictFailed, "want an HTTP answer to the opening handshake: %v", err)
		}
		return false
	}
	r.came = append(r.came, "HTTP "+resp.Status)
	want := r.v.status
	if want == nil {
		want = []int{101}
	}
	switch got := resp.StatusCode; {
	// With steps, how the case goes on says what such an acceptance is worth.
	case got == 101 && (slices.Contains(want, 101) || len(r.v.steps) > 0):
		err := checkResponse(resp, key, lines)
		if err == nil {
			var offers []string
			for _, line := range lines {
				if offer, ok := strings.CutPrefix(line, extensionsField); ok {
					offers = append(offers, offer)
				}
			}
			err = r.agree(offers, resp.Header.Values("Sec-WebSocket-Extensions"))
		}
		if err != nil {
			r.note(verdictFailed, "%v", err)
			return false
		}
		return true
	case got == 101:
		r.note(r.unless("accepted"), "wanted status %v, got 101", want)
	case slices.Contains(want, 101):
		r.note(r.unless("refused"), "wanted status 101, got %d", got)
	case !slices.Contains(want, got):
		r.note(verdictLax, "wanted status %v, got %d", want, got)
	case slices.Contains(r.v.sections, "4.4") && !hasToken(resp.Header, "Sec-WebSocket-Version", "13"):
		r.note(verdictLax, "status %d without Sec-WebSocket-Version: 13 (4.4)", got)
	case got == 405 && !hasToken(resp.Header, "Allow", "GET"):
		r.note(verdictLax, "status 405 without Allow: GET")
	}
	return false
}

// dropped reports whether err is the end of the connection, however unclean.
func dropped(err error) bool {
	var broken *net.OpError
	return err == io.ErrUnexpectedEOF || errors.As(err, &broken) && !broken.Timeout()
}

func (r *wireRun) shakeAsServer(early []byte) bool {
	req, err := http.ReadRequest(r.reader.br)
	if err == nil {
		r.came = append(r.came, req.Method+" "+req.RequestURI)
		err = checkRequest(req)
	}
	if err == nil && r.reader.br.Buffered() > 0 {
		err = wireViolation("bytes after the request, before the answer (4.1)")
	}
	if err != nil {
		r.note(verdictFailed, "the request of the opening handshake: %v", err)
		return false
	}
	r.nonce = req.Header.Get("Sec-WebSocket-Key")
	accept := wireAccept(r.nonce)
	lines := r.v.response
	if lines == nil {
		lines = plainResponse
	}
	response, err := r.answer(req.Header.Values("Sec-WebSocket-Extensions"))
	if err != nil {
		r.note(verdictFailed, "%v", err)
		return false
	}
	if response != "" {
		lines = append(slices.Clip(lines), extensionsField+response)
	}
	r.writeLines(lines, early, strings.NewReplacer("{accept}", accept,
		"{accept of another key}", wireAccept("x"+r.nonce), "{accept in lower case}", strings.ToLower(accept)))
	if r.v.end[0].kind != "refused" {
		return true
	}
	switch n, err := r.reader.br.Peek(1); {
	case len(n) > 0:
		r.note(verdictFailed, "want the client to refuse this answer, but it sent a frame")
	case errors.Is(err, os.ErrDeadlineExceeded):
		r.note(verdictFailed, "want the client to refuse this answer and to close the connection")
	}
	return false
}

// wireAccept is Sec-WebSocket-Accept for a key (4.2.2).
func wireAccept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

var (
	plainRequest = []string{
		"GET {path} HTTP/1.1", "Host: {host}", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13",
	}
	plainResponse = []string{
		"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Accept: {accept}",
	}
)

const extensionsField = "Sec-WebSocket-Extensions: "

// checkResponse says what is wrong with a server's 101 (4.2.2) to a request of
// these lines, but for its extensions.
func checkResponse(resp *http.Response, key string, request []string) error {
	h := resp.Header
	protocol := h.Values("Sec-WebSocket-Protocol")
	switch {
	case resp.ProtoMajor != 1 || resp.ProtoMinor != 1:
		return wireViolation("the answer is not HTTP/1.1 (4.2.2)")
	case len(h.Values("Upgrade")) != 1 || !strings.EqualFold(h.Get("Upgrade"), "websocket"):
		return wireViolation("no Upgrade: websocket in the answer (4.2.2)")
	case !hasToken(h, "Connection", "upgrade"):
		return wireViolation("no Connection: Upgrade in the answer (4.2.2)")
	case !slices.Equal(h.Values("Sec-WebSocket-Accept"), []string{wireAccept(key)}):
		return wireViolation(fmt.Sprintf("Sec-WebSocket-Accept is %q for key %q (4.2.2)", h.Values("Sec-WebSocket-Accept"), key))
	case len(protocol) > 0 && !slices.Contains(request, "Sec-WebSocket-Protocol: "+protocol[0]):
		return wireViolation("a subprotocol that was not offered (4.2.2)")
	}
	return nil
}

// checkRequest says what is wrong with a client's request (4.1).
func checkRequest(req *http.Request) error {
	h := req.Header
	keys := h.Values("Sec-WebSocket-Key")
	nonce := []byte(nil)
	if len(keys) == 1 {
		nonce, _ = base64.StdEncoding.Strict().DecodeString(keys[0])
	}
	switch {
	case req.Method != "GET":
		return wireViolation("the method is " + req.Method + " (4.1)")
	case !req.ProtoAtLeast(1, 1):
		return wireViolation("the request is not HTTP/1.1 (4.1)")
	case req.Host == "":
		return wireViolation("no Host (4.1)")
	case !hasToken(h, "Upgrade", "websocket"):
		return wireViolation("no Upgrade: websocket (4.1)")
	case !hasToken(h, "Connection", "upgrade"):
		return wireViolation("no Connection: Upgrade (4.1)")
	case len(nonce) != 16:
		return wireViolation(fmt.Sprintf("Sec-WebSocket-Key %q is not 16 bytes in base64 (4.1)", keys))
	case !slices.Equal(h.Values("Sec-WebSocket-Version"), []string{"13"}):
		return wireViolation("Sec-WebSocket-Version is not 13 (4.1)")
	case req.ContentLength > 0 || len(req.TransferEncoding) > 0:
		return wireViolation("the request has a body (4.1)")
	}
	return nil
}

func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for s := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(s), token) {
				return true
			}
		}
	}
	return false
}
