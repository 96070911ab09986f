//go:build race

package websocket

// raceDetector: sync.Pool drops what is given back at random under it, so that
// allocations cannot be counted.
const raceDetector = true
