package awssim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Server is the hook to the real PostgreSQL server behind an instance.
type Server interface {
	// Restart restarts the server with the given settings. They are the values that users set in the attached parameter
	// group, in PostgreSQL's words: wal_level and rds.logical_replication ("on" or "off") are always among them, other rds.*
	// parameters never. A setting that was there at an earlier call and is missing now goes back to the server's default.
	// Write them to a file that postgresql.conf includes: ALTER SYSTEM refuses rds.logical_replication, which no module of a
	// plain server defines. An error puts the instance into incompatible-parameters.
	Restart(ctx context.Context, parameters map[string]string) error
}

// Reloader is a Server that can also take dynamic settings without a restart. Optional.
type Reloader interface {
	// Reload gets the same as Restart: everything that shall be in force now.
	Reload(ctx context.Context, parameters map[string]string) error
}

// Timings says how long the instance states last. Zero fields take the default, some tens of milliseconds.
type Timings struct {
	Modifying    time.Duration // after ModifyDBInstance
	Applying     time.Duration // after a change in an attached group
	BeforeReboot time.Duration // RebootDBInstance was accepted, but the instance still is available
	Rebooting    time.Duration // at least; the real restart may take longer
	Rotating     time.Duration // a master user's secret is rotating
	FailingOver  time.Duration // after FailoverDBCluster or FailOver
	Starting     time.Duration // an EC2 instance is pending
	Checking     time.Duration // it runs, but its status checks are not passed yet
	Terminating  time.Duration // it is shutting down
}

// DefaultTimings are fit for tests: short, but long enough for a poll of some milliseconds to see every state.
var DefaultTimings = Timings{Modifying: 40 * time.Millisecond, Applying: 30 * time.Millisecond,
	BeforeReboot: 30 * time.Millisecond, Rebooting: 40 * time.Millisecond, Rotating: 40 * time.Millisecond, FailingOver: 40 * time.Millisecond,
	Starting: 30 * time.Millisecond, Checking: 30 * time.Millisecond, Terminating: 30 * time.Millisecond}

// Options of a Simulator; the zero value is good.
type Options struct {
	Region  string // default us-east-1; only part of the ARNs
	Account string // default 123456789012
	Timings Timings
	Logf    func(format string, args ...any) // told of state changes; nil: silent
	// OnIngress is told all inbound rules of a security group after each change of them, before the caller gets its answer.
	OnIngress func(groupID string, rules []Rule)
	// OnCall is told each call after it took effect and before the caller gets its answer, without locks, in the order of
	// effects only if calls do not overlap. While it has not returned, the answer waits.
	OnCall func(Call)
}

// Simulator is the http.Handler. Safe for concurrent use. Close it.
type Simulator struct {
	options Options
	routes  routes

	stop context.CancelFunc
	ctx  context.Context // ends the transitions under way
	wg   sync.WaitGroup

	mu      sync.Mutex // guards everything below
	world   *world
	stale   *world // what reads see while staleReads > 0
	reads   int    // how many reads still see it
	faults  []*Fault
	secrets map[string]*secret
	ssm     map[string]*ssmParameter
	images  map[string]string // architecture by AMI
	calls   map[string]int
	log     []Call
	serial  int
	luck    *rand.Rand // for faults with a Percent

	slowness atomic.Int64 // see SlowStates, in thousandths; 0: as the timings say; not guarded by mu

	held    []*heldCall
	arrived chan struct{} // closed and replaced when a call begins to be held

	lag       time.Duration // see ReadLag
	snapshots []snapshot    // oldest first
	events    []eventXML
	blueGreen []blueGreenXML
	after     []func()   // hooks to call once the call under way has released the lock
	hooks     sync.Mutex // one ingress hook at a time
}

// world is what Describe calls see. It can be cloned, which makes read-after-write lag.
type world struct {
	instances map[string]*instance
	groups    map[string]*group
	clusters  map[string]*cluster
	// clusterGroups are the DB cluster parameter groups.
	clusterGroups map[string]*group
	security      map[string]*securityGroup
	networks      map[string]*network
	machines      map[string]*machine
}

