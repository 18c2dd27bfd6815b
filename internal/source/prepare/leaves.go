package prepare

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
)

// Leaf is a partition that is published by itself.
type Leaf struct {
	Table, Root ident.Table
	// Bounds is the leaf's partition constraint with every name qualified: of all the root's rows it holds for the leaf's, and
	// for no others. "" where that is not sure on another server.
	Bounds string
	// Alike is true when a partition with the same bounds on another server is sure to hold the same rows.
	Alike bool
}

// Leaves describes the partitions of tables that publish their changes by themselves: all that have WAL, on a server before
// PostgreSQL 13; none on others. It changes nothing.
func Leaves(ctx context.Context, conn *pgx.Conn, tables []shape.Table) ([]Leaf, error) {
	if version, err := pgkit.Version(ctx, conn); err != nil || version >= plan.ViaRootVersion {
		return nil, err
	}
	roots := map[uint32]ident.Table{}
	var oids []uint32
	for _, t := range tables {
		for _, l := range plan.StreamedLeaves(t) {
			roots[l.OID] = t.Table
			oids = append(oids, l.OID)
		}
	}
	var leaves []Leaf
	err := pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL search_path = ''"); err != nil { // so that the constraints qualify what they name
			return err
		}
		var oid uint32
		var l Leaf
		var hashed bool
		return each(ctx, tx, leavesSQL, []any{&oid, &l.Table.Schema, &l.Table.Name, &l.Bounds, &hashed, &l.Alike}, func() {
			l.Root = roots[oid]
			if hashed || !l.Alike {
				l.Bounds = ""
			}
			leaves = append(leaves, l)
		}, oids)
	})
	if err != nil {
		return nil, fmt.Errorf("read the partitions' bounds: %w", err)
	}
	return leaves, nil
}

// leavesSQL tells with care whether a row falls into the same partition on another server. It may not if the key is an
// expression, of a type of the user's own (other than an enum in a list or range), hashed from text in another encoding or
// from an enum's OID, or ordered by a collation that may differ. What a hashed partition holds cannot be said without it:
// satisfies_hash_partition needs a partitioned table. A default partition without siblings has no constraint.
const leavesSQL = `
SELECT c.oid, n.nspname, c.relname, coalesce(pg_get_partition_constraintdef(c.oid), 'true'), k.hashed, k.alike
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace, LATERAL (
	SELECT bool_or(p.partstrat = 'h') AS hashed, bool_and(t.oid IS NOT NULL AND o.opcdefault
		AND (t.typtype = 'b' AND t.oid < 16384 AND t.typelem = 0 OR t.typtype = 'e' AND p.partstrat <> 'h')
		AND CASE WHEN u.coll = 0 THEN true WHEN u.coll >= 16384 THEN false
			WHEN p.partstrat = 'h' THEN getdatabaseencoding() = 'UTF8'
			WHEN p.partstrat = 'r' THEN CASE u.coll WHEN 100 THEN d.datcollate ELSE l.collcollate END IN ('C', 'POSIX')
			ELSE true END) AS alike
	FROM pg_partition_ancestors(c.oid) x JOIN pg_partitioned_table p ON p.partrelid = x.relid
	JOIN LATERAL unnest(p.partattrs::int2[], p.partclass::oid[], p.partcollation::oid[]) u(attnum, class, coll) ON true
	JOIN pg_opclass o ON o.oid = u.class JOIN pg_database d ON d.datname = current_database()
	LEFT JOIN pg_collation l ON l.oid = u.coll
	LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = u.attnum AND u.attnum > 0 LEFT JOIN pg_type t ON t.oid = a.atttypid) k
WHERE c.oid = ANY ($1::oid[]) AND c.relispartition ORDER BY 2, 3`

// partitionsInForceSQL tells of each partition that has changes to publish whether our publications hold it.
const partitionsInForceSQL = `
SELECT n.nspname, c.relname, rn.nspname, r.relname, EXISTS (SELECT FROM pg_publication_rel pr JOIN pg_publication p ON p.oid = pr.prpubid
	WHERE pr.prrelid = c.oid AND p.pubname = ANY ($1))
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class r ON r.oid = pg_partition_root(c.oid) JOIN pg_namespace rn ON rn.oid = r.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence = 'p' AND r.relpersistence = 'p' AND c.relispartition ORDER BY 1, 2`

// NewPartitions lists, in order, the partitions of known tables whose changes do not arrive, because the publication called
// name does not hold them or they are not among leaves: they came into being later. On servers from PostgreSQL 13 on there are
// none, since the root's membership takes them in. It changes nothing.
func NewPartitions(ctx context.Context, conn *pgx.Conn, name string, known, leaves map[ident.Table]bool) ([]ident.Table, error) {
	if version, err := pgkit.Version(ctx, conn); err != nil || version >= plan.ViaRootVersion {
		return nil, err
	}
	var found []ident.Table
	var t, root ident.Table
	var published bool
	err := each(ctx, conn, partitionsInForceSQL, []any{&t.Schema, &t.Name, &root.Schema, &root.Name, &published}, func() {
		if known[root] && (!published || !leaves[t]) {
			found = append(found, t)
		}
	}, []string{name, plan.InsertOnlyName(name)})
	if err != nil {
		return nil, fmt.Errorf("look for new partitions on the source: %w", err)
	}
	return found, nil
}
