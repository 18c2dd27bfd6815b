package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgtest"
)

// TestPreflightAlone runs the starter's preflight: its exit code says whether a migration would start, its JSON is for programs
// and has nothing else around it, and nothing is changed.
func TestPreflightAlone(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.Source(t), pgtest.Target(t)
	asMaster(t, src, small)
	sourceBefore, targetBefore := src.Dump(t, sourceState), dst.Dump(t, targetState)
	w := newIdleWorld(t)
	good := w.newMigration("good", src, dst, nil)
	first := w.begin(shared.starter, "preflight", "-f", good.file, "-o", "json")
	require.Eventually(t, func() bool { return strings.Contains(first.errOut.String(), "no worker asks for work") }, time.Minute, 50*time.Millisecond,
		"without a worker it says what it waits for")
	impatient := w.begin(shared.starter, "start", "-f", w.newMigration("impatient", src, dst, nil).file, "--wait")
	require.Eventually(t, func() bool { return strings.Contains(impatient.out.String(), "it begins once a worker is there") }, time.Minute, 50*time.Millisecond)
	require.NoError(t, impatient.Process.Signal(os.Interrupt))
	require.Equal(t, 1, impatient.wait(t))
	require.Contains(t, impatient.errOut.String(), "interrupted: nothing more is waited for, but what was begun goes on")
	require.NoError(t, w.client.TerminateWorkflow(t.Context(), contract.WorkflowID("impatient"), "", "the test only wanted it to wait"))
	w.startWorker()
	require.Zero(t, first.wait(t), first.errOut.String())
	problems := problemsIn(t, first.out.String())
	require.True(t, has(problems, contract.Info, "database-size"), problems)
	require.Contains(t, w.run(shared.starter, "preflight", "-f", good.file), "SEVERITY")

	asMaster(t, dst, "CREATE TABLE people (id int); INSERT INTO people VALUES (1)")
	second := w.begin(shared.starter, "preflight", "-f", good.file, "-o", "json")
	require.Equal(t, 1, second.wait(t))
	problems = problemsIn(t, second.out.String())
	require.True(t, has(problems, contract.Fatal, "target-not-empty"), problems)
	require.Contains(t, second.errOut.String(), "preflight found errors")
	asMaster(t, dst, "DROP TABLE people")

	lost := w.newMigration("lost", src, dst, func(spec map[string]any) { spec["source"].(map[string]any)["port"] = 1 })
	third := w.begin(shared.starter, "preflight", "-f", lost.file, "-o", "json")
	require.Equal(t, 1, third.wait(t))
	require.True(t, has(problemsIn(t, third.out.String()), contract.Fatal, "unreachable"), "a server that does not answer is a finding like any other")
	require.Equal(t, sourceBefore, src.Dump(t, sourceState))
	require.Equal(t, targetBefore, dst.Dump(t, targetState))
}

func problemsIn(t *testing.T, out string) []contract.Problem {
	t.Helper()
	var problems []contract.Problem
	require.NoError(t, json.Unmarshal([]byte(out), &problems), out)
	require.NotEmpty(t, problems)
	for _, p := range problems {
		require.NotEmpty(t, p.Object, "%+v", p)
		require.NotEmpty(t, p.Message, "%+v", p)
		require.True(t, p.Severity != contract.Fatal || p.Remedy != "", "an error says what to do: %+v", p)
	}
	return problems
}

func has(problems []contract.Problem, severity contract.Severity, code string) bool {
	for _, p := range problems {
		if p.Severity == severity && p.Code == code {
			return true
		}
	}
	return false
}

// command is a program that runs.
type command struct {
	*exec.Cmd
	out, errOut *shout
}

// shout is what a program has written so far.
type shout struct {
	mu      sync.Mutex
	written bytes.Buffer
}

func (s *shout) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written.Write(b)
}

func (s *shout) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written.String()
}

// begin starts a program in the world's environment.
func (w *world) begin(program string, args ...string) *command {
	w.t.Helper()
	c := &command{exec.Command(program, args...), &shout{}, &shout{}}
	c.Env, c.Stdout, c.Stderr = w.env, c.out, c.errOut
	require.NoError(w.t, c.Start())
	w.t.Cleanup(func() { _ = c.Process.Kill() }) // it has ended, unless the test failed
	return c
}

// wait returns the exit code.
func (c *command) wait(t *testing.T) int {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Wait() // its code is read below
	}()
	select {
	case <-ended:
	case <-time.After(2 * time.Minute):
		require.FailNow(t, "timeout", "%v does not end: %s", c.Args, c.errOut)
	}
	return c.ProcessState.ExitCode()
}
