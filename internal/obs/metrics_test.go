package obs_test

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/obs"
)

// record makes every metric appear once.
func record(m *obs.Metrics) (first, second *obs.CopyStream) {
	first, second = m.StreamBegins("shop"), m.StreamBegins("shop")
	m.StreamWaits("shop", true)
	m.StreamWaits("shop", false)
	m.StreamWaits("shop", true)
	m.Copied("shop", 2, 30, 1)
	m.Copied("shop", -1, 4, 0)
	first.Stands(contract.CopyStatus{Bytes: 100, BytesDone: 30, OpenBytes: 10, Rows: 2, OpenRows: 1, Parts: 6, PartsDone: 5})
	m.Record("shop", "Receive", contract.Beat{Replication: &contract.ReplicationStatus{ReceivedLSN: 9, SpooledBytes: 77,
		StreamStatus: contract.StreamStatus{SpooledLSN: 8, SpoolSegments: 3, SpoolOldestSeconds: 61}}})
	m.Record("shop", "Apply", contract.Beat{Replication: &contract.ReplicationStatus{AppliedLSN: 7, Transactions: 2, Changes: 5, StreamStatus: contract.StreamStatus{
		Busiest: []contract.TableChanges{{Table: "public.gone", Changes: 1, Transactions: 1}}}}})
	m.Record("shop", "WatchLag", contract.Beat{Replication: &contract.ReplicationStatus{LagBytes: 2, LagSeconds: 0.5, InSync: true, StreamStatus: contract.StreamStatus{CatchUpSeconds: 4}}})
	m.Record("shop", "Apply", contract.Beat{Replication: &contract.ReplicationStatus{AppliedLSN: 7, Transactions: 2, Changes: 5, StreamStatus: contract.StreamStatus{ // the same again
		Busiest: []contract.TableChanges{{Table: "public.orders", Changes: 4, Transactions: 2}}}}})
	m.Record("shop", "WatchSlot", contract.Beat{Replication: &contract.ReplicationStatus{StreamStatus: contract.StreamStatus{Slot: &contract.SlotStatus{
		WALStatus: "unreserved", SafeWALBytes: -1, RetainedBytes: 99, Longest: &contract.OpenTransaction{PID: 1, Seconds: 12.5}}}}})
	for _, done := range []int64{0, 50, 60, 0, 20} { // the second comparison reads 20
		m.Record("shop", "CompareAtBarrier", contract.Beat{Verify: &contract.VerifyProgress{Bytes: 60, BytesDone: done, Rows: done / 10}})
	}
	m.Verified("shop", obs.Comparison{Result: obs.ResultDiffers, Seconds: 1.5, Chunks: 3, Relied: 4, Differences: 5})
	m.Verified("shop", obs.Comparison{Result: obs.ResultDiffers, Seconds: 1})
	return first, second
}

func values(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	found := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			require.Equal(t, "shop", m.GetLabel()[0].GetValue())
			require.NotContains(t, found, f.GetName(), "one series each")
			found[f.GetName()] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return found
}

func TestBeatsBecomeMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := obs.NewMetrics(registry)
	first, second := record(m)
	require.Equal(t, map[string]float64{
		"timeferry_bulk_done_bytes": 40, "timeferry_bulk_total_bytes": 100, "timeferry_bulk_rows": 3,
		"timeferry_bulk_done_parts": 5, "timeferry_bulk_total_parts": 6, "timeferry_bulk_streams": 2, "timeferry_bulk_waiting_streams": 1,
		"timeferry_bulk_copied_bytes_total": 34, "timeferry_bulk_copied_rows_total": 2, "timeferry_bulk_copied_parts_total": 1,
		"timeferry_capture_received_lsn": 9, "timeferry_spool_used_bytes": 77,
		"timeferry_apply_applied_lsn": 7, "timeferry_apply_transactions": 2, "timeferry_apply_changes": 5,
		"timeferry_spool_durable_lsn": 8, "timeferry_spool_segments": 3, "timeferry_spool_oldest_seconds": 61, "timeferry_apply_catch_up_seconds": 4,
		"timeferry_apply_transactions_total": 2, "timeferry_apply_changes_total": 5, "timeferry_apply_table_transactions": 2, "timeferry_apply_table_changes": 4,
		"timeferry_capture_slot_retained_bytes": 99, "timeferry_capture_slot_safe_bytes": -1, "timeferry_capture_slot_state": 2, "timeferry_capture_longest_transaction_seconds": 12.5,
		"timeferry_verify_total_bytes": 60, "timeferry_verify_done_bytes": 20, "timeferry_verify_compared_rows_total": 8, "timeferry_verify_compared_bytes_total": 80,
		"timeferry_verify_compared_chunks_total": 3, "timeferry_verify_relied_chunks_total": 4, "timeferry_verify_differences_total": 5, "timeferry_verify_seconds_total": 2.5,
		"timeferry_verify_runs_total": 2,
		"timeferry_apply_lag_bytes":   2, "timeferry_apply_lag_seconds": 0.5, "timeferry_apply_in_sync": 1,
	}, values(t, registry))
	first.Ends(true)
	second.Ends(false)
	require.Zero(t, values(t, registry)["timeferry_bulk_streams"])
	require.Zero(t, values(t, registry)["timeferry_bulk_waiting_streams"])
	m.Forget("shop")
	require.Empty(t, values(t, registry))
}

