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
	return maskInto(b, b, key, pos)
}

// wideKey returns the key twice, as the byte at pos sees it.
func wideKey(key [4]byte, pos int) uint64 {
	k := binary.LittleEndian.Uint32(key[:])
	pos &= 3
	k = k>>(8*pos) | k<<(32-8*pos)
	return uint64(k)<<32 | uint64(k)
}

// maskInto is Mask from src to the beginning of dst, which has room for it. The
// two may overlap where dst begins no later.
func maskInto(dst, src []byte, key [4]byte, pos int) int {
	k8 := wideKey(key, pos)
	dst = dst[:len(src)]
	i := maskBlocks(dst, src, k8)
	for ; i <= len(src)-8; i += 8 {
		binary.LittleEndian.PutUint64(dst[i:i+8], binary.LittleEndian.Uint64(src[i:i+8])^k8)
	}
	for ; i < len(src); i++ {
		dst[i] = src[i] ^ byte(k8)
		k8 = k8>>8 | k8<<56
	}
	return (pos&3 + len(src)) & 3
}

// maskBlock is the size of the blocks in which all but the rest is masked.
const maskBlock = 64

// maskBlocksPortably masks all whole blocks of src into dst, which is as long and
// may overlap src where it begins no later, and returns their length together.
// So does maskBlocks, in a faster way where there is one.
func maskBlocksPortably(dst, src []byte, k8 uint64) int {
	i := 0
	for ; i <= len(src)-maskBlock; i += maskBlock {
		d, s := dst[i:i+maskBlock:i+maskBlock], src[i:i+maskBlock:i+maskBlock]
		binary.LittleEndian.PutUint64(d[0:8], binary.LittleEndian.Uint64(s[0:8])^k8)
		binary.LittleEndian.PutUint64(d[8:16], binary.LittleEndian.Uint64(s[8:16])^k8)
		binary.LittleEndian.PutUint64(d[16:24], binary.LittleEndian.Uint64(s[16:24])^k8)
		binary.LittleEndian.PutUint64(d[24:32], binary.LittleEndian.Uint64(s[24:32])^k8)
		binary.LittleEndian.PutUint64(d[32:40], binary.LittleEndian.Uint64(s[32:40])^k8)
		binary.LittleEndian.PutUint64(d[40:48], binary.LittleEndian.Uint64(s[40:48])^k8)
		binary.LittleEndian.PutUint64(d[48:56], binary.LittleEndian.Uint64(s[48:56])^k8)
		binary.LittleEndian.PutUint64(d[56:64], binary.LittleEndian.Uint64(s[56:64])^k8)
	}
	return i
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
