package pgkit

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// definedSQL: storage is told for what holds rows, and once for a table that is no partition tree.
const definedSQL = `
SELECT c.oid, n.nspname, c.relname, c.relreplident::text, c.relnatts::int,
	c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indisunique AND i.indimmediate
		AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident)),
	ARRAY(SELECT l.relid::oid::text || ':' || pg_relation_filenode(l.relid) FROM (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf
		UNION SELECT c.oid::regclass WHERE c.relkind = 'r') l WHERE pg_relation_filenode(l.relid) IS NOT NULL ORDER BY 1),
	ARRAY(SELECT ln.nspname::text || chr(1) || l.relname || chr(1) || coalesce(pg_get_partition_constraintdef(l.oid), 'true') FROM pg_partition_tree(c.oid) t JOIN pg_class l ON l.oid = t.relid JOIN pg_namespace ln ON ln.oid = l.relnamespace
		WHERE t.isleaf AND c.relkind = 'p' ORDER BY 1),
	ARRAY(SELECT 'c' || k.conname FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype IN ('c', 'p', 'u', 'x')
		UNION ALL SELECT 'i' || ic.relname FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid WHERE i.indrelid = c.oid AND i.indisunique
			AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.conindid = i.indexrelid) ORDER BY 1)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND `

// definedColumnsSQL: a root keeps no missing values itself, its leaves do. Leaves that do not agree on one have rows whose values
// the column's definition does not tell.
const definedColumnsSQL = `
SELECT a.attrelid, a.attname, a.attnum::int, a.atttypid, a.atttypmod, format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, -1),
	CASE WHEN a.attcollation <> 0 AND a.attcollation <> t.typcollation THEN format('%I.%I', cn.nspname, co.collname) ELSE '' END,
	a.attnotnull, CASE WHEN a.attgenerated = '' THEN coalesce(pg_get_expr(d.adbin, d.adrelid), '') ELSE '' END,
	CASE WHEN c.relkind = 'r' THEN (a.attmissingval::text::text[])[1] ELSE (
		SELECT min(m.v) FROM (SELECT DISTINCT (la.attmissingval::text::text[])[1] AS v FROM pg_partition_tree(c.oid) p
			JOIN pg_attribute la ON la.attrelid = p.relid AND la.attname = a.attname AND la.atthasmissing) m HAVING count(*) = 1) END,
	CASE a.attgenerated WHEN 's' THEN '(' || pg_get_expr(d.adbin, d.adrelid) || ') STORED' WHEN 'v' THEN '(' || pg_get_expr(d.adbin, d.adrelid) || ') VIRTUAL' ELSE '' END,
	CASE a.attidentity WHEN 'a' THEN 'ALWAYS AS IDENTITY' WHEN 'd' THEN 'BY DEFAULT AS IDENTITY' ELSE '' END
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation co ON co.oid = a.attcollation LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
WHERE a.attrelid = ANY ($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum`

// plainTextSQL has every name qualified and every value in one form, until the transaction ends.
const plainTextSQL = `SELECT set_config('search_path', '', true), set_config('DateStyle', 'ISO, YMD', true), set_config('IntervalStyle', 'postgres', true),
	set_config('TimeZone', 'UTC', true), set_config('extra_float_digits', '3', true), set_config('bytea_output', 'hex', true)`

// Definitions reads the named tables, plain ones and roots of partition trees; one that does not exist is not in the result.
// The transaction's settings for text are changed until its end.
func Definitions(ctx context.Context, tx pgx.Tx, names []ident.Table) (map[ident.Table]*shape.Definition, error) {
	schemas, tables := make([]string, len(names)), make([]string, len(names))
	for i, n := range names {
		schemas[i], tables[i] = n.Schema, n.Name
	}
	defined, err := definitions(ctx, tx, definedSQL+"(n.nspname, c.relname) IN (SELECT * FROM unnest($1::text[], $2::text[]))", schemas, tables)
	if err != nil {
		return nil, fmt.Errorf("read definitions: %w", err)
	}
	byName := make(map[ident.Table]*shape.Definition, len(defined))
	for _, d := range defined {
		byName[d.Table] = d
	}
	return byName, nil
}

// namesOfColumnsSQL asks for little, since it may run for very many tables while an application waits.
const namesOfColumnsSQL = `
SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND (a.attgenerated = '' OR $3)
WHERE c.relkind IN ('r', 'p') AND (n.nspname, c.relname) IN (SELECT * FROM unnest($1::text[], $2::text[])) GROUP BY 1, 2`

