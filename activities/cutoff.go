package activities

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/activity"
	"golang.org/x/sync/errgroup"

	"timeferry/internal/contract"
	"timeferry/internal/cutover"
	"timeferry/internal/target/ledger"
)

// purposeCutOff names CutOff's sessions on the target, purposeHandOver HandOver's on both sides.
const (
	purposeCutOff   = "cutoff "
	purposeHandOver = "handover "
)

// attemptOf is one try to cut over, for the room that fences.
func attemptOf(spec contract.Spec, number int) cutover.Attempt {
	return cutover.Attempt{Migration: spec.Name, Database: spec.Source.Database, Publication: contract.PublicationName(spec.Name),
		Number: number}
}

// leastLimit is for an attempt whose time is nearly over: it could only fail.
const leastLimit = time.Second

// timeLeft is what is left of cutover.maxDowntime, which bounds all attempts of CutOff together.
func timeLeft(ctx context.Context, spec contract.Spec) time.Duration {
	return max(min(spec.Cutover.MaxDowntimeDuration(), time.Until(activity.GetInfo(ctx).Deadline)), leastLimit)
}

// CutOff ends writing on the source and brings over what is left: fence, marker, drain, sequences. It is one activity, since the
// application waits all the while.
//
//	Does: lets clients wait where cutover.switch can, raises the fence with its time limit, ends old sessions, writes the marker,
//	waits until it is applied and safe on the target's disk, and meanwhile sets the sequences.
//	Safe to repeat because: sessions of an earlier attempt are ended first, its token is void, and every step may be done again.
//	Heartbeats: the applied position.
//	Undone by: TakeBack; and if nobody comes to that, the source's server lowers the fence by itself.
func (a *Activities) CutOff(ctx context.Context, input contract.CutOffInput) (out contract.CutOffResult, err error) {
	spec := input.Spec
	err = a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		return a.withSource(ctx, spec, cutover.PurposeFence+spec.Name, func(source *pgx.Conn) error {
			return a.withTarget(ctx, spec, purposeCutOff+spec.Name, func(target *pgx.Conn) error {
				return a.withTarget(ctx, spec, purposeCutOff+spec.Name+" 2", func(second *pgx.Conn) error {
					c := &cutOff{Activities: a, CutOffInput: input, watch: newStopwatch(), source: source, target: target, second: second, report: report}
					err := c.run(ctx)
					c.out.Steps = c.watch.steps()
					out = c.out
					return err
				})
			})
		})
	})
	return out, err
}

// cutOff is one run of CutOff.
type cutOff struct {
	*Activities
	contract.CutOffInput
	watch                  *stopwatch
	source, target, second *pgx.Conn
	report                 func(contract.Beat)
	out                    contract.CutOffResult
}

func (c *cutOff) run(ctx context.Context) error {
	if err := c.dismissEarlier(ctx); err != nil {
		return err
	}
	var err error
	if c.out.Pending, err = ledger.CountPendingAtCutover(ctx, c.target); err != nil {
		return err
	}
	if err := c.hold(ctx); err != nil {
		return err
	}
	if c.Spec.Cutover.Fence != "none" {
		if err := c.watch.time("fence", func() error { return c.fence(ctx) }); err != nil {
			return err
		}
	}
	if err := refuseNewTables(ctx, c.Spec, c.source, c.target); err != nil {
		return err
	}
	err = c.watch.time("marker", func() (err error) {
		c.out.MarkerLSN, err = cutover.Marker(ctx, c.source, "cutover "+c.Spec.Name)
		return err
	})
	if err != nil {
		return err
	}
	both, work := errgroup.WithContext(ctx)
	both.Go(func() error { return c.watch.time("drain", func() error { return c.drain(work) }) })
	both.Go(func() error {
		return c.watch.time("sequences", func() (err error) {
			carry := cutover.SequencesAhead
			if c.Spec.IsBack() { // what the application made on the target stays there
				carry = cutover.SequencesInBoth
			}
			c.out.Sequences, err = carry(work, c.source, c.second, c.Spec.Tables.Includes, c.Spec.Cutover.SequenceMargin)
			return err
		})
	})
	return both.Wait()
}

// dismissEarlier ends what an attempt whose worker is believed dead may still have under way.
func (c *cutOff) dismissEarlier(ctx context.Context) error {
	if err := cutover.Dismiss(ctx, c.source, c.Spec.Source.Database, cutover.PurposeFence+c.Spec.Name); err != nil {
		return err
	}
	if err := ledger.RecordSourceObject(ctx, c.target, "fence", c.Spec.Source.Database, ""); err != nil {
		return err
	}
	return dismissOnTarget(ctx, c.target, c.Spec, "")
}

// dismissOnTarget ends sessions of CutOff on the target, but for the one that asks: they could set sequences back later.
// suffix is of the second session, which an attempt that is beginning has already.
func dismissOnTarget(ctx context.Context, target *pgx.Conn, spec contract.Spec, suffix string) error {
	return cutover.Dismiss(ctx, target, spec.Target.Database, purposeCutOff+spec.Name+suffix)
}

// hold lets clients wait before they can meet the fence, where cutover.switch knows how to.
func (c *cutOff) hold(ctx context.Context) error {
	r := c.redirector(c.Spec, c.Attempt)
	if r == nil || c.Spec.Cutover.Switch.PgBouncer == nil {
		return nil
	}
	return c.watch.time("hold", func() error { return r.Hold(ctx) })
}

func (c *cutOff) fence(ctx context.Context) error {
	e, err := c.Activities.source(ctx, c.Spec)
	if err != nil {
		return err
	}
	attempt := attemptOf(c.Spec, c.Attempt)
	attempt.Limit = timeLeft(ctx, c.Spec)
	token, r, err := cutover.Raise(ctx, c.source, e, attempt)
	if err != nil {
		return err
	}
	c.out.Token, c.out.Ended = token, groupSessions(r.Ended)
	for _, s := range r.Spared {
		c.out.Spared = append(c.out.Spared, s.String())
	}
	return nil
}

// drain waits for the marker. What the applier has committed may not be on the target's disk yet: one commit that waits for the
// disk takes all before it along.
func (c *cutOff) drain(ctx context.Context) error {
	if err := awaitApplied(ctx, c.target, c.out.MarkerLSN, &c.out.Replication, c.report); err != nil {
		return err
	}
	_, err := cutover.Marker(ctx, c.target, "drained "+c.Spec.Name)
	return err
}

// groupSessions counts sessions alike, in the order in which they were ended.
func groupSessions(sessions []cutover.Session) []contract.SessionGroup {
	var groups []contract.SessionGroup
	place := map[contract.SessionGroup]int{}
	for _, s := range sessions {
		key := contract.SessionGroup{User: s.User, Application: s.Application, Address: s.Address}
		i, known := place[key]
		if !known {
			i = len(groups)
			place[key] = i
			groups = append(groups, key)
		}
		groups[i].Count++
	}
	return groups
}

// stopwatch times steps, which may overlap. It is safe for concurrent use.
type stopwatch struct {
	began time.Time
	mu    sync.Mutex
	done  []contract.StepTime
}

func newStopwatch() *stopwatch { return &stopwatch{began: time.Now()} }

func (w *stopwatch) time(name string, do func() error) error {
	at := time.Now()
	err := do()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = append(w.done, contract.StepTime{Step: name, AtMS: at.Sub(w.began).Milliseconds(), MS: time.Since(at).Milliseconds()})
	return err
}

func (w *stopwatch) steps() []contract.StepTime {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.done
}
