package ledger

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// replannedSQL are the tables whose plan may change: nothing of them counts as copied. Those that join are planned by themselves.
const replannedSQL = "t.completed_at IS NULL AND " + settledSQL

// ToReplan lists the tables that Replan would take, with their plan as it is.
func ToReplan(ctx context.Context, q pgkit.Querier) (map[ident.Table]Table, error) {
	rows, err := q.Query(ctx, "SELECT schema_name, table_name, text_copy, columns FROM timeferry.tables t WHERE "+replannedSQL)
	if err != nil {
		return nil, err
	}
	planned := map[ident.Table]Table{}
	var t Table
	_, err = pgx.ForEachRow(rows, []any{&t.Table.Schema, &t.Table.Name, &t.TextCopy, &t.Columns}, func() error {
		planned[t.Table] = t
		t.Columns = nil // the next row's are another slice
		return nil
	})
	if err != nil {
		return nil, err
	}
	rows, err = q.Query(ctx, `SELECT p.schema_name, p.table_name, p.part, p.source_schema, p.source_table, p.first_block, p.end_block, p.key_column, p.first_key, p.end_key
		FROM timeferry.parts p JOIN timeferry.tables t USING (schema_name, table_name) WHERE `+replannedSQL+" ORDER BY 1, 2, 3")
	if err != nil {
		return nil, err
	}
	parts, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p Part, err error) {
		err = row.Scan(&p.Table.Schema, &p.Table.Name, &p.Number, &p.Source.Schema, &p.Source.Name, &p.First, &p.End, &p.KeyColumn, &p.FirstKey, &p.EndKey)
		return p, err
	})
	for _, p := range parts {
		t := planned[p.Table]
		t.Parts = append(t.Parts, p)
		planned[p.Table] = t
	}
	return planned, err
}

// Replan brings the plan of the tables that are to be copied anew in line with what the source has by now: partitions have come
// and gone, columns were added and dropped, tables have grown. It returns those that the source has no more; nothing is copied of
// them. tx is that of BeginEpoch.
func Replan(ctx context.Context, tx pgx.Tx, fresh []Table) (gone []ident.Table, err error) {
	known, err := ToReplan(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	batch := &pgx.Batch{}
	for _, t := range fresh {
		was, open := known[t.Table]
		delete(known, t.Table)
		if open && !samePlan(was, t) {
			queueReplanned(batch, t)
		}
	}
	for name := range known {
		gone = append(gone, name)
		batch.Queue("DELETE FROM timeferry.parts WHERE (schema_name, table_name) = ($1, $2)", name.Schema, name.Name)
	}
	slices.SortFunc(gone, func(a, b ident.Table) int { return strings.Compare(a.String(), b.String()) })
	if batch.Len() == 0 {
		return nil, nil
	}
	batch.Queue("ANALYZE timeferry.tables, timeferry.parts")
	return gone, tx.SendBatch(ctx, batch).Close()
}

func queueReplanned(batch *pgx.Batch, t Table) {
	batch.Queue("DELETE FROM timeferry.parts WHERE (schema_name, table_name) = ($1, $2)", t.Table.Schema, t.Table.Name)
	batch.Queue(`UPDATE timeferry.tables SET bytes = $3, estimated_rows = $4, text_copy = $5, columns = coalesce($6::text[], '{}') WHERE (schema_name, table_name) = ($1, $2)`,
		t.Table.Schema, t.Table.Name, t.Bytes, t.EstimatedRows, t.TextCopy, t.Columns)
	for _, p := range t.Parts {
		queuePart(batch, t.Table, p)
	}
}

// samePlan leaves sizes aside: that a table has grown a little is no reason to write its plan anew.
func samePlan(a, b Table) bool {
	return a.TextCopy == b.TextCopy && slices.Equal(a.Columns, b.Columns) && slices.EqualFunc(a.Parts, b.Parts, samePart)
}

func samePart(a, b Part) bool {
	return a.Number == b.Number && a.Source == b.Source && a.KeyColumn == b.KeyColumn && same(a.First, b.First) && same(a.End, b.End) &&
		same(a.FirstKey, b.FirstKey) && same(a.EndKey, b.EndKey)
}

func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}
