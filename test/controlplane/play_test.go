package controlplane

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/activity"
	sdklog "go.temporal.io/sdk/log"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"

	"timeferry/activities"
	"timeferry/internal/contract"
	"timeferry/workflows"
)

// actionOf reads which action a request asks for, and gives a request that can be read again.
func actionOf(r *http.Request) (string, *http.Request) {
	body, err := io.ReadAll(r.Body)
	must(err)
	again := r.Clone(r.Context())
	again.Body = io.NopCloser(bytes.NewReader(body))
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		_, action, _ := strings.Cut(target, ".")
		return action, again
	}
	form, err := url.ParseQuery(string(body))
	must(err)
	return form.Get("Action"), again
}

// Ends of a scenario.
const (
	ready   = "ready"   // the source is prepared: the story has come to the slot, where the play ends by an abort
	refused = "refused" // the workflow failed before it changed anything
	stopped = "stopped" // it stopped and waits for a person; the play ends by an abort
)

// outcome is what came of a play.
type outcome struct {
	end     string
	code    string   // of the refusal or the last problem
	message string   // likewise
	told    []string // messages at which the story stood and waited for a person, each once
	notes   []string // warnings, as "code: message"
	left    []string // what the report says is left
}

// play is one run of the workflow in Temporal's test environment.
type play struct {
	*stage
	t   *testing.T
	sc  scenario
	env *testsuite.TestWorkflowEnvironment

	out     outcome
	mended  bool
	passed  bool
	clock   func(time.Time) time.Time
	aborted bool
}

// run plays the scenario to its end.
func (s *stage) run(t *testing.T, sc scenario) outcome {
	t.Helper()
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(sdklog.NewStructuredLogger(slog.New(slog.DiscardHandler)))
	p := &play{stage: s, t: t, sc: sc, env: suite.NewTestWorkflowEnvironment()}
	p.env.SetTestTimeout(2 * time.Minute)
	p.env.SetWorkerOptions(worker.Options{DeadlockDetectionTimeout: 30 * time.Second}) // a busy machine is no deadlock
	if sc.clock != nil {
		p.clock = sc.clock()
	}
	p.register()
	s.first = len(s.sim.Log())
	for _, f := range slices.Concat(s.conditions.faults, sc.faults) {
		s.sim.Inject(f)
	}
	p.env.RegisterDelayedCallback(p.look, lookEvery)
	p.env.ExecuteWorkflow(workflows.LiveMigration, s.spec(t, sc))
	require.True(t, p.env.IsWorkflowCompleted())
	p.conclude()
	s.record(sc)
	return p.out
}

// register makes every activity available, each attempt on Activities of its own: nothing is remembered in memory.
func (p *play) register() {
	all := reflect.TypeFor[*activities.Activities]()
	for i := range all.NumMethod() {
		method := all.Method(i)
		shape := method.Func.Type()
		var in, out []reflect.Type
		for j := 1; j < shape.NumIn(); j++ {
			in = append(in, shape.In(j))
		}
		for j := range shape.NumOut() {
			out = append(out, shape.Out(j))
		}
		if len(in) == 0 || in[0] != reflect.TypeFor[context.Context]() {
			continue
		}
		run := reflect.MakeFunc(reflect.FuncOf(in, out, false), func(args []reflect.Value) []reflect.Value { return p.attempt(method, args) })
		p.env.RegisterActivityWithOptions(run.Interface(), activity.RegisterOptions{Name: method.Name})
	}
}

// attempt runs one attempt of an activity.
func (p *play) attempt(method reflect.Method, args []reflect.Value) []reflect.Value {
	ctx, a := p.workers.begin(args[0].Interface().(context.Context))
	args[0] = reflect.ValueOf(ctx)
	results := method.Func.Call(append([]reflect.Value{reflect.ValueOf(p.newWorker())}, args...))
	err := p.workers.end(a)
	if err == nil && method.Name == "ClaimHost" { // as far as the slot: the play is over
		p.env.SignalWorkflow(contract.SignalAbort, contract.Note{By: "the test"})
		<-args[0].Interface().(context.Context).Done()
		err = temporal.NewCanceledError()
	}
	if err != nil {
		results[len(results)-1] = reflect.ValueOf(&err).Elem()
	}
	return results
}

