package prepare

import (
	"context"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
)

// notablesSQL reads kind, table and name, in plan's words for the kinds. Members of extensions come with their extension,
// what a partition has from its root is the root's, and the functions of a range type are made with the type.
const notablesSQL = `
WITH member AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
tables AS (SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence, c.relrowsecurity, c.reltablespace, c.relispopulated
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
		AND NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)),
found(kind, schema, relation, name) AS (
	SELECT 'rule', t.nspname::text, t.relname::text, r.rulename::text FROM pg_rewrite r JOIN tables t ON t.oid = r.ev_class WHERE r.rulename <> '_RETURN' AND t.relkind IN ('r', 'p')
	UNION ALL SELECT 'row security', nspname, relname, '' FROM tables WHERE relrowsecurity
	UNION ALL SELECT 'exclusion constraint', t.nspname, t.relname, k.conname FROM pg_constraint k JOIN tables t ON t.oid = k.conrelid
		WHERE k.contype = 'x' AND k.conparentid = 0
	UNION ALL SELECT 'deferrable constraint', t.nspname, t.relname, k.conname FROM pg_constraint k JOIN tables t ON t.oid = k.conrelid
		WHERE k.condeferrable AND k.contype IN ('p', 'u', 'x', 'f') AND k.conparentid = 0
	UNION ALL SELECT 'virtual column', t.nspname, t.relname, a.attname FROM pg_attribute a JOIN tables t ON t.oid = a.attrelid
		WHERE a.attgenerated = 'v' AND NOT a.attisdropped AND t.relkind IN ('r', 'p')
	UNION ALL SELECT 'materialized view', nspname, relname, '' FROM tables WHERE relkind = 'm' AND relispopulated
	UNION ALL SELECT 'tablespace', nspname, relname, '' FROM tables WHERE reltablespace <> 0 AND relkind IN ('r', 'p', 'm', 'i', 'I')
	UNION ALL SELECT 'temporary table', '', '', c.relname FROM pg_class c WHERE c.relpersistence = 't' AND c.relkind IN ('r', 'p')
	UNION ALL SELECT 'event trigger', '', '', e.evtname FROM pg_event_trigger e
		WHERE NOT EXISTS (SELECT FROM member m WHERE m.classid = 'pg_event_trigger'::regclass AND m.objid = e.oid)
	UNION ALL SELECT 'security label', '', '', objtype || ' ' || objname || ' (' || provider || ')' FROM pg_seclabels
		WHERE objtype NOT IN ('database', 'role', 'tablespace')
	UNION ALL SELECT 'publication', '', '', pubname FROM pg_publication
	UNION ALL SELECT 'subscription', '', '', subname FROM pg_subscription WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
	UNION ALL SELECT 'user mapping', '', '', srvname || ' for ' || usename FROM pg_user_mappings
	UNION ALL SELECT 'database setting', '', '', split_part(s, '=', 1) FROM pg_db_role_setting d, unnest(d.setconfig) s
		WHERE d.setrole = 0 AND d.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
	UNION ALL SELECT 'superuser object', '', '', i.type || ' ' || i.identity FROM (
		SELECT 'pg_proc'::regclass::oid, p.oid FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE NOT l.lanpltrusted
		UNION ALL SELECT 'pg_type'::regclass, oid FROM pg_type WHERE typtype = 'b' AND typcategory <> 'A'
		UNION ALL SELECT 'pg_opclass'::regclass, oid FROM pg_opclass
		UNION ALL SELECT 'pg_am'::regclass, oid FROM pg_am
		UNION ALL SELECT 'pg_cast'::regclass, oid FROM pg_cast WHERE castmethod = 'b'
		UNION ALL SELECT 'pg_ts_parser'::regclass, oid FROM pg_ts_parser
		UNION ALL SELECT 'pg_ts_template'::regclass, oid FROM pg_ts_template
		UNION ALL SELECT 'pg_language'::regclass, oid FROM pg_language
		UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid FROM pg_foreign_data_wrapper
	) o(classid, objid), LATERAL pg_identify_object(o.classid, o.objid, 0) i
		WHERE o.objid >= 16384 AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype IN ('e', 'i')))
SELECT kind, schema, relation, name FROM found ORDER BY 1, 2, 3, 4`

// readNotables keeps what belongs to no table, and what belongs to a table in scope.
func readNotables(ctx context.Context, conn *pgx.Conn, scope contract.Tables, f *plan.SourceFacts) error {
	var n plan.Notable
	return each(ctx, conn, notablesSQL, []any{&n.Kind, &n.Table.Schema, &n.Table.Name, &n.Name}, func() {
		table := n.Table
		if root, isPartition := f.Partitions[table]; isPartition {
			table = root
		}
		if table == (ident.Table{}) || scope.Includes(table) {
			f.Notables = append(f.Notables, n)
		}
	})
}

