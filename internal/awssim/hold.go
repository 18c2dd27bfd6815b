package awssim

import (
	"context"
	"net/http"
	"slices"
)

// holdBefore as a Hold fault's Code holds a call before it takes effect.
const holdBefore = "before"

// errNobodyWaits ends a call whose caller has gone before it took effect.
var errNobodyWaits = &apiError{status: http.StatusServiceUnavailable, code: "ServiceUnavailable", message: "The caller has gone."}

type heldCall struct {
	call     Call
	released chan struct{}
}

// takeHold says whether a Hold fault wants the call, before its effect or after it.
func (s *Simulator) takeHold(action string, before bool) bool {
	return s.takeIf(action, Hold, func(f *Fault) bool { return (f.Code == holdBefore) == before }) != nil
}

// hold waits, with the lock released, until Release. It gives false if the caller went away or the simulator was closed.
func (s *Simulator) hold(ctx context.Context, c Call) bool {
	h := &heldCall{call: c, released: make(chan struct{})}
	s.held = append(s.held, h)
	close(s.arrived)
	s.arrived = make(chan struct{})
	s.mu.Unlock()
	released := false
	select {
	case <-h.released:
		released = true
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
	s.mu.Lock()
	s.held = slices.DeleteFunc(s.held, func(other *heldCall) bool { return other == h })
	return released
}

// Held gives the calls that a Hold fault holds now, in the order in which they came. One that is held before its effect has
// no number yet and is not in the log.
func (s *Simulator) Held() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return mapped(s.held, func(h *heldCall) Call { return h.call })
}

// AwaitHeld waits until a call is held and gives it, the oldest if there are several.
func (s *Simulator) AwaitHeld(ctx context.Context) (Call, error) {
	for {
		s.mu.Lock()
		if len(s.held) > 0 {
			defer s.mu.Unlock()
			return s.held[0].call, nil
		}
		arrived := s.arrived
		s.mu.Unlock()
		select {
		case <-arrived:
		case <-ctx.Done():
			return Call{}, context.Cause(ctx)
		}
	}
}

// Release lets all held calls go on and says how many they were. Hold faults that are not used up go on holding later calls.
func (s *Simulator) Release() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.release()
}

func (s *Simulator) release() int {
	n := len(s.held)
	for _, h := range s.held {
		close(h.released)
	}
	s.held = nil
	return n
}
