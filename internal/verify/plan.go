package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/compare"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// candidate is a column by which rows can be found: NOT NULL, first of a btree index. A table is cut by one only if its type has
// one order everywhere.
type candidate struct {
	column  string
	kind    compare.Kind
	primary bool
	unique  bool
	time    bool // the column that a hypertable is cut by
}

// candidatesSQL: an index in another than the type's own order does not help to find a range.
const candidatesSQL = `
SELECT w.n::int, a.attname::text, a.atttypid, bool_or(i.indisprimary), bool_or(i.indisunique)
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY w(s, t, n) JOIN pg_namespace n ON n.nspname = w.s
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.t
JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL
JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am m ON m.oid = ic.relam AND m.amname = 'btree'
JOIN pg_opclass o ON o.oid = i.indclass[0] AND o.opcdefault
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] AND a.attnotnull
GROUP BY 1, 2, 3 ORDER BY 1, 2`

func readCandidates(ctx context.Context, q pgkit.Querier, tables []ident.Table) ([][]candidate, error) {
	schemas, names := namesOf(tables)
	rows, err := q.Query(ctx, candidatesSQL, schemas, names)
	if err != nil {
		return nil, fmt.Errorf("read indexes: %w", err)
	}
	all := make([][]candidate, len(tables))
	var n int
	var typeOID uint32
	var c candidate
	_, err = pgx.ForEachRow(rows, []any{&n, &c.column, &typeOID, &c.primary, &c.unique}, func() error {
		if c.kind = compare.KindOf(typeOID); c.kind == compare.None {
			c.kind = compare.Value
		}
		all[n-1] = append(all[n-1], c)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read indexes: %w", err)
	}
	return all, nil
}

func namesOf(tables []ident.Table) (schemas, names []string) {
	for _, t := range tables {
		schemas, names = append(schemas, t.Schema), append(names, t.Name)
	}
	return schemas, names
}

// timeColumns are those that the target's hypertables are cut by first. They are NOT NULL, and chunks are found by them.
func timeColumns(ctx context.Context, q pgkit.Querier) (map[ident.Table]candidate, error) {
	all := map[ident.Table]candidate{}
	var exists bool
	if err := q.QueryRow(ctx, "SELECT to_regclass('timescaledb_information.dimensions') IS NOT NULL").Scan(&exists); err != nil || !exists {
		return all, err
	}
	rows, err := q.Query(ctx, `SELECT hypertable_schema::text, hypertable_name::text, column_name::text, column_type::oid
		FROM timescaledb_information.dimensions WHERE dimension_number = 1`)
	if err != nil {
		return nil, err
	}
	var name ident.Table
	var column string
	var typeOID uint32
	_, err = pgx.ForEachRow(rows, []any{&name.Schema, &name.Name, &column, &typeOID}, func() error {
		all[name] = candidate{column: column, kind: compare.KindOf(typeOID), time: true}
		return nil
	})
	return all, err
}

// choose takes the column that both sides can find ranges by: a hypertable's time, else that of the primary key, of a unique
// one, or any.
func choose(source, target []candidate) candidate {
	var both []candidate
	for _, s := range source {
		for _, t := range target {
			if s.column == t.column && s.kind == t.kind {
				s.time = t.time
				both = append(both, s)
			}
		}
	}
	if len(both) == 0 {
		return candidate{}
	}
	return slices.MinFunc(both, func(a, b candidate) int {
		return cmp.Or(first(a.time, b.time), first(a.primary, b.primary), first(a.unique, b.unique), cmp.Compare(a.column, b.column))
	})
}

func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// planTables sees to it that every table has chunks in the ledger.
func planTables(ctx context.Context, source, target *pgx.Conn, tables []Table, chunkBytes int64) error {
	sources, targets := make([]ident.Table, len(tables)), make([]ident.Table, len(tables))
	for i, t := range tables {
		sources[i], targets[i] = t.Source, t.Target
	}
	onSource, err := readCandidates(ctx, source, sources)
	if err != nil {
		return err
	}
	onTarget, err := readCandidates(ctx, target, targets)
	if err != nil {
		return err
	}
	times, err := timeColumns(ctx, target)
	if err != nil {
		return fmt.Errorf("read hypertables: %w", err)
	}
	tracked, err := ledger.TrackedColumns(ctx, target)
	if err != nil {
		return err
	}
	for i, t := range tables {
		candidates := onTarget[i]
		if time, ok := times[t.Target]; ok {
			candidates = append(slices.DeleteFunc(candidates, func(c candidate) bool { return c.column == time.column }), time)
		}
		chosen := choose(onSource[i], candidates)
		if was, known := tracked[t.Target]; known && was == (ledger.Tracked{Column: chosen.column, Kind: chosen.kind}) {
			continue
		}
		ranges, err := cut(ctx, source, t, chosen, chunkBytes)
		if err != nil {
			return err
		}
		chunks := make([]ledger.Chunk, len(ranges))
		for n, r := range ranges {
			chunks[n] = ledger.Chunk{Number: n + 1, Range: r, Bytes: t.Bytes / int64(len(ranges))}
		}
		if err := ledger.PlanChunks(ctx, target, t.Target, ledger.Tracked{Column: chosen.column, Kind: chosen.kind}, chunks); err != nil {
			return fmt.Errorf("plan the comparison of %s: %w", t.Target, err)
		}
	}
	return nil
}

// maxChunks bounds the ledger's rows for one table.
const maxChunks = 1000

// cut cuts a large table at its column's statistics. One whose rows lie in another order is read in one go: each chunk would
// read nearly all pages.
func cut(ctx context.Context, source *pgx.Conn, t Table, c candidate, chunkBytes int64) ([]compare.Range, error) {
	n := min((t.Bytes+chunkBytes-1)/max(chunkBytes, 1), maxChunks)
	if n <= 1 || c.kind == compare.None || c.kind == compare.Value {
		return compare.Pieces(nil), nil
	}
	var texts []string
	err := source.QueryRow(ctx, `SELECT histogram_bounds::text::text[] FROM pg_stats WHERE (schemaname, tablename, attname) = ($1, $2, $3)
		AND histogram_bounds IS NOT NULL AND abs(correlation) >= 0.8 ORDER BY inherited DESC LIMIT 1`, t.Source.Schema, t.Source.Name, c.column).Scan(&texts)
	if errors.Is(err, pgx.ErrNoRows) && c.time {
		texts, err = extent(ctx, source, t, c.column)
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return compare.Pieces(nil), nil
	}
	if err != nil {
		return nil, fmt.Errorf("read statistics of %s: %w", t.Source, err)
	}
	var bounds []int64
	for _, text := range texts {
		if ordinal, ok := c.kind.Ordinal([]byte(text)); ok {
			bounds = append(bounds, ordinal)
		}
	}
	return compare.Pieces(compare.Cuts(bounds, int(n))), nil
}

// extent is the least and the greatest value, for a table without statistics: a partition root is not analysed by itself.
func extent(ctx context.Context, source *pgx.Conn, t Table, column string) ([]string, error) {
	var least, greatest *string
	q := ident.Quote(column)
	err := source.QueryRow(ctx, "SELECT min("+q+")::text, max("+q+")::text FROM "+t.Source.Quote()).Scan(&least, &greatest)
	if err != nil || least == nil {
		return nil, err
	}
	return []string{*least, *greatest}, nil
}

// keysSQL finds unique keys over NOT NULL columns, the primary one first.
const keysSQL = `
SELECT DISTINCT ON (w.n) w.n::int, ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
	JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.n <= i.indnkeyatts ORDER BY k.n)
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY w(s, t, n) JOIN pg_namespace n ON n.nspname = w.s
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.t
JOIN pg_index i ON i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
	AND NOT EXISTS (SELECT 1 FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
		JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.n <= i.indnkeyatts AND (NOT a.attnotnull OR a.attgenerated <> ''))
ORDER BY w.n, i.indisprimary DESC, i.indnkeyatts, i.indexrelid`

// readKeys fills in the tables' keys.
func readKeys(ctx context.Context, source *pgx.Conn, tables []Table) error {
	names := make([]ident.Table, len(tables))
	for i, t := range tables {
		names[i] = t.Source
	}
	schemas, relations := namesOf(names)
	rows, err := source.Query(ctx, keysSQL, schemas, relations)
	if err != nil {
		return fmt.Errorf("read keys: %w", err)
	}
	var n int
	var key []string
	_, err = pgx.ForEachRow(rows, []any{&n, &key}, func() error {
		t := &tables[n-1]
		if !slices.ContainsFunc(key, func(c string) bool { return !slices.Contains(t.Columns, c) }) {
			t.key = key
		}
		key = nil
		return nil
	})
	if err != nil {
		return fmt.Errorf("read keys: %w", err)
	}
	return nil
}
