package controlplane

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"

	"go.temporal.io/sdk/temporal"
)

// death is one point at which the worker dies: at its at-th call of an action, before AWS hears of it or after it took effect.
type death struct {
	action string
	at     int // 0: never
	after  bool

	mu    sync.Mutex
	calls int
}

func (d *death) String() string {
	when := "before"
	if d.after {
		when = "after"
	}
	return fmt.Sprintf("%s %s %d", when, d.action, d.at)
}

// next counts a call and says whether it is the one.
func (d *death) next(action string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.action != action {
		return false
	}
	d.calls++
	return d.calls == d.at
}

func (d *death) happened() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls >= d.at
}

// serve is what stands between the worker and the simulator.
func (s *stage) serve(w http.ResponseWriter, r *http.Request) {
	action, body := actionOf(r)
	if happen := s.onCall[action]; happen != nil {
		s.once.Do(happen)
	}
	if s.death == nil || !s.death.next(action) {
		s.sim.ServeHTTP(w, body)
		return
	}
	if s.death.after {
		s.sim.ServeHTTP(httptest.NewRecorder(), body)
	}
	s.workers.die()
	panic(http.ErrAbortHandler) // cuts the connection
}

// workers are the attempts of activities that run now. When the worker dies, all of them end and know nothing afterwards:
// the next attempts are made by a new one.
type workers struct {
	mu      sync.Mutex
	running map[*attempt]context.CancelFunc
}

type attempt struct{ lost bool }

func (w *workers) begin(ctx context.Context) (context.Context, *attempt) {
	ctx, cancel := context.WithCancel(ctx)
	a := &attempt{}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running == nil {
		w.running = map[*attempt]context.CancelFunc{}
	}
	w.running[a] = cancel
	return ctx, a
}

// end gives the error that Temporal would see instead of the attempt's result, if its worker has died.
func (w *workers) end(a *attempt) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running[a]()
	delete(w.running, a)
	if a.lost {
		return temporal.NewApplicationError("the worker was lost", "worker-lost")
	}
	return nil
}

func (w *workers) die() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for a, cancel := range w.running {
		a.lost = true
		cancel()
	}
}
