package obs

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"timeferry/internal/contract"
)

// streamMetrics are those of the change stream, beside the positions.
type streamMetrics struct {
	spooled, spoolOldest, spoolSegments *prometheus.GaugeVec
	transactions, changes               *prometheus.CounterVec
	catchUp                             *prometheus.GaugeVec
	retained, safe, state, longest      *prometheus.GaugeVec

	mu   sync.Mutex
	seen map[string]applied // by migration: what the counters have had
}

type applied struct{ transactions, changes int64 }

func (m *streamMetrics) register(gauge func(**prometheus.GaugeVec, string, string), counter func(**prometheus.CounterVec, string, string)) {
	m.seen = map[string]applied{}
	gauge(&m.spooled, "spool_durable_lsn", "Position in the source's WAL up to which changes are safe on this worker's disk, as a number; with buffer: source on the target's.")
	gauge(&m.spoolSegments, "spool_segments", "Segments of changes on this worker's disk.")
	gauge(&m.spoolOldest, "spool_oldest_seconds", "Age of the oldest of them.")
	counter(&m.transactions, "apply_transactions_total", "Transactions that this worker has applied.")
	counter(&m.changes, "apply_changes_total", "Changes that this worker has applied.")
	gauge(&m.catchUp, "apply_catch_up_seconds", "Time until the target is level with the source at the present rates; 0 when it is or that is not known, -1 when it falls behind.")
	gauge(&m.retained, "capture_slot_retained_bytes", "WAL that the source keeps for the slot.")
	gauge(&m.safe, "capture_slot_safe_bytes", "WAL that the source can still write before the slot is in danger; -1 without a limit.")
	gauge(&m.state, "capture_slot_state", "The slot's wal_status: 0 reserved, 1 extended, 2 unreserved, 3 lost; -1 when the server does not tell.")
	gauge(&m.longest, "capture_longest_transaction_seconds", "Age of the longest open transaction on the source.")
}

func (m *streamMetrics) record(migration, activity string, r contract.ReplicationStatus) {
	set := func(g *prometheus.GaugeVec, v float64) { g.WithLabelValues(migration).Set(v) }
	if r.SpooledLSN != 0 {
		set(m.spooled, float64(r.SpooledLSN))
	}
	switch activity {
	case "Receive":
		set(m.spoolSegments, float64(r.SpoolSegments))
		set(m.spoolOldest, r.SpoolOldestSeconds)
	case "Apply":
		m.count(migration, applied{r.Transactions, r.Changes})
	case "WatchLag":
		set(m.catchUp, float64(r.CatchUpSeconds))
	}
	if s := r.Slot; s != nil {
		set(m.retained, float64(s.RetainedBytes))
		set(m.safe, float64(s.SafeWALBytes))
		set(m.state, slotState(s.WALStatus))
		longest := 0.0
		if s.Longest != nil {
			longest = s.Longest.Seconds
		}
		set(m.longest, longest)
	}
}

// count adds what an applier has done since it was heard of last. One that counts less than before has begun anew.
func (m *streamMetrics) count(migration string, now applied) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.seen[migration]
	if now.transactions < before.transactions || now.changes < before.changes {
		before = applied{}
	}
	m.seen[migration] = now
	m.transactions.WithLabelValues(migration).Add(float64(now.transactions - before.transactions))
	m.changes.WithLabelValues(migration).Add(float64(now.changes - before.changes))
}

func (m *streamMetrics) forget(migration string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.seen, migration)
}

func slotState(walStatus string) float64 {
	switch walStatus {
	case "reserved":
		return 0
	case "extended":
		return 1
	case "unreserved":
		return 2
	case "lost":
		return 3
	}
	return -1
}
