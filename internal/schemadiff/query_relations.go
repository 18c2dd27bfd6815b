package schemadiff

const sortedOptions = `array_to_string(ARRAY(SELECT o FROM unnest(c.reloptions) o ORDER BY o COLLATE "C"), ', ')`

// relationQueries: schemas, and what has a row in pg_class of its own.
var relationQueries = []query{
	{kind: Schema, class: "pg_namespace", sql: `
SELECT n.oid, 0, 0, '', n.nspname, '', pg_get_userbyid(n.nspowner) FROM ns n
WHERE NOT EXISTS (SELECT FROM ext e WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid)`},

	{kind: Table, class: "pg_class", sql: `
SELECT c.oid, 0, c.oid, c.nspname, c.relname, '', pg_get_userbyid(c.relowner),
	CASE c.relkind WHEN 'p' THEN 'partitioned' WHEN 'f' THEN 'foreign' ELSE 'plain' END AS "kind",
	CASE c.relpersistence WHEN 'u' THEN 'unlogged' ELSE 'permanent' END AS "persistence",
	` + sortedOptions + ` AS "options",
	array_to_string(ARRAY(SELECT o FROM unnest(toast.reloptions) o ORDER BY o COLLATE "C"), ', ') AS "TOAST options",
	pg_get_partkeydef(c.oid) AS "partition key",
	pg_get_expr(c.relpartbound, c.oid) AS "partition bound",
	(SELECT string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = c.oid) AS "parents",
	c.relrowsecurity AS "row security", c.relforcerowsecurity AS "forced row security",
	CASE c.relreplident WHEN 'd' THEN 'default' WHEN 'n' THEN 'nothing' WHEN 'f' THEN 'full' ELSE 'index ' || (
		SELECT x.indexrelid::regclass::text FROM pg_index x WHERE x.indrelid = c.oid AND x.indisreplident) END AS "replica identity",
	CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END AS "of type",
	f.server AS "foreign server", f.options AS "foreign options"
FROM rel c LEFT JOIN pg_class toast ON toast.oid = c.reltoastrelid
LEFT JOIN (SELECT t.ftrelid, s.srvname AS server, ` + digestOf("t.ftoptions") + ` AS options FROM pg_foreign_table t JOIN pg_foreign_server s ON s.oid = t.ftserver) f ON f.ftrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'f')`},

	{kind: View, class: "pg_class", sql: `
SELECT c.oid, 0, c.oid, c.nspname, c.relname, '', pg_get_userbyid(c.relowner),
	` + sortedOptions + ` AS "options", pg_get_viewdef(c.oid) AS "definition"
FROM rel c WHERE c.relkind = 'v'`},

	{kind: MaterializedView, class: "pg_class", sql: `
SELECT c.oid, 0, c.oid, c.nspname, c.relname, '', pg_get_userbyid(c.relowner),
	` + sortedOptions + ` AS "options", pg_get_viewdef(c.oid) AS "definition", c.relispopulated AS "populated"
FROM rel c WHERE c.relkind = 'm'`},

	// A sequence belongs to the table whose column owns it.
	{kind: Sequence, class: "pg_class", sql: `
SELECT c.oid, 0, coalesce(d.refobjid, 0), c.nspname, c.relname, '', pg_get_userbyid(c.relowner),
	format_type(s.seqtypid, NULL) AS "type", s.seqstart AS "start", s.seqincrement AS "increment", s.seqmin AS "minimum", s.seqmax AS "maximum",
	s.seqcache AS "cache", s.seqcycle AS "cycle",
	CASE d.deptype WHEN 'i' THEN 'identity ' WHEN 'a' THEN 'owned ' END || d.refobjid::regclass::text || '.' || quote_ident(a.attname) AS "belongs to"
FROM rel c JOIN pg_sequence s ON s.seqrelid = c.oid
LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0
LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid`},

	// pg_attver is a stamp that newer minor releases keep among the options for themselves; pg_dump leaves it out, too.
	{kind: Column, class: "pg_class", sql: `
SELECT a.attrelid, a.attnum, a.attrelid, '', a.attname, '', '',
	row_number() OVER (PARTITION BY a.attrelid ORDER BY a.attnum) AS "_position",
	format_type(a.atttypid, a.atttypmod) AS "type",
	CASE WHEN a.attcollation <> t.typcollation THEN format('%I.%I', cn.nspname, co.collname) END AS "collation",
	a.attnotnull AS "not null",
	CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END AS "default",
	CASE a.attgenerated WHEN 's' THEN 'stored ' || pg_get_expr(d.adbin, d.adrelid) WHEN 'v' THEN 'virtual ' || pg_get_expr(d.adbin, d.adrelid) END AS "generated",
	CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END AS "identity",
	CASE WHEN a.attstorage <> t.typstorage THEN CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external' WHEN 'm' THEN 'main' ELSE 'extended' END END AS "storage",
	nullif(a.attstattarget, -1) AS "statistics target",
	array_to_string(ARRAY(SELECT o FROM unnest(a.attoptions) o WHERE split_part(o, '=', 1) <> 'pg_attver' ORDER BY o COLLATE "C"), ', ') AS "options", ` + digestOf("a.attfdwoptions") + ` AS "foreign options",
	a.attislocal AS "local"{compression}
FROM rel c JOIN pg_attribute a ON a.attrelid = c.oid JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_collation co ON co.oid = a.attcollation LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
WHERE c.relkind <> 'S' AND a.attnum > 0 AND NOT a.attisdropped`,
		variants: []variant{{mark: "{compression}", from: 140000,
			text: `, CASE a.attcompression WHEN 'p' THEN 'pglz' WHEN 'l' THEN 'lz4' END AS "compression"`}}},
}

// digestOf shows the names of options, and of their values a digest only: they may hold secrets.
func digestOf(options string) string {
	return `(SELECT string_agg(split_part(o, '=', 1), ', ' ORDER BY o COLLATE "C") || ' (values md5 ' || md5(string_agg(o, ',' ORDER BY o COLLATE "C")) || ')' FROM unnest(` + options + `) o)`
}
