package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
)

// content is what a database holds, as far as a run must bring it over.
type content struct {
	rows        map[string]int64
	indexes     int
	constraints int
}

const contentSQL = `SELECT count(*) FILTER (WHERE i.indisvalid), (SELECT count(*) FROM pg_constraint k JOIN pg_namespace s ON s.oid = k.connamespace WHERE s.nspname = 'public' AND k.contype IN ('p', 'u', 'f', 'c'))
	FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public'`

func readContent(ctx context.Context, conn *pgx.Conn) (content, error) {
	c := content{rows: map[string]int64{}}
	if err := conn.QueryRow(ctx, contentSQL).Scan(&c.indexes, &c.constraints); err != nil {
		return c, fmt.Errorf("count indexes: %w", err)
	}
	rows, err := conn.Query(ctx, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace")
	if err != nil {
		return c, err
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return c, err
	}
	for _, name := range names {
		var n int64
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM public."+ident.Quote(name)).Scan(&n); err != nil {
			return c, fmt.Errorf("count %s: %w", name, err)
		}
		c.rows[name] = n
	}
	return c, nil
}

func (c content) total() (rows int64) {
	for _, n := range c.rows {
		rows += n
	}
	return rows
}

// differs says what got lacks or has too much, "" if nothing.
func (c content) differs(got content) string {
	var wrong []string
	for _, name := range slices.Sorted(maps.Keys(c.rows)) {
		if n, ok := got.rows[name]; !ok || n != c.rows[name] {
			wrong = append(wrong, fmt.Sprintf("%s has %d rows, not %d", name, n, c.rows[name]))
		}
	}
	if len(got.rows) != len(c.rows) {
		wrong = append(wrong, fmt.Sprintf("%d tables, not %d", len(got.rows), len(c.rows)))
	}
	if got.indexes != c.indexes || got.constraints != c.constraints {
		wrong = append(wrong, fmt.Sprintf("%d indexes and %d constraints, not %d and %d", got.indexes, got.constraints, c.indexes, c.constraints))
	}
	return strings.Join(wrong[:min(len(wrong), 5)], "; ")
}
