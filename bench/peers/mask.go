package peers

import (
	"encoding/binary"
	_ "unsafe" // for go:linkname
)

// Most libraries keep their masking function to themselves. These names are
// theirs all the same, so that what they run is what is measured.

//go:linkname gorillaMask github.com/gorilla/websocket.maskBytes
func gorillaMask(key [4]byte, pos int, b []byte) int

//go:linkname coderMask github.com/coder/websocket.mask
func coderMask(b []byte, key uint32) uint32

//go:linkname gwsMask github.com/lxzan/gws/internal.MaskXOR
func gwsMask(b, key []byte)

//go:linkname nbioMask github.com/lesismal/nbio/nbhttp/websocket.maskXOR
func nbioMask(b, key []byte)

func keyWord(key [4]byte) uint32 { return binary.LittleEndian.Uint32(key[:]) }

// maskPeers are in the masking measurement only.
var maskPeers = []*Peer{{
	Name: "byte loop", Style: "section 5.3 as it stands",
	Kind: Limit,
	Mask: func(b []byte, key [4]byte) {
		for i := range b {
			b[i] ^= key[i&3]
		}
	},
}}
