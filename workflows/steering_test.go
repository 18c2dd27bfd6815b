package workflows_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"timeferry/internal/contract"
	"timeferry/workflows"
)

// copier plays the streams of the copy on a number of parts, which all streams share. Like the real ones, they look at what
// is in force between two parts.
type copier struct {
	w *world

	mu      sync.Mutex
	left    int
	running map[int]bool
	most    int            // streams at the same time
	begun   map[int]int    // how often each number was begun
	shares  map[int][]int  // of how many each number was told to be
	atPart  map[int]func() // called when so many parts are left
}

func newCopier(w *world, parts int) *copier {
	c := &copier{w: w, left: parts, running: map[int]bool{}, begun: map[int]int{}, shares: map[int][]int{}, atPart: map[int]func(){}}
	w.fake.stream = c.stream
	return c
}

func (c *copier) stream(ctx context.Context, in contract.CopyInput) (contract.CopyResult, error) {
	c.mu.Lock()
	c.running[in.Stream] = true
	c.most = max(c.most, len(c.running))
	c.begun[in.Stream]++
	c.shares[in.Stream] = append(c.shares[in.Stream], in.Streams)
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.running, in.Stream)
		c.mu.Unlock()
	}()
	for {
		if s := c.w.fake.steering(); s.Paused || s.Concurrency > 0 && in.Stream > s.Concurrency {
			return contract.CopyResult{Stopped: true}, nil
		}
		c.mu.Lock()
		if c.left == 0 {
			c.mu.Unlock()
			return contract.CopyResult{}, nil
		}
		c.left--
		hook := c.atPart[c.left]
		c.mu.Unlock()
		if hook != nil {
			hook()
		}
		select {
		case <-ctx.Done():
			return contract.CopyResult{}, temporal.NewCanceledError()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// eventually asks until it is so; the parts must not run out meanwhile.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("not in time: " + what)
			return
		}
	}
}

func (c *copier) streams() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.running)
}

func (c *copier) remaining() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.left
}

func TestPauseStopsTheStreamsAndResumeBeginsThemAgain(t *testing.T) {
	w := newWorld(t)
	c := newCopier(w, 200)
	var paused contract.Status
	var refused, cutover answerTo
	c.atPart[150] = func() {
		go func() { // a test's hook must not wait for what comes after it
			w.SignalWorkflow(contract.SignalPause, contract.Note{By: "alice", Reason: "busy"})
			eventually(t, "no stream runs", func() bool { return c.streams() == 0 })
			w.UpdateWorkflow(contract.SignalPause, "", refused.callback(), contract.Note{})
			w.UpdateWorkflow(contract.SignalCutover, "", cutover.callback(), contract.Note{})
			w.RegisterDelayedCallback(func() {
				paused = w.status(t)
				w.SignalWorkflow(contract.SignalResume, nil)
			}, 50*time.Millisecond)
		}()
	}
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(auto))
	r := w.report(t)
	require.True(t, paused.Paused)
	require.Equal(t, contract.PhaseCopying, paused.Phase)
	require.Equal(t, []string{contract.SignalResume, contract.SignalAbort}, paused.Awaiting)
	require.Contains(t, paused.Message, "paused: parts under way are copied to their end")
	require.ErrorContains(t, refused.err, "paused already")
	require.Error(t, cutover.err)
	require.Zero(t, c.remaining())
	for stream := 1; stream <= 4; stream++ {
		require.Equal(t, 2, c.begun[stream], "stream %d: once before and once after", stream)
	}
	require.Len(t, c.begun, 4)
	require.Equal(t, []string{contract.SignalPause, contract.SignalResume}, []string{r.Decisions[0].Signal, r.Decisions[1].Signal})
	require.Equal(t, []contract.Steering{{Serial: 1, Paused: true, Concurrency: 4, IndexJobs: 2}, {Serial: 2, Concurrency: 4, IndexJobs: 2}}, w.fake.steered)
}

