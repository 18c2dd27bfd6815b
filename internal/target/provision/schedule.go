package provision

import (
	"slices"
	"sync"

	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// build is an index or constraint to make.
type build struct {
	entry ledger.Entry
	bytes int64 // of its table
}

// schedule hands out builds, largest table first. Several indexes of one table may be built at the same time; what locks
// the table (a constraint) gets it alone, so that no session waits inside the server while it could do something else,
// and none can wait for each other in a circle.
type schedule struct {
	mu      sync.Mutex
	changed *sync.Cond
	waiting []build
	running map[ident.Table]int // builds at work; -1: one that is alone
	stopped bool
}

func newSchedule(builds []build) *schedule {
	s := &schedule{waiting: slices.Clone(builds), running: map[ident.Table]int{}}
	s.changed = sync.NewCond(&s.mu)
	slices.SortStableFunc(s.waiting, func(x, y build) int {
		switch {
		case x.bytes > y.bytes:
			return -1
		case x.bytes < y.bytes:
			return 1
		}
		return x.entry.Ordinal - y.entry.Ordinal
	})
	return s
}

// next waits for a build that can start now. ok is false when there is none left, or after stop.
func (s *schedule) next() (b build, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.stopped || len(s.waiting) == 0 {
			return build{}, false
		}
		for i, b := range s.waiting {
			if s.claim(b.entry) {
				s.waiting = slices.Delete(s.waiting, i, i+1)
				return b, true
			}
		}
		s.changed.Wait()
	}
}

// claim is called with the lock held.
func (s *schedule) claim(e ledger.Entry) bool {
	n := s.running[e.Table]
	if n < 0 || e.Exclusive && n > 0 {
		return false
	}
	if e.Exclusive {
		s.running[e.Table] = -1
	} else {
		s.running[e.Table]++
	}
	return true
}

// done gives the table back.
func (s *schedule) done(b build) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b.entry.Exclusive {
		delete(s.running, b.entry.Table)
	} else if s.running[b.entry.Table]--; s.running[b.entry.Table] == 0 {
		delete(s.running, b.entry.Table)
	}
	s.changed.Broadcast()
}

// stop lets every next return.
func (s *schedule) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.changed.Broadcast()
}
