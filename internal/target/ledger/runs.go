package ledger

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// BeginRun notes that a comparison begins, at a barrier or, with 0, behind the fence. One that is taken up again after a failure
// keeps when it began.
func BeginRun(ctx context.Context, q pgkit.Querier, run, method string, barrier change.LSN) error {
	var at *string
	if barrier != 0 {
		text := barrier.String()
		at = &text
	}
	_, err := q.Exec(ctx, `INSERT INTO timeferry.verification_runs (run, method, barrier_lsn) VALUES ($1, $2, $3::text::pg_lsn)
		ON CONFLICT (run) DO UPDATE SET method = excluded.method, barrier_lsn = excluded.barrier_lsn, ended_at = NULL`, run, method, at)
	if err != nil {
		return fmt.Errorf("record comparison: %w", err)
	}
	return nil
}

// RunSummary is how a comparison ended.
type RunSummary struct {
	Run         string
	Equal       bool
	Tables      int // of which something was read
	Rows, Bytes int64
	Relied      int // tables of which a part was compared at an earlier barrier only
	Unverified  int
}

// EndRun notes how a comparison ended.
func EndRun(ctx context.Context, q pgkit.Querier, s RunSummary) error {
	_, err := q.Exec(ctx, `UPDATE timeferry.verification_runs SET ended_at = now(), equal = $2, tables = $3, rows = $4, bytes = $5, relied_tables = $6, unverified = $7
		WHERE run = $1`, s.Run, s.Equal, s.Tables, s.Rows, s.Bytes, s.Relied, s.Unverified)
	if err != nil {
		return fmt.Errorf("record the end of the comparison: %w", err)
	}
	return nil
}

// DifferingRow is a row that is not the same on both sides. Its key and values are kept only when somebody asked for them.
type DifferingRow struct {
	Table                ident.Table
	KeyHash, What        string
	Columns              []string
	Key                  *string
	SourceRow, TargetRow map[string]*string // by column, in text form; nil: there is no such row, or nobody asked
}

// KeepDifference keeps a row that differs.
func KeepDifference(ctx context.Context, q pgkit.Querier, run string, d DifferingRow) error {
	source, err := rowJSON(d.SourceRow)
	if err != nil {
		return err
	}
	target, err := rowJSON(d.TargetRow)
	if err != nil {
		return err
	}
	_, err = q.Exec(ctx, `INSERT INTO timeferry.differing_rows (run, schema_name, table_name, key_hash, what, columns, key, source_row, target_row)
		VALUES ($1, $2, $3, $4, $5, coalesce($6::text[], '{}'), $7, $8::text::jsonb, $9::text::jsonb)
		ON CONFLICT (run, schema_name, table_name, key_hash) DO UPDATE SET what = excluded.what, columns = excluded.columns, key = excluded.key,
			source_row = excluded.source_row, target_row = excluded.target_row`,
		run, d.Table.Schema, d.Table.Name, d.KeyHash, d.What, d.Columns, d.Key, source, target)
	if err != nil {
		return fmt.Errorf("keep what differs: %w", err)
	}
	return nil
}

func rowJSON(row map[string]*string) (*string, error) {
	if row == nil {
		return nil, nil
	}
	b, err := json.Marshal(row)
	text := string(b)
	return &text, err
}

// Differences lists the rows that a comparison found to differ, up to limit.
func Differences(ctx context.Context, q pgkit.Querier, run string, limit int) ([]DifferingRow, error) {
	rows, err := q.Query(ctx, `SELECT schema_name, table_name, key_hash, what, columns, key, source_row, target_row
		FROM timeferry.differing_rows WHERE run = $1 ORDER BY 1, 2, 3 LIMIT $2`, run, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (DifferingRow, error) {
		var d DifferingRow
		err := row.Scan(&d.Table.Schema, &d.Table.Name, &d.KeyHash, &d.What, &d.Columns, &d.Key, &d.SourceRow, &d.TargetRow)
		return d, err
	})
}