// quotedNamesSQL: a name needs quotes for its letters, or for being a word of SQL.
const quotedNamesSQL = `
WITH named AS (SELECT c.oid, n.nspname, c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
		AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')),
quoted AS (
	SELECT format('%I.%I', nspname, relname) AS name, 1 AS rank FROM named WHERE quote_ident(relname) <> relname
	UNION ALL SELECT format('%I.%I.%I', nspname, relname, a.attname), 2 FROM named JOIN pg_attribute a ON a.attrelid = named.oid
	WHERE relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND quote_ident(a.attname) <> a.attname)
SELECT count(*) OVER (), name FROM quoted ORDER BY rank, name LIMIT 5`

func readQuotedNames(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
	var name string
	return each(ctx, conn, quotedNamesSQL, []any{&f.QuotedNames, &name}, func() { f.QuotedExamples = append(f.QuotedExamples, name) })
}

// needsSQL follows dependencies from the tables given to everything that cannot be without them, and names what a person
// would miss, with one of the tables: rather one out of scope than a partition. What belongs to one of the tables goes
// silently with it. A view depends on nothing itself: its rule does.
const needsSQL = `
WITH RECURSIVE given AS (
	SELECT c.oid, g.excluded FROM unnest($1::text[], $2::text[], $3::bool[]) g(schema, name, excluded) JOIN pg_namespace n ON n.nspname = g.schema
	JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = g.name),
gone(classid, objid, needs) AS (
	SELECT 'pg_class'::regclass::oid, oid, oid FROM given
	UNION
	SELECT x.classid, x.objid, g.needs FROM gone g, LATERAL (
		SELECT d.classid, d.objid FROM pg_depend d WHERE d.refclassid = g.classid AND d.refobjid = g.objid AND d.deptype NOT IN ('e', 'x')
		UNION ALL
		SELECT 'pg_class'::regclass, w.ev_class FROM pg_rewrite w
		WHERE g.classid = 'pg_rewrite'::regclass AND w.oid = g.objid AND w.rulename = '_RETURN') x),
missed AS (
	SELECT g.classid, g.objid, (array_agg(g.needs ORDER BY given.excluded DESC, g.needs))[1] AS needs, coalesce(c.oid, k.conrelid, a.adrelid, p.polrelid, t.tgrelid, r.ev_class, 0) AS relation,
		c.relkind IN ('r', 'p') OR k.contype = 'c' OR a.oid IS NOT NULL AS fatal
	FROM gone g JOIN given ON given.oid = g.needs
	LEFT JOIN pg_class c ON g.classid = 'pg_class'::regclass AND c.oid = g.objid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
	LEFT JOIN pg_constraint k ON g.classid = 'pg_constraint'::regclass AND k.oid = g.objid AND k.contype = 'c' AND k.conrelid <> 0
	LEFT JOIN pg_attrdef a ON g.classid = 'pg_attrdef'::regclass AND a.oid = g.objid
	LEFT JOIN pg_policy p ON g.classid = 'pg_policy'::regclass AND p.oid = g.objid
	LEFT JOIN pg_trigger t ON g.classid = 'pg_trigger'::regclass AND t.oid = g.objid AND NOT t.tgisinternal
	LEFT JOIN pg_rewrite r ON g.classid = 'pg_rewrite'::regclass AND r.oid = g.objid AND r.rulename <> '_RETURN'
	LEFT JOIN pg_proc f ON g.classid = 'pg_proc'::regclass AND f.oid = g.objid
	WHERE coalesce(c.oid, k.oid, a.oid, p.oid, t.oid, r.oid, f.oid) IS NOT NULL
	GROUP BY 1, 2, 4, 5)
SELECT i.type, i.identity, n.nspname, x.relname, coalesce(m.fatal, false) FROM missed m JOIN pg_class x ON x.oid = m.needs JOIN pg_namespace n ON n.oid = x.relnamespace,
	LATERAL pg_identify_object(m.classid, m.objid, 0) i
WHERE m.relation NOT IN (SELECT oid FROM given) AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = m.relation AND c.relispartition)
ORDER BY 1, 2`

// readNeeds asks about the tables out of scope and about all partitions: whether those stay is the plan's to know.
func readNeeds(ctx context.Context, conn *pgx.Conn, scope contract.Tables, f *plan.SourceFacts) error {
	var schemas, names []string
	var excluded []bool
	add := func(t ident.Table, out bool) {
		schemas, names, excluded = append(schemas, t.Schema), append(names, t.Name), append(excluded, out)
	}
	for _, t := range f.AllTables {
		if !scope.Includes(t) {
			add(t, true)
		}
	}
	for partition, root := range f.Partitions {
		add(partition, !scope.Includes(root))
	}
	if len(names) == 0 {
		return nil
	}
	var n plan.Need
	return each(ctx, conn, needsSQL, []any{&n.Kind, &n.Identity, &n.Needs.Schema, &n.Needs.Name, &n.Table},
		func() { f.Needs = append(f.Needs, n) }, schemas, names, excluded)
}
