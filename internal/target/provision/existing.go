package provision

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// Taken says which of the names are in use on the target, be it by what the target's user may not read.
func Taken(ctx context.Context, q pgkit.Querier, names []ident.Table) (map[ident.Table]bool, error) {
	schemas, tables := make([]string, len(names)), make([]string, len(names))
	for i, t := range names {
		schemas[i], tables[i] = t.Schema, t.Name
	}
	rows, err := q.Query(ctx, `SELECT n.nspname, c.relname FROM unnest($1::text[], $2::text[]) u(s, t) JOIN pg_catalog.pg_namespace n ON n.nspname = u.s
		JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = u.t`, schemas, tables)
	if err != nil {
		return nil, fmt.Errorf("look for names on the target: %w", err)
	}
	taken := map[ident.Table]bool{}
	var t ident.Table
	_, err = pgx.ForEachRow(rows, []any{&t.Schema, &t.Name}, func() error {
		taken[t] = true
		return nil
	})
	return taken, err
}

// ExistingTables says which of the names are taken on the target, and whether there is something to lose: true for a table
// with rows, and for anything that is no table.
func ExistingTables(ctx context.Context, conn pgkit.Querier, tables []ident.Table) (map[ident.Table]bool, error) {
	schemas, names := make([]string, len(tables)), make([]string, len(tables))
	for i, t := range tables {
		schemas[i], names[i] = t.Schema, t.Name
	}
	rows, err := conn.Query(ctx, `SELECT n.nspname, c.relname, c.relkind IN ('r', 'p', 'f')
		FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) u(s, t)) u JOIN pg_catalog.pg_namespace n ON n.nspname = u.s
		JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = u.t ORDER BY 1, 2`, schemas, names)
	if err != nil {
		return nil, fmt.Errorf("read tables of the target: %w", err)
	}
	type found struct {
		ident.Table
		isTable bool
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (found, error) {
		var f found
		err := row.Scan(&f.Schema, &f.Name, &f.isTable)
		return f, err
	})
	if err != nil {
		return nil, fmt.Errorf("read tables of the target: %w", err)
	}
	existing := make(map[ident.Table]bool, len(all))
	for _, f := range all {
		holds := true
		if f.isTable {
			if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+f.Quote()+")").Scan(&holds); err != nil {
				return nil, fmt.Errorf("look for rows in %s: %w", f.Table, err)
			}
		}
		existing[f.Table] = holds
	}
	return existing, nil
}
