//go:build unix

package websocket

import "syscall"

// descriptorLimit returns how many descriptors this process may have, and
// raises that to need, if it may.
func descriptorLimit(need int) int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return need
	}
	if int64(limit.Cur) < int64(need) {
		raised := limit
		raised.Cur = raised.Max
		if syscall.Setrlimit(syscall.RLIMIT_NOFILE, &raised) == nil {
			limit = raised
		}
	}
	return int(min(uint64(limit.Cur), uint64(need))) // no limit is a very high or a negative one
}