func TestConcurrencyChangesWhileItCopies(t *testing.T) {
	for name, asUpdate := range map[string]bool{"signal": false, "update": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c := newCopier(w, 600)
			set := func(n contract.Note) {
				if asUpdate {
					var a answerTo
					w.UpdateWorkflow(contract.SignalSetConcurrency, "", a.callback(), n)
				} else {
					w.SignalWorkflow(contract.SignalSetConcurrency, n)
				}
			}
			c.atPart[550] = func() {
				go func() {
					set(contract.Note{Copy: 7, IndexJobs: 3, By: "bob"})
					eventually(t, "seven streams", func() bool { return c.streams() == 7 })
					set(contract.Note{Copy: 2})
					eventually(t, "two streams", func() bool { return c.streams() == 2 })
				}()
			}
			w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
			w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(auto))
			r := w.report(t)
			require.Zero(t, c.remaining())
			require.Equal(t, 7, c.most)
			require.Equal(t, []int{4}, c.shares[1])
			require.Equal(t, []int{7}, c.shares[7])
			require.Equal(t, "copy: 7, indexJobs: 3", r.Decisions[0].Detail)
			require.Equal(t, "copy: 2", r.Decisions[1].Detail)
			require.Equal(t, contract.Steering{Serial: 2, Concurrency: 2, IndexJobs: 3}, w.fake.steering())
		})
	}
}

func TestConcurrencyIsValidated(t *testing.T) {
	w := newWorld(t)
	answers := map[string]*answerTo{}
	w.when("CopyParts", 1, func() error {
		for want, n := range map[string]contract.Note{"say how many": {}, "copy: -1 is out of range": {Copy: -1}, "copy: 257 is out of range, choose 1 to 256": {Copy: 257},
			"indexJobs: 65 is out of range": {IndexJobs: 65}, "have connections for 40 streams": {Copy: 41},
			"the target has connections for 52 index builds at most beside 4 streams": {IndexJobs: 53}, "for 40 index builds at most beside 10 streams": {Copy: 10, IndexJobs: 41}} {
			a := &answerTo{}
			answers[want] = a
			w.UpdateWorkflow(contract.SignalSetConcurrency, "", a.callback(), n)
		}
		return nil
	})
	var late answerTo
	w.when("FollowLag", 1, func() error {
		w.UpdateWorkflow(contract.SignalSetConcurrency, "", late.callback(), contract.Note{Copy: 3})
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalAbort, nil) }, 50*time.Millisecond)
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	for want, a := range answers {
		require.ErrorContains(t, a.err, want)
	}
	require.ErrorContains(t, late.err, "rows are copied and indexes built before")
	require.Empty(t, w.fake.steered)
}

// In the phases of the stream it is the applier that stops: the receiver goes on, so that the source keeps no WAL.
func TestPauseStopsTheApplierOnly(t *testing.T) {
	w := newWorld(t)
	var paused contract.Status
	var cutover answerTo
	w.when("FollowLag", 1, func() error {
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalPause, nil) }, 10*time.Millisecond)
		w.RegisterDelayedCallback(func() {
			paused = w.status(t)
			w.UpdateWorkflow(contract.SignalCutover, "", cutover.callback(), contract.Note{})
		}, 200*time.Millisecond)
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalResume, nil) }, 300*time.Millisecond)
		return nil
	})
	w.when("Apply", 2, func() error {
		w.RegisterDelayedCallback(func() { w.SignalWorkflow(contract.SignalCutover, nil) }, 50*time.Millisecond)
		return nil
	})
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
	require.True(t, paused.Paused)
	require.Contains(t, paused.Message, "paused: changes are received, but not applied")
	require.ErrorContains(t, cutover.err, "the migration is paused; resume it first")
	require.Equal(t, 2, w.fake.called("Apply"))
	require.Equal(t, 1, w.fake.called("Receive"))
	requireOrder(t, w.fake.calls, "Apply", "Apply", "CutOff")
}

// A migration that is paused before its copy begins none, and mode auto does not switch one that is paused.
func TestPauseHoldsTheNextStep(t *testing.T) {
	w := newWorld(t)
	var held contract.Status
	w.when("RestorePreData", 1, func() error {
		w.SignalWorkflow(contract.SignalPause, nil)
		w.RegisterDelayedCallback(func() {
			held = w.status(t)
			require.Zero(t, w.fake.called("MakeHypertables"))
			w.SignalWorkflow(contract.SignalResume, nil)
		}, 300*time.Millisecond)
		return nil
	})
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(auto))
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
	require.True(t, held.Paused)
	require.Equal(t, contract.PhaseMigratingSchema, held.Phase)
}

