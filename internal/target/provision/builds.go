package provision

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// BuildOptions of BuildIndexes. OnProgress and Log may be nil.
type BuildOptions struct {
	// Jobs is how many builds run at once, unless the ledger's steering says otherwise.
	Jobs int
	// OnProgress is never called by two goroutines at once.
	OnProgress func(BuildProgress)
	Log        *slog.Logger
}

// BuildIndexes runs beside the copy: it makes the indexes and the primary, unique and exclusion constraints of every table
// as soon as all rows of that table are there, the largest table first, and then analyzes it. A primary key or unique
// constraint of a large plain table is made in two steps, so that all indexes of the table are built at the same time. It
// ends when every table in scope is complete and built; what belongs to no such table, and everything else that comes after
// the rows, is left to PostData. When a build fails, those under way are still finished, and no further one begins.
//
// Safe to repeat because marks commit with what they mark; two workers in it at once share the builds. Undone by DropCreated.
func BuildIndexes(ctx context.Context, target pgkit.Endpoint, o BuildOptions) (err error) {
	conn, err := pgkit.Dial(ctx, target, "indexes")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	x := newIndexer(target, o.Jobs)
	x.beside, x.tell = true, o.OnProgress
	if o.Log != nil {
		x.log = o.Log
	}
	return x.run(ctx, conn)
}

// How often the ledger is asked for complete tables and for what people ordered, and how often the progress is told.
const (
	lookEvery = 200 * time.Millisecond
	tellEvery = time.Second
)

// indexer runs builds in several jobs, each on a connection of its own, and looks after them on one more.
type indexer struct {
	target   pgkit.Endpoint
	jobs     int
	schedule *schedule
	log      *slog.Logger
	tell     func(BuildProgress)
	built    func(*build) // hears of each entry that stands; nil: nobody
	// beside the copy: tables are built as they become complete, and analyzed. Otherwise all are built now.
	beside bool

	working sync.WaitGroup
	running atomic.Int32  // jobs
	ended   chan struct{} // closed when none runs any more
	end     sync.Once

	// Read and changed by the one who looks after the jobs.
	employed int
	complete int                      // tables that were complete at the last look
	pending  map[ident.Table][]*build // by root; what is not in the schedule yet
	stepped  map[string]bool          // first steps that were done before
	hyper    map[ident.Table]bool

	mu       sync.Mutex
	analyze  map[ident.Table][]string // entries whose statistics are missing, by root
	left     map[ident.Table]int      // entries that do not stand, by root
	progress BuildProgress
	underWay map[uint32]*build // by the server process that builds
	failed   error
}

func newIndexer(target pgkit.Endpoint, jobs int) *indexer {
	jobs = max(jobs, 1)
	return &indexer{target: target, jobs: jobs, schedule: newSchedule(jobs), log: slog.New(slog.DiscardHandler),
		pending: map[ident.Table][]*build{}, analyze: map[ident.Table][]string{}, left: map[ident.Table]int{}, underWay: map[uint32]*build{}, ended: make(chan struct{})}
}

// run looks after the jobs on conn until all is built.
func (x *indexer) run(ctx context.Context, conn *pgx.Conn) error {
	if err := x.plan(ctx, conn); err != nil {
		return err
	}
	if len(x.pending) == 0 && !x.beside {
		return nil
	}
	err := x.lookAfter(ctx, conn)
	x.schedule.stop()
	x.working.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case x.failed != nil:
		return x.failed
	case err != nil:
		return err
	}
	if err := ledger.Flush(ctx, conn); err != nil { // the jobs have not waited for the disk
		return fmt.Errorf("make indexes durable: %w", err)
	}
	return x.report(ctx, conn)
}

// fail keeps the first reason.
func (x *indexer) fail(err error) {
	x.schedule.stop()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.failed == nil {
		x.failed, x.progress.Failed = err, err
		return
	}
	x.log.Warn("another build has failed as well", "err", err)
}

// employ begins jobs up to the schedule's limit. Those above a limit that was lowered stay, and take nothing. A job ends
// only when there is nothing left for any of them, or after a failure.
func (x *indexer) employ(ctx context.Context) {
	for ; x.employed < x.schedule.limited(); x.employed++ {
		job := x.employed
		x.running.Add(1)
		x.working.Go(func() {
			if err := x.work(ctx, job); err != nil {
				x.fail(err)
			}
			if x.running.Add(-1) == 0 {
				x.end.Do(func() { close(x.ended) })
			}
		})
	}
}

// lookAfter adds the builds of tables that become complete, follows what people order, and tells the progress, until the
// jobs have ended.
func (x *indexer) lookAfter(ctx context.Context, conn *pgx.Conn) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var told time.Time
	for {
		if err := x.look(ctx, conn); err != nil {
			return err
		}
		x.employ(ctx)
		if time.Since(told) >= tellEvery {
			told = time.Now()
			if err := x.report(ctx, conn); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-x.ended:
			return nil
		case <-ticker.C:
		}
	}
}

func (x *indexer) look(ctx context.Context, conn *pgx.Conn) error {
	x.schedule.retry()
	steering, err := ledger.CurrentSteering(ctx, conn)
	if err != nil {
		return fmt.Errorf("read steering: %w", err)
	}
	x.steer(steering)
	if !x.schedule.isOpen() {
		return nil
	}
	if !x.beside {
		return x.addTables(ctx, conn, keys(x.pending), true)
	}
	tables, complete, err := ledger.CountComplete(ctx, conn)
	if err != nil {
		return fmt.Errorf("look for complete tables: %w", err)
	}
	if complete != x.complete || complete == tables {
		roots, err := ledger.CompletedTables(ctx, conn)
		if err != nil {
			return fmt.Errorf("look for complete tables: %w", err)
		}
		if err := x.addTables(ctx, conn, roots, len(roots) == tables); err != nil {
			return err
		}
		x.complete = len(roots)
	}
	return nil
}

// steer follows what people ordered; without an order the caller's number of jobs counts.
func (x *indexer) steer(s ledger.Steering) {
	x.mu.Lock()
	x.progress.Paused = s.Paused
	x.mu.Unlock()
	switch {
	case s.Paused:
		x.schedule.limit(0)
	case s.IndexJobs > 0:
		x.schedule.limit(s.IndexJobs)
	default:
		x.schedule.limit(x.jobs)
	}
}
