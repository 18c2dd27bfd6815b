package apply

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/failpoint"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/shape"
	"timeferry/internal/target/ledger"
)

// Feed yields the events of the stream in commit order. It is used by one goroutine at a time. If it is also an
// io.Closer, Run closes it.
type Feed interface {
	// Next blocks until there is an event. The event is valid until the next call.
	Next(ctx context.Context) (change.Event, error)
	// Ready is true when Next would return at once.
	Ready() bool
}

// Options say what to apply, and where.
type Options struct {
	Target pgkit.Endpoint
	// Starts has every table in scope by its name on the target: a transaction counts for the table if its FinalLSN is
	// not below. A change of any other relation is an Operator fault, code CodeUnknownTable, except for Leaves.
	Starts map[ident.Table]change.LSN
	// Leaves are the partitions that come under their own names, by these: their changes go into the root's table, which is
	// among Starts. A source from PostgreSQL 13 on has none.
	Leaves map[ident.Table]ledger.Leaf
	// Hypertables among them. Those that the target's catalogue knows are found without it.
	Hypertables map[ident.Table]bool
	// ReplicaRole sets session_replication_role=replica: no foreign keys, no triggers, and set-wise application.
	ReplicaRole bool
	// ServerToast leaves it to the target how long values are compressed, see pgkit.FastToastSQL.
	ServerToast bool
	// Source answers what the stream does not tell about the source's schema; nil: nobody is asked, and what is said is less exact.
	Source Catalogue
	// FollowDDL carries changes of the source's schema over where nothing can be lost by it; otherwise each stops the stream.
	FollowDDL bool
	// BatchBytes bounds the memory of a batch (0: 16 MiB) and BatchChanges its changes (0: 200,000). About two batches and
	// their encoded form are in memory at once.
	BatchBytes   int64
	BatchChanges int
	// Lanes is over how many connections a large batch is applied at the same time (0: one). Needs ReplicaRole: without it, the
	// order of changes matters.
	Lanes int
	// LaneChanges is from how many changes on a batch is large (0: 2000): each lane costs the target a transaction.
	LaneChanges int
	// Silence is how long the target may say nothing until it is asked, over another connection, whether it still works for us
	// (0: pgkit.DefaultSilence).
	Silence time.Duration
	// Log gets what an operator may want to know; nil is silent.
	Log *slog.Logger
}

const (
	defaultBatchBytes   = 16 << 20
	defaultBatchChanges = 200_000
	defaultLaneChanges  = 2000
	// idleWrite is the least time between two writes of the position alone.
	idleWrite = 500 * time.Millisecond
	// giveUpAfter is how long the target may stay away before Run returns the Transient fault, so that it becomes visible.
	giveUpAfter = 5 * time.Minute
	// grace is how long a batch under way may take to finish after the caller's cancellation.
	grace = 2 * time.Second
)

// Progress is how far the apply has come.
type Progress struct {
	// AppliedLSN is committed on the target.
	AppliedLSN change.LSN
	// FlushedLSN is committed and on the target's disk: the spool may be pruned up to here.
	FlushedLSN change.LSN
	// CommitTime is the source's clock at the last applied commit; zero if none was applied yet.
	CommitTime time.Time
	// Transactions and Changes count what this Run committed.
	Transactions, Changes int64
	// Tables are those that changed since the last report, in order of their names.
	Tables []TableCount
}

