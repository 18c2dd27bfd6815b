package provision

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// vacuumBytes is the size of a table from which its visibility map is made here. A smaller one autovacuum has done before
// anybody notices.
var vacuumBytes int64 = 64 << 20

// unmappedSQL: tables of this migration, and chunks of its hypertables, of whose pages less than half are known to be
// visible to all. ANALYZE has just counted them. What was copied in one part was written frozen and is not among them.
const unmappedSQL = `
WITH own AS (
	SELECT c.oid FROM timeferry.entries e JOIN pg_catalog.pg_namespace n ON n.nspname = e.schema_name
	JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = e.name
	WHERE e.kind = 'TABLE' AND EXISTS (SELECT FROM timeferry.restored r WHERE r.entry = e.id)),
heaps AS (SELECT oid FROM own UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN own ON own.oid = i.inhparent)
SELECT n.nspname, c.relname FROM heaps h JOIN pg_catalog.pg_class c ON c.oid = h.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'r' AND c.relallvisible < c.relpages / 2 AND pg_catalog.pg_relation_size(c.oid) >= $1
	AND NOT EXISTS (SELECT FROM timeferry.restored r WHERE r.entry = pg_catalog.format('vacuum:%I.%I', n.nspname, c.relname))
ORDER BY pg_catalog.pg_relation_size(c.oid) DESC, 1, 2`

func readUnmapped(ctx context.Context, q pgkit.Querier) ([]ident.Table, error) {
	rows, err := q.Query(ctx, unmappedSQL, vacuumBytes)
	if err != nil {
		return nil, fmt.Errorf("read tables to vacuum: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[ident.Table])
}

// vacuum makes the table's visibility map, so that index-only scans need not look at its rows. It comes as late as this
// because while the copy runs no row counts as visible to all: its transactions are older than most rows. Indexes and
// the table's end have nothing to be cleaned. What the server refuses is only a matter of speed and is left to autovacuum.
func vacuum(ctx context.Context, conn *pgx.Conn, t ident.Table) error {
	_, err := conn.Exec(ctx, "VACUUM (INDEX_CLEANUP off, TRUNCATE off) "+t.Quote())
	if err != nil && !fromData(err) {
		return fmt.Errorf("vacuum %s: %w", t, err)
	}
	if err := ledger.MarkVacuumed(ctx, conn, t); err != nil {
		return fmt.Errorf("mark %s: %w", t, err)
	}
	return nil
}
