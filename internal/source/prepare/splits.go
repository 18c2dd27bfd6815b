package prepare

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/shape"
)

// splitsSQL asks for each heap of $1. live: the share of the pages that the live rows would fill when the statistics were
// made, of the pages that there are now; a row takes 28 bytes beside its values. The key's types have one order on every
// server; text is not among them, since an index in an order that the system's libraries have changed meanwhile would miss
// rows. A key that does not follow the heap's order would have every part read nearly all pages.
const splitsSQL = `
SELECT c.oid, coalesce(CASE WHEN c.relpages > 0 AND c.reltuples > 0 THEN c.reltuples * (28 + w.width) / c.relpages / 8192 * pg_relation_size(c.oid) END, 0)::bigint,
	coalesce(k.attname, ''), coalesce(k.bounds, '{}')
FROM unnest($1::oid[]) AS heap(oid) JOIN pg_class c ON c.oid = heap.oid JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
	SELECT sum(s.avg_width * (1 - s.null_frac)) AS width FROM pg_stats s
	WHERE s.schemaname = n.nspname AND s.tablename = c.relname AND NOT s.inherited) w
LEFT JOIN LATERAL (
	SELECT a.attname, s.histogram_bounds::text::text[] AS bounds
	FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_am m ON m.oid = ic.relam AND m.amname = 'btree'
	JOIN pg_opclass o ON o.oid = i.indclass[0] AND o.opcdefault
	JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] AND a.attnotnull AND a.atttypid IN
		('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'date'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype, 'uuid'::regtype)
	JOIN pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname AND NOT s.inherited
	WHERE i.indrelid = c.oid AND i.indisvalid AND i.indisready AND i.indpred IS NULL
		AND s.histogram_bounds IS NOT NULL AND abs(s.correlation) >= 0.8
	ORDER BY i.indisprimary DESC, i.indisunique DESC, abs(s.correlation) DESC, ic.relname LIMIT 1) k ON true`

// ReadSplits fills in Split for the heaps that are larger than a part, from the server's statistics. Where there are none,
// or the user may not see them, the Split says nothing.
func ReadSplits(ctx context.Context, conn *pgx.Conn, tables []shape.Table, partBytes int64) error {
	at := map[uint32]**shape.Split{}
	for i := range tables {
		t := &tables[i]
		if !t.Partitioned && t.Bytes > partBytes {
			at[t.OID] = &t.Split
		}
		for j := range t.Leaves {
			if l := &t.Leaves[j]; !l.Partitioned && l.Bytes > partBytes {
				at[l.OID] = &l.Split
			}
		}
	}
	if len(at) == 0 {
		return nil
	}
	oids := make([]uint32, 0, len(at))
	for oid := range at {
		oids = append(oids, oid)
	}
	var oid uint32
	var split shape.Split
	err := each(ctx, conn, splitsSQL, []any{&oid, &split.LiveBytes, &split.Column, &split.Bounds}, func() {
		found := split
		split.Bounds = nil // the next row's are another slice
		*at[oid] = &found
	}, oids)
	if err != nil {
		return fmt.Errorf("read statistics for cutting large tables: %w", err)
	}
	return nil
}