// Run applies what open yields, from the ledger's position on, until ctx ends or something needs a person. When the target
// goes away it reconnects with backoff and goes on from the committed position with a newly opened feed. onProgress (may
// be nil) is called from Run's goroutine with the position it starts from, after every commit, and whenever more has reached the
// target's disk.
//
// It returns ctx.Err() when ctx ends, and an error that holds a *fault.Error otherwise.
func Run(ctx context.Context, o Options, open func(from change.LSN) (Feed, error), onProgress func(Progress)) error {
	if o.BatchBytes <= 0 {
		o.BatchBytes = defaultBatchBytes
	}
	if o.BatchChanges <= 0 {
		o.BatchChanges = defaultBatchChanges
	}
	if o.LaneChanges <= 0 {
		o.LaneChanges = defaultLaneChanges
	}
	if o.Lanes < 1 || !o.ReplicaRole {
		o.Lanes = 1
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if onProgress == nil {
		onProgress = func(Progress) {}
	}
	r := &runner{Options: o, open: open, onProgress: onProgress}
	return r.run(ctx)
}

// runner is one Run: what outlives connections and feeds.
type runner struct {
	Options
	open       func(from change.LSN) (Feed, error)
	onProgress func(Progress)
	progress   Progress
	// known is how each relation of the source was when its table was last brought in line, by its name there.
	known map[ident.Table]*shape.Definition
	// stale is true once the tables that were read at the start may have changed since.
	stale  bool
	totals counts // what was committed
	// strictUntil is the FinalLSN up to which changes are applied one by one, because a batch failed.
	strictUntil change.LSN
	// aloneUntil is the FinalLSN up to which changes are applied over one connection, because lanes got into each other's way.
	aloneUntil change.LSN
	// stopBefore, if set, is the FinalLSN of a transaction before which the stream ends with stopCause.
	stopBefore change.LSN
	stopCause  error
	// replayFrom, if set, is the FinalLSN of a transaction that the ledger's position cuts in two: it was not applied.
	replayFrom change.LSN
	// levelBefore, if set, is the FinalLSN of a transaction that the position of lanes cuts in two: they have nothing of it.
	levelBefore change.LSN
	barrier     barrier
}

func (r *runner) run(ctx context.Context) error {
	var failingSince time.Time
	wait := 100 * time.Millisecond
	for {
		before := r.progress.AppliedLSN
		err := r.connected(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !retryable(err) {
			mended, err := r.mendRefusal(ctx, asFault(err))
			if !mended {
				return err
			}
			continue
		}
		if r.progress.AppliedLSN > before || failingSince.IsZero() {
			failingSince, wait = time.Now(), 100*time.Millisecond
		}
		if time.Since(failingSince) > giveUpAfter {
			return asFault(err)
		}
		r.Log.WarnContext(ctx, "target lost, will reconnect", "err", err, "lsn", r.progress.AppliedLSN.String())
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
		wait = min(2*wait, 5*time.Second)
	}
}

// connected applies over one connection until an error. Errors that need no new connection start a new stream.
func (r *runner) connected(ctx context.Context) error {
	// Statements get a little time to finish after the caller's cancellation, so that no lock stays behind on the target.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	defer stop()
	s, err := openSession(ctx, r.Options)
	if err != nil {
		return err
	}
	defer s.close()
	if err := ledger.UpgradeShapes(ctx, s.conn); err != nil {
		return s.lost(err)
	}
	if err := ledger.EnsureVerification(ctx, s.conn); err != nil {
		return s.lost(err)
	}
	if err := ledger.EnsureLanes(ctx, s.conn); err != nil {
		return s.lost(err)
	}
	beside := &lanes{options: r.Options}
	defer beside.close()
	tables, err := r.loadScope(ctx, s)
	if err != nil {
		return err
	}
	for {
		if r.stale {
			if tables, err = r.loadScope(ctx, s); err != nil {
				return err
			}
		}
		err := r.stream(ctx, work, s, beside, tables)
		var again *againError
		if ctx.Err() != nil || !errors.As(err, &again) {
			return err
		}
		if again.barrier {
			if err := r.stopAtBarrier(ctx, work, s, again.atCut); err != nil {
				return err
			}
			continue
		}
		if err := s.rollback(work); err != nil {
			return err
		}
		r.strictUntil, r.aloneUntil = max(r.strictUntil, again.strictUntil), max(r.aloneUntil, again.aloneUntil)
		r.replayFrom, r.levelBefore = again.replayFrom, again.levelBefore
		if again.stopBefore != 0 {
			r.stopBefore, r.stopCause = again.stopBefore, again.cause
		}
		r.Log.InfoContext(ctx, "batch rolled back, will be applied again", "reason", again.reason, "err", again.cause, "lsn", r.progress.AppliedLSN.String())
		if again.contended {
			select { // somebody else applies too: give way
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(idleWrite):
			}
		}
	}
}

// loadScope reads the tables in scope from the target.
func (r *runner) loadScope(ctx context.Context, s *session) (map[ident.Table]*table, error) {
	names := make([]ident.Table, 0, len(r.Starts))
	for t := range r.Starts {
		names = append(names, t)
	}
	r.stale = false
	answered := s.watch.Wait()
	tables, err := loadTables(ctx, s.conn, names, r.Hypertables)
	answered()
	if err != nil {
		return nil, s.lost(err)
	}
	return tables, nil
}

// stream opens the feed at the ledger's position and applies it until an error.
func (r *runner) stream(ctx, work context.Context, s *session, beside *lanes, tables map[ident.Table]*table) (err error) {
	answered := s.watch.Wait()
	position, ahead, err := ledger.ClaimLanes(ctx, s.conn, beside.hold(), r.Lanes)
	answered()
	if err != nil {
		return s.lost(err)
	}
	if err := s.startAt(ctx, position.LSN); err != nil {
		return err
	}
	tracked, err := r.readBarrier(ctx, s)
	if err != nil {
		return s.lost(err)
	}
	r.progress.AppliedLSN = position.LSN
	r.progress.FlushedLSN = max(min(r.progress.FlushedLSN, position.LSN), s.flushed)
	if position.CommitTime != nil {
		r.progress.CommitTime = *position.CommitTime
	}
	if r.known, err = ledger.Shapes(ctx, s.conn); err != nil { // what was not committed is not known
		return s.lost(err)
	}
	r.onProgress(r.progress)
	feed, err := r.open(position.LSN)
	if err != nil {
		return asFault(err)
	}
	if closer, ok := feed.(io.Closer); ok {
		defer func() { err = errors.Join(err, closer.Close()) }()
	}
	g := newGatherer(r, feed, position.LSN, tables)
	g.touching = newTouching(tracked)
	g.goOn(ctx, ahead)
	gathering, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	var gatherErr error
	go func() {
		defer close(done)
		gatherErr = g.run(gathering)
		close(g.out)
	}()
	err = r.consume(ctx, work, s, beside, g)
	cancel()
	<-done
	if err == nil { // the channel was closed: everything gathered before the error is on the target
		err = gatherErr
	}
	return err
}

// consume executes batches until the channel closes (nil), ctx ends, or the target fails.
func (r *runner) consume(ctx, work context.Context, s *session, beside *lanes, g *gatherer) error {
	var idle *batch // moves the position alone, waiting for its turn
	lastWrite := time.Time{}
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var due *batch
		g.taker.begin()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case b, ok := <-g.out:
			g.taker.end()
			if !ok {
				return r.writeLast(work, s, idle)
			}
			due = b
			if idle != nil {
				due.absorb(idle)
				idle = nil
			}
		case <-tick.C:
			due, idle = idle, nil
			if due == nil {
				if err := r.pollFlushed(work, s); err != nil {
					return err
				}
				continue
			}
		}
		if due.positionOnly() && !s.open && !due.urgent && time.Since(lastWrite) < idleWrite {
			idle = due
			continue
		}
		if err := beside.apply(work, s, due); err != nil {
			return err
		}
		if !due.partial {
			lastWrite = time.Now()
			r.report(s, due)
		}
	}
}

