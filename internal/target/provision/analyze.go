package provision

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// statisticsSQL: tables without statistics of this migration's, by the root that they are analyzed with. The parent of
// children by old-style inheritance has statistics of all of them, which need not be complete yet: Finish sees to it.
const statisticsSQL = `
SELECT e.id, t.schema_name, t.table_name
FROM timeferry.entries e JOIN pg_catalog.pg_namespace n ON n.nspname = e.schema_name
JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = e.name
JOIN pg_catalog.pg_class r ON r.oid = CASE WHEN c.relispartition THEN pg_catalog.pg_partition_root(c.oid) ELSE c.oid END
JOIN pg_catalog.pg_namespace rn ON rn.oid = r.relnamespace
JOIN timeferry.tables t ON (t.schema_name, t.table_name) = (rn.nspname, r.relname)
WHERE e.kind = 'TABLE' AND (r.relkind = 'p' OR t.hypertable OR NOT r.relhassubclass)
	AND NOT EXISTS (SELECT FROM timeferry.restored x WHERE x.entry = 'analyze:' || e.id)`

func (x *indexer) planAnalyze(ctx context.Context, q pgkit.Querier) error {
	rows, err := q.Query(ctx, statisticsSQL)
	if err != nil {
		return fmt.Errorf("read tables to analyze: %w", err)
	}
	var id string
	var root ident.Table
	_, err = pgx.ForEachRow(rows, []any{&id, &root.Schema, &root.Name}, func() error {
		x.analyze[root] = append(x.analyze[root], id)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read tables to analyze: %w", err)
	}
	return nil
}

// analyzeOnly are the roots that have nothing to build any more, but no statistics either.
func (x *indexer) analyzeOnly(roots []ident.Table) []*build {
	x.mu.Lock()
	defer x.mu.Unlock()
	var builds []*build
	for _, root := range roots {
		if len(x.analyze[root]) > 0 && x.left[root] == 0 {
			builds = append(builds, &build{root: root, step: stepAnalyze})
		}
	}
	return builds
}

// analyzeRoot analyzes a table with its partitions or chunks, and marks them. What fails is only a matter of speed: it is
// logged, and Finish tries again.
func (x *indexer) analyzeRoot(ctx context.Context, conn *pgx.Conn, b *build) {
	x.mu.Lock()
	entries := x.analyze[b.root]
	delete(x.analyze, b.root)
	x.mu.Unlock()
	err := pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "ANALYZE "+b.root.Quote()); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO timeferry.restored (entry, description) SELECT 'analyze:' || id, $2 FROM pg_catalog.unnest($1::text[]) u(id)
			ON CONFLICT DO NOTHING`, entries, b.String())
		return err
	})
	if err != nil && ctx.Err() == nil {
		x.log.WarnContext(ctx, "a table is not analyzed", "table", b.root.String(), "err", err)
	}
}
