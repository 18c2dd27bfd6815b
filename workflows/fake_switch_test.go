package workflows_test

import (
	"sync"

	"timeferry/internal/contract"
)

// fakeSwitch is where the application can write, as fence, seal and switch have it: what the activities do to the databases, in
// memory. It notes every moment at which both sides or neither could be written to.
type fakeSwitch struct {
	mu       sync.Mutex
	fenced   bool
	sealed   bool
	back     backFence
	led      bool // the application to the target
	attempt  int
	pending  int // to be restored as it is handed over
	restored int
	words    string
	forbid   []string // what must never be
	// fail says how HandOver fails: before the seal, or how the switch ends after it. led is whether it led the application away.
	fail    func() (sealed, led bool, err error)
	settled func() (switched, certain bool)
}

// backFence is the target's.
type backFence struct {
	fenced, sealed bool
	// fail says how HandBack fails: before the seal, after it, or once the source is open.
	fail func() (sealed, opened bool, problems []contract.Problem, err error)
}

func (s *fakeSwitch) handBack() ([]contract.Problem, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sealed, opened, problems, err := true, true, []contract.Problem(nil), error(nil)
	if s.back.fail != nil {
		sealed, opened, problems, err = s.back.fail()
	}
	s.back.sealed = sealed
	s.fenced = s.fenced && !opened
	s.look()
	return problems, err
}

// open is an order to open the source without asking.
func (s *fakeSwitch) open() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fenced = false
	s.look()
}

func (s *fakeSwitch) raise(in contract.CutOffInput) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.Spec.IsBack() {
		s.back.fenced = true
		return
	}
	if s.sealed {
		s.forbid = append(s.forbid, "a fence was raised over a sealed one")
	}
	s.fenced, s.attempt = in.Spec.Cutover.Fence != "none", in.Attempt
}

func (s *fakeSwitch) handOver(contract.HandOverInput) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sealed, led, err := true, true, error(nil)
	if s.fail != nil {
		sealed, led, err = s.fail()
	}
	s.sealed, s.led = sealed, led
	s.look()
	return err
}

func (s *fakeSwitch) takeBack(in contract.TakeBackInput) contract.TakeBackResult {
	s.mu.Lock()
	defer s.mu.Unlock()
	if in.Spec.IsBack() {
		s.back.fenced = s.back.sealed
		s.look()
		return contract.TakeBackResult{HandedOver: s.back.sealed}
	}
	if s.sealed && !in.Refused {
		switched, certain := false, false
		if s.settled != nil {
			switched, certain = s.settled()
		}
		if switched || !certain {
			return contract.TakeBackResult{HandedOver: true, Switched: switched}
		}
	}
	s.fenced, s.sealed = false, false
	s.look()
	return contract.TakeBackResult{Restored: s.restored}
}

// look is after every change.
func (s *fakeSwitch) look() {
	if s.led && !s.fenced && !s.back.fenced {
		s.forbid = append(s.forbid, "both sides can be written to")
	}
}
