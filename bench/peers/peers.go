// Package peers holds the WebSocket libraries that are compared, each used in
// the best style that its own documentation shows, behind one interface: an
// echo server, and a single connection for measurements inside one process.
package peers

import (
	"debug/buildinfo"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// A Kind says what a peer's figures are good for.
type Kind int

const (
	Ours  Kind = iota // the library under test
	Go                // a Go library: the best of these is the reference
	Other             // a server in another language
	Limit             // no WebSocket at all: what the kernel and Go's scheduler cost
)

// Deflate is a mode of permessage-deflate.
type Deflate int

const (
	NotCompressed Deflate = iota
	NoTakeover            // each message by itself
	Takeover              // messages refer to those before them
)

// A Peer is one library in one style of use.
type Peer struct {
	Name   string // on the command line and in tables
	Style  string // how the library is used, in a few words
	Module string // module path, to tell its version
	Kind   Kind

	// Lean is a style that saves memory. It takes part in the idle memory
	// measurement, and in the others only where its name is given.
	Lean bool

	// Variant is a further style of a library. It takes part where the style
	// matters.
	Variant bool

	// ChecksText says that the style reads no text that is not UTF-8.
	ChecksText bool

	// IdleOnly is a style whose only difference to another one is in memory.
	IdleOnly bool

	// Deflate is how a style compresses messages, in either direction. Such a
	// style takes part in nothing but the measurement of that.
	Deflate Deflate

	// Serve runs an echo server until the listener fails.
	Serve func(ln net.Listener) error

	// Command runs an echo server that is not a part of this program.
	Command func(addr string) (argv []string, err error)

	// Server and Client make one connection on nc, handshake included. Both
	// are nil where a library cannot be driven that way or where the style
	// makes no difference.
	Server func(nc net.Conn) (Endpoint, error)
	Client func(nc net.Conn) (Endpoint, error)

	// Mask is the library's masking function.
	Mask func(b []byte, key [4]byte)
}

// An Endpoint is one connection as users of its library see it.
type Endpoint interface {
	// Receive reads messages and calls each with the length of each, until
	// each returns false.
	Receive(each func(n int) bool) error

	// Send writes one message. Concurrent calls are safe, by the library's
	// own doing or, where it has none, by a mutex around it.
	Send(text bool, p []byte) error
}

// maxMessage is the read limit of every peer that has one: what a conformance
// test may send.
const maxMessage = 64 << 20

// All returns every peer, ours first and the limit last.
func All() []*Peer {
	var all []*Peer
	for _, group := range [][]*Peer{
		oursPeers, gorillaPeers, fasthttpPeers, coderPeers, gobwasPeers, gwsPeers,
		nbioPeers, xnetPeers, bunPeers, deflatePeers, tcpPeers,
	} {
		all = append(all, group...)
	}
	return all
}

// Find returns the peer with that name.
func Find(name string) (*Peer, error) {
	var names []string
	for _, p := range All() {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return nil, fmt.Errorf("no peer %q; there are %s", name, strings.Join(names, ", "))
}

// Available returns nil if p can run here.
func (p *Peer) Available() error {
	if p.Command == nil {
		return nil
	}
	_, err := p.Command("127.0.0.1:0")
	return err
}

// Versions returns the versions of the libraries in a program, by their module
// paths.
func Versions(program string) (map[string]string, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for _, m := range info.Deps {
		versions[m.Path] = m.Version
		if m.Replace != nil {
			versions[m.Path] = "this tree"
		}
	}
	return versions, nil
}

// Masks returns the peers whose masking function is known.
func Masks() []*Peer {
	var masks []*Peer
	for _, p := range append(All(), maskPeers...) {
		if p.Mask != nil {
			masks = append(masks, p)
		}
	}
	return masks
}

// serveHTTP is the Serve of a library that upgrades net/http requests.
func serveHTTP(h http.HandlerFunc) func(net.Listener) error {
	return func(ln net.Listener) error {
		return (&http.Server{Handler: h}).Serve(ln)
	}
}

// grow returns b with length n, its contents not kept where it has to be
// allocated anew.
func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n, n+n/4)
	}
	return b[:n]
}
