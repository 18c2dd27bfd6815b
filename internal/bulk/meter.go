package bulk

import (
	"sync/atomic"
	"time"

	"timeferry/internal/target/ledger"
)

// meter counts what passes while one part is copied, and reports it now and then.
type meter struct {
	part        ledger.Part
	rows, bytes atomic.Int64
	end         chan struct{}
	ended       chan struct{}
}

// startMeter reports until the meter's stop.
func (s *stream) startMeter(part ledger.Part) *meter {
	m := &meter{part: part, end: make(chan struct{}), ended: make(chan struct{})}
	before := s.progress
	go func() {
		defer close(m.ended)
		tick := time.NewTicker(progressEvery)
		defer tick.Stop()
		for {
			select {
			case <-m.end:
				return
			case <-tick.C:
				s.onProgress(before.with(part, m.rows.Load(), m.bytes.Load()))
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

// with adds a part to what was done before it.
func (p Progress) with(part ledger.Part, rows, bytes int64) Progress {
	p.Part, p.Rows, p.Bytes = part, rows, bytes
	p.TotalRows += rows
	p.TotalBytes += bytes
	return p
}

// finished reports a part that is committed; rows is the target's own count.
func (s *stream) finished(m *meter, rows int64) {
	s.progress = s.progress.with(m.part, rows, m.bytes.Load())
	s.progress.PartsDone++
	s.onProgress(s.progress)
}
