package obs

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"timeferry/internal/contract"
)

// Results of a comparison, the values of the label "result".
const (
	ResultEqual   = "equal"
	ResultDiffers = "differs"
	ResultFailed  = "failed"
)

// Comparison is how one comparison of both sides ended, for the metrics.
type Comparison struct {
	Result         string
	Seconds        float64
	Chunks, Relied int // read now, and relied on since nothing touched them
	Differences    int // rows that were found to differ
}

// verifyMetrics are those of the comparisons of both sides.
type verifyMetrics struct {
	total, done                 *prometheus.GaugeVec
	rows, bytes, chunks, relied *prometheus.CounterVec
	differences, seconds        *prometheus.CounterVec
	runs                        *prometheus.CounterVec // also by result

	mu   sync.Mutex
	seen map[string]compared // by migration: what the counters have had of the comparison under way
}

type compared struct{ rows, bytes int64 }

func (m *verifyMetrics) register(registry prometheus.Registerer, gauge func(**prometheus.GaugeVec, string, string), counter func(**prometheus.CounterVec, string, string)) {
	m.seen = map[string]compared{}
	gauge(&m.total, "verify_total_bytes", "Bytes of the source that the comparison under way has to read, about.")
	gauge(&m.done, "verify_done_bytes", "Bytes of them that it has read.")
	counter(&m.rows, "verify_compared_rows_total", "Rows of the source that this worker has compared.")
	counter(&m.bytes, "verify_compared_bytes_total", "Bytes of the source that this worker has compared, about.")
	counter(&m.chunks, "verify_compared_chunks_total", "Chunks of tables that this worker has compared, at least in part.")
	counter(&m.relied, "verify_relied_chunks_total", "Chunks that were not read since they had been found equal and nothing was applied to them.")
	counter(&m.differences, "verify_differences_total", "Rows that were found to differ, as far as they were looked for.")
	counter(&m.seconds, "verify_seconds_total", "Time that comparisons took, waiting for the stream left out.")
	m.runs = prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "timeferry", Name: "verify_runs_total", Help: "Comparisons that ended on this worker, by result: equal, differs, failed."},
		[]string{"migration", "result"})
	registry.MustRegister(m.runs)
}

// record takes the progress of the comparison under way; one that has read less than before has begun anew.
func (m *verifyMetrics) record(migration string, p contract.VerifyProgress) {
	m.total.WithLabelValues(migration).Set(float64(p.Bytes))
	m.done.WithLabelValues(migration).Set(float64(p.BytesDone))
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.seen[migration]
	if p.Rows < before.rows || p.BytesDone < before.bytes {
		before = compared{}
	}
	m.seen[migration] = compared{p.Rows, p.BytesDone}
	m.rows.WithLabelValues(migration).Add(float64(p.Rows - before.rows))
	m.bytes.WithLabelValues(migration).Add(float64(p.BytesDone - before.bytes))
}

func (m *verifyMetrics) forget(migration string) {
	m.runs.DeletePartialMatch(prometheus.Labels{"migration": migration})
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.seen, migration)
}

// Verified counts a comparison that has ended.
func (m *Metrics) Verified(migration string, c Comparison) {
	if m == nil {
		return
	}
	m.verify.runs.WithLabelValues(migration, c.Result).Inc()
	m.verify.seconds.WithLabelValues(migration).Add(c.Seconds)
	m.verify.chunks.WithLabelValues(migration).Add(float64(c.Chunks))
	m.verify.relied.WithLabelValues(migration).Add(float64(c.Relied))
	m.verify.differences.WithLabelValues(migration).Add(float64(c.Differences))
}