// Columns are the names of the columns that the tables have now, in their order, generated ones only where they are asked for. A
// table that does not exist, or has none, is not in the result.
func Columns(ctx context.Context, q Querier, names []ident.Table, generated bool) (map[ident.Table][]string, error) {
	schemas, tables := make([]string, len(names)), make([]string, len(names))
	for i, n := range names {
		schemas[i], tables[i] = n.Schema, n.Name
	}
	rows, err := q.Query(ctx, namesOfColumnsSQL, schemas, tables, generated)
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	found := map[ident.Table][]string{}
	var t ident.Table
	var columns []string
	_, err = pgx.ForEachRow(rows, []any{&t.Schema, &t.Name, &columns}, func() error {
		found[t], columns = columns, nil
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read columns: %w", err)
	}
	return found, nil
}

// DefinitionOf is Definitions for the table with this OID, whatever its name is now; nil if it does not exist.
func DefinitionOf(ctx context.Context, tx pgx.Tx, oid uint32) (*shape.Definition, error) {
	defined, err := definitions(ctx, tx, definedSQL+"c.oid = $1", oid)
	if err != nil {
		return nil, fmt.Errorf("read definition of relation %d: %w", oid, err)
	}
	return defined[oid], nil
}

func definitions(ctx context.Context, tx pgx.Tx, sql string, args ...any) (map[uint32]*shape.Definition, error) {
	if _, err := tx.Exec(ctx, plainTextSQL); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	defined := map[uint32]*shape.Definition{}
	var oids []uint32
	var d shape.Definition
	var identity string
	var leaves, rules []string
	_, err = pgx.ForEachRow(rows, []any{&d.OID, &d.Table.Schema, &d.Table.Name, &identity, &d.Numbers, &d.Findable, &d.Files, &leaves, &rules}, func() error {
		one := d
		one.Identity, one.Leaves = identity[0], splitLeaves(leaves)
		one.Files = append([]string(nil), d.Files...)
		for _, r := range rules {
			one.Rules = append(one.Rules, shape.Rule{Name: r[1:], Index: r[0] == 'i'})
		}
		defined[one.OID] = &one
		oids = append(oids, one.OID)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return defined, readDefinedColumns(ctx, tx, oids, defined)
}

func splitLeaves(joined []string) []shape.DefinedLeaf {
	var leaves []shape.DefinedLeaf
	for _, j := range joined {
		if parts := strings.SplitN(j, "\x01", 3); len(parts) == 3 {
			leaves = append(leaves, shape.DefinedLeaf{Table: ident.Table{Schema: parts[0], Name: parts[1]}, Bounds: parts[2]})
		}
	}
	return leaves
}

func readDefinedColumns(ctx context.Context, tx pgx.Tx, oids []uint32, into map[uint32]*shape.Definition) error {
	rows, err := tx.Query(ctx, definedColumnsSQL, oids)
	if err != nil {
		return err
	}
	var relid uint32
	var c shape.DefinedColumn
	_, err = pgx.ForEachRow(rows, []any{&relid, &c.Name, &c.Number, &c.TypeOID, &c.Modifier, &c.Type, &c.BaseType, &c.Collation, &c.NotNull, &c.Default,
		&c.Missing, &c.Generated, &c.Identity}, func() error {
		into[relid].Columns = append(into[relid].Columns, c)
		return nil
	})
	return err
}

// TypeNames names types of this server. One that does not exist is not in the result.
func TypeNames(ctx context.Context, tx pgx.Tx, refs []shape.TypeRef) (map[shape.TypeRef]shape.TypeName, error) {
	oids, modifiers := make([]uint32, len(refs)), make([]int32, len(refs))
	for i, r := range refs {
		oids[i], modifiers[i] = r.OID, r.Modifier
	}
	if _, err := tx.Exec(ctx, plainTextSQL); err != nil {
		return nil, err
	}
	rows, err := tx.Query(ctx, `SELECT w.oid, w.modifier, format_type(w.oid, w.modifier), format_type(w.oid, -1)
		FROM unnest($1::oid[], $2::int4[]) w(oid, modifier) JOIN pg_type t ON t.oid = w.oid`, oids, modifiers)
	if err != nil {
		return nil, err
	}
	names := map[shape.TypeRef]shape.TypeName{}
	var ref shape.TypeRef
	var name shape.TypeName
	_, err = pgx.ForEachRow(rows, []any{&ref.OID, &ref.Modifier, &name.Full, &name.Base}, func() error {
		names[ref] = name
		return nil
	})
	return names, err
}

// Enums reads all enum types that no extension brought, in order of name.
func Enums(ctx context.Context, q Querier) ([]shape.Enum, error) {
	rows, err := q.Query(ctx, `SELECT n.nspname, t.typname, array_agg(e.enumlabel::text ORDER BY e.enumsortorder)
		FROM pg_enum e JOIN pg_type t ON t.oid = e.enumtypid JOIN pg_namespace n ON n.oid = t.typnamespace
		WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_type'::regclass AND d.objid = t.oid AND d.deptype = 'e')
		GROUP BY 1, 2 ORDER BY 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("read enum types: %w", err)
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (e shape.Enum, err error) {
		err = row.Scan(&e.Schema, &e.Name, &e.Labels)
		return e, err
	})
}
