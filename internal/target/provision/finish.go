package provision

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// Codes of the problems that Finish reports.
const (
	CodeForeignKeyNotValid = "foreign-key-not-valid"
	CodeNotRefreshed       = "materialized-view-not-refreshed"
	CodeIdentityNotSet     = "replica-identity-not-set"
	CodeNotFinished        = "not-finished"
)

// Finish does what needs all rows, once the stream has caught up: it validates foreign keys, makes those of partitioned
// tables, fills materialized views in the order of their dependencies, gives tables back the replica identity that they
// had on the source before the migration, analyzes what BuildIndexes has not, and makes the visibility maps of large tables
// that were not written frozen. What fails because of the data is a problem, not an error: the
// rest is done, and the next call tries it again. What PreData and PostData found is
// among the problems returned.
//
// Safe to repeat because marks commit with what they mark. onProgress may be nil. Undone by DropCreated.
func Finish(ctx context.Context, target pgkit.Endpoint, onProgress ProgressFunc) (_ []contract.Problem, err error) {
	conn, err := pgkit.Dial(ctx, target, "finish")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	r, err := newRestorer(ctx, conn)
	if err != nil {
		return nil, err
	}
	if r.problems, err = ledger.SchemaProblems(ctx, conn, ""); err != nil {
		return nil, fmt.Errorf("read problems of the schema: %w", err)
	}
	pending, err := finishable(ctx, conn)
	if err != nil {
		return nil, err
	}
	tables, err := unanalyzed(ctx, conn)
	if err != nil {
		return nil, err
	}
	p := &progress{total: len(pending) + len(tables), tell: onProgress}
	if err := r.finish(ctx, conn, pending, p); err != nil {
		return r.problems, err
	}
	if err := r.restoreIdentities(ctx, conn); err != nil {
		return r.problems, err
	}
	for _, t := range tables {
		if err := analyze(ctx, conn, t); err != nil {
			return r.problems, err
		}
		p.add(1, "ANALYZE "+t.String())
	}
	heaps, err := readUnmapped(ctx, conn)
	if err != nil {
		return r.problems, err
	}
	p.more(len(heaps))
	for _, t := range heaps {
		if err := vacuum(ctx, conn, t); err != nil {
			return r.problems, err
		}
		p.add(1, "VACUUM "+t.String())
	}
	return r.problems, nil
}

// finish restores all, and a materialized view that was refused once more as long as others succeed: it can need them
// through a function, which no dependency tells.
func (r *restorer) finish(ctx context.Context, conn *pgx.Conn, pending []ledger.Entry, p *progress) error {
	for {
		var again []ledger.Entry
		var errs []error
		filled := 0
		for _, e := range pending {
			err := r.one(ctx, conn, e)
			switch {
			case err != nil && !fromData(err):
				return err
			case err != nil && e.Kind == kindRefresh:
				again, errs = append(again, e), append(errs, err)
				continue
			case err != nil:
				r.forgive(e, err)
			case e.Kind == kindRefresh:
				filled++
			}
			p.add(1, e.String())
		}
		if len(again) > 0 && filled > 0 {
			pending = again
			continue
		}
		for i, e := range again {
			r.forgive(e, errs[i])
			p.add(1, e.String())
		}
		return nil
	}
}

// kindRefresh is how extract names the filling of a materialized view.
const kindRefresh = "MATERIALIZED VIEW DATA"

// finishable is what Finish restores: foreign keys only when PostData has made the others, too.
func finishable(ctx context.Context, conn *pgx.Conn) ([]ledger.Entry, error) {
	postponed, err := ledger.Entries(ctx, conn, ledger.SectionPostData)
	if err != nil {
		return nil, fmt.Errorf("read schema entries: %w", err)
	}
	entries, err := ledger.Entries(ctx, conn, ledger.SectionFinish)
	if err != nil || len(postponed) == 0 {
		return entries, err
	}
	var now []ledger.Entry
	for _, e := range entries {
		if !e.Fires {
			now = append(now, e)
		}
	}
	return now, nil
}

// forgive turns an error that comes from the data, or from what a view calls, into a problem.
func (r *restorer) forgive(e ledger.Entry, err error) {
	message := postgresMessage(err)
	switch {
	case e.Kind == "VALIDATE CONSTRAINT" || e.Kind == "FK CONSTRAINT":
		r.report(contract.Warning, CodeForeignKeyNotValid, e.String(), message,
			"if the source has the same rows without partner, repair or accept them there; the constraint checks new rows either way")
	case e.Kind == kindRefresh:
		r.report(contract.Warning, CodeNotRefreshed, e.String(), message, "REFRESH MATERIALIZED VIEW by hand when its reason is gone")
	default:
		r.report(contract.Warning, CodeNotFinished, e.String(), message, "do it by hand when its reason is gone")
	}
}

