//go:build !unix

package websocket

// descriptorLimit returns how many descriptors this process may have, as far as
// need goes.
func descriptorLimit(need int) int { return need }
