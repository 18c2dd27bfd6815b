package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgtest"
)

// TestVerify compares a shop that is written to, finds what was spoilt on the target, survives the worker's death, and lets the
// cutover happen only once all is mended.
func TestVerify(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.OwnSource(t, nil), pgtest.OwnTarget(t, nil)
	g := shopUnderLoad(t, src)
	asMaster(t, src, `CREATE TABLE public.keyless (a int, b text); INSERT INTO public.keyless SELECT i % 10, 'row ' || i % 20 FROM generate_series(1, 1000) i;
		CREATE TABLE public.spare (id int PRIMARY KEY, v text); INSERT INTO public.spare SELECT i, 'part ' || i FROM generate_series(1, 1000) i;
		CREATE TABLE public.calm AS SELECT i, repeat(md5(i::text), 32) AS v FROM generate_series(1, 12000) i;
		CREATE TABLE public.weather (ts timestamptz NOT NULL, v float8); INSERT INTO public.weather SELECT timestamptz '2024-01-01' + i * interval '1 hour', i FROM generate_series(1, 1000) i`)
	w := newWorld(t)
	m := w.newMigration("shop", src, dst, func(spec map[string]any) {
		shopSpec(spec)
		spec["hypertables"] = append(spec["hypertables"].([]any), map[string]any{"table": "public.weather", "timeColumn": "ts", "chunkInterval": "7 days"})
		spec["verify"] = map[string]any{"concurrency": 2, "chunkSize": "256KiB", "maxBytesPerSecond": "4MiB"}
	})
	m.start()
	m.await(contract.PhaseInSync)
	out := m.run(shared.starter, contract.SignalVerify, m.name)
	require.Contains(t, out, "equal by checksum")
	require.Contains(t, out, "some part was not read", "the first one, in sync, has read everything")

	whole := m.verify(0, "--full")
	require.Equal(t, whole.Tables, whole.Whole)
	require.NotZero(t, whole.BarrierLSN)
	one := m.verify(0, "--table", "public.keyless", "--full")
	require.Equal(t, 1, one.Tables)
	require.EqualValues(t, 1000, one.Rows)
	out, code := m.try(shared.starter, contract.SignalVerify, m.name, "--table", "keyless")
	require.Equal(t, 2, code, out)

	dst.Exec(t, `UPDATE public.spare SET v = 'spoilt-value' WHERE id = 77; DELETE FROM public.weather WHERE ts = '2024-01-20 00:00+00';
		INSERT INTO public.keyless VALUES (0, 'row 0')`)
	require.Zero(t, m.verify(0).UnequalCount, "nobody touched them: seen when everything is read")
	found := m.verify(1, "--full")
	require.Equal(t, []string{"public.keyless", "public.spare", "public.weather"}, found.Unequal)
	require.Len(t, found.Differences, 3)
	for _, d := range found.Differences {
		require.NotEmpty(t, d.Rows, d.Table)
	}
	require.Equal(t, []string{"v"}, found.Differences[1].Rows[0].Columns)
	out, code = m.try(shared.starter, contract.SignalVerify, m.name, "--show-values")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "spoilt-value")
	out, code = m.try(shared.starter, contract.SignalCutover, m.name)
	require.Equal(t, 3, code, out)
	require.Contains(t, out, "public.keyless")

	dst.Exec(t, "UPDATE public.spare SET v = 'part 77' WHERE id = 77; INSERT INTO public.weather VALUES ('2024-01-20 00:00+00', 456)")
	dst.Exec(t, "DELETE FROM public.keyless WHERE ctid = (SELECT max(ctid) FROM public.keyless WHERE (a, b) = (0, 'row 0'))")
	require.Zero(t, m.verify(0).UnequalCount)

	m.verifyOverADeath()

	require.NotContains(t, m.history(""), "spoilt-value")
	asked := m.history("_differences")
	require.Contains(t, asked, "sealed")
	require.NotContains(t, asked, "spoilt-value")
	m.cutOverUnderLoad(g)
	r := m.report()
	require.Greater(t, r.Verification.Relied, 0)
	require.Zero(t, r.Verification.UnverifiedCount)
	require.GreaterOrEqual(t, len(r.Verifications), 5)
}

// verify orders a comparison with these flags and wants this exit code.
func (m *migration) verify(code int, flags ...string) contract.Verification {
	m.t.Helper()
	out, got := m.try(shared.starter, append([]string{contract.SignalVerify, m.name, "-o", "json"}, flags...)...)
	require.Equal(m.t, code, got, out)
	var v contract.Verification
	require.NoError(m.t, json.NewDecoder(strings.NewReader(out)).Decode(&v), out)
	require.Equal(m.t, code == 0, v.Equal)
	return v
}

// verifyOverADeath kills the worker in the middle of a comparison: what was compared before the death is not compared again. A
// comparison that was quicker than the kill is ordered once more.
func (m *migration) verifyOverADeath() {
	m.t.Helper()
	const latest = "FROM timeferry.verification_runs ORDER BY begun_at DESC LIMIT 1"
	for range 5 {
		before := m.dst.QueryValue(m.t, "SELECT run "+latest)
		m.run(shared.starter, contract.SignalVerify, m.name, "--full", "--no-wait")
		require.Eventually(m.t, func() bool {
			return m.dst.QueryValue(m.t, "SELECT run <> '"+before+"' "+latest) == "t" &&
				m.dst.QueryValue(m.t, "SELECT count(*) > 3 FROM timeferry.chunks WHERE generation > 0 AND run = (SELECT run "+latest+")") == "t"
		}, time.Minute, 20*time.Millisecond, "it is under way")
		killAndRestart(m.t, m)
		relied := 0
		require.Eventually(m.t, func() bool {
			s, err := m.status()
			if err != nil {
				return false
			}
			last := s.Verify.Runs[len(s.Verify.Runs)-1]
			if last.State == contract.VerifyEqual {
				relied = last.Result.Relied
			}
			return last.State == contract.VerifyEqual
		}, 2*time.Minute, 100*time.Millisecond, "the comparison is taken up after the death")
		if relied > 0 {
			return
		}
	}
	m.t.Fatal("what was compared before the death is compared again, five times")
}

// history is the text of a workflow's events, payloads included: the migration's own, or one of its name with a suffix.
func (m *migration) history(suffix string) string {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var text strings.Builder
	events := m.client.GetWorkflowHistory(ctx, contract.WorkflowID(m.name)+suffix, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(m.t, err)
		text.WriteString(event.String())
	}
	return text.String()
}
