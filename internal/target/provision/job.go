package provision

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// work is one job: it takes build after build until none is left. Its connection is made with the first.
func (x *indexer) work(ctx context.Context, job int) (err error) {
	var conn *pgx.Conn
	var r *restorer
	var has share // what the session has of memory and workers
	for {
		b, ok := x.schedule.next(job)
		if !ok {
			return nil
		}
		if conn == nil {
			if conn, r, err = x.open(ctx); err != nil {
				return err
			}
			defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
		}
		if has, err = x.shareResources(ctx, conn, has); err != nil {
			return err
		}
		if err := x.do(ctx, conn, r, b); err != nil {
			return err
		}
	}
}

// shareResources gives the session its share for the next build. What is being built keeps the share that it began with.
func (x *indexer) shareResources(ctx context.Context, conn *pgx.Conn, has share) (share, error) {
	due := x.schedule.share()
	if due == has {
		return has, nil
	}
	if _, err := conn.Exec(ctx, resourcesSQL, due.among, due.tail); err != nil {
		return has, fmt.Errorf("prepare session for index builds: %w", err)
	}
	return due, nil
}

// open makes a job's session. It does not wait for the disk at each commit: an index and its mark are lost together, if at
// all, and run sees to the disk before anybody is told that all is built.
func (x *indexer) open(ctx context.Context) (*pgx.Conn, *restorer, error) {
	conn, err := pgkit.Dial(ctx, x.target, "indexes")
	if err != nil {
		return nil, nil, err
	}
	r, err := func() (*restorer, error) {
		if _, err := conn.Exec(ctx, "SET synchronous_commit = off"); err != nil {
			return nil, fmt.Errorf("prepare session for index builds: %w", err)
		}
		return newRestorer(ctx, conn)
	}()
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
	}
	return conn, r, nil
}

// resourcesSQL gives all builds together half of shared_buffers, which managed services set to a quarter of the machine's
// memory; never less than the server's own setting, and at most 2 GB each, above which sorting gains nothing. The parallel
// workers that the server allows, one for each processor where timescaledb-tune set them, are shared too, unless it allows
// none for maintenance. The session that builds works as well as its workers, and so counts: sorting in more processes than
// there are processors costs a quarter more of them (docs/performance.md). At the end ($2) each has one worker all the same,
// which uses the processors that others leave. How many a build really takes, the server decides by the table's size (and by
// 32 MB of memory for each). The server's own are the values that RESET would bring back, since a session sets its share
// anew when the number of those that share changes.
const resourcesSQL = `SELECT pg_catalog.set_config('maintenance_work_mem', least(2097151, greatest(own.memory, own.buffers * 8 / (2 * $1::int)))::text || 'kB', false),
	pg_catalog.set_config('max_parallel_maintenance_workers',
		(CASE WHEN own.workers = 0 THEN 0 ELSE least(8, own.most - 1, greatest($2::bool::int, own.most / $1::int - 1)) END)::text, false)
FROM (SELECT max(reset_val::bigint) FILTER (WHERE name = 'maintenance_work_mem') AS memory, max(reset_val::bigint) FILTER (WHERE name = 'shared_buffers') AS buffers,
		max(reset_val::bigint) FILTER (WHERE name = 'max_parallel_maintenance_workers') AS workers,
		greatest(1, min(reset_val::bigint) FILTER (WHERE name IN ('max_parallel_workers', 'max_worker_processes'))) AS most
	FROM pg_catalog.pg_settings WHERE name IN ('maintenance_work_mem', 'shared_buffers', 'max_parallel_maintenance_workers', 'max_parallel_workers', 'max_worker_processes')) own`

// do carries out one build and tells the schedule what became of it.
func (x *indexer) do(ctx context.Context, conn *pgx.Conn, r *restorer, b *build) error {
	pid := conn.PgConn().PID()
	x.starts(pid, b)
	defer x.ends(pid)
	taken, err := true, error(nil)
	if b.step == stepAnalyze {
		x.analyzeRoot(ctx, conn, b)
		err = ctx.Err()
	} else {
		taken, err = r.build(ctx, conn, b)
	}
	switch {
	case err != nil:
		x.schedule.stop() // before the table is given back: nothing of it begins any more
		x.schedule.done(b)
		return err
	case !taken:
		x.schedule.putAside(b)
	case b.step == stepIndex:
		x.schedule.done(b, &build{entry: b.entry, root: b.root, bytes: b.bytes, step: stepAttach})
	default:
		x.schedule.done(b, x.standing(b)...)
	}
	return nil
}

// standing notes that an entry is done. What follows, when it was the last of its root, are the statistics.
func (x *indexer) standing(b *build) []*build {
	if b.step == stepAnalyze {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.progress.Done++
	if x.built != nil {
		x.built(b)
	}
	if x.left[b.root]--; x.left[b.root] > 0 || len(x.analyze[b.root]) == 0 {
		return nil
	}
	return []*build{{root: b.root, bytes: b.bytes, step: stepAnalyze}}
}

// build makes an entry, or one step of it, in a transaction of its own together with its mark. taken is false when another
// session is at this entry; what another one has done already counts as done.
func (r *restorer) build(ctx context.Context, conn *pgx.Conn, b *build) (taken bool, err error) {
	err = pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		var whole, index bool
		if taken, whole, index, err = r.claim(ctx, tx, b.entry); err != nil || !taken || whole || index && b.step == stepIndex {
			return err
		}
		if b.step == stepIndex {
			if err := execute(ctx, tx, b.entry, b.entry.IndexSQL); err != nil {
				return err
			}
			return ledger.MarkRestored(ctx, tx, b.entry.IndexStep(), "the index of "+b.entry.String())
		}
		e := b.entry
		if index { // the first step is done, whoever did it
			e.SQL = e.AttachSQL
		}
		if err := r.entry(ctx, tx, e); err != nil {
			return err
		}
		return r.takeBack(ctx, tx)
	})
	return taken, err
}

// claim takes the entry for the life of tx, unless somebody else has it, and prepares the session. The marks are read by a
// statement of their own: one that saw the world before the claim could miss what was done just before it.
func (r *restorer) claim(ctx context.Context, tx pgx.Tx, e ledger.Entry) (taken, whole, index bool, err error) {
	batch := &pgx.Batch{}
	batch.Queue("SELECT pg_catalog.pg_try_advisory_xact_lock(pg_catalog.hashtext('timeferry.entry'), pg_catalog.hashtext($1))", e.ID).
		QueryRow(func(row pgx.Row) error { return row.Scan(&taken) })
	batch.Queue("SELECT EXISTS (SELECT FROM timeferry.restored WHERE entry = $1), EXISTS (SELECT FROM timeferry.restored WHERE entry = $2)", e.ID, e.IndexStep()).
		QueryRow(func(row pgx.Row) error { return row.Scan(&whole, &index) })
	batch.Queue(r.session)
	if err := tx.SendBatch(ctx, batch).Close(); err != nil {
		return false, false, false, fmt.Errorf("claim %s: %w", e, err)
	}
	return taken, whole, index, nil
}
