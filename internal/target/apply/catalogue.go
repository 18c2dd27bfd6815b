package apply

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// table is a table of the target, as far as the apply must know it.
type table struct {
	oid  uint32
	name ident.Table
	// only is "ONLY " for a plain table, whose inheritance children are tables of their own in the stream; empty for
	// hypertables and partition roots, which hold no rows themselves.
	only        string
	hypertable  bool
	partitioned bool
	columns     []column
	// routing are the columns that choose the chunk or partition. An update cannot change them on a hypertable.
	routing []string
	// uniques are the column sets of usable unique indexes over NOT NULL columns, the primary key first.
	uniques [][]string
	// together is true when more than one index makes sure of something: rows with different keys may then stand in each other's way.
	together bool
	// referencedBy are the tables with a foreign key to this one.
	referencedBy []uint32

	// done is what this batch does to it, and lastCommit the FinalLSN of the last transaction that was counted.
	done       done
	lastCommit change.LSN
}

type column struct {
	name      string
	typeOID   uint32
	modifier  int32
	cast      string // the type's qualified name without modifier, so that a cast to it cannot cut or round a value
	equal     string // the type's equality operator, qualified; "" if it has none
	loose     bool   // equal values may differ in their text: 1.0 and 1.00, 0 and -0
	always    bool   // GENERATED ALWAYS AS IDENTITY: an UPDATE cannot set it
	generated bool   // GENERATED ALWAYS AS (…)
	required  bool   // NOT NULL without a default
}

func (t *table) column(name string) *column {
	for i := range t.columns {
		if t.columns[i].name == name {
			return &t.columns[i]
		}
	}
	return nil
}

// loadTables reads the named tables; those that do not exist are not in the result.
func loadTables(ctx context.Context, q pgkit.Querier, names []ident.Table, hypertables map[ident.Table]bool) (map[ident.Table]*table, error) {
	tables, oids, err := readTables(ctx, q, names)
	if err != nil {
		return nil, fmt.Errorf("read the target's tables: %w", err)
	}
	byOID := map[uint32]*table{}
	for _, t := range tables {
		byOID[t.oid] = t
	}
	if err := readColumns(ctx, q, oids, byOID); err != nil {
		return nil, fmt.Errorf("read the target's columns: %w", err)
	}
	if err := readUniques(ctx, q, oids, byOID); err != nil {
		return nil, fmt.Errorf("read the target's unique indexes: %w", err)
	}
	if err := readTogether(ctx, q, oids, byOID); err != nil {
		return nil, fmt.Errorf("count the target's unique indexes: %w", err)
	}
	if err := readReferences(ctx, q, oids, byOID); err != nil {
		return nil, fmt.Errorf("read the target's foreign keys: %w", err)
	}
	if err := readDimensions(ctx, q, tables); err != nil {
		return nil, fmt.Errorf("read the target's hypertables: %w", err)
	}
	for name, declared := range hypertables {
		if t := tables[name]; t != nil && declared {
			t.hypertable = true
		}
	}
	for _, t := range tables {
		if t.hypertable {
			t.only = ""
		}
	}
	return tables, nil
}

const tablesSQL = `SELECT c.oid, n.nspname, c.relname, c.relkind = 'p',
	ARRAY(SELECT a.attname::text FROM pg_partitioned_table p, unnest(p.partattrs::int2[]) k(attnum)
		JOIN pg_attribute a ON a.attnum = k.attnum WHERE p.partrelid = c.oid AND a.attrelid = c.oid AND k.attnum > 0)
FROM unnest($1::text[], $2::text[]) w(schema_name, table_name) JOIN pg_namespace n ON n.nspname = w.schema_name
JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.table_name WHERE c.relkind IN ('r', 'p', 'f')`

func readTables(ctx context.Context, q pgkit.Querier, names []ident.Table) (map[ident.Table]*table, []uint32, error) {
	schemas, relations := make([]string, len(names)), make([]string, len(names))
	for i, n := range names {
		schemas[i], relations[i] = n.Schema, n.Name
	}
	rows, err := q.Query(ctx, tablesSQL, schemas, relations)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	tables := map[ident.Table]*table{}
	var oids []uint32
	for rows.Next() {
		t := &table{only: "ONLY "}
		if err := rows.Scan(&t.oid, &t.name.Schema, &t.name.Name, &t.partitioned, &t.routing); err != nil {
			return nil, nil, err
		}
		if t.partitioned {
			t.only = ""
		}
		tables[t.name] = t
		oids = append(oids, t.oid)
	}
	return tables, oids, rows.Err()
}

