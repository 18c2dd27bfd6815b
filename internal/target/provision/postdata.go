package provision

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// ProgressFunc hears how far a step is: entries done, of all, and the one that was just finished. It is never called by
// two goroutines at once.
type ProgressFunc func(done, total int, current string)

// serialEntries is how many entries one transaction restores where they take their time: progress is shown, and kept, in
// between.
const serialEntries = 50

// PostData restores what comes after the rows: first indexes and primary, unique and exclusion constraints, largest tables
// first, on jobs connections, each in a transaction of its own; then the rest in the dump's order. Foreign keys are added
// NOT VALID. Where the applier cannot switch off triggers (session_replication_role), those and foreign keys are put off
// until AtCutover.
//
// Safe to repeat because marks commit with what they mark. onProgress may be nil. Undone by DropCreated.
func PostData(ctx context.Context, target pgkit.Endpoint, jobs int, onProgress ProgressFunc) (err error) {
	conn, err := pgkit.Dial(ctx, target, "schema")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	p, err := newProgress(ctx, conn, ledger.SectionPostData, onProgress)
	if err != nil {
		return err
	}
	pending, err := ledger.Entries(ctx, conn, ledger.SectionPostData)
	if err != nil {
		return fmt.Errorf("read schema entries: %w", err)
	}
	p.done = p.total - len(pending)
	builds, err := parallelBuilds(ctx, conn, pending)
	if err != nil {
		return err
	}
	if err := buildAll(ctx, target, builds, max(jobs, 1), p); err != nil {
		return err
	}
	quiet, err := canSilenceTriggers(ctx, conn)
	if err != nil {
		return err
	}
	r, err := newRestorer(ctx, conn)
	if err != nil {
		return err
	}
	return r.inOrder(ctx, conn, ledger.SectionPostData, func(e ledger.Entry) bool { return quiet || !e.Fires }, p)
}

// inOrder restores what want accepts, some at a time.
func (r *restorer) inOrder(ctx context.Context, conn *pgx.Conn, section string, want func(ledger.Entry) bool, p *progress) error {
	for {
		last := ""
		n, err := r.batch(ctx, conn, section, serialEntries, func(e ledger.Entry) bool {
			if want(e) {
				last = e.String()
				return true
			}
			return false
		})
		if err != nil || n == 0 {
			return err
		}
		p.add(n, last)
	}
}

// sizesSQL: what a relation holds. A hypertable's own heap is empty, so the source's size counts too.
const sizesSQL = `
SELECT n.nspname, c.relname, greatest(pg_catalog.pg_table_size(c.oid), coalesce(t.bytes, 0))
FROM (SELECT DISTINCT table_schema, table_name FROM timeferry.entries WHERE section = 'post-data' AND kind IN ('INDEX', 'CONSTRAINT')) u
JOIN pg_catalog.pg_namespace n ON n.nspname = u.table_schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = u.table_name
LEFT JOIN timeferry.tables t ON (t.schema_name, t.table_name) = (u.table_schema, u.table_name)`

// parallelBuilds picks the entries that depend on nothing but their table. A table that is not there yet (a materialized
// view that needs a primary key) comes with the rest, and its indexes with it.
func parallelBuilds(ctx context.Context, q pgkit.Querier, pending []ledger.Entry) ([]build, error) {
	rows, err := q.Query(ctx, sizesSQL)
	if err != nil {
		return nil, fmt.Errorf("read sizes of tables: %w", err)
	}
	defer rows.Close()
	sizes := map[ident.Table]int64{}
	for rows.Next() {
		var t ident.Table
		var bytes int64
		if err := rows.Scan(&t.Schema, &t.Name, &bytes); err != nil {
			return nil, err
		}
		sizes[t] = bytes
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read sizes of tables: %w", err)
	}
	var builds []build
	for _, e := range pending {
		bytes, ok := sizes[e.Table]
		if ok && (e.Kind == "INDEX" || e.Kind == "CONSTRAINT") {
			builds = append(builds, build{entry: e, bytes: bytes})
		}
	}
	return builds, nil
}

// buildAll runs the builds on as many connections as there are jobs.
func buildAll(ctx context.Context, target pgkit.Endpoint, builds []build, jobs int, p *progress) error {
	s := newSchedule(builds)
	group, ctx := errgroup.WithContext(ctx)
	stopOnCancel := context.AfterFunc(ctx, s.stop) // wakes those who wait when another job has failed
	defer stopOnCancel()
	for range min(jobs, len(builds)) {
		group.Go(func() error { return buildSome(ctx, target, s, jobs, p) })
	}
	return group.Wait()
}

func buildSome(ctx context.Context, target pgkit.Endpoint, s *schedule, jobs int, p *progress) (err error) {
	conn, err := pgkit.Dial(ctx, target, "indexes")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	if _, err := conn.Exec(ctx, memorySQL, jobs); err != nil {
		return fmt.Errorf("set memory for index builds: %w", err)
	}
	r, err := newRestorer(ctx, conn)
	if err != nil {
		return err
	}
	for {
		b, ok := s.next()
		if !ok {
			return ctx.Err()
		}
		err := r.one(ctx, conn, b.entry)
		s.done(b)
		if err != nil {
			return err
		}
		p.add(1, b.entry.String())
	}
}

// memorySQL gives all builds together half of shared_buffers, which managed services set to a quarter of the machine's
// memory; never less than the server's own setting, and at most 2 GB each, above which sorting gains nothing.
const memorySQL = `SELECT pg_catalog.set_config('maintenance_work_mem', least(2097151, greatest(own.kb, buffers.kb / (2 * $1::int)))::text || 'kB', false)
	FROM (SELECT setting::bigint AS kb FROM pg_catalog.pg_settings WHERE name = 'maintenance_work_mem') own,
		(SELECT setting::bigint * 8 AS kb FROM pg_catalog.pg_settings WHERE name = 'shared_buffers') buffers`

// canSilenceTriggers says whether we may set session_replication_role, by trying.
func canSilenceTriggers(ctx context.Context, conn *pgx.Conn) (bool, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, "SET LOCAL session_replication_role = 'replica'")
	if rollback := tx.Rollback(ctx); rollback != nil {
		return false, rollback
	}
	if hasState(err, privilegeRefused) {
		return false, nil
	}
	return err == nil, err
}

// progress counts entries over several goroutines.
type progress struct {
	mu          sync.Mutex
	done, total int
	tell        ProgressFunc
}

func newProgress(ctx context.Context, q pgkit.Querier, section string, tell ProgressFunc) (*progress, error) {
	total, err := ledger.CountEntries(ctx, q, section)
	if err != nil {
		return nil, fmt.Errorf("count schema entries: %w", err)
	}
	return &progress{total: total, tell: tell}, nil
}

func (p *progress) add(n int, current string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done += n
	if p.tell != nil {
		p.tell(p.done, p.total, current)
	}
}
