package load

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// A handshake is a request and what must be in the answer to it.
type handshake struct {
	request []byte
	accept  string
}

func newHandshake(host string) handshake {
	var nonce [16]byte
	rand.Read(nonce[:])
	key := base64.StdEncoding.EncodeToString(nonce[:])
	return handshake{
		request: []byte("GET / HTTP/1.1\r\nHost: " + host + "\r\n" +
			"Upgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + "\r\n\r\n"),
		accept: acceptFor(key),
	}
}

// acceptFor computes the Sec-WebSocket-Accept of section 4.2.2.
func acceptFor(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

var endOfHeader = []byte("\r\n\r\n")

// check reads the answer as section 4.1 asks a client to.
func (h handshake) check(answer []byte) (*http.Response, error) {
	r, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
	switch {
	case err != nil:
		return nil, err
	case r.StatusCode != http.StatusSwitchingProtocols:
		return nil, fmt.Errorf("handshake answered with %s", r.Status)
	case !strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		return nil, errors.New("handshake answered without Upgrade: websocket")
	case !strings.EqualFold(r.Header.Get("Connection"), "upgrade"):
		return nil, errors.New("handshake answered without Connection: Upgrade")
	case r.Header.Get("Sec-WebSocket-Accept") != h.accept:
		return nil, errors.New("handshake answered with a wrong Sec-WebSocket-Accept")
	}
	return r, nil
}

// Answer reads a client's request from r and returns the response to it.
func Answer(r io.Reader) ([]byte, error) {
	request, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	q, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request)))
	if err != nil {
		return nil, err
	}
	key := q.Header.Get("Sec-WebSocket-Key")
	if key == "" {
		return nil, errors.New("request without Sec-WebSocket-Key")
	}
	return []byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" +
		"Connection: Upgrade\r\nSec-WebSocket-Accept: " + acceptFor(key) + "\r\n\r\n"), nil
}

// readHeader reads up to the empty line and not one byte further.
func readHeader(r io.Reader) ([]byte, error) {
	var header []byte
	var one [1]byte
	for !bytes.HasSuffix(header, endOfHeader) {
		if _, err := io.ReadFull(r, one[:]); err != nil {
			return nil, fmt.Errorf("in the handshake: %w", err)
		}
		header = append(header, one[0])
		if len(header) > 64<<10 {
			return nil, errors.New("handshake without an end")
		}
	}
	return header, nil
}