func newWorld() *world {
	return &world{instances: map[string]*instance{}, groups: map[string]*group{},
		clusters: map[string]*cluster{}, clusterGroups: map[string]*group{}, security: map[string]*securityGroup{}, networks: map[string]*network{}, machines: map[string]*machine{}}
}

func (w *world) clone() *world {
	out := newWorld()
	for id, in := range w.instances {
		out.instances[id] = in.clone()
	}
	for name, g := range w.groups {
		out.groups[name] = g.clone()
	}
	for id, cl := range w.clusters {
		out.clusters[id] = cl.clone()
	}
	for name, g := range w.clusterGroups {
		out.clusterGroups[name] = g.clone()
	}
	for id, g := range w.security {
		out.security[id] = g.clone()
	}
	for id, n := range w.networks {
		out.networks[id] = n.clone()
	}
	for id, m := range w.machines {
		out.machines[id] = m.clone()
	}
	return out
}

// New makes a simulator with the default parameter groups and no instance.
func New(options Options) *Simulator {
	options.setDefaults()
	ctx, stop := context.WithCancel(context.Background())
	s := &Simulator{options: options, ctx: ctx, stop: stop, secrets: map[string]*secret{}, calls: map[string]int{},
		world: newWorld(), luck: rand.New(rand.NewPCG(1, 2)), ssm: map[string]*ssmParameter{}, images: map[string]string{},
		arrived: make(chan struct{})}
	s.routes = s.newRoutes()
	s.addPublicImages()
	s.needNetwork(defaultVPC)
	for _, family := range families() {
		name := defaultPrefix + family
		s.world.groups[name] = &group{name: name, family: family, description: "Default parameter group for " + family}
		s.world.clusterGroups[name] = &group{name: name, family: family, cluster: true,
			description: "Default cluster parameter group for " + family}
	}
	return s
}

func (o *Options) setDefaults() {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Account == "" {
		o.Account = "123456789012"
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	t := &o.Timings
	for _, pair := range []struct{ have, fallback *time.Duration }{
		{&t.Modifying, &DefaultTimings.Modifying}, {&t.Applying, &DefaultTimings.Applying},
		{&t.BeforeReboot, &DefaultTimings.BeforeReboot}, {&t.Rebooting, &DefaultTimings.Rebooting},
		{&t.Rotating, &DefaultTimings.Rotating}, {&t.FailingOver, &DefaultTimings.FailingOver},
		{&t.Starting, &DefaultTimings.Starting}, {&t.Checking, &DefaultTimings.Checking}, {&t.Terminating, &DefaultTimings.Terminating},
	} {
		if *pair.have == 0 {
			*pair.have = *pair.fallback
		}
	}
}

// Close ends transitions under way and waits for them; held calls get an answer. Requests after it are still answered, but nothing moves any more.
func (s *Simulator) Close() {
	s.stop()
	s.wg.Wait()
}

// Calls says how often an API action was called, faults included.
func (s *Simulator) Calls(action string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[action]
}

// later runs step with the lock held, once a state that lasts d is over. The caller holds the lock or is a step itself.
func (s *Simulator) later(d time.Duration, step func()) { s.laterExactly(s.lasting(d), step) }

// lasting is how long a state of length d lasts under a SlowStates fault.
func (s *Simulator) lasting(d time.Duration) time.Duration {
	if slowness := s.slowness.Load(); slowness != 0 {
		return time.Duration(float64(d) * float64(slowness) / 1000)
	}
	return d
}

// lasts waits until a state of length d is over; false: the simulator is closed.
func (s *Simulator) lasts(d time.Duration) bool { return s.wait(s.lasting(d)) }

func (s *Simulator) laterExactly(d time.Duration, step func()) {
	s.wg.Go(func() {
		if !s.wait(d) {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		step()
	})
}

func (s *Simulator) wait(d time.Duration) bool { return s.waitFor(context.Background(), d) }

// waitFor gives false if ctx ended or the simulator was closed before d had passed.
func (s *Simulator) waitFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-s.ctx.Done():
	}
	return false
}

func (s *Simulator) arn(service, kind, name string) string {
	return fmt.Sprintf("arn:aws:%s:%s:%s:%s:%s", service, s.options.Region, s.options.Account, kind, name)
}
