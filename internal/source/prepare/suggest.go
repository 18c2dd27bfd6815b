package prepare

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
)

// ReadCandidates reads what tells whether a table is worth a hypertable, of every table that include accepts. It looks at
// statistics only, never at rows, and changes nothing.
func ReadCandidates(ctx context.Context, conn *pgx.Conn, include func(ident.Table) bool) ([]plan.Candidate, error) {
	tables, err := pgkit.Tables(ctx, conn, include)
	if err != nil {
		return nil, fmt.Errorf("propose hypertables: %w", err)
	}
	candidates := make([]plan.Candidate, len(tables))
	byRoot := map[uint32]*plan.Candidate{}
	var roots, members []uint32
	for i, t := range tables {
		candidates[i].Table = t
		byRoot[t.OID] = &candidates[i]
		roots, members = append(roots, t.OID), append(members, t.OID)
		for _, l := range t.Leaves {
			roots, members = append(roots, t.OID), append(members, l.OID)
		}
	}
	for _, read := range []func(context.Context, *pgx.Conn, []uint32, []uint32, map[uint32]*plan.Candidate) error{
		readGrowth, readTimeColumns, readRangeColumns, readReferrers,
	} {
		if err := read(ctx, conn, roots, members, byRoot); err != nil {
			return nil, fmt.Errorf("propose hypertables: %w", err)
		}
	}
	return candidates, nil
}

const growthSQL = `
SELECT m.root, coalesce(sum(pg_indexes_size(c.oid)) FILTER (WHERE c.relkind = 'r'), 0)::bigint, coalesce(sum(pg_stat_get_tuples_inserted(c.oid)), 0)::bigint
FROM unnest($1::oid[], $2::oid[]) m(root, member) JOIN pg_class c ON c.oid = m.member GROUP BY 1`

func readGrowth(ctx context.Context, conn *pgx.Conn, roots, members []uint32, byRoot map[uint32]*plan.Candidate) error {
	var root uint32
	var indexBytes, inserts int64
	return each(ctx, conn, growthSQL, []any{&root, &indexBytes, &inserts}, func() {
		byRoot[root].IndexBytes, byRoot[root].Inserts = indexBytes, inserts
	}, roots, members)
}

// timeColumnsSQL: for a partitioned table, its leaves' statistics together. A histogram holds values of the column's own
// type, which only its text can be turned into times by.
const timeColumnsSQL = `
SELECT m.root, a.attname, count(s.attname) > 0, coalesce(avg(s.correlation), 0)::float8,
	coalesce(extract(epoch FROM max(h.bounds[array_upper(h.bounds, 1)])) - extract(epoch FROM min(h.bounds[1])), 0)::float8
FROM unnest($1::oid[], $2::oid[]) m(root, member) JOIN pg_class c ON c.oid = m.member JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid IN (1082, 1114, 1184)
LEFT JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname AND NOT s.inherited
LEFT JOIN LATERAL (SELECT s.histogram_bounds::text::timestamptz[]) h(bounds) ON true
GROUP BY 1, 2 ORDER BY 1, min(a.attnum)`

func readTimeColumns(ctx context.Context, conn *pgx.Conn, roots, members []uint32, byRoot map[uint32]*plan.Candidate) error {
	var root uint32
	var t plan.TimeColumn
	var seconds float64
	return each(ctx, conn, timeColumnsSQL, []any{&root, &t.Name, &t.Analyzed, &t.Correlation, &seconds}, func() {
		t.Span = 0
		if !math.IsInf(seconds, 0) && !math.IsNaN(seconds) && seconds < longestSpan.Seconds() {
			t.Span = time.Duration(seconds * float64(time.Second))
		}
		byRoot[root].Times = append(byRoot[root].Times, t)
	}, roots, members)
}

// longestSpan is more than a table of measurements can cover: beyond it some value is not meant as a time.
const longestSpan = 200 * 365 * 24 * time.Hour

const rangeColumnsSQL = `
SELECT DISTINCT m.root, a.attname FROM unnest($1::oid[], $2::oid[]) m(root, member) JOIN pg_partitioned_table p ON p.partrelid = m.member AND p.partstrat = 'r'
JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = ANY (p.partattrs::int2[]) AND a.atttypid IN (1082, 1114, 1184) ORDER BY 1, 2`

func readRangeColumns(ctx context.Context, conn *pgx.Conn, roots, members []uint32, byRoot map[uint32]*plan.Candidate) error {
	var root uint32
	var name string
	return each(ctx, conn, rangeColumnsSQL, []any{&root, &name}, func() { byRoot[root].RangeColumns = append(byRoot[root].RangeColumns, name) }, roots, members)
}

const referrersSQL = `
SELECT DISTINCT k.confrelid, n.nspname, c.relname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 AND k.confrelid = ANY ($1::oid[]) ORDER BY 1, 2, 3`

func readReferrers(ctx context.Context, conn *pgx.Conn, roots, _ []uint32, byRoot map[uint32]*plan.Candidate) error {
	var root uint32
	var from ident.Table
	return each(ctx, conn, referrersSQL, []any{&root, &from.Schema, &from.Name}, func() { byRoot[root].ReferredBy = append(byRoot[root].ReferredBy, from) }, roots)
}
