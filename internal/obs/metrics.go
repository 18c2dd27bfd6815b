// Package obs holds the worker's metrics.
//
// In: what activities report, and what the worker's machine is. Out: a Prometheus registry, served by the worker at
// --metrics-address.
// Invariants: labels are bounded: the migration's name, never SQL, never a row's value.
//
// Not here: logging of rooms, Temporal's own metrics (the worker adds them to the same registry).
package obs

import (
	"github.com/prometheus/client_golang/prometheus"

	"timeferry/internal/contract"
)

// Metrics are the gauges of all migrations that this worker serves. Safe for concurrent use. A nil *Metrics records nothing.
type Metrics struct {
	copyDone, copyTotal, copyRows       *prometheus.GaugeVec
	received, applied, spooled          *prometheus.GaugeVec
	lagBytes, lagSeconds, inSync        *prometheus.GaugeVec
	appliedTransactions, appliedChanges *prometheus.GaugeVec
	all                                 []*prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{}
	gauge := func(into **prometheus.GaugeVec, name, help string) {
		*into = prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "timeferry", Name: name, Help: help}, []string{"migration"})
		registry.MustRegister(*into)
		m.all = append(m.all, *into)
	}
	gauge(&m.copyDone, "bulk_done_bytes", "Bytes of the source that the initial copy has copied.")
	gauge(&m.copyTotal, "bulk_total_bytes", "Bytes of the source that the initial copy has to copy.")
	gauge(&m.copyRows, "bulk_rows", "Rows that the initial copy has copied.")
	gauge(&m.received, "capture_received_lsn", "Position in the source's WAL up to which changes are received, as a number.")
	gauge(&m.spooled, "spool_used_bytes", "Bytes of changes on this worker's disk.")
	gauge(&m.applied, "apply_applied_lsn", "Position in the source's WAL up to which changes are on the target, as a number.")
	gauge(&m.appliedTransactions, "apply_transactions", "Transactions applied since the applier started.")
	gauge(&m.appliedChanges, "apply_changes", "Changes applied since the applier started.")
	gauge(&m.lagBytes, "apply_lag_bytes", "WAL of the source that is not on the target yet.")
	gauge(&m.lagSeconds, "apply_lag_seconds", "Age of the last applied commit by the source's clock; 0 when nothing is left.")
	gauge(&m.inSync, "apply_in_sync", "1 when the lag allows a cutover.")
	return m
}

// Record takes what an activity tells with its heartbeat.
func (m *Metrics) Record(migration, activity string, b contract.Beat) {
	if m == nil {
		return
	}
	if c := b.Copy; c != nil {
		m.copyDone.WithLabelValues(migration).Set(float64(c.BytesDone))
		m.copyTotal.WithLabelValues(migration).Set(float64(c.Bytes))
		m.copyRows.WithLabelValues(migration).Set(float64(c.Rows))
	}
	r := b.Replication
	if r == nil {
		return
	}
	switch activity {
	case "Receive":
		m.received.WithLabelValues(migration).Set(float64(r.ReceivedLSN))
		m.spooled.WithLabelValues(migration).Set(float64(r.SpooledBytes))
	case "Apply":
		m.applied.WithLabelValues(migration).Set(float64(r.AppliedLSN))
		m.appliedTransactions.WithLabelValues(migration).Set(float64(r.Transactions))
		m.appliedChanges.WithLabelValues(migration).Set(float64(r.Changes))
	case "WatchLag":
		m.lagBytes.WithLabelValues(migration).Set(float64(r.LagBytes))
		m.lagSeconds.WithLabelValues(migration).Set(r.LagSeconds)
		synced := 0.0
		if r.InSync {
			synced = 1
		}
		m.inSync.WithLabelValues(migration).Set(synced)
	}
}

// Forget removes the series of a migration that has ended.
func (m *Metrics) Forget(migration string) {
	if m == nil {
		return
	}
	for _, g := range m.all {
		g.DeleteLabelValues(migration)
	}
}
