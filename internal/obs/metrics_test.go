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
func record(m *obs.Metrics) {
	m.Record("shop", "CopyParts", contract.Beat{Copy: &contract.CopyStatus{Bytes: 100, BytesDone: 40, Rows: 3}})
	m.Record("shop", "Receive", contract.Beat{Replication: &contract.ReplicationStatus{ReceivedLSN: 9, SpooledBytes: 77}})
	m.Record("shop", "Apply", contract.Beat{Replication: &contract.ReplicationStatus{AppliedLSN: 7, Transactions: 2, Changes: 5}})
	m.Record("shop", "WatchLag", contract.Beat{Replication: &contract.ReplicationStatus{LagBytes: 2, LagSeconds: 0.5, InSync: true}})
}

func values(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	found := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			require.Equal(t, "shop", m.GetLabel()[0].GetValue())
			found[f.GetName()] = m.GetGauge().GetValue()
		}
	}
	return found
}

func TestBeatsBecomeMetrics(t *testing.T) {
	registry := prometheus.NewRegistry()
	m := obs.NewMetrics(registry)
	record(m)
	require.Equal(t, map[string]float64{
		"timeferry_bulk_done_bytes": 40, "timeferry_bulk_total_bytes": 100, "timeferry_bulk_rows": 3,
		"timeferry_capture_received_lsn": 9, "timeferry_spool_used_bytes": 77,
		"timeferry_apply_applied_lsn": 7, "timeferry_apply_transactions": 2, "timeferry_apply_changes": 5,
		"timeferry_apply_lag_bytes": 2, "timeferry_apply_lag_seconds": 0.5, "timeferry_apply_in_sync": 1,
	}, values(t, registry))
	m.Forget("shop")
	require.Empty(t, values(t, registry))
}

func TestNoMetricsRecordNothing(t *testing.T) {
	var m *obs.Metrics
	record(m)
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
