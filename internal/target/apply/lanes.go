package apply

import (
	"context"
	"crypto/rand"
	"strconv"
	"sync"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/failpoint"
	"timeferry/internal/target/ledger"
)

// lanes are further connections to the target: a large batch is shared among them and the session, by key, and they run their
// shares at the same time (docs/decisions/0023-lanes.md). Each lane commits its share together with a note of how far that goes, and
// the session commits last, with the position. Whoever finds lanes ahead of the position applies only what the others have not.
type lanes struct {
	options  Options
	holder   string // what the ledger knows us by
	sessions []*session
	retryAt  time.Time // when to try again to open them
}

const (
	// lockNotAvailable is the SQLSTATE of a lock that was waited for in vain. Lanes that wait for each other's rows would do so for
	// ever, since none commits before all are done: no lock is waited for longer than laneLock, and the batch goes over one connection.
	lockNotAvailable = "55P03"
	deadlockDetected = "40P01" // where the server finds that out first
	laneLock         = "SET LOCAL lock_timeout = '1s'"
	// laneRetry is how long a target that refuses further connections is not asked again for them.
	laneRetry = time.Minute
)

// hold begins to use the lanes under a new name.
func (l *lanes) hold() string {
	l.holder = rand.Text()
	return l.holder
}

func (l *lanes) close() {
	for _, s := range l.sessions {
		s.close()
	}
	l.sessions = nil
}

// open makes sure of n lanes; false: the target does not take so many connections.
func (l *lanes) open(ctx context.Context, n int) bool {
	if len(l.sessions) < n && time.Now().Before(l.retryAt) {
		return false
	}
	for len(l.sessions) < n {
		s, err := openSession(ctx, l.options)
		if err != nil {
			l.options.Log.WarnContext(ctx, "there are not as many connections to apply over as asked for", "lanes", n+1, "err", err)
			l.retryAt = time.Now().Add(laneRetry)
			return false
		}
		l.sessions = append(l.sessions, s)
	}
	return true
}

// apply is the session's apply, with the lanes that the batch has.
func (l *lanes) apply(ctx context.Context, s *session, b *batch) error {
	if len(b.lanes) > 0 && !l.open(ctx, len(b.lanes)) {
		b.join()
	}
	if len(b.lanes) == 0 {
		return s.apply(ctx, b)
	}
	if err := l.share(ctx, s, b); err != nil {
		l.rollback(ctx, s)
		return err
	}
	s.count(b)
	return nil
}

// share runs the batch over all connections, and commits the session's share, with the position, last.
func (l *lanes) share(ctx context.Context, s *session, b *batch) error {
	defer s.watch.Wait()()
	if err := s.lock(ctx, b); err != nil { // from here to the commit nobody else applies
		return s.explain(b, err)
	}
	failed := make([]error, len(b.lanes)+1)
	var running sync.WaitGroup
	for i := range b.lanes {
		running.Go(func() { failed[i] = l.run(ctx, i, s.position, b) })
	}
	if err := s.run(ctx, b); err != nil {
		failed[len(b.lanes)] = s.explain(b, err)
	}
	running.Wait()
	if err := gravest(failed); err != nil {
		return err
	}
	for _, lane := range l.sessions[:len(b.lanes)] {
		if err := lane.commitLane(ctx); err != nil {
			return lane.explain(b, err)
		}
	}
	if err := s.commit(ctx, b.end); err != nil {
		return s.explain(b, err)
	}
	return nil
}

// gravest is an error after which the connections are of no use, if there is one, else the first.
func gravest(failed []error) error {
	var first error
	for _, err := range failed {
		if retryable(err) {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}

// run runs the share of lane i+1, and leaves its transaction open.
func (l *lanes) run(ctx context.Context, i int, from change.LSN, b *batch) error {
	s := l.sessions[i]
	defer s.watch.Wait()()
	if err := s.forgetMany(ctx); err != nil {
		return err
	}
	p := s.pipeline(ctx)
	s.begin(p)
	p.query(laneLock, nil, nil, &expectation{})
	p.query(ledger.MoveLaneSQL, [][]byte{strconv.AppendInt(nil, int64(i+1), 10), []byte(l.holder), []byte(from.String()), []byte(b.end.String()),
		strconv.AppendInt(nil, int64(len(b.lanes)+1), 10), b.splitText()}, nil, &expectation{moves: true})
	p, err := s.runSteps(ctx, p, b.lanes[i])
	if err == nil {
		err = p.finish()
	}
	if err != nil {
		return s.explain(b, err)
	}
	return nil
}

func (s *session) commitLane(ctx context.Context) error {
	defer s.watch.Wait()()
	failpoint.At(failpoint.BeforeLane)
	p := s.pipeline(ctx)
	p.query("COMMIT", nil, nil, &expectation{commit: true})
	if err := p.finish(); err != nil {
		return err
	}
	s.open = false
	failpoint.At(failpoint.AfterLane)
	return nil
}

// rollback ends what all connections have under way, each by itself: what stays open on one that is cut off would lock out whoever
// comes next. Where that fails, the lanes are given up.
func (l *lanes) rollback(ctx context.Context, s *session) {
	failed := make([]error, len(l.sessions))
	var running sync.WaitGroup
	for i, lane := range l.sessions {
		if lane.open {
			running.Go(func() { failed[i] = lane.rollback(ctx) })
		}
	}
	if s.open {
		_ = s.rollback(ctx) // who called it finds out
	}
	running.Wait()
	if gravest(failed) != nil {
		l.close()
	}
}
