package provision

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/target/ledger"
)

// batchEntries bounds how many entries one transaction restores. Each new table holds three or four locks until the end
// of its transaction, and a server with default settings has room for some 6400 in all.
const batchEntries = 1000

// PreDataResult is what PreData did.
type PreDataResult struct {
	// Entries of the section, and how many of them this call restored.
	Entries, Restored int
	// Problems of this call and of those before it.
	Problems []contract.Problem
}

// PreData restores everything that must stand before the first row: schemas, types, functions, tables, views and grants.
// A schema of up to a thousand entries is restored in one transaction, a larger one in several.
//
// Safe to repeat because marks commit with what they mark. Undone by DropCreated.
func PreData(ctx context.Context, target *pgx.Conn) (PreDataResult, error) {
	var result PreDataResult
	var err error
	if result.Entries, err = ledger.CountEntries(ctx, target, ledger.SectionPreData); err != nil {
		return result, fmt.Errorf("read schema entries: %w", err)
	}
	r, err := newRestorer(ctx, target)
	if err != nil {
		return result, err
	}
	for {
		n, err := r.batch(ctx, target, ledger.SectionPreData, batchEntries, func(ledger.Entry) bool { return true })
		if err != nil {
			return result, err
		}
		result.Restored += n
		if n > 0 {
			continue
		}
		if result.Problems, err = ledger.SchemaProblems(ctx, target, ledger.SectionPreData); err != nil {
			return result, fmt.Errorf("read problems of the schema: %w", err)
		}
		return result, nil
	}
}

// batch restores the next entries of a section that want accepts, at most limit, in one transaction, with a record of what
// it created. It returns how many there were. The transaction sees nothing of other sessions, so that the record holds
// none of their objects; the lock comes first, because the first query fixes what is seen.
func (r *restorer) batch(ctx context.Context, conn *pgx.Conn, section string, limit int, want func(ledger.Entry) bool) (n int, err error) {
	problems := len(r.problems)
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "LOCK TABLE timeferry.restored IN SHARE ROW EXCLUSIVE MODE"); err != nil {
			return fmt.Errorf("lock the ledger: %w", err)
		}
		if _, err := tx.Exec(ctx, r.session); err != nil {
			return fmt.Errorf("prepare session: %w", err)
		}
		all, err := ledger.Entries(ctx, tx, section)
		if err != nil {
			return fmt.Errorf("read schema entries: %w", err)
		}
		var entries []ledger.Entry
		for _, e := range all {
			if want(e) && len(entries) < limit {
				entries = append(entries, e)
			}
		}
		if n = len(entries); n == 0 {
			return nil
		}
		return watch(ctx, tx, func() error {
			for _, e := range entries {
				if err := r.entry(ctx, tx, e); err != nil {
					return err
				}
			}
			for _, p := range r.problems[problems:] {
				if err := ledger.RecordProblem(ctx, tx, section, p); err != nil {
					return fmt.Errorf("record a problem of the schema: %w", err)
				}
			}
			return r.takeBack(ctx, tx)
		})
	})
	if err != nil { // nothing of it has happened
		r.problems = r.problems[:problems]
		clear(r.lent)
		n = 0
	}
	return n, err
}