// writeLast saves the position that was waiting when the stream ended.
func (r *runner) writeLast(ctx context.Context, s *session, idle *batch) error {
	if idle == nil || s.open {
		return nil
	}
	if err := s.apply(ctx, idle); err != nil {
		return err
	}
	r.report(s, idle)
	return nil
}

func (r *runner) pollFlushed(ctx context.Context, s *session) error {
	moved, err := s.pollFlushed(ctx)
	if err == nil && moved {
		r.progress.FlushedLSN = s.flushed
		r.onProgress(r.progress)
	}
	return err
}

func (r *runner) report(s *session, b *batch) {
	r.progress.AppliedLSN = s.position
	r.progress.FlushedLSN = max(r.progress.FlushedLSN, s.flushed)
	if !b.commitTime.IsZero() {
		r.progress.CommitTime = b.commitTime
	}
	r.progress.Transactions += s.transactions
	r.progress.Changes += s.changes
	r.progress.Tables = r.count(s.tables)
	s.transactions, s.changes, s.tables = 0, 0, nil
	r.onProgress(r.progress)
	failpoint.At(failpoint.AfterPosition)
	r.progress.Tables = nil
}

// asFault makes sure that a *fault.Error is in the chain.
func asFault(err error) error {
	var f *fault.Error
	if err == nil || errors.As(err, &f) {
		return err
	}
	return &fault.Error{Class: fault.Classify(err), Op: "apply changes", Err: err}
}