func TestNoMetricsRecordNothing(t *testing.T) {
	var m *obs.Metrics
	first, _ := record(m)
	first.Ends(true)
	m.Forget("shop")
}

func TestTheMachineIsMeasuredAtEachLook(t *testing.T) {
	registry := prometheus.NewRegistry()
	free, err := int64(9), error(nil)
	obs.RegisterMachine(registry, obs.Machine{CPUs: 2, MemoryBytes: 8, DiskBytes: 10, DiskFreeBytes: func() (int64, error) { return free, err }})
	look := func() map[string]float64 {
		families, gatherErr := registry.Gather()
		require.NoError(t, gatherErr)
		found := map[string]float64{}
		for _, f := range families {
			require.Empty(t, f.GetMetric()[0].GetLabel())
			found[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
		}
		return found
	}
	want := map[string]float64{"timeferry_machine_cpus": 2, "timeferry_machine_memory_bytes": 8, "timeferry_machine_disk_bytes": 10, "timeferry_machine_disk_free_bytes": 9}
	require.Equal(t, want, look())
	free = 4
	want["timeferry_machine_disk_free_bytes"] = 4
	require.Equal(t, want, look())
	err = errors.New("gone")
	require.True(t, math.IsNaN(look()["timeferry_machine_disk_free_bytes"]))
}

// TestEveryMetricIsDocumented compares docs/metrics.md with the registry.
func TestEveryMetricIsDocumented(t *testing.T) {
	registry := prometheus.NewRegistry()
	record(obs.NewMetrics(registry))
	obs.RegisterMachine(registry, obs.Machine{DiskFreeBytes: func() (int64, error) { return 0, nil }})
	families, err := registry.Gather()
	require.NoError(t, err)
	docs, err := os.ReadFile("../../docs/metrics.md")
	require.NoError(t, err)
	for _, f := range families {
		require.Contains(t, string(docs), fmt.Sprintf("| `%s` | %s |\n", f.GetName(), f.GetHelp()))
	}
	require.Equal(t, len(families), strings.Count(string(docs), "| `timeferry_"))
}

// An applier that begins anew counts from zero again, and the counter goes on.
func TestCountersOutliveTheApplier(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := obs.NewMetrics(registry)
	for _, n := range []int64{3, 10, 2, 2, 4} {
		m.Record("shop", "Apply", contract.Beat{Replication: &contract.ReplicationStatus{Transactions: n, Changes: 2 * n}})
	}
	require.EqualValues(t, 14, values(t, registry)["timeferry_apply_transactions_total"])
	require.EqualValues(t, 28, values(t, registry)["timeferry_apply_changes_total"])
}

// The streams of this worker are shown together, and not one after the other.
func TestStreamsOfACopyAreShownTogether(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := obs.NewMetrics(registry)
	a, b := m.StreamBegins("shop"), m.StreamBegins("shop")
	committed := func(epoch, parts int) contract.CopyStatus {
		return contract.CopyStatus{Epoch: epoch, Parts: 10, PartsDone: parts, Bytes: 1000, BytesDone: int64(100 * parts), Rows: int64(10 * parts)}
	}
	for i, step := range []struct {
		who                    *obs.CopyStream
		epoch, parts           int
		open                   int64
		bytes, rows, partsDone float64
	}{
		{a, 1, 2, 50, 250, 25, 2},
		{b, 1, 2, 30, 280, 28, 2},
		{a, 1, 2, 90, 320, 32, 2},
		{a, 1, 2, 0, 320, 32, 2}, // committed, and not read yet
		{b, 1, 3, 40, 340, 34, 3},
		{a, 1, 2, 10, 350, 35, 3}, // its look at the ledger is old
		{b, 1, 9, 95, 1000, 100, 9},
		{a, 2, 1, 20, 120, 12, 1}, // tables are copied again
		{b, 1, 9, 95, 120, 12, 1},
		{b, 2, 1, 30, 150, 15, 1},
	} {
		c := committed(step.epoch, step.parts)
		c.OpenBytes, c.OpenRows = step.open, step.open/10
		step.who.Stands(c)
		step.who.Stands(contract.CopyStatus{}) // of a stream that has not asked the ledger
		v := values(t, registry)
		require.Equal(t, []float64{step.bytes, step.rows, step.partsDone, 1000, 10}, []float64{v["timeferry_bulk_done_bytes"], v["timeferry_bulk_rows"],
			v["timeferry_bulk_done_parts"], v["timeferry_bulk_total_bytes"], v["timeferry_bulk_total_parts"]}, "step %d", i)
	}
	a.Ends(false)
	b.Stands(committed(2, 2))
	require.EqualValues(t, 200, values(t, registry)["timeferry_bulk_done_bytes"], "what the other had open counts no more")
}
