package awssim

import (
	"errors"
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
	// FailStart lets the next Count reboots of Instance, which may name a cluster, or of any, end in incompatible-parameters:
	// as if the server refused its new settings. The server behind it is not touched.
	FailStart FaultKind = "fail-start"
	// SlowStates lets every state that begins from now on last Factor times as long as the timings say.
	SlowStates FaultKind = "slow-states"
	// FailRotation lets the next Count rotations of master users' secrets end as impaired.
	FailRotation FaultKind = "fail-rotation"
	// Hold withholds the answer to the next Count calls that have taken effect, until Release or the caller goes away. With
	// Code "before" they do not even take effect until Release, and never do if the caller goes away.
	Hold FaultKind = "hold"
	// MetadataRefuseToken answers 403 to the next Count requests for a metadata token.
	MetadataRefuseToken FaultKind = "metadata-refuse-token"
	// MetadataUnreachable cuts the connection of the next Count metadata requests.
	MetadataUnreachable FaultKind = "metadata-unreachable"
	// MetadataSlow answers the next Count metadata requests only after the time For.
	MetadataSlow FaultKind = "metadata-slow"
)

var faultKinds = []FaultKind{Throttle, FailCall, LoseAnswer, RefuseReboot, RebootAsFailover, RebootForgotten, StaleReads,
	LateApplying, BackingUp, ReadLag, ForceStatus, FailStart, SlowStates, FailRotation, Hold,
	MetadataRefuseToken, MetadataUnreachable, MetadataSlow}

// Fault is one thing that shall go wrong. Which fields a kind reads is said at the kind. Count defaults to 1; the name that
// metadata requests and rotations have as an Action is "metadata" and "RotateSecret".
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
	Factor   float64
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
	case SlowStates:
		s.slowness.Store(int64(f.Factor * 1000))
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
		s.laterExactly(d, func() {
			if in.status == status {
				in.status = statusAvailable
				s.options.Logf("instance %s is %s", in.config.ID, in.status)
			}
		})
	}
}

// codeThrottling is what throttling is called in RDS; the other services have words of their own.
const codeThrottling = "Throttling"

// failBefore gives the error that replaces the call, if a fault wants one.
func (s *Simulator) failBefore(action string) error {
	if s.take(action, Throttle) != nil {
		return refuse(codeThrottling, "Rate exceeded")
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
	return s.takeIf(action, kind, func(*Fault) bool { return true })
}

// failsStart uses up a FailStart fault for a restart of the instance or cluster.
func (s *Simulator) failsStart(action, id string) error {
	if s.takeIf(action, FailStart, func(f *Fault) bool { return f.Instance == "" || strings.EqualFold(f.Instance, id) }) != nil {
		return errors.New("the server shall not start")
	}
	return nil
}

func (s *Simulator) takeIf(action string, kind FaultKind, wanted func(*Fault) bool) *Fault {
	for i, f := range s.faults {
		if f.Kind != kind || f.Action != "" && f.Action != action || !wanted(f) {
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
