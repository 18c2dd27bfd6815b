package apply

import "sync/atomic"

// taker tells the gatherer whether the session waits for a batch.
type taker struct {
	waiting atomic.Bool
	told    chan struct{} // has something after waiting became true, and sometimes without
}

func newTaker() *taker { return &taker{told: make(chan struct{}, 1)} }

func (t *taker) waits() bool { return t.waiting.Load() }

// begin is called by the session before it waits, end after it got a batch.
func (t *taker) begin() {
	t.waiting.Store(true)
	select {
	case t.told <- struct{}{}:
	default:
	}
}

func (t *taker) end() { t.waiting.Store(false) }
