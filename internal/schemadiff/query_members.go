package schemadiff

// memberQueries: what belongs to a relation.
var memberQueries = []query{
	// The index of a partitioned table reads "… ON ONLY table"; the word says nothing that the table's kind does not say. Both
	// beginnings are made, so that it can be left out by exact comparison. OFFSET 0 has each definition made once only.
	{kind: Index, class: "pg_class", sql: `
SELECT i.indexrelid, 0, i.indrelid, i.nspname, i.relname, '', '',
	CASE WHEN starts_with(i.definition, i.head || 'ONLY ' || i.rest) THEN i.head || substr(i.definition, length(i.head || 'ONLY ') + 1) ELSE i.definition END AS "definition",
	i.indisvalid AS "valid", i.indisclustered AS "clustered",
	(SELECT p.inhparent::regclass::text FROM pg_inherits p WHERE p.inhrelid = i.indexrelid) AS "attached to",
	(SELECT string_agg(a.attnum || ': ' || a.attstattarget, ', ' ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = i.indexrelid AND a.attstattarget >= 0) AS "statistics targets",
	i.indisunique AS "_unique",
	to_json(ARRAY(SELECT coalesce(a.attname, '')::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k(attnum, n)
		LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.attnum > 0 WHERE k.n <= i.indnkeyatts ORDER BY k.n)) AS "_columns"
FROM (SELECT x.*, ic.relname, r.nspname, pg_get_indexdef(x.indexrelid) AS definition,
		format('CREATE %sINDEX %I ON ', CASE WHEN x.indisunique THEN 'UNIQUE ' ELSE '' END, ic.relname) AS head, format('%I.%I USING ', r.nspname, r.relname) AS rest
	FROM pg_index x JOIN pg_class ic ON ic.oid = x.indexrelid JOIN rel r ON r.oid = x.indrelid OFFSET 0) i`},

	// Foreign keys with a parent are made by PostgreSQL itself, under names of its own choice: the parent is compared.
	{kind: Constraint, class: "pg_constraint", sql: `
SELECT k.oid, 0, k.conrelid, '', k.conname, '', '',
	` + constraintProperties + `, k.conislocal AS "local",
	k.contype IN ('p', 'u') AS "_unique", k.contype = 'f' AS "_foreign", k.confrelid AS "_refers to",
	to_json(ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(attnum, n) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum ORDER BY u.n)) AS "_columns"
FROM pg_constraint k JOIN rel c ON c.oid = k.conrelid WHERE k.contype NOT IN ('t', 'n') AND NOT (k.contype = 'f' AND k.conparentid <> 0)`},

	{kind: Constraint, class: "pg_constraint", sql: `
SELECT k.oid, 0, 0, '', k.conname, format(' on domain %I.%I', n.nspname, t.typname), '', ` + constraintProperties + `
FROM pg_constraint k JOIN pg_type t ON t.oid = k.contypid JOIN ns n ON n.oid = t.typnamespace
WHERE k.contype <> 'n' AND NOT EXISTS (SELECT FROM ext e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid)`},

	{kind: NotNullConstraint, class: "pg_constraint", from: 180000, sql: `
SELECT k.oid, 0, k.conrelid, '', k.conname, '', '', ` + constraintProperties + `, k.conislocal AS "local",
	(SELECT a.attname FROM pg_attribute a WHERE a.attrelid = k.conrelid AND a.attnum = k.conkey[1]) AS "_column"
FROM pg_constraint k JOIN rel c ON c.oid = k.conrelid WHERE k.contype = 'n'`},

	// Copies on partitions are PostgreSQL's own.
	{kind: Trigger, class: "pg_trigger", sql: `
SELECT t.oid, 0, t.tgrelid, '', t.tgname, '', '', pg_get_triggerdef(t.oid) AS "definition", ` + enabledWord("t.tgenabled") + ` AS "enabled"
FROM pg_trigger t JOIN rel c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal{parent}`,
		variants: []variant{{mark: "{parent}", from: 130000, text: " AND t.tgparentid = 0"}}},

	{kind: Rule, class: "pg_rewrite", sql: `
SELECT r.oid, 0, r.ev_class, '', r.rulename, '', '', pg_get_ruledef(r.oid) AS "definition", ` + enabledWord("r.ev_enabled") + ` AS "enabled"
FROM pg_rewrite r JOIN rel c ON c.oid = r.ev_class WHERE r.rulename <> '_RETURN'`},

	{kind: Policy, class: "pg_policy", sql: `
SELECT p.oid, 0, p.polrelid, '', p.polname, '', '',
	CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' WHEN 'd' THEN 'delete' ELSE 'all' END AS "command",
	p.polpermissive AS "permissive", pg_get_expr(p.polqual, p.polrelid) AS "using", pg_get_expr(p.polwithcheck, p.polrelid) AS "with check",
	to_json(ARRAY(SELECT CASE u WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(u) END FROM unnest(p.polroles) u)) AS "roles"
FROM pg_policy p JOIN rel c ON c.oid = p.polrelid`},

	{kind: Statistics, class: "pg_statistic_ext", sql: `
SELECT s.oid, 0, s.stxrelid, n.nspname, s.stxname, '', pg_get_userbyid(s.stxowner), pg_get_statisticsobjdef(s.oid) AS "definition"{target}
FROM pg_statistic_ext s JOIN ns n ON n.oid = s.stxnamespace JOIN rel c ON c.oid = s.stxrelid`,
		variants: []variant{{mark: "{target}", from: 130000, text: `, nullif(s.stxstattarget, -1) AS "statistics target"`}}},
}

// constraintProperties: that a constraint is not validated is said apart from its definition.
const constraintProperties = `CASE WHEN NOT k.convalidated AND right(pg_get_constraintdef(k.oid), 10) = ' NOT VALID' THEN left(pg_get_constraintdef(k.oid), -10)
		ELSE pg_get_constraintdef(k.oid) END AS "definition", k.convalidated AS "validated"`

// enabledWord is ALTER TABLE's.
func enabledWord(column string) string {
	return `CASE ` + column + ` WHEN 'O' THEN 'enabled' WHEN 'D' THEN 'disabled' WHEN 'R' THEN 'replica' ELSE 'always' END`
}