// restoreIdentities: the dump shows the replica identities that the migration chose for its stream, not the owner's.
func (r *restorer) restoreIdentities(ctx context.Context, conn *pgx.Conn) error {
	changed, err := ledger.Identities(ctx, conn)
	if err != nil {
		return fmt.Errorf("read replica identities: %w", err)
	}
	for _, i := range changed {
		id := "identity:" + i.Table.Quote()
		set, ok := map[string]string{"d": "DEFAULT", "n": "NOTHING", "f": "FULL", "i": "USING INDEX " + ident.Quote(i.PreviousIndex)}[i.PreviousKind]
		relation, err := plainTable(ctx, conn, i.Table)
		if err != nil {
			return err
		}
		if !ok || !relation {
			continue
		}
		e := ledger.Entry{ID: id, Kind: "REPLICA IDENTITY", Schema: i.Table.Schema, Name: i.Table.Name, SQL: "ALTER TABLE " + i.Table.Quote() + " REPLICA IDENTITY " + set}
		if err := r.one(ctx, conn, e); err != nil {
			if !fromData(err) {
				return err
			}
			r.report(contract.Warning, CodeIdentityNotSet, i.Table.String(), postgresMessage(err), "set it by hand: "+e.SQL)
		}
	}
	return nil
}

// plainTable is false for what is not on the target under that name (the partitions of a hypertable), and for hypertables,
// whose identity was never that of one source table.
func plainTable(ctx context.Context, q pgkit.Querier, t ident.Table) (bool, error) {
	var there bool
	err := q.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE (n.nspname, c.relname) = ($1, $2) AND c.relkind IN ('r', 'p'))`, t.Schema, t.Name).Scan(&there)
	if err != nil || !there {
		return false, err
	}
	ts, err := readTimescale(ctx, q)
	if err != nil {
		return false, err
	}
	hyper, err := ts.isHypertable(ctx, q, t)
	return !hyper, err
}

// unanalyzed lists the tables and materialized views of this migration that Finish has not analyzed.
func unanalyzed(ctx context.Context, q pgkit.Querier) ([]ident.Table, error) {
	rows, err := q.Query(ctx, `SELECT schema_name, name FROM timeferry.entries e WHERE kind IN ('TABLE', 'MATERIALIZED VIEW')
		AND EXISTS (SELECT FROM timeferry.restored r WHERE r.entry = e.id)
		AND NOT EXISTS (SELECT FROM timeferry.restored r WHERE r.entry = 'analyze:' || e.id) ORDER BY ordinal`)
	if err != nil {
		return nil, fmt.Errorf("read tables to analyze: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[ident.Table])
}

func analyze(ctx context.Context, conn *pgx.Conn, t ident.Table) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "ANALYZE "+t.Quote()); err != nil {
			return fmt.Errorf("analyze %s: %w", t, err)
		}
		_, err := tx.Exec(ctx, `INSERT INTO timeferry.restored (entry, description) SELECT 'analyze:' || id, $3 FROM timeferry.entries
			WHERE (schema_name, name) = ($1, $2) AND kind IN ('TABLE', 'MATERIALIZED VIEW') ON CONFLICT DO NOTHING`, t.Schema, t.Name, "ANALYZE "+t.String())
		return err
	})
}

// AtCutover restores what must not be there while changes are applied: triggers and rules that fire in the applier's
// sessions too, row security forced on owners, policies' jobs of hypertables, and whatever PostData has put off. Call it
// between the end of the stream and the first write of the application. It takes no time that depends on the rows. If
// PostData has put off foreign keys, call Finish once more afterwards.
//
// Safe to repeat because marks commit with what they mark. Undone by DropCreated.
func AtCutover(ctx context.Context, target *pgx.Conn) ([]contract.Problem, error) {
	return AtCutoverIf(ctx, target, func() error { return nil })
}

// AtCutoverIf is AtCutover in one transaction, which commits only if certain, called at its end, succeeds: so that nothing of
// it is there when changes go on being applied after all.
func AtCutoverIf(ctx context.Context, target *pgx.Conn, certain func() error) ([]contract.Problem, error) {
	r, err := newRestorer(ctx, target)
	if err != nil {
		return nil, err
	}
	err = pgkit.InTx(ctx, target, func(tx pgx.Tx) error {
		for _, section := range []string{ledger.SectionPostData, ledger.SectionCutover} {
			entries, err := ledger.Entries(ctx, tx, section)
			if err != nil {
				return fmt.Errorf("read schema entries: %w", err)
			}
			for _, e := range entries {
				if err := r.within(ctx, tx, e); err != nil {
					return err
				}
			}
		}
		return certain()
	})
	return r.problems, err
}
