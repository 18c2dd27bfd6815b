package schemadiff

import (
	"strings"

	"timeferry/internal/contract"
)

// query reads one kind of object. Its columns are the head (oid, sub, relid, schema, name, suffix, owner), then the
// properties, named as people shall read them.
type query struct {
	kind  Kind
	class string // the catalogue that comments and grants refer to
	sql   string
	from  int // the first server version that has it; 0: all
	// variants are put in place of their mark.
	variants []variant
}

// variant is text for servers from a version on, and what stands in for it before.
type variant struct {
	mark         string
	from         int
	text, before string
}

func (q query) text(version int) string {
	sql := q.sql
	for _, v := range q.variants {
		text := v.before
		if version >= v.from {
			text = v.text
		}
		sql = strings.ReplaceAll(sql, v.mark, text)
	}
	return sql
}

// queries in an order that has nothing to say: Compare sorts.
var queries = joined(relationQueries, memberQueries, codeQueries, otherQueries)

func joined(lists ...[]query) []query {
	var all []query
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// prelude is in front of every query: ext are the members of extensions, ns the schemas that count, rel the relations in them.
// The ledger's schema and TimescaleDB's own do not count; those of other extensions may hold a person's objects. Run with an
// empty search_path, so that every name here is pg_catalog's.
const prelude = `
WITH ext AS MATERIALIZED (
	SELECT d.classid, d.objid, x.extname FROM pg_depend d JOIN pg_extension x ON x.oid = d.refobjid WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass),
ns AS MATERIALIZED (
	SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_namespace n
	WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname NOT IN ('information_schema', '` + contract.LedgerSchema + `')
		AND NOT EXISTS (SELECT FROM ext e WHERE e.classid = 'pg_namespace'::regclass AND e.objid = n.oid AND e.extname LIKE 'timescaledb%')),
rel AS MATERIALIZED (
	SELECT c.*, n.nspname FROM pg_class c JOIN ns n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S', 'c') AND c.relpersistence <> 't'
		AND NOT EXISTS (SELECT FROM ext e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid))
`

const commentsSQL = `
SELECT c.relname, d.objoid, d.objsubid, d.description FROM pg_description d JOIN pg_class c ON c.oid = d.classoid
WHERE (d.objoid >= 16384 OR d.classoid = 'pg_namespace'::regclass) AND NOT EXISTS (SELECT FROM ext e WHERE e.classid = d.classoid AND e.objid = d.objoid)`

// grantsSQL: per grantee the privileges that are not those which the object would have by itself. A default privilege that was
// revoked gives an empty list.
const grantsSQL = `,
acls(class, oid, sub, owner, acl, original) AS (
	SELECT 'pg_namespace', n.oid, 0, n.nspowner, n.nspacl, acldefault('n', n.nspowner) FROM ns n
	UNION ALL SELECT 'pg_class', c.oid, 0, c.relowner, c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's'::"char" ELSE 'r'::"char" END, c.relowner) FROM rel c
	UNION ALL SELECT 'pg_class', a.attrelid, a.attnum, c.relowner, a.attacl, NULL FROM pg_attribute a JOIN rel c ON c.oid = a.attrelid WHERE a.attnum > 0 AND NOT a.attisdropped
	UNION ALL SELECT 'pg_proc', p.oid, 0, p.proowner, p.proacl, acldefault('f', p.proowner) FROM pg_proc p JOIN ns n ON n.oid = p.pronamespace
	UNION ALL SELECT 'pg_type', t.oid, 0, t.typowner, t.typacl, acldefault('T', t.typowner) FROM pg_type t JOIN ns n ON n.oid = t.typnamespace
	UNION ALL SELECT 'pg_language', l.oid, 0, l.lanowner, l.lanacl, acldefault('l', l.lanowner) FROM pg_language l
	UNION ALL SELECT 'pg_foreign_data_wrapper', w.oid, 0, w.fdwowner, w.fdwacl, acldefault('F', w.fdwowner) FROM pg_foreign_data_wrapper w
	UNION ALL SELECT 'pg_foreign_server', s.oid, 0, s.srvowner, s.srvacl, acldefault('S', s.srvowner) FROM pg_foreign_server s
	UNION ALL SELECT 'pg_default_acl', d.oid, 0, d.defaclrole, d.defaclacl,
		CASE WHEN d.defaclnamespace = 0 THEN acldefault(CASE d.defaclobjtype WHEN 'S' THEN 's'::"char" ELSE d.defaclobjtype END, d.defaclrole) END FROM pg_default_acl d)
SELECT class, oid, sub, coalesce(CASE WHEN grantee = owner THEN '(owner)' WHEN grantee = 0 THEN 'PUBLIC' END, pg_get_userbyid(grantee)),
	coalesce(string_agg(word, ', ' ORDER BY word COLLATE "C") FILTER (WHERE now), '')
FROM (SELECT a.class, a.oid, a.sub, a.owner, x.grantee, x.now, x.privilege_type || CASE WHEN bool_or(x.is_grantable) THEN '*' ELSE '' END AS word
	FROM acls a, LATERAL (SELECT grantee, privilege_type, is_grantable, true AS now FROM aclexplode(a.acl)
		UNION ALL SELECT grantee, privilege_type, is_grantable, false FROM aclexplode(a.original)) x
	WHERE a.acl IS NOT NULL GROUP BY a.class, a.oid, a.sub, a.owner, x.grantee, x.now, x.privilege_type) w
GROUP BY class, oid, sub, owner, grantee
HAVING string_agg(word, ', ' ORDER BY word COLLATE "C") FILTER (WHERE now) IS DISTINCT FROM string_agg(word, ', ' ORDER BY word COLLATE "C") FILTER (WHERE NOT now)`
