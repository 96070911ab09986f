package websocket

import (
	"sync"
	"testing"
	"testing/synctest"
)

// TestTurn: one goroutine at a time has the turn, whatever their number.
func TestTurn(t *testing.T) {
	const goroutines, times = 8, 10_000
	var turn turn
	var all sync.WaitGroup
	n := 0
	for range goroutines {
		all.Go(func() {
			for range times {
				turn.lock()
				n++
				turn.unlock()
			}
		})
	}
	all.Wait()
	if n != goroutines*times {
		t.Errorf("%d times a goroutine has counted what nobody else did, want %d", n, goroutines*times)
	}
}

// TestTurnFirstComeFirstServed: the turn is handed over in the order in which
// it was asked for, by waiting that synctest sees.
func TestTurnFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turn turn
		turn.lock()
		order := make(chan int, 3)
		for i := range cap(order) {
			go func() {
				turn.lock()
				order <- i
				turn.unlock()
			}()
			synctest.Wait()
		}
		if len(order) > 0 {
			t.Fatal("a goroutine has the turn while another one has it")
		}
		turn.unlock()
		for want := range cap(order) {
			if got := <-order; got != want {
				t.Errorf("goroutine %d has got the turn, want %d", got, want)
			}
		}
	})
}
