package websocket

import (
	crand "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"sync"
)

// Mask masks or unmasks b in place: it XORs each byte with the byte of key
// that its place in the payload calls for (section 5.3). pos is the place of
// b[0] in the payload, of which only the value modulo 4 counts; the place after
// b, 0 to 3, is returned, so that a payload that arrives in pieces is unmasked
// by
//
//	pos = Mask(piece, key, pos)
func Mask(b []byte, key [4]byte, pos int) int {
	pos &= 3
	next := (pos + len(b)) & 3

	// The key as the first byte of b sees it, four times and eight times.
	k := binary.LittleEndian.Uint32(key[:])
	k = k>>(8*pos) | k<<(32-8*pos)
	k8 := uint64(k)<<32 | uint64(k)

	for len(b) >= 64 {
		w := b[:64]
		binary.LittleEndian.PutUint64(w[0:8], binary.LittleEndian.Uint64(w[0:8])^k8)
		binary.LittleEndian.PutUint64(w[8:16], binary.LittleEndian.Uint64(w[8:16])^k8)
		binary.LittleEndian.PutUint64(w[16:24], binary.LittleEndian.Uint64(w[16:24])^k8)
		binary.LittleEndian.PutUint64(w[24:32], binary.LittleEndian.Uint64(w[24:32])^k8)
		binary.LittleEndian.PutUint64(w[32:40], binary.LittleEndian.Uint64(w[32:40])^k8)
		binary.LittleEndian.PutUint64(w[40:48], binary.LittleEndian.Uint64(w[40:48])^k8)
		binary.LittleEndian.PutUint64(w[48:56], binary.LittleEndian.Uint64(w[48:56])^k8)
		binary.LittleEndian.PutUint64(w[56:64], binary.LittleEndian.Uint64(w[56:64])^k8)
		b = b[64:]
	}
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)^k8)
		b = b[8:]
	}
	for i := range b {
		b[i] ^= byte(k)
		k = k>>8 | k<<24
	}
	return next
}

// maskKeys are generators of masking keys, which have to be unpredictable
// (section 5.3): ChaCha8 streams, each seeded from crypto/rand. A pool of them
// costs neither a system call a frame nor state in each connection.
var maskKeys = sync.Pool{New: func() any {
	var seed [32]byte
	crand.Read(seed[:]) // never fails
	return rand.NewChaCha8(seed)
}}

// newMaskKey returns a fresh masking key.
func newMaskKey() (key [4]byte) {
	g := maskKeys.Get().(*rand.ChaCha8)
	binary.LittleEndian.PutUint32(key[:], uint32(g.Uint64()))
	maskKeys.Put(g)
	return key
}
