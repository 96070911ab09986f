package websocket

import (
	"math"
	"testing"
	"time"
)

// TestBackoff takes many delays of each step. Their bounds are those of the
// documentation, and they use the room between them.
func TestBackoff(t *testing.T) {
	type bounds struct{ least, most time.Duration }
	const s = time.Second
	for _, test := range []struct {
		name string
		b    Backoff
		want []bounds
	}{
		{"zero value", Backoff{}, []bounds{{0, 5 * s}, {5 * s, 10 * s}, {10 * s, 20 * s}, {20 * s, 40 * s}, {40 * s, 80 * s}, {60 * s, 120 * s}, {60 * s, 120 * s}}},
		{"a power of two", Backoff{First: s, Max: 4 * s}, []bounds{{0, s}, {s, 2 * s}, {2 * s, 4 * s}, {2 * s, 4 * s}}},
		{"no room to grow", Backoff{First: s, Max: s}, []bounds{{0, s}, {s / 2, s}, {s / 2, s}}},
		{"Max below First", Backoff{First: 2 * s, Max: s}, []bounds{{0, 2 * s}, {s, 2 * s}, {s, 2 * s}}},
		{"First above the default of Max", Backoff{First: 600 * s}, []bounds{{0, 600 * s}, {300 * s, 600 * s}}},
		{"the shortest", Backoff{First: 1, Max: 1}, []bounds{{0, 1}, {0, 1}, {0, 1}}},
		{"the longest", Backoff{First: math.MaxInt64 / 3, Max: math.MaxInt64}, []bounds{{0, math.MaxInt64 / 3}, {math.MaxInt64 / 3, math.MaxInt64 / 3 * 2}, {math.MaxInt64 / 2, math.MaxInt64}}},
		{"negative", Backoff{First: -1, Max: -1}, []bounds{{0, 5 * s}, {5 * s, 10 * s}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			const rounds = 1000
			low := make([]time.Duration, len(test.want))
			high := make([]time.Duration, len(test.want))
			for i := range low {
				low[i] = math.MaxInt64
			}
			b := test.b
			for range rounds {
				for i, want := range test.want {
					d := b.Next()
					if d < want.least || d >= want.most {
						t.Fatalf("delay %d is %v, want %v or more and less than %v", i, d, want.least, want.most)
					}
					low[i], high[i] = min(low[i], d), max(high[i], d)
				}
				b.Reset()
			}
			for i, want := range test.want {
				if room := want.most - want.least; room > 1 && high[i]-low[i] < room/2 {
					t.Errorf("delays %d are from %v to %v only, want them to be anywhere from %v to %v", i, low[i], high[i], want.least, want.most)
				}
			}
		})
	}
}
