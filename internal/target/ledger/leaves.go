package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// leavesSQL is the part of createSQL that belongs to this file. Every statement may run again.
const leavesSQL = `
CREATE TABLE IF NOT EXISTS timeferry.leaves (
	schema_name text NOT NULL, table_name text NOT NULL, root_schema text NOT NULL, root_name text NOT NULL,
	bounds text NOT NULL, alike boolean NOT NULL, PRIMARY KEY (schema_name, table_name),
	FOREIGN KEY (root_schema, root_name) REFERENCES timeferry.tables ON DELETE CASCADE);
`

// Leaf is a partition with rows whose changes come under its own name (a source before PostgreSQL 13). They belong to Root,
// the table of the plan.
type Leaf struct {
	Table ident.Table
	Root  ident.Table
	// Bounds is the condition that picks the leaf's rows from among the root's, on the target too; "" when there is none.
	Bounds string
	// Alike is true when a partition of the same name and bounds on the target is sure to hold the same rows.
	Alike bool
}

// PlanLeaves records leaves whose roots are planned already. One that has no part, because it came into being after its root
// was planned, is left out: its rows would be missing. One that is there already stays as it is.
func PlanLeaves(ctx context.Context, conn *pgx.Conn, leaves []Leaf) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		batch := &pgx.Batch{}
		for _, l := range leaves {
			batch.Queue(`INSERT INTO timeferry.leaves (schema_name, table_name, root_schema, root_name, bounds, alike)
				SELECT $1, $2, $3, $4, $5, $6 WHERE EXISTS (SELECT FROM timeferry.parts p
					WHERE (p.schema_name, p.table_name) = ($3, $4) AND (p.source_schema, p.source_table) = ($1, $2)) ON CONFLICT DO NOTHING`,
				l.Table.Schema, l.Table.Name, l.Root.Schema, l.Root.Name, l.Bounds, l.Alike)
		}
		return tx.SendBatch(ctx, batch).Close()
	})
}

// Leaves are the recorded leaves by their names; none in a ledger that an earlier version made.
func Leaves(ctx context.Context, q pgkit.Querier) (map[ident.Table]Leaf, error) {
	leaves := map[ident.Table]Leaf{}
	var exists bool
	if err := q.QueryRow(ctx, "SELECT to_regclass('timeferry.leaves') IS NOT NULL").Scan(&exists); err != nil || !exists {
		return leaves, err
	}
	rows, err := q.Query(ctx, "SELECT schema_name, table_name, root_schema, root_name, bounds, alike FROM timeferry.leaves")
	if err != nil {
		return nil, err
	}
	var l Leaf
	_, err = pgx.ForEachRow(rows, []any{&l.Table.Schema, &l.Table.Name, &l.Root.Schema, &l.Root.Name, &l.Bounds, &l.Alike}, func() error {
		leaves[l.Table] = l
		return nil
	})
	return leaves, err
}
