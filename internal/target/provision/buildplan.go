package provision

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// steppedBytes is the size of a table from which a constraint is made in two steps: for a smaller one, the second
// transaction costs more than is won.
var steppedBytes int64 = 16 << 20

// plan reads what is to be built, by table in scope.
func (x *indexer) plan(ctx context.Context, q pgkit.Querier) error {
	entries, err := ledger.Entries(ctx, q, ledger.SectionPostData)
	if err != nil {
		return fmt.Errorf("read schema entries: %w", err)
	}
	if x.stepped, err = ledger.Restored(ctx, q); err != nil {
		return fmt.Errorf("read what is restored: %w", err)
	}
	if x.hyper, err = readHypertables(ctx, q); err != nil {
		return err
	}
	if x.progress.Indexes, x.progress.Done, err = ledger.CountIndexes(ctx, q); err != nil {
		return fmt.Errorf("count indexes: %w", err)
	}
	roots, err := readRoots(ctx, q)
	if err != nil {
		return err
	}
	for _, e := range entries {
		// A table that is not there yet (a materialized view that needs a primary key) comes with the rest, and its indexes.
		if root, there := roots[e.Table]; there && (e.Kind == "INDEX" || e.Kind == "CONSTRAINT") {
			x.pending[root] = append(x.pending[root], &build{entry: e, root: root})
			x.left[root]++
		}
	}
	if x.beside {
		return x.planAnalyze(ctx, q)
	}
	return nil
}

// rootsSQL: the table in scope that a relation belongs to, which is the root of its partition tree. The target has the tree
// that the source has, or one hypertable in its place.
const rootsSQL = `
SELECT n.nspname, c.relname, rn.nspname, r.relname
FROM (SELECT DISTINCT table_schema, table_name FROM timeferry.entries WHERE section = 'post-data' AND kind IN ('INDEX', 'CONSTRAINT')) u
JOIN pg_catalog.pg_namespace n ON n.nspname = u.table_schema
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = u.table_name
JOIN pg_catalog.pg_class r ON r.oid = CASE WHEN c.relispartition THEN pg_catalog.pg_partition_root(c.oid) ELSE c.oid END
JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace`

func readRoots(ctx context.Context, q pgkit.Querier) (map[ident.Table]ident.Table, error) {
	rows, err := q.Query(ctx, rootsSQL)
	if err != nil {
		return nil, fmt.Errorf("read tables of the target: %w", err)
	}
	type pair struct{ Schema, Name, RootSchema, RootName string }
	pairs, err := pgx.CollectRows(rows, pgx.RowToStructByPos[pair])
	if err != nil {
		return nil, fmt.Errorf("read tables of the target: %w", err)
	}
	roots := make(map[ident.Table]ident.Table, len(pairs))
	for _, p := range pairs {
		roots[ident.Table{Schema: p.Schema, Name: p.Name}] = ident.Table{Schema: p.RootSchema, Name: p.RootName}
	}
	return roots, nil
}

// addTables hands the builds of the given roots to the jobs, the last ones or not; roots that were added before have none left.
func (x *indexer) addTables(ctx context.Context, q pgkit.Querier, roots []ident.Table, last bool) error {
	var builds []*build
	for _, root := range roots {
		builds = append(builds, x.pending[root]...)
		delete(x.pending, root)
	}
	if err := x.readSizes(ctx, q, builds); err != nil {
		return err
	}
	for _, b := range builds {
		b.step = x.firstStep(b)
	}
	builds = append(builds, x.analyzeOnly(roots)...)
	x.schedule.add(last, builds...)
	return nil
}

func (x *indexer) firstStep(b *build) step {
	switch {
	case b.entry.IndexSQL == "" || x.hyper[b.entry.Table]:
		return stepWhole
	case x.stepped[b.entry.IndexStep()]:
		return stepAttach
	case b.bytes >= steppedBytes:
		return stepIndex
	}
	return stepWhole
}

// sizesSQL: what a relation holds. A hypertable's own heap is empty, so the source's size counts too.
const sizesSQL = `
SELECT n.nspname, c.relname, greatest(pg_catalog.pg_table_size(c.oid), coalesce(t.bytes, 0))
FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) u(s, t)) u
JOIN pg_catalog.pg_namespace n ON n.nspname = u.s
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = u.t
LEFT JOIN timeferry.tables t ON (t.schema_name, t.table_name) = (u.s, u.t)`

func (x *indexer) readSizes(ctx context.Context, q pgkit.Querier, builds []*build) error {
	if len(builds) == 0 {
		return nil
	}
	schemas, names := make([]string, len(builds)), make([]string, len(builds))
	for i, b := range builds {
		schemas[i], names[i] = b.entry.Table.Schema, b.entry.Table.Name
	}
	rows, err := q.Query(ctx, sizesSQL, schemas, names)
	if err != nil {
		return fmt.Errorf("read sizes of tables: %w", err)
	}
	sizes := map[ident.Table]int64{}
	var t ident.Table
	var bytes int64
	if _, err := pgx.ForEachRow(rows, []any{&t.Schema, &t.Name, &bytes}, func() error { sizes[t] = bytes; return nil }); err != nil {
		return fmt.Errorf("read sizes of tables: %w", err)
	}
	for _, b := range builds {
		b.bytes = sizes[b.entry.Table]
	}
	return nil
}

func keys(m map[ident.Table][]*build) []ident.Table {
	all := make([]ident.Table, 0, len(m))
	for t := range m {
		all = append(all, t)
	}
	return all
}