func TestAbortWhilePaused(t *testing.T) {
	w := newWorld(t)
	c := newCopier(w, 200)
	c.atPart[150] = func() {
		go func() {
			w.SignalWorkflow(contract.SignalPause, nil)
			eventually(t, "no stream runs", func() bool { return c.streams() == 0 })
			w.SignalWorkflow(contract.SignalAbort, nil)
		}()
	}
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	require.Equal(t, contract.PhaseAborted, w.report(t).Outcome)
	require.Equal(t, 1, w.fake.called("CleanTarget"))
}

// An order that cannot be written down is a problem like others; the copy goes on meanwhile, and resume tries again.
func TestAnOrderThatCannotBePutIntoForceIsAProblem(t *testing.T) {
	w := newWorld(t)
	c := newCopier(w, 200)
	w.when("Steer", 1, func() error { return refusal("privilege", "timeferry.steering") })
	var seen contract.Status
	c.atPart[150] = func() {
		w.SignalWorkflow(contract.SignalSetConcurrency, contract.Note{Copy: 5})
		w.RegisterDelayedCallback(func() {
			seen = w.status(t)
			w.SignalWorkflow(contract.SignalResume, nil)
		}, 50*time.Millisecond)
	}
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(auto))
	require.Empty(t, w.report(t).Problems)
	require.Equal(t, "timeferry.steering", seen.Problems[0].Object)
	require.Contains(t, seen.Awaiting, contract.SignalResume)
	require.Equal(t, 2, w.fake.called("Steer"))
}

// Streams that are ordered later must not take the connections that were ordered for index builds.
func TestStreamsAndIndexBuildsShareTheConnections(t *testing.T) {
	w := newWorld(t)
	c := newCopier(w, 300)
	var streams, both answerTo
	c.atPart[250] = func() {
		w.UpdateWorkflow(contract.SignalSetConcurrency, "", new(answerTo).callback(), contract.Note{IndexJobs: 50})
		w.UpdateWorkflow(contract.SignalSetConcurrency, "", streams.callback(), contract.Note{Copy: 6})
		w.UpdateWorkflow(contract.SignalSetConcurrency, "", both.callback(), contract.Note{Copy: 6, IndexJobs: 48})
	}
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(auto))
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
	require.ErrorContains(t, streams.err, "the target has connections for 48 index builds at most beside 6 streams, and 50 are ordered")
	require.NoError(t, both.err)
	require.Equal(t, contract.Steering{Serial: 2, Concurrency: 6, IndexJobs: 48}, w.fake.steering())
}

func TestPauseIsRefusedOnceTheSwitchIsOrdered(t *testing.T) {
	w := newWorld(t)
	answers := map[string]*answerTo{"MeasureLag": {}, "CutOff": {}}
	for at, a := range answers {
		w.when(at, 1, func() error {
			w.UpdateWorkflow(contract.SignalPause, "", a.callback(), contract.Note{})
			time.Sleep(50 * time.Millisecond)
			return nil
		})
	}
	w.signalIn(t, contract.PhaseInSync, contract.SignalCutover, nil)
	var last answerTo
	w.signalIn(t, contract.PhaseCutOver, contract.SignalComplete, nil)
	w.when("CleanSource", 1, func() error {
		w.UpdateWorkflow(contract.SignalPause, "", last.callback(), contract.Note{})
		return nil
	})
	w.ExecuteWorkflow(workflows.LiveMigration, plainSpec(""))
	require.Equal(t, contract.PhaseCompleted, w.report(t).Outcome)
	require.ErrorContains(t, answers["MeasureLag"].err, "a cutover has been ordered")
	require.ErrorContains(t, answers["CutOff"].err, "the cutover is under way")
	require.ErrorContains(t, last.err, "in phase cut-over")
}
