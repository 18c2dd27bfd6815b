package obs

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"timeferry/internal/contract"
)

// tableMetrics are those of the tables that change most. A table that is no longer among them loses its series, so that there
// are never more than contract.MaxBusiest of a migration.
type tableMetrics struct {
	transactions, changes *prometheus.GaugeVec

	mu    sync.Mutex
	shown map[string][]string // tables by migration
}

func (m *tableMetrics) register(registry prometheus.Registerer) {
	m.shown = map[string][]string{}
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: "timeferry", Name: name, Help: help}, []string{"migration", "table"})
		registry.MustRegister(g)
		return g
	}
	m.transactions = gauge("apply_table_transactions", "Transactions that changed the table, applied since the applier started, of the ten tables that change most.")
	m.changes = gauge("apply_table_changes", "Changes of the table applied since the applier started, of the ten tables that change most.")
}

func (m *tableMetrics) record(migration string, busiest []contract.TableChanges) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var now []string
	for _, t := range busiest {
		now = append(now, t.Table)
		m.transactions.WithLabelValues(migration, t.Table).Set(float64(t.Transactions))
		m.changes.WithLabelValues(migration, t.Table).Set(float64(t.Changes))
	}
	for _, table := range m.shown[migration] {
		if !slices.Contains(now, table) {
			m.transactions.DeleteLabelValues(migration, table)
			m.changes.DeleteLabelValues(migration, table)
		}
	}
	if m.shown[migration] = now; now == nil {
		delete(m.shown, migration)
	}
}

func (m *tableMetrics) forget(migration string) { m.record(migration, nil) }
