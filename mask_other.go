//go:build !amd64 || purego || race || msan || asan

package websocket

// maskBlocks masks all whole blocks of src into dst, which is as long and may
// overlap src where it begins no later, and returns their length together.
func maskBlocks(dst, src []byte, k8 uint64) int { return maskBlocksPortably(dst, src, k8) }
