package activities_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"timeferry/activities"
	"timeferry/internal/bulk"
	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/obs"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

// copyWorld is a planned copy of tables t1, t2, … with 1,000 rows each, under an exported snapshot.
type copyWorld struct {
	src, dst *pgtest.Database
	spec     contract.Spec
	env      *testsuite.TestActivityEnvironment
	a        *activities.Activities
	metrics  *prometheus.Registry
}

func newCopyWorld(t *testing.T, tables int) *copyWorld {
	t.Helper()
	w := &copyWorld{src: pgtest.Source(t), dst: pgtest.Target(t), metrics: prometheus.NewRegistry()}
	w.spec = hypertableSpec(t, w.src, w.dst)
	w.spec.Copy = contract.Copy{Concurrency: 2, PartSize: "1GiB", IndexJobs: 1}
	target := w.dst.MasterConn(t)
	require.NoError(t, ledger.Create(t.Context(), target, w.spec.Name))
	var planned []ledger.Table
	for i := range tables {
		name := fmt.Sprintf("t%d", i+1)
		create := "CREATE TABLE " + name + " (id int, v text)"
		_, err := w.src.MasterConn(t).Exec(t.Context(), create+"; INSERT INTO "+name+" SELECT g, repeat('x', 100) FROM generate_series(1, 1000) g")
		require.NoError(t, err)
		_, err = target.Exec(t.Context(), create)
		require.NoError(t, err)
		table := ident.Table{Schema: "public", Name: name}
		planned = append(planned, ledger.Table{Table: table, Bytes: int64(200_000 + i), EstimatedRows: 1000, Columns: []string{"id", "v"},
			Parts: []ledger.Part{{Table: table, Number: 1, Source: table, Bytes: int64(200_000 + i)}}})
	}
	require.NoError(t, ledger.PlanTables(t.Context(), target, planned))
	holder := w.src.MasterConn(t)
	var snapshot string
	_, err := holder.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ")
	require.NoError(t, err)
	require.NoError(t, holder.QueryRow(t.Context(), "SELECT pg_export_snapshot()").Scan(&snapshot))
	_, err = bulk.BeginEpoch(t.Context(), target, change.LSN(1), snapshot)
	require.NoError(t, err)

	var suite testsuite.WorkflowTestSuite
	w.env = suite.NewTestActivityEnvironment()
	w.env.SetTestTimeout(time.Minute)
	w.a = &activities.Activities{Metrics: obs.NewMetrics(w.metrics)}
	w.env.RegisterActivity(w.a)
	return w
}

func (w *copyWorld) steer(t *testing.T, s contract.Steering) {
	t.Helper()
	_, err := w.env.ExecuteActivity(w.a.Steer, contract.SteerInput{Spec: w.spec, Steering: s})
	require.NoError(t, err)
}

func (w *copyWorld) copy(t *testing.T, stream, streams int) contract.CopyResult {
	t.Helper()
	value, err := w.env.ExecuteActivity(w.a.CopyParts, contract.CopyInput{Spec: w.spec, Stream: stream, Streams: streams})
	require.NoError(t, err)
	var r contract.CopyResult
	require.NoError(t, value.Get(&r))
	return r
}

// copyTelling is copy by the only stream; it returns what the stream told meanwhile.
func (w *copyWorld) copyTelling(t *testing.T) []contract.CopyStatus {
	t.Helper()
	var mu sync.Mutex
	var beats []contract.CopyStatus
	require.NoError(t, w.a.CopyPartsTelling(t.Context(), contract.CopyInput{Spec: w.spec, Stream: 1, Streams: 1}, func(b contract.Beat) {
		mu.Lock()
		defer mu.Unlock()
		beats = append(beats, *b.Copy)
	}))
	return beats
}

func (w *copyWorld) done(t *testing.T) string {
	return w.dst.QueryValue(t, "SELECT count(done_at) FROM timeferry.parts")
}

func (w *copyWorld) value(t *testing.T, name string) float64 {
	t.Helper()
	families, err := w.metrics.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return -1
}

// A migration that was paused stays so: a stream that is begun anew, as after the death of its worker, takes no part.
func TestStreamsObeyTheSteering(t *testing.T) {
	w := newCopyWorld(t, 3)
	w.steer(t, contract.Steering{Serial: 1, Paused: true, Concurrency: 2, IndexJobs: 1})
	require.True(t, w.copy(t, 1, 2).Stopped)
	require.True(t, w.copy(t, 0, 0).Stopped, "begun by a version without steering")
	require.Equal(t, "0", w.done(t))

	w.steer(t, contract.Steering{Serial: 3, Concurrency: 2, IndexJobs: 1})
	w.steer(t, contract.Steering{Serial: 2, Paused: true, Concurrency: 1, IndexJobs: 1}) // a late one
	require.True(t, w.copy(t, 3, 4).Stopped, "surplus")
	require.Equal(t, "0", w.done(t))
	require.False(t, w.copy(t, 2, 2).Stopped)
	require.Equal(t, "3", w.done(t))
	require.Zero(t, w.value(t, "timeferry_bulk_streams"))
	require.EqualValues(t, 3, w.value(t, "timeferry_bulk_copied_parts_total"))
	require.EqualValues(t, 3000, w.value(t, "timeferry_bulk_copied_rows_total"))
}

