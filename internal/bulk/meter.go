package bulk

import (
	"sync/atomic"
	"time"

	"timeferry/internal/target/ledger"
)

// meter counts what passes while one part is copied, and reports it now and then.
type meter struct {
	part        ledger.Part
	before      Progress
	rows, bytes atomic.Int64
	end         chan struct{}
	ended       chan struct{}
}

// startMeter reports until the meter's stop.
func (s *stream) startMeter(part ledger.Part) *meter {
	m := &meter{part: part, before: s.progress, end: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(m.ended)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-m.end:
				return
			case <-tick.C:
				rows, bytes := m.rows.Load(), m.bytes.Load()
				s.onProgress(m.before.with(part, rows, bytes, doneBytes(part, rows, bytes)))
			}
		}
	}()
	return m
}

// stop returns when no report is under way any more.
func (m *meter) stop() {
	close(m.end)
	<-m.ended
}

// doneBytes is how much of the part's planned bytes is done. A row on the wire is smaller or larger than in the heap, so
// the rows tell, where the catalogue knows how many there are.
func doneBytes(part ledger.Part, rows, bytes int64) int64 {
	if part.EstimatedRows > 0 {
		return min(part.Bytes, int64(float64(part.Bytes)*float64(rows)/float64(part.EstimatedRows)))
	}
	return min(part.Bytes, bytes)
}

// with adds a part, or what is done of it, to what was done before it.
func (p Progress) with(part ledger.Part, rows, bytes, done int64) Progress {
	p.Part, p.Rows, p.Bytes, p.DoneBytes = part, rows, bytes, done
	p.OpenRows += rows
	p.OpenBytes += done
	p.TotalRows += rows
	p.TotalBytes += bytes
	return p
}

// committed reports what the last transaction brought.
func (s *stream) committed(parts int) {
	s.progress.PartsDone += int64(parts)
	s.progress.OpenRows, s.progress.OpenBytes = 0, 0
	s.onProgress(s.progress)
}
