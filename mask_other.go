//go:build !amd64 || purego || race || msan || asan

package websocket

func maskBlocks(dst, src []byte, k8 uint64) int { return maskBlocksPortably(dst, src, k8) }
