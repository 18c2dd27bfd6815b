package pgkit

import (
	"context"
	"fmt"
	"sort"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// Tables reads every user table that include accepts: plain tables and the roots of partition trees, with columns,
// indexes, sizes and replica identities. Extension members, temporary tables and system schemas are left out. The order
// is by schema and name.
func Tables(ctx context.Context, q Querier, include func(ident.Table) bool) ([]shape.Table, error) {
	relations, err := readRelations(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("read tables: %w", err)
	}
	columns, err := readColumns(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	indexes, err := readIndexes(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("read indexes: %w", err)
	}
	keysOut, keysIn, err := readForeignKeys(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("read foreign keys: %w", err)
	}
	byRoot := map[uint32][]relation{}
	for _, r := range relations {
		if r.leafOf != 0 {
			byRoot[r.leafOf] = append(byRoot[r.leafOf], r)
		}
	}
	var tables []shape.Table
	for _, r := range relations {
		if r.leafOf != 0 || !include(r.table) {
			continue
		}
		t := shape.Table{Table: r.table, OID: r.oid, Partitioned: r.kind == "p", Unlogged: r.persistence == "u", Owner: r.owner,
			Inherits: r.inherits, PartitionKey: r.partitionKey, Bytes: r.bytes, Pages: r.pages, EstimatedRows: r.rows,
			Updates: r.updates, Deletes: r.deletes, Columns: columns[r.oid], Indexes: indexes[r.oid],
			Identity:       shape.Identity{Kind: r.identity[0], Index: r.identityIndex},
			ForeignKeysOut: keysOut[r.oid], ForeignKeysIn: keysIn[r.oid]}
		for _, l := range byRoot[r.oid] {
			t.Leaves = append(t.Leaves, shape.Leaf{Table: l.table, OID: l.oid, Partitioned: l.kind == "p", Unlogged: l.persistence == "u", Bytes: l.bytes, Pages: l.pages,
				Identity: shape.Identity{Kind: l.identity[0], Index: l.identityIndex}, Indexes: indexes[l.oid]})
			t.Bytes += l.bytes
			t.Pages += l.pages
			t.Updates += l.updates
			t.Deletes += l.deletes
			if l.kind == "r" && l.rows > 0 {
				t.EstimatedRows = max(t.EstimatedRows, 0) + l.rows
			}
		}
		tables = append(tables, t)
	}
	sort.Slice(tables, func(i, j int) bool {
		if tables[i].Schema != tables[j].Schema {
			return tables[i].Schema < tables[j].Schema
		}
		return tables[i].Name < tables[j].Name
	})
	return tables, nil
}

type relation struct {
	oid, leafOf                                      uint32
	table                                            ident.Table
	kind, persistence, owner, identity, partitionKey string
	identityIndex                                    string
	inherits                                         bool
	bytes, pages, rows, updates, deletes             int64
}

// relationsSQL: bytes is heap and TOAST; a partition root's counters come with its leaves. rows is -1 when unknown.
const relationsSQL = `
SELECT c.oid, coalesce((SELECT relid FROM pg_partition_ancestors(c.oid) WITH ORDINALITY a(relid, n) ORDER BY n DESC LIMIT 1)::oid, 0::oid),
	n.nspname, c.relname, c.relkind::text, c.relpersistence::text, pg_get_userbyid(c.relowner),
	c.relreplident::text, coalesce(ii.relname, ''), coalesce(pg_get_partkeydef(c.oid), ''), NOT c.relispartition AND EXISTS (SELECT 1 FROM pg_inherits i WHERE i.inhrelid = c.oid),
	CASE WHEN c.relkind = 'r' THEN pg_table_size(c.oid) ELSE 0 END, CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) / 8192 ELSE 0 END, c.reltuples::bigint,
	coalesce(s.n_tup_upd, 0), coalesce(s.n_tup_del, 0)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_index ix ON ix.indrelid = c.oid AND ix.indisreplident
LEFT JOIN pg_class ii ON ii.oid = ix.indexrelid
LEFT JOIN pg_stat_user_tables s ON s.relid = c.oid
WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't'
	AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
	AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname, c.relname`

func readRelations(ctx context.Context, q Querier) ([]relation, error) {
	rows, err := q.Query(ctx, relationsSQL)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (relation, error) {
		var r relation
		err := row.Scan(&r.oid, &r.leafOf, &r.table.Schema, &r.table.Name, &r.kind, &r.persistence, &r.owner, &r.identity, &r.identityIndex,
			&r.partitionKey, &r.inherits, &r.bytes, &r.pages, &r.rows, &r.updates, &r.deletes)
		if r.leafOf == r.oid { // a root is its own last ancestor
			r.leafOf = 0
		}
		return r, err
	})
}

// columnsSQL: the text form is needed where the binary one embeds the OID of a user-defined type: in arrays of such a
// type, in composites, and in ranges and domains over those; told conservatively by OID. Likewise for types whose value is
// an OID (regclass and its kin), and for those without a binary form.
const columnsSQL = `
SELECT a.attrelid, a.attname, a.atttypid, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated <> '', a.attidentity::text,
	(t.oid >= 16384 AND (t.typtype IN ('c', 'd', 'r', 'm') OR t.typcategory = 'A'))
	OR coalesce(e.typsend, t.typsend) = 0 OR coalesce(e.typreceive, t.typreceive) = 0
	OR coalesce(e.oid, t.oid) IN ('regproc'::regtype, 'regprocedure'::regtype, 'regoper'::regtype, 'regoperator'::regtype, 'regclass'::regtype,
		'regtype'::regtype, 'regrole'::regtype, 'regnamespace'::regtype, 'regconfig'::regtype, 'regdictionary'::regtype, coalesce(to_regtype('regcollation'), 0::oid))
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid
	LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
	AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
ORDER BY a.attrelid, a.attnum`

func readColumns(ctx context.Context, q Querier) (map[uint32][]shape.Column, error) {
	rows, err := q.Query(ctx, columnsSQL)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	byTable := map[uint32][]shape.Column{}
	for rows.Next() {
		var relid uint32
		var identity string
		var c shape.Column
		if err := rows.Scan(&relid, &c.Name, &c.TypeOID, &c.Type, &c.NotNull, &c.Generated, &identity, &c.TextCopy); err != nil {
			return nil, err
		}
		if identity != "" {
			c.Identity = identity[0]
		}
		byTable[relid] = append(byTable[relid], c)
	}
	return byTable, rows.Err()
}

const indexesSQL = `
SELECT i.indrelid, ic.relname, i.indisprimary, i.indisunique, i.indisvalid AND i.indisready, i.indimmediate, i.indpred IS NOT NULL, i.indexprs IS NOT NULL,
	ARRAY(SELECT coalesce(a.attname, '')::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
		LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0 WHERE k.n <= i.indnkeyatts ORDER BY k.n),
	NOT EXISTS (SELECT 1 FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
		LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.n <= i.indnkeyatts AND NOT coalesce(a.attnotnull, false)),
	EXISTS (SELECT FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
		JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.n <= i.indnkeyatts AND a.attgenerated <> ''),
	coalesce((SELECT conname FROM pg_constraint x WHERE x.conrelid = i.indrelid AND x.conindid = i.indexrelid AND x.contype IN ('p', 'u', 'x') LIMIT 1), '')
FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
ORDER BY i.indrelid, ic.relname`

func readIndexes(ctx context.Context, q Querier) (map[uint32][]shape.Index, error) {
	rows, err := q.Query(ctx, indexesSQL)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	byTable := map[uint32][]shape.Index{}
	for rows.Next() {
		var relid uint32
		var x shape.Index
		if err := rows.Scan(&relid, &x.Name, &x.Primary, &x.Unique, &x.Valid, &x.Immediate, &x.Partial, &x.Expressions, &x.Columns, &x.NotNull, &x.Generated, &x.Constraint); err != nil {
			return nil, err
		}
		byTable[relid] = append(byTable[relid], x)
	}
	return byTable, rows.Err()
}

func readForeignKeys(ctx context.Context, q Querier) (out, in map[uint32][]string, err error) {
	rows, err := q.Query(ctx, `SELECT conrelid, confrelid, conname FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 ORDER BY conname`)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	out, in = map[uint32][]string{}, map[uint32][]string{}
	for rows.Next() {
		var from, to uint32
		var name string
		if err := rows.Scan(&from, &to, &name); err != nil {
			return nil, nil, err
		}
		out[from] = append(out[from], name)
		in[to] = append(in[to], name)
	}
	return out, in, rows.Err()
}
