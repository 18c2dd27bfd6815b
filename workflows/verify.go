package workflows

import (
	"fmt"
	"strings"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// verifications are the comparisons at barriers, one at a time: those that people order, the first one once the migration is in
// sync, and those right before the switch.
type verifications struct {
	orders  []verifyOrder // that wait
	count   int           // ordered so far
	running *background   // carries out the orders; nil while there are none
	// rested is true once a comparison at a barrier has come before the fence: then the one behind it reads what was touched since.
	rested bool
}

type verifyOrder struct {
	run  string
	note contract.Note
}

// Why a comparison takes place.
const (
	verifyOrdered = "ordered"
	verifyInSync  = "the first one, in sync"
	verifyBefore  = "before the cutover"
	// On the way back:
	verifyBackFirst  = "the first one after the switch"
	verifyBeforeBack = "before the rollback"
)

// keptRuns is how many comparisons the status and the report remember.
const keptRuns = 10

// codeNotEqual is the problem that keeps a cutover from being ordered until a comparison finds both sides equal; it stands under
// this object.
const (
	codeNotEqual     = "not-equal"
	codeVerifyFailed = "verify-failed"
	objectVerify     = "verify"
)

func (m *migration) refuseVerify() string {
	if m.aborting {
		return "the migration is being aborted"
	}
	switch m.status.Phase {
	case contract.PhaseCatchingUp, contract.PhaseInSync:
	default:
		return fmt.Sprintf("the migration is in phase %s, verify needs catching-up or in-sync", m.status.Phase)
	}
	if m.cutoverWanted || m.switching {
		return "a cutover has been ordered, which verifies by itself"
	}
	if m.steering.Paused {
		return "the migration is paused; resume it first"
	}
	return ""
}

// orderVerify queues a comparison, and sees to it that somebody carries it out.
func (m *migration) orderVerify(_ workflow.Context, note contract.Note) {
	m.queueVerify(note, verifyOrdered)
}

func (m *migration) queueVerify(note contract.Note, why string) {
	v := &m.verify
	v.count++
	o := verifyOrder{run: fmt.Sprintf("verify-%d", v.count), note: note}
	v.orders = append(v.orders, o)
	m.noteRun(contract.VerifyRun{Run: o.run, State: contract.VerifyWaiting, Why: why})
	if v.running != nil {
		return
	}
	own, cancel := workflow.WithCancel(m.work)
	b := &background{name: "verify", cancel: cancel}
	v.running = b
	m.streaming = append(m.streaming, b)
	workflow.GoNamed(own, b.name, func(ctx workflow.Context) {
		defer func() { b.done, v.running = true, nil }()
		for len(v.orders) > 0 && ctx.Err() == nil {
			next := v.orders[0]
			v.orders = v.orders[1:]
			_, _ = m.compareAtBarrier(ctx, next.run, verifyOrdered, next.note) // it is noted what came of it
		}
	})
}

// lastOrdered is how an order's sender finds its comparison.
func (m *migration) lastOrdered() string { return fmt.Sprintf("accepted as verify-%d", m.verify.count) }

// compareAtBarrier runs one comparison, and notes what came of it: in the status, in the report and, where something differs, as
// a problem that keeps a cutover from being ordered.
func (m *migration) compareAtBarrier(ctx workflow.Context, run, why string, note contract.Note) (v contract.Verification, err error) {
	m.removeProblem(contract.Problem{Code: codeVerifyFailed, Object: objectVerify})
	method := m.spec.Cutover.Verify
	if method == "none" {
		method = "checksum"
	}
	input := contract.BarrierInput{Spec: m.spec, Run: run, Method: method, Tables: note.Tables, Full: note.Full, KeepValues: note.ShowValues}
	v, err = m.runAtBarrier(ctx, input, why)
	switch {
	case err == nil:
		m.judge(v)
	case ctx.Err() == nil:
		p := problemOf(err)
		m.addProblem(contract.Problem{Severity: contract.Warning, Code: codeVerifyFailed, Object: objectVerify, Message: run + ": " + p.Message, Remedy: p.Remedy})
	}
	m.refresh(ctx)
	return v, err
}

// runAtBarrier runs one comparison, and keeps it in the status and the report.
func (m *migration) runAtBarrier(ctx workflow.Context, input contract.BarrierInput, why string) (v contract.Verification, err error) {
	run := input.Run
	m.noteRun(contract.VerifyRun{Run: run, State: contract.VerifyRunning, Why: why})
	err = workflow.ExecuteActivity(on(ctx, bulk, run+": "+input.Method+" at a barrier"), acts.CompareAtBarrier, input).Get(ctx, &v)
	ended := contract.VerifyRun{Run: run, State: contract.VerifyEqual}
	switch {
	case err != nil:
		ended.State, ended.Message = contract.VerifyFailed, problemOf(err).Message
	case !v.Equal:
		ended.State = contract.VerifyDiffers
	}
	if err == nil {
		ended.Result = &v
		m.report.Verifications = lastOf(append(m.report.Verifications, v))
	}
	m.noteRun(ended)
	m.refresh(ctx)
	return v, err
}

// judge opens the problem of tables that are not the same, or closes it once all of them were found to be.
func (m *migration) judge(v contract.Verification) {
	p := contract.Problem{Severity: contract.Fatal, Code: codeNotEqual, Object: objectVerify}
	m.removeProblem(p)
	if v.UnequalCount == 0 {
		return
	}
	p.Message = fmt.Sprintf("%d tables differ: %s", v.UnequalCount, strings.Join(v.Unequal, ", "))
	if len(v.Differences) > 0 {
		p.Message += fmt.Sprintf("; %s: %s", v.Differences[0].Table, v.Differences[0].Message)
	}
	p.Remedy = "look at the rows on both sides (starter verify " + m.spec.Name + " --show-values), mend them on the target and verify again, or abort"
	m.addProblem(p)
}

// noteRun keeps a comparison in the status; one that is there already is replaced, but for why it takes place.
func (m *migration) noteRun(r contract.VerifyRun) {
	if m.status.Verify == nil {
		m.status.Verify = &contract.VerifyStatus{}
	}
	runs := append([]contract.VerifyRun{}, m.status.Verify.Runs...)
	for i, known := range runs {
		if known.Run == r.Run {
			r.Why = known.Why
			runs[i] = r
			m.status.Verify = &contract.VerifyStatus{Runs: runs}
			return
		}
	}
	m.status.Verify = &contract.VerifyStatus{Runs: lastOf(append(runs, r))}
}

func lastOf[T any](all []T) []T { return all[max(len(all)-keptRuns, 0):] }

// verifyInSync orders the first comparison once the migration is in sync, so that the one before a switch has little to do.
func (m *migration) verifyInSync(ctx workflow.Context) {
	if m.spec.Cutover.Verify == "none" || m.spec.Cutover.Mode == "auto" || m.verify.count > 0 || !m.since(ctx, barrierVerified) {
		return
	}
	m.queueVerify(contract.Note{}, verifyInSync)
}

const (
	// maxRounds bounds how often is compared before the fence: each time there is less that was touched meanwhile.
	maxRounds = 4
	// shortRound is how long a comparison may take for the one behind the fence to be short.
	shortRound = 5
)

// verifyBeforeFence compares at barriers, while the application still writes, until little is left to compare behind the fence.
func (m *migration) verifyBeforeFence(ctx workflow.Context, attempt int) error {
	m.verify.rested = false
	if m.spec.Cutover.Verify == "none" || !m.since(ctx, barrierVerified) {
		return nil
	}
	m.switching = true
	defer func() { m.switching = false }()
	m.say(ctx, "verifying before the switch, the application goes on")
	if err := workflow.Await(ctx, func() bool { return m.verify.running == nil }); err != nil {
		return err
	}
	err := untilLittleIsLeft(func(round int) (contract.Verification, error) {
		return m.compareAtBarrier(ctx, fmt.Sprintf("before-cutover-%d-%d", attempt, round), verifyBefore, contract.Note{})
	})
	if err != nil {
		return err
	}
	m.verify.rested = true
	lag, err := m.measureLag(ctx)
	if err == nil && lag.LagBytes > m.spec.Cutover.MaxLagBytes() {
		err = temporal.NewNonRetryableApplicationError(tooFarBehind(lag, m.spec), codeLagTooHigh, nil)
	}
	return err
}

// untilLittleIsLeft compares again and again: each time there is less that was touched meanwhile.
func untilLittleIsLeft(compare func(round int) (contract.Verification, error)) error {
	for round := 1; round <= maxRounds; round++ {
		v, err := compare(round)
		if err != nil {
			return err
		}
		if v.UnequalCount > 0 {
			return unequal(v)
		}
		if v.Seconds < shortRound {
			return nil
		}
	}
	return nil
}

// compare holds both sides against each other behind the fence. Nothing is called verified that was not compared: what was
// compared at a barrier before, and not touched since, is named as that.
func (m *migration) compare(ctx workflow.Context, attempt int) error {
	method := m.spec.Cutover.Verify
	m.report.Verification = contract.Verification{Method: method}
	if method == "none" {
		return nil
	}
	input := contract.CompareInput{Spec: m.spec, Run: fmt.Sprintf("cutover-%d", attempt), Method: method}
	summary, activity := method+" of every table", any(acts.Compare)
	if m.verify.rested {
		summary, activity = method+" of what was touched", acts.CompareTouched
	}
	if err := workflow.ExecuteActivity(on(ctx, comparison, summary), activity, input).Get(ctx, &m.report.Verification); err != nil {
		return err
	}
	if v := m.report.Verification; !v.Equal || v.UnequalCount > 0 {
		return unequal(v)
	}
	m.status.Cutover.Verified = method
	return nil
}

func unequal(v contract.Verification) error {
	d := contract.TableDifference{Message: "it differed when it was compared last"}
	if len(v.Differences) > 0 {
		d = v.Differences[0]
	} else if len(v.Unequal) > 0 {
		d.Table = v.Unequal[0]
	}
	return notEqual(max(len(v.Differences), v.UnequalCount), d)
}

// ShowDifferences reads rows that differ, with the values that were kept of them, sealed for who asks: a history must not tell
// them.
func ShowDifferences(ctx workflow.Context, input contract.ShowDifferencesInput) (rows contract.SealedRows, err error) {
	spec, err := contract.ParseSpec(input.Spec)
	if err != nil {
		return contract.SealedRows{}, specError(err)
	}
	m := newMigration(ctx, spec)
	err = workflow.ExecuteActivity(on(ctx, asked, "rows that differ"), acts.ReadDifferences, contract.DifferencesInput{Spec: m.spec, Run: input.Run, PublicKey: input.PublicKey}).Get(ctx, &rows)
	return rows, err
}
