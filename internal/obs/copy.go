package obs

import (
	"sync"

	"timeferry/internal/contract"
)

// copies are the initial copies that streams of this worker take part in, by migration.
type copies struct {
	mu     sync.Mutex
	states map[string]*copyState
}

// copyState is how far a copy is: what is committed, as the stream says that asked the ledger last, and what the streams of
// this worker have open. Inside an epoch it never goes back: a part that is committed is open no more at once, and in the
// ledger's answer only at the next look. A new epoch copies tables again, and there it does go back.
type copyState struct {
	epoch       int
	committed   contract.CopyStatus
	open        map[*CopyStream]contract.CopyStatus
	bytes, rows int64 // as shown
}

// CopyStream is a stream of the initial copy that runs on this worker. A nil one records nothing.
type CopyStream struct {
	metrics   *Metrics
	migration string
}

// StreamBegins counts a stream of the copy in, Ends counts it out.
func (m *Metrics) StreamBegins(migration string) *CopyStream {
	if m == nil {
		return nil
	}
	m.streams.WithLabelValues(migration).Inc()
	m.waiting.WithLabelValues(migration).Add(0) // so that it is there from the beginning
	return &CopyStream{m, migration}
}

// Ends is the end of what StreamBegins began; waiting says that the stream waited until then. What it had open is not shown
// as lost: it may be committed, and is copied again otherwise.
func (s *CopyStream) Ends(waiting bool) {
	if s == nil {
		return
	}
	m := s.metrics
	m.streams.WithLabelValues(s.migration).Dec()
	if waiting {
		m.waiting.WithLabelValues(s.migration).Dec()
	}
	m.copies.mu.Lock()
	defer m.copies.mu.Unlock()
	if state := m.copies.states[s.migration]; state != nil {
		delete(state.open, s)
	}
}

// Stands takes what the stream knows: c.BytesDone, c.Rows and the parts are what was committed when it asked the ledger,
// OpenBytes and OpenRows what it has copied beside that. A stream that has not asked yet knows nothing.
func (s *CopyStream) Stands(c contract.CopyStatus) {
	if s == nil || c.Parts == 0 {
		return
	}
	m := s.metrics
	m.copies.mu.Lock()
	defer m.copies.mu.Unlock()
	state := m.copies.states[s.migration]
	if state == nil || c.Epoch > state.epoch {
		state = &copyState{epoch: c.Epoch, open: map[*CopyStream]contract.CopyStatus{}}
		m.copies.states[s.migration] = state
	}
	if c.Epoch < state.epoch {
		return
	}
	state.add(s, c)
	m.copyDone.WithLabelValues(s.migration).Set(float64(state.bytes))
	m.copyTotal.WithLabelValues(s.migration).Set(float64(state.committed.Bytes))
	m.copyRows.WithLabelValues(s.migration).Set(float64(state.rows))
	m.partsDone.WithLabelValues(s.migration).Set(float64(state.committed.PartsDone))
	m.partsTotal.WithLabelValues(s.migration).Set(float64(state.committed.Parts))
}

func (c *copyState) add(s *CopyStream, now contract.CopyStatus) {
	if now.PartsDone >= c.committed.PartsDone {
		c.committed = now
	}
	c.open[s] = now
	bytes, rows := c.committed.BytesDone, c.committed.Rows
	for _, open := range c.open {
		bytes += open.OpenBytes
		rows += open.OpenRows
	}
	c.bytes = max(c.bytes, min(bytes, c.committed.Bytes))
	c.rows = max(c.rows, rows)
}

func (c *copies) forget(migration string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.states, migration)
}
