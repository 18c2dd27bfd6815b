package awssim

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// FaultKind says how something goes wrong.
type FaultKind string

const (
	// Throttle answers Throttling to the next Count calls, which have no effect.
	Throttle FaultKind = "throttle"
	// FailCall answers Code with HTTP status Status (default 400) to the next Count calls, which have no effect.
	FailCall FaultKind = "fail-call"
	// LoseAnswer lets the next Count calls take effect, but the caller gets HTTP 500.
	LoseAnswer FaultKind = "lose-answer"
	// RefuseReboot answers InvalidDBInstanceState to the next Count calls of RebootDBInstance, and
	// InvalidDBClusterStateFault to those of RebootDBCluster.
	RefuseReboot FaultKind = "refuse-reboot"
	// RebootAsFailover lets the next Count reboots go as a failover does: static parameters are not applied.
	RebootAsFailover FaultKind = "reboot-as-failover"
	// RebootForgotten accepts the next Count calls of RebootDBInstance, but no reboot follows.
	RebootForgotten FaultKind = "reboot-forgotten"
	// StaleReads is read-after-write lag: after the next write, Count reads still see the state before it.
	StaleReads FaultKind = "stale-reads"
	// LateApplying lets Count reads after the next attach of a group see the new group's name, but still available and in-sync.
	LateApplying FaultKind = "late-applying"
	// BackingUp puts Instance, which may name a cluster, into the status backing-up for the time For.
	BackingUp FaultKind = "backing-up"
	// ReadLag is read-after-write lag as time: from now on, each write is seen only after the time For.
	ReadLag FaultKind = "read-lag"
	// ForceStatus puts Instance, which may name a cluster, into the status Code, for the time For or, if that is zero, until the next ForceStatus.
	ForceStatus FaultKind = "force-status"
)

var faultKinds = []FaultKind{Throttle, FailCall, LoseAnswer, RefuseReboot, RebootAsFailover, RebootForgotten, StaleReads,
	LateApplying, BackingUp, ReadLag, ForceStatus}

// Fault is one thing that shall go wrong. Count defaults to 1.
type Fault struct {
	Kind  FaultKind
	Count int
	// Percent makes a fault on calls a matter of luck: each call meets it with this chance, until Reset. Count is not used.
	// The luck is the same in each run.
	Percent  int
	Action   string // only calls of this action; empty: of any
	Instance string
	Code     string
	Message  string
	Status   int
	For      time.Duration
}

// Inject lets f happen from now on. Faults on calls are used up in the order in which they were injected.
func (s *Simulator) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Count == 0 {
		f.Count = 1
	}
	switch f.Kind {
	case BackingUp:
		s.forceStatus(f.Instance, statusBackingUp, f.For)
		s.event(sourceInstance, f.Instance, "backup", "Backing up DB instance")
	case ForceStatus:
		s.forceStatus(f.Instance, f.Code, f.For)
	case ReadLag:
		s.lag = f.For
	default:
		s.faults = append(s.faults, &f)
	}
}

func (s *Simulator) forceStatus(id, status string, d time.Duration) {
	in := s.world.instances[strings.ToLower(id)]
	if in == nil {
		s.forceClusterStatus(id, status, d)
		return
	}
	in.status, in.forced = status, status
	s.options.Logf("instance %s is %s", in.config.ID, status)
	if d > 0 {
		s.later(d, func() {
			if in.status == status {
				in.status = statusAvailable
				s.options.Logf("instance %s is %s", in.config.ID, in.status)
			}
		})
	}
}

// failBefore gives the error that replaces the call, if a fault wants one.
func (s *Simulator) failBefore(action string) error {
	if s.take(action, Throttle) != nil {
		return refuse("Throttling", "Rate exceeded")
	}
	if f := s.take(action, FailCall); f != nil {
		e := refuse(f.Code, "%s", f.Message)
		if f.Status != 0 {
			e.status = f.Status
		}
		return e
	}
	if action == "RebootDBInstance" && s.take(action, RefuseReboot) != nil {
		return cannotReboot()
	}
	if action == "RebootDBCluster" && s.take(action, RefuseReboot) != nil {
		return clusterNotAvailable()
	}
	return nil
}

// failAfter gives the error that replaces the answer of a call that has taken effect.
func (s *Simulator) failAfter(action string) error {
	if s.take(action, LoseAnswer) != nil {
		return &apiError{status: http.StatusInternalServerError, code: "InternalFailure", message: "An internal error has occurred."}
	}
	return nil
}

// snapshot is the world before a write that reads must not see yet.
type snapshot struct {
	until time.Time
	world *world
}

// beforeWrite keeps the world as it is, if a StaleReads fault waits for a write or there is a ReadLag.
func (s *Simulator) beforeWrite() {
	s.freeze(StaleReads)
	if s.lag > 0 {
		s.snapshots = append(s.snapshots, snapshot{until: time.Now().Add(s.lag), world: s.world.clone()})
	}
}

// freeze lets reads see the world as it is now, as many as a waiting fault of that kind says.
func (s *Simulator) freeze(kind FaultKind) {
	for i, f := range s.faults {
		if f.Kind == kind {
			s.stale, s.reads = s.world.clone(), f.Count
			s.faults = slices.Delete(s.faults, i, i+1)
			return
		}
	}
}

// readable is what a read sees.
func (s *Simulator) readable() *world {
	for len(s.snapshots) > 0 && time.Now().After(s.snapshots[0].until) {
		s.snapshots = s.snapshots[1:]
	}
	if s.reads == 0 && len(s.snapshots) > 0 {
		return s.snapshots[0].world
	}
	if s.reads == 0 {
		return s.world
	}
	s.reads--
	return s.stale
}

// take uses up one count of the first fault of that kind that fits the action.
func (s *Simulator) take(action string, kind FaultKind) *Fault {
	for i, f := range s.faults {
		if f.Kind != kind || f.Action != "" && f.Action != action {
			continue
		}
		if f.Percent > 0 {
			if s.luck.IntN(100) < f.Percent {
				return f
			}
			continue
		}
		f.Count--
		if f.Count <= 0 {
			s.faults = slices.Delete(s.faults, i, i+1)
		}
		return f
	}
	return nil
}