// typesSQL finds each type's equality as its default operator class has it, so that no search_path is needed. Arrays
// are as comparable as their elements. Composites may hold anything: they count as not comparable.
const typesSQL = `
WITH RECURSIVE domains(domain, base) AS (
	SELECT oid, typbasetype FROM pg_type WHERE typtype = 'd'
	UNION ALL SELECT d.domain, t.typbasetype FROM domains d JOIN pg_type t ON t.oid = d.base WHERE t.typtype = 'd'),
operators AS (
	SELECT DISTINCT ON (c.opcintype) c.opcintype AS type, format('OPERATOR(%I.%s)', n.nspname, o.oprname) AS equal
	FROM pg_opclass c JOIN pg_am m ON m.oid = c.opcmethod
	JOIN pg_amop x ON x.amopfamily = c.opcfamily AND x.amoplefttype = c.opcintype AND x.amoprighttype = c.opcintype
		AND x.amopstrategy = CASE m.amname WHEN 'btree' THEN 3 ELSE 1 END
	JOIN pg_operator o ON o.oid = x.amopopr JOIN pg_namespace n ON n.oid = o.oprnamespace
	WHERE c.opcdefault AND m.amname IN ('btree', 'hash') ORDER BY c.opcintype, m.amname),
types AS (
	SELECT t.oid, b.oid AS base, b.typtype, CASE WHEN b.typcategory = 'A' AND b.typlen = -1 THEN b.typelem ELSE 0::oid END AS element,
		coalesce(o.equal, CASE WHEN b.typtype IN ('e', 'r', 'm') OR b.oid IN (1043, 650) THEN 'OPERATOR(pg_catalog.=)' END) AS equal
	FROM pg_type t JOIN pg_type b ON b.oid = coalesce((SELECT d.base FROM domains d JOIN pg_type y ON y.oid = d.base WHERE d.domain = t.oid AND y.typtype <> 'd'), t.oid)
	LEFT JOIN operators o ON o.type = b.oid)
`

const columnsSQL = typesSQL + `
SELECT a.attrelid, a.attname, a.atttypid, a.atttypmod, format_type(a.atttypid, -1),
	coalesce(t.equal, CASE WHEN e.equal IS NOT NULL THEN 'OPERATOR(pg_catalog.=)' END, ''),
	t.typtype <> 'e' AND (t.base <> ALL (ARRAY[16, 17, 18, 19, 20, 21, 23, 25, 26, 1043, 1082, 1083, 1114, 1184, 2950]::oid[]) OR NOT coalesce(l.collisdeterministic, true)),
	a.attidentity = 'a', a.attgenerated <> '', a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AND a.attgenerated = ''
FROM pg_attribute a JOIN types t ON t.oid = a.atttypid LEFT JOIN types e ON e.oid = t.element LEFT JOIN pg_collation l ON l.oid = a.attcollation
WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum`

func readColumns(ctx context.Context, q pgkit.Querier, oids []uint32, tables map[uint32]*table) error {
	rows, err := q.Query(ctx, columnsSQL, oids)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var relid uint32
		var c column
		if err := rows.Scan(&relid, &c.name, &c.typeOID, &c.modifier, &c.cast, &c.equal, &c.loose, &c.always, &c.generated, &c.required); err != nil {
			return err
		}
		tables[relid].columns = append(tables[relid].columns, c)
	}
	return rows.Err()
}

const uniquesSQL = `SELECT i.indrelid, ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
	JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.n <= i.indnkeyatts ORDER BY k.n)
FROM pg_index i WHERE i.indrelid = ANY ($1) AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
	AND NOT EXISTS (SELECT 1 FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
		JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.n <= i.indnkeyatts AND NOT a.attnotnull)
ORDER BY i.indrelid, i.indisprimary DESC, i.indnkeyatts, i.indexrelid`

func readUniques(ctx context.Context, q pgkit.Querier, oids []uint32, tables map[uint32]*table) error {
	rows, err := q.Query(ctx, uniquesSQL, oids)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var relid uint32
		var columns []string
		if err := rows.Scan(&relid, &columns); err != nil {
			return err
		}
		tables[relid].uniques = append(tables[relid].uniques, columns)
	}
	return rows.Err()
}

// togetherSQL counts what uniquesSQL leaves out too: partial and deferrable indexes, those with NULLs, and exclusion constraints.
const togetherSQL = "SELECT indrelid FROM pg_index WHERE indrelid = ANY ($1) AND (indisunique OR indisexclusion) GROUP BY indrelid HAVING count(*) > 1"

func readTogether(ctx context.Context, q pgkit.Querier, oids []uint32, tables map[uint32]*table) error {
	rows, err := q.Query(ctx, togetherSQL, oids)
	if err != nil {
		return err
	}
	var relid uint32
	_, err = pgx.ForEachRow(rows, []any{&relid}, func() error {
		tables[relid].together = true
		return nil
	})
	return err
}

func readReferences(ctx context.Context, q pgkit.Querier, oids []uint32, tables map[uint32]*table) error {
	rows, err := q.Query(ctx, "SELECT confrelid, conrelid FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 AND confrelid = ANY ($1)", oids)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var to, from uint32
		if err := rows.Scan(&to, &from); err != nil {
			return err
		}
		tables[to].referencedBy = append(tables[to].referencedBy, from)
	}
	return rows.Err()
}

// readDimensions finds hypertables and the columns that choose their chunks. A target without TimescaleDB has none.
func readDimensions(ctx context.Context, q pgkit.Querier, tables map[ident.Table]*table) error {
	var exists bool
	if err := q.QueryRow(ctx, "SELECT to_regclass('timescaledb_information.dimensions') IS NOT NULL").Scan(&exists); err != nil || !exists {
		return err
	}
	rows, err := q.Query(ctx, "SELECT hypertable_schema::text, hypertable_name::text, column_name::text FROM timescaledb_information.dimensions ORDER BY 1, 2, dimension_number")
	if err != nil {
		return err
	}
	var name ident.Table
	var dimension string
	_, err = pgx.ForEachRow(rows, []any{&name.Schema, &name.Name, &dimension}, func() error {
		if t := tables[name]; t != nil {
			t.hypertable = true
			t.routing = append(t.routing, dimension)
		}
		return nil
	})
	return err
}