// While the source is too busy the stream waits between parts and says why; then it goes on by itself.
func TestStreamBacksOffWhileTheSourceIsBusy(t *testing.T) {
	w := newCopyWorld(t, 2)
	_, err := w.src.Conn(t).Exec(t.Context(), "GRANT pg_read_all_stats TO "+pgtest.SourceMaster)
	require.NoError(t, err)
	w.spec.Copy.BackOff = &contract.BackOff{ActiveSessions: 2}
	var busy sync.WaitGroup
	for range 3 {
		conn := w.src.Conn(t)
		busy.Go(func() { _, _ = conn.Exec(t.Context(), "SET application_name = 'shop'; SELECT pg_sleep(4)") }) // ends with the test at the latest
	}
	require.Eventually(t, func() bool {
		return w.src.QueryValue(t, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shop' AND state = 'active'") == "3"
	}, 10*time.Second, 10*time.Millisecond)
	began := time.Now()
	beats := w.copyTelling(t)
	require.Greater(t, time.Since(began), 2*time.Second)
	require.Equal(t, "2", w.done(t))
	busy.Wait()
	require.Equal(t, "3 sessions are active on the source, copy.backOff.activeSessions is 2", beats[0].Waiting)
	require.Equal(t, 2, beats[0].Parts, "it knows of the copy before its first part")
	require.Empty(t, beats[len(beats)-1].Waiting)
	require.Zero(t, w.value(t, "timeferry_bulk_waiting_streams"))
}

// The heartbeat tells what is under way, and how far the largest tables are.
func TestStreamTellsWhatIsUnderWay(t *testing.T) {
	w := newCopyWorld(t, 2)
	w.spec.Copy.MaxBytesPerSecond = "64KiB" // slow enough to be seen
	beats := w.copyTelling(t)
	var running *contract.PartProgress
	for _, b := range beats {
		require.LessOrEqual(t, b.BytesDone, b.Bytes)
		if len(b.Running) > 0 && b.Running[0].Rate > 0 {
			running = &b.Running[0]
			require.Len(t, b.Largest, 2)
			require.Equal(t, "public.t2", b.Largest[0].Table)
			require.Equal(t, b.BytesDone < b.Bytes, b.ETASeconds > 0)
		}
	}
	require.NotNil(t, running, "no beat told of a part: %v", beats)
	require.Equal(t, 1, running.Stream)
	require.LessOrEqual(t, running.Bytes, running.Planned)
}

// largeParts lets each part be one that a stream takes alone.
func (w *copyWorld) largeParts(t *testing.T) {
	w.dst.Exec(t, "UPDATE timeferry.parts SET bytes = 1 << 20")
}

// The limit is of all streams together, on whatever workers they run and whenever they were begun.
func TestStreamsOfAllWorkersKeepToTheLimit(t *testing.T) {
	const perSecond = 128 << 10
	w := newCopyWorld(t, 8)
	w.largeParts(t)
	w.spec.Copy.MaxBytesPerSecond = "128KiB"
	workers := []*activities.Activities{w.a, {}}
	var streams sync.WaitGroup
	stream := func(number, of int) {
		streams.Go(func() {
			_ = workers[number%2].CopyPartsTelling(t.Context(), contract.CopyInput{Spec: w.spec, Stream: number, Streams: of}, func(contract.Beat) {})
		})
	}
	began := time.Now()
	stream(1, 2)
	stream(2, 2)
	time.Sleep(time.Second)
	for number := 3; number <= 6; number++ { // the first two are inside their parts
		stream(number, 6)
	}
	streams.Wait()
	took := time.Since(began).Seconds()
	require.Equal(t, "8", w.done(t))
	var bytes int64
	_, err := fmt.Sscan(w.dst.QueryValue(t, "SELECT sum(copied_bytes) FROM timeferry.parts"), &bytes)
	require.NoError(t, err)
	t.Logf("%d bytes in %.1f s", bytes, took)
	require.Less(t, float64(bytes)/took, 1.15*perSecond)
}

// At the end of a copy, the last stream has what the others have left.
func TestTheLastStreamHasTheWholeLimit(t *testing.T) {
	w := newCopyWorld(t, 3)
	w.spec.Copy.MaxBytesPerSecond = "128KiB"
	began := time.Now()
	require.False(t, w.copy(t, 2, 8).Stopped)
	require.Less(t, time.Since(began), 10*time.Second, "an eighth of the limit takes 20 s")
}
