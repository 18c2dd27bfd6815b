package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// IndexStep is how the first step of an entry with two of them is called among what is restored.
func (e Entry) IndexStep() string { return e.ID + ".index" }

// CountComplete counts the tables in scope and those among them that are complete.
func CountComplete(ctx context.Context, q pgkit.Querier) (tables, complete int, err error) {
	err = q.QueryRow(ctx, "SELECT count(*), count(completed_at) FROM timeferry.tables").Scan(&tables, &complete)
	return tables, complete, err
}

// CompletedTables lists the tables whose rows are all on the target.
func CompletedTables(ctx context.Context, q pgkit.Querier) ([]ident.Table, error) {
	rows, err := q.Query(ctx, "SELECT schema_name, table_name FROM timeferry.tables WHERE completed_at IS NOT NULL")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[ident.Table])
}

// CountIndexes counts the indexes and constraints that are built after their tables' rows are there, and how many stand.
func CountIndexes(ctx context.Context, q pgkit.Querier) (indexes, done int, err error) {
	err = q.QueryRow(ctx, `SELECT count(*), count(r.entry) FROM timeferry.entries e LEFT JOIN timeferry.restored r ON r.entry = e.id
		WHERE e.section = $1 AND e.kind IN ('INDEX', 'CONSTRAINT')`, SectionPostData).Scan(&indexes, &done)
	return indexes, done, err
}

// MarkVacuumed notes that a table was vacuumed.
func MarkVacuumed(ctx context.Context, q pgkit.Querier, t ident.Table) error {
	_, err := q.Exec(ctx, `INSERT INTO timeferry.restored (entry, description) SELECT pg_catalog.format('vacuum:%I.%I', $1::text, $2::text), 'VACUUM' ON CONFLICT DO NOTHING`,
		t.Schema, t.Name)
	return err
}

// Flush makes durable whatever was committed before without waiting for the disk.
func Flush(ctx context.Context, conn *pgx.Conn) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = on"); err != nil {
			return err
		}
		// Only a transaction that has written waits for the disk.
		_, err := tx.Exec(ctx, `INSERT INTO timeferry.restored (entry, description) VALUES ('flush', 'everything before is durable')
			ON CONFLICT (entry) DO UPDATE SET at = now()`)
		return err
	})
}
