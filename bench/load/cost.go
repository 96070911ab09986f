package load

import "time"

// A Cost is what messages cost a process in a steady state.
type Cost struct {
	Messages int64         // that were measured
	CPU      time.Duration // of the process, in user and kernel mode
	Wall     time.Duration
	Allocs   int64 // allocations
	Bytes    int64 // allocated
	Reads    int64 // calls of the connection's Read, over memory only
	Writes   int64 // calls of its Write

	All int64 // messages from the first to the last, measured or not
}
