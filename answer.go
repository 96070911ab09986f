package websocket

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// This file is the answer that a client gets to a request: reading it, from a
// server as from a proxy, and whether it accepts the opening handshake.

const (
	// maxAnswer bounds the header of an answer, in bytes, together with all
	// interim responses before it.
	maxAnswer = 64 << 10

	// maxFields bounds the number of fields in it.
	maxFields = 256

	// maxInterim bounds the number of responses up to the final one: those
	// with a status 1xx other than 101 are skipped (RFC 9110, section 15.2).
	maxInterim = 8

	// maxKeptBody is how much is kept of the body of a refusal, in bytes.
	maxKeptBody = 1 << 10

	// refusalBodyTimeout bounds the wait for it: the status is known, and a
	// server that promises a body and sends none must not hold it back.
	refusalBodyTimeout = 3 * time.Second
)

// An answerReader reads one answer, within bounds.
type answerReader struct {
	from    string // whose answer it is
	limited io.LimitedReader
	br      *bufio.Reader
}

func newAnswerReader(r io.Reader, from string) *answerReader {
	a := &answerReader{from: from, limited: io.LimitedReader{R: r, N: maxAnswer}}
	a.br = bufio.NewReader(&a.limited)
	return a
}

// read returns the final response. What is behind its header has not been
// looked at.
func (a *answerReader) read(req *http.Request) (*http.Response, error) {
	resp, err := a.readFinal(req)
	if err != nil {
		if a.limited.N <= 0 {
			err = fmt.Errorf("header of more than %d bytes", maxAnswer)
		}
		return nil, fmt.Errorf("reading the %s's answer: %w", a.from, err)
	}
	return resp, nil
}

func (a *answerReader) readFinal(req *http.Request) (*http.Response, error) {
	for range maxInterim {
		resp, err := http.ReadResponse(a.br, req)
		if err != nil {
			// net/http repeats a malformed line, of whatever length.
			if text := err.Error(); len(text) > 200 {
				err = errors.New(text[:200] + "...")
			}
			return nil, err
		}
		fields := 0
		for _, values := range resp.Header {
			fields += len(values)
		}
		if fields > maxFields {
			return nil, fmt.Errorf("header of more than %d fields", maxFields)
		}
		if resp.StatusCode == http.StatusSwitchingProtocols || resp.StatusCode/100 != 1 {
			return resp, nil
		}
	}
	return nil, fmt.Errorf("%d interim responses", maxInterim)
}

// rest returns what has been read beyond the header.
func (a *answerReader) rest() []byte {
	b, _ := a.br.Peek(a.br.Buffered())
	return b
}

// refusal returns an answer that is not the one hoped for as an error. It reads
// the beginning of the body, and leaves that to be read in resp, too; raw is
// closed where the body does not come in time.
func (a *answerReader) refusal(ctx context.Context, raw io.Closer, resp *http.Response) *HandshakeError {
	e := &HandshakeError{Status: resp.StatusCode, Header: resp.Header}
	e.Err = fmt.Errorf("the %s answered with status %d (%s)", a.from, resp.StatusCode, http.StatusText(resp.StatusCode))
	a.limited.N = maxAnswer // enough for a KiB, however it is chunked
	timer := time.AfterFunc(refusalBodyTimeout, func() { raw.Close() })
	var err error
	e.Body, err = io.ReadAll(io.LimitReader(resp.Body, maxKeptBody))
	timer.Stop()
	resp.Body = io.NopCloser(bytes.NewReader(e.Body))
	if err != nil && ctx.Err() != nil {
		e.Err = fmt.Errorf("%w and did not send all of its body: %w", e.Err, contextError(ctx))
	}
	return e
}

// checkAnswer returns what a 101 agrees to, or what is wrong with it (4.1, steps
// 2 to 6 of the answer).
func (d *Dialer) checkAnswer(resp *http.Response, req *http.Request) (a agreement, err error) {
	h := resp.Header
	accepts, protocols := h["Sec-Websocket-Accept"], h["Sec-Websocket-Protocol"]
	extensions, extensionsOK := parseExtensions(h["Sec-Websocket-Extensions"])
	switch {
	case !resp.ProtoAtLeast(1, 1):
		return a, errors.New("the answer is not HTTP/1.1")
	case len(h["Upgrade"]) != 1 || !equalFold(h["Upgrade"][0], "websocket"):
		return a, errors.New("Upgrade in the answer is not websocket")
	case !listHas(h["Connection"], "Upgrade"):
		return a, errors.New("Connection in the answer does not list Upgrade")
	case len(accepts) != 1 || strings.Trim(accepts[0], " \t") != AcceptKey(req.Header["Sec-WebSocket-Key"][0]):
		return a, errors.New("Sec-WebSocket-Accept in the answer does not match the key")
	case !extensionsOK:
		return a, errors.New("Sec-WebSocket-Extensions in the answer is not a list of extensions")
	case len(protocols) > 1:
		return a, errors.New("the server chose more than one subprotocol")
	case len(protocols) == 1 && !slices.Contains(slices.Collect(listElements(req.Header["Sec-WebSocket-Protocol"])), protocols[0]):
		return a, errors.New("the server chose a subprotocol that was not asked for")
	}
	if len(protocols) == 1 {
		a.subprotocol = protocols[0]
	}
	a.deflate, err = checkAccepted(d.Compression.offer(), extensions)
	return a, err
}
