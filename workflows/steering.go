package workflows

import (
	"cmp"
	"fmt"
	"strings"

	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// What people order while the migration runs (pause, resume, set-concurrency) is m.steering at once, and m.inForce once it
// is in the ledger, where the streams of the copy read it between two parts.

// followSteering puts each order into force. It is the first step after the one that makes the ledger.
func (m *migration) followSteering(ctx workflow.Context) error {
	workflow.GoNamed(ctx, "steering", func(ctx workflow.Context) {
		for {
			if err := workflow.Await(ctx, func() bool { return m.steering != m.inForce }); err != nil {
				return
			}
			// It fails only when ctx is cancelled, by abort.
			_ = m.persist(ctx, func(ctx workflow.Context) error {
				ordered := m.steering
				input := contract.SteerInput{Spec: m.spec, Steering: ordered}
				err := workflow.ExecuteActivity(on(ctx, quick, steeringWords(ordered)), acts.Steer, input).Get(ctx, nil)
				if err == nil {
					m.inForce = ordered
				}
				return err
			})
		}
	})
	return nil
}

func steeringWords(s contract.Steering) string {
	if s.Paused {
		return "pause"
	}
	return fmt.Sprintf("%d streams, %d index builds at once", s.Concurrency, s.IndexJobs)
}

// untilResumed holds the story while the migration is paused.
func (m *migration) untilResumed(ctx workflow.Context) error {
	if !m.steering.Paused {
		return nil
	}
	return workflow.Await(ctx, func() bool { return !m.steering.Paused })
}

// whileNotPaused runs do, an activity that may be cancelled and begun again at any time, whenever the migration is not paused, nor
// new tables hold the stream.
func (m *migration) whileNotPaused(ctx workflow.Context, do func(workflow.Context) workflow.Future) error {
	held := func() bool { return m.steering.Paused || m.applyHeld }
	for {
		if held() {
			if err := workflow.Await(ctx, func() bool { return !held() }); err != nil {
				return err
			}
		}
		own, cancel := workflow.WithCancel(ctx)
		running := do(own)
		m.applying++
		err := workflow.Await(ctx, func() bool { return running.IsReady() || held() })
		interrupted := err == nil && !running.IsReady()
		if interrupted {
			cancel()
		}
		err = running.Get(ctx, nil) // it ends only when the activity has really ended
		m.applying--
		if !interrupted || ctx.Err() != nil {
			return err
		}
	}
}

func (m *migration) pause(workflow.Context, contract.Note) {
	m.steering.Serial++
	m.steering.Paused = true
}

// resume lets a paused migration go on, and tries again what a problem stopped.
func (m *migration) resume(workflow.Context, contract.Note) {
	m.resumes++
	if m.steering.Paused {
		m.steering.Serial++
		m.steering.Paused = false
	}
}

func (m *migration) setConcurrency(_ workflow.Context, n contract.Note) {
	m.steering.Serial++
	if n.Copy > 0 {
		m.steering.Concurrency = n.Copy
	}
	if n.IndexJobs > 0 {
		m.steering.IndexJobs = n.IndexJobs
	}
}

// concurrencyWords is how an order to set it is remembered.
func concurrencyWords(n contract.Note) string {
	var words []string
	if n.Copy > 0 {
		words = append(words, fmt.Sprintf("copy: %d", n.Copy))
	}
	if n.IndexJobs > 0 {
		words = append(words, fmt.Sprintf("indexJobs: %d", n.IndexJobs))
	}
	return strings.Join(words, ", ")
}

func (m *migration) refusePause() string {
	if m.aborting {
		return "the migration is being aborted"
	}
	if m.steering.Paused {
		return "the migration is paused already"
	}
	switch m.status.Phase {
	case contract.PhaseCuttingOver:
		return "the cutover is under way; it ends by itself within moments, or goes back to in-sync"
	case contract.PhaseCutOver, contract.PhaseCompleted, contract.PhaseAborting, contract.PhaseAborted, contract.PhaseFailed,
		contract.PhaseRollingBack, contract.PhaseRolledBack:
		return fmt.Sprintf("the migration is in phase %s", m.status.Phase)
	}
	if m.cutoverWanted || m.switching {
		return "a cutover has been ordered and begins"
	}
	return ""
}

// concurrencyProblem says what is wrong with an order to set the concurrency, or "".
func (m *migration) concurrencyProblem(n contract.Note) string {
	if problem := n.ConcurrencyProblem(); problem != "" {
		return problem
	}
	if m.mostStreams > 0 && n.Copy > m.mostStreams {
		return fmt.Sprintf("copy: the servers have connections for %d streams at most, whoever else is connected: choose 1 to %d (max_connections is what bounds it)", m.mostStreams, m.mostStreams)
	}
	return m.indexJobsProblem(n)
}

// indexJobsProblem reckons with the streams of the same order, or else with those there are: index builds run beside the copy.
func (m *migration) indexJobsProblem(n contract.Note) string {
	streams, jobs := cmp.Or(n.Copy, m.steering.Concurrency), cmp.Or(n.IndexJobs, m.steering.IndexJobs)
	most := m.targetConnections.MostIndexJobs(streams)
	if most == 0 || jobs <= most || jobs <= m.spec.Copy.IndexJobs {
		return ""
	}
	if n.IndexJobs > 0 {
		return fmt.Sprintf("indexJobs: the target has connections for %d index builds at most beside %d streams, whoever else is connected: choose 1 to %d, or fewer streams (max_connections is what bounds it)", most, streams, most)
	}
	return fmt.Sprintf("copy: the target has connections for %d index builds at most beside %d streams, and %d are ordered: choose fewer streams, or lower indexJobs in the same order (max_connections is what bounds it)", most, streams, jobs)
}

func (m *migration) refuseConcurrency() string {
	if m.aborting {
		return "the migration is being aborted"
	}
	switch m.status.Phase {
	case contract.PhasePreflight, contract.PhasePreparingSource, contract.PhaseAwaitingReboot, contract.PhaseCreatingSlot, contract.PhaseMigratingSchema,
		contract.PhaseAwaitingHypertables, contract.PhaseCopying, contract.PhaseIndexing:
		return ""
	}
	return fmt.Sprintf("the migration is in phase %s: rows are copied and indexes built before", m.status.Phase)
}
