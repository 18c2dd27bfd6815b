package provision

import (
	"cmp"
	"slices"
	"sync"

	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// step is what a build does with its entry.
type step int

const (
	stepWhole   step = iota // the entry's own statements
	stepIndex               // of a constraint: its index alone
	stepAttach              // of a constraint: itself, over the index that stands
	stepAnalyze             // no entry: statistics of the root and what is below it
)

// build is an index or constraint to make, or one step of it.
type build struct {
	entry ledger.Entry
	root  ident.Table // the table in scope that the entry's table is, or is a partition of
	bytes int64       // of the entry's table
	step  step
}

// table is what the build locks.
func (b *build) table() ident.Table {
	if b.step == stepAnalyze {
		return b.root
	}
	return b.entry.Table
}

// exclusive is true for what locks the table against other builds.
func (b *build) exclusive() bool {
	return b.step == stepAttach || b.step == stepWhole && b.entry.Exclusive
}

// String names the build as a person knows it.
func (b *build) String() string {
	if b.step == stepAnalyze {
		return "ANALYZE " + b.root.String()
	}
	return b.entry.String()
}

// schedule hands out builds, largest table first. Several indexes of one table may be built at the same time; what locks
// the table (a constraint in one step) gets it alone, so that no session waits inside the server while it could do
// something else, and none can wait for each other in a circle. While it is open, builds are still added.
type schedule struct {
	mu      sync.Mutex
	changed *sync.Cond
	waiting []*build
	aside   []*build            // somebody else is at them: again after retry
	running map[ident.Table]int // builds at work; -1: one that is alone
	busy    int                 // builds at work in all
	jobs    int                 // that may take builds: those with smaller numbers
	open    bool
	stopped bool
}

func newSchedule(jobs int) *schedule {
	s := &schedule{running: map[ident.Table]int{}, open: true, jobs: jobs}
	s.changed = sync.NewCond(&s.mu)
	return s
}

// order: the largest table first, and of one table what has most to do; statistics come when nothing else is left.
func order(x, y *build) int {
	return cmp.Or(cmp.Compare(y.bytes, x.bytes), cmp.Compare(x.entry.Ordinal, y.entry.Ordinal), cmp.Compare(x.step, y.step))
}

// add puts builds among those that wait. After the last ones nothing more is added but what follows from builds that are
// there.
func (s *schedule) add(last bool, builds ...*build) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = s.open && !last
	s.insert(builds)
}

// insert is called with the lock held.
func (s *schedule) insert(builds []*build) {
	for _, b := range builds {
		at, _ := slices.BinarySearchFunc(s.waiting, b, order)
		s.waiting = slices.Insert(s.waiting, at, b)
	}
	s.changed.Broadcast()
}

// limit changes how many jobs may take builds; with 0 none does.
func (s *schedule) limit(jobs int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.jobs != jobs {
		s.jobs = jobs
		s.changed.Broadcast()
	}
}

// limited is how many jobs may take builds.
func (s *schedule) limited() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs
}

// share is what part of the target's memory and workers a build gets.
type share struct {
	among int // the jobs that may take builds, and at the end, when fewer builds are left than that, those
	// tail is true when so few builds are left that some jobs will have nothing to do while others still build.
	tail bool
}

// share is what a build that begins now gets.
func (s *schedule) share() share {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open {
		return share{among: max(s.jobs, 1)}
	}
	left := s.busy + len(s.waiting) + len(s.aside)
	return share{among: max(min(s.jobs, left), 1), tail: left <= 2*s.jobs}
}

// next waits for a build that the job of this number, from 0, can start now. ok is false when there is none left, or after
// stop.
func (s *schedule) next(job int) (b *build, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if s.stopped || !s.open && s.busy == 0 && len(s.waiting)+len(s.aside) == 0 {
			return nil, false
		}
		for i := 0; job < s.jobs && i < len(s.waiting); i++ {
			if b := s.waiting[i]; s.claim(b) {
				s.waiting = slices.Delete(s.waiting, i, i+1)
				return b, true
			}
		}
		s.changed.Wait()
	}
}

// claim is called with the lock held.
func (s *schedule) claim(b *build) bool {
	n := s.running[b.table()]
	if n < 0 || b.exclusive() && n > 0 {
		return false
	}
	if b.exclusive() {
		s.running[b.table()] = -1
	} else {
		s.running[b.table()]++
	}
	s.busy++
	return true
}

// done gives the table back and puts what follows among those that wait.
func (s *schedule) done(b *build, follow ...*build) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free(b)
	s.insert(follow)
}

// putAside gives the table back and keeps the build until retry.
func (s *schedule) putAside(b *build) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free(b)
	s.aside = append(s.aside, b)
	s.changed.Broadcast()
}

// free is called with the lock held.
func (s *schedule) free(b *build) {
	s.busy--
	if b.exclusive() {
		delete(s.running, b.table())
	} else if s.running[b.table()]--; s.running[b.table()] == 0 {
		delete(s.running, b.table())
	}
}

// retry lets what was put aside be tried again.
func (s *schedule) retry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.aside) > 0 {
		s.insert(s.aside)
		s.aside = nil
	}
}

// isOpen is true until the last builds were added.
func (s *schedule) isOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open
}

// stop lets every next return.
func (s *schedule) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	s.changed.Broadcast()
}
