// Package obs holds the worker's metrics.
//
// In: what activities report, and what the worker's machine is. Out: a Prometheus registry, served by the worker at
// --metrics-address.
// Invariants: labels are bounded: the migration's name, and names of its busiest tables, never SQL, never a row's value.
//
// Not here: logging of rooms, Temporal's own metrics (the worker adds them to the same registry).
package obs

import (
	"github.com/prometheus/client_golang/prometheus"

	"timeferry/internal/contract"
)

// Metrics are the numbers of all migrations that this worker serves. Safe for concurrent use. A nil *Metrics records nothing.
type Metrics struct {
	copyDone, copyTotal, copyRows       *prometheus.GaugeVec
	partsDone, partsTotal               *prometheus.GaugeVec
	streams, waiting                    *prometheus.GaugeVec
	copiedBytes, copiedRows, copied     *prometheus.CounterVec
	received, applied, spooled          *prometheus.GaugeVec
	lagBytes, lagSeconds, inSync        *prometheus.GaugeVec
	appliedTransactions, appliedChanges *prometheus.GaugeVec
	stream                              streamMetrics
	tables                              tableMetrics
	verify                              verifyMetrics
	copies                              copies
	all                                 []interface{ DeleteLabelValues(...string) bool }
}

// NewMetrics registers the metrics.
func NewMetrics(registry prometheus.Registerer) *Metrics {
	m := &Metrics{copies: copies{states: map[string]*copyState{}}}
	gauge := func(into **prometheus.GaugeVec, name, help string) {
		*into = prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "timeferry", Name: name, Help: help}, []string{"migration"})
		registry.MustRegister(*into)
		m.all = append(m.all, *into)
	}
	counter := func(into **prometheus.CounterVec, name, help string) {
		*into = prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "timeferry", Name: name, Help: help}, []string{"migration"})
		registry.MustRegister(*into)
		m.all = append(m.all, *into)
	}
	gauge(&m.copyDone, "bulk_done_bytes", "Bytes of the source that the initial copy has copied.")
	gauge(&m.copyTotal, "bulk_total_bytes", "Bytes of the source that the initial copy has to copy.")
	gauge(&m.copyRows, "bulk_rows", "Rows that the initial copy has copied.")
	gauge(&m.partsDone, "bulk_done_parts", "Parts that the initial copy has copied.")
	gauge(&m.partsTotal, "bulk_total_parts", "Parts that the initial copy has to copy.")
	gauge(&m.streams, "bulk_streams", "Streams of the initial copy that run on this worker.")
	gauge(&m.waiting, "bulk_waiting_streams", "Those of them that wait because the source is too busy.")
	counter(&m.copiedBytes, "bulk_copied_bytes_total", "Bytes of COPY that this worker has carried.")
	counter(&m.copiedRows, "bulk_copied_rows_total", "Rows that this worker has carried.")
	counter(&m.copied, "bulk_copied_parts_total", "Parts that this worker has copied.")
	gauge(&m.received, "capture_received_lsn", "Position in the source's WAL up to which changes are received, as a number.")
	gauge(&m.spooled, "spool_used_bytes", "Bytes of changes on this worker's disk.")
	gauge(&m.applied, "apply_applied_lsn", "Position in the source's WAL up to which changes are on the target, as a number.")
	gauge(&m.appliedTransactions, "apply_transactions", "Transactions applied since the applier started.")
	gauge(&m.appliedChanges, "apply_changes", "Changes applied since the applier started.")
	gauge(&m.lagBytes, "apply_lag_bytes", "WAL of the source that is not on the target yet.")
	gauge(&m.lagSeconds, "apply_lag_seconds", "Age of the last applied commit by the source's clock; 0 when nothing is left.")
	gauge(&m.inSync, "apply_in_sync", "1 when the lag allows a cutover.")
	m.stream.register(gauge, counter)
	m.tables.register(registry)
	m.verify.register(registry, gauge, counter)
	return m
}

// Record takes what an activity tells with its heartbeat. Streams of the copy tell it themselves, see CopyStream.
func (m *Metrics) Record(migration, activity string, b contract.Beat) {
	if m == nil {
		return
	}
	if b.Verify != nil {
		m.verify.record(migration, *b.Verify)
	}
	r := b.Replication
	if r == nil {
		return
	}
	m.stream.record(migration, activity, *r)
	switch activity {
	case "Receive":
		m.received.WithLabelValues(migration).Set(float64(r.ReceivedLSN))
		m.spooled.WithLabelValues(migration).Set(float64(r.SpooledBytes))
	case "Apply":
		if r.ReceivedLSN != 0 { // buffer: source
			m.received.WithLabelValues(migration).Set(float64(r.ReceivedLSN))
		}
		m.applied.WithLabelValues(migration).Set(float64(r.AppliedLSN))
		m.appliedTransactions.WithLabelValues(migration).Set(float64(r.Transactions))
		m.appliedChanges.WithLabelValues(migration).Set(float64(r.Changes))
		m.tables.record(migration, r.Busiest)
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

// Copied counts what a stream of the copy has carried since it was called last. Inside a part rows are an estimate, so they
// may turn out to be fewer.
func (m *Metrics) Copied(migration string, rows, bytes, parts int64) {
	if m == nil {
		return
	}
	m.copiedRows.WithLabelValues(migration).Add(float64(max(rows, 0)))
	m.copiedBytes.WithLabelValues(migration).Add(float64(max(bytes, 0)))
	m.copied.WithLabelValues(migration).Add(float64(max(parts, 0)))
}

// StreamWaits notes that a stream waits for the source, or that it does no more.
func (m *Metrics) StreamWaits(migration string, waits bool) {
	if m == nil {
		return
	}
	if waits {
		m.waiting.WithLabelValues(migration).Inc()
	} else {
		m.waiting.WithLabelValues(migration).Dec()
	}
}

// Forget removes the series of a migration that has ended.
func (m *Metrics) Forget(migration string) {
	if m == nil {
		return
	}
	for _, series := range m.all {
		series.DeleteLabelValues(migration)
	}
	m.copies.forget(migration)
	m.stream.forget(migration)
	m.tables.forget(migration)
	m.verify.forget(migration)
}