func (p *play) newWorker() *activities.Activities {
	now := p.env.Now
	if p.sc.clock != nil {
		now = func() time.Time { return p.clock(p.env.Now()) }
	}
	return &activities.Activities{HostID: "worker", Log: slog.New(slog.DiscardHandler), AWSPoll: p.poll, AWSMaxBackoff: p.backoff, Now: now}
}

// lookEvery is how often the story is looked at, and lookSeldom how often while it waits for its time to come: Temporal's
// test environment goes from one timer to the next.
const (
	lookEvery  = 20 * time.Millisecond
	lookSeldom = time.Hour
)

// look does what a person would do: read the status, and answer what it asks for.
func (p *play) look() {
	if p.env.IsWorkflowCompleted() {
		return
	}
	value, err := p.env.QueryWorkflow(contract.QueryStatus)
	if err != nil { // it has not begun yet
		p.env.RegisterDelayedCallback(p.look, lookEvery)
		return
	}
	var s contract.Status
	require.NoError(p.t, value.Get(&s))
	again := lookEvery
	switch waits := waitsFor(s); {
	case waits == contract.SignalResume:
		p.tell(s)
		p.answerProblem(s)
	case waits == contract.SignalApproveReboot:
		p.tell(s)
		if p.sc.answer == "" {
			again = lookSeldom
		} else if !p.passed {
			p.passGate()
		}
	}
	p.env.RegisterDelayedCallback(p.look, again)
}

// waitsFor is the first signal that the story stands still for.
func waitsFor(s contract.Status) string {
	for _, want := range []string{contract.SignalResume, contract.SignalApproveReboot} {
		for _, have := range s.Awaiting {
			if have == want {
				return want
			}
		}
	}
	return ""
}

// answerAbort is the answer of somebody who does not want the reboot.
const answerAbort = contract.SignalAbort

func (p *play) passGate() {
	p.passed = true
	if p.sc.atGate != nil {
		p.sc.atGate(p.t, p.stage)
	}
	if p.sc.answer == answerAbort {
		p.out.end = stopped
	}
	p.env.SignalWorkflow(p.sc.answer, contract.Note{By: "alice"})
}

func (p *play) tell(s contract.Status) {
	if n := len(p.out.told); n == 0 || p.out.told[n-1] != s.Message {
		p.out.told = append(p.out.told, s.Message)
	}
}

// answerProblem mends what is the matter and resumes, once if the scenario knows how; else it aborts.
func (p *play) answerProblem(s contract.Status) {
	if p.aborted {
		return
	}
	for _, problem := range s.Problems {
		if problem.Severity == contract.Fatal {
			p.out.code, p.out.message = problem.Code, withRemedy(problem)
		}
	}
	if p.sc.mend != nil && !p.mended {
		p.mended, p.out.code, p.out.message = true, "", ""
		p.sc.mend(p.t, p.stage)
		time.Sleep(p.lag)
		p.env.SignalWorkflow(contract.SignalResume, contract.Note{By: "alice"})
		return
	}
	p.aborted, p.out.end = true, stopped
	p.env.SignalWorkflow(contract.SignalAbort, contract.Note{By: "alice"})
}

func withRemedy(p contract.Problem) string {
	if p.Remedy == "" || strings.Contains(p.Message, p.Remedy) {
		return p.Message
	}
	return p.Message + " (" + p.Remedy + ")"
}

// conclude reads how the workflow ended.
func (p *play) conclude() {
	if err := p.env.GetWorkflowError(); err != nil {
		var app *temporal.ApplicationError
		require.True(p.t, errors.As(err, &app), "%v", err)
		p.out.end, p.out.code, p.out.message = refused, app.Type(), app.Message()
		return
	}
	var report contract.Report
	require.NoError(p.t, p.env.GetWorkflowResult(&report))
	require.Equal(p.t, contract.PhaseAborted, report.Outcome)
	if p.out.end == "" {
		p.out.end = ready
	}
	for _, problem := range report.Problems {
		if problem.Severity == contract.Warning {
			p.out.notes = append(p.out.notes, problem.Code+": "+withRemedy(problem))
		}
	}
	p.out.left = report.Left
}
