package extract

import (
	"context"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
)

// privilegedSQL: what no user of a managed server may make, however it may be granted rights, unless an extension brings
// it: base types, functions in languages that are not trusted, what is leakproof or has planner support, aggregates over
// internal states, casts without function, operator classes and families, and the extensible parts of the server.
const privilegedSQL = `
WITH o(class, oid) AS (
	SELECT 'pg_catalog.pg_type'::regclass::oid, t.oid FROM pg_catalog.pg_type t
		WHERE (t.typtype = 'b' OR NOT t.typisdefined) AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid)
	UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
		WHERE p.prokind <> 'a' AND (NOT l.lanpltrusted OR p.proleakproof OR p.prosupport::oid <> 0)
	UNION ALL SELECT 'pg_catalog.pg_proc'::regclass, a.aggfnoid::oid FROM pg_catalog.pg_aggregate a
		WHERE 'pg_catalog.internal'::regtype IN (a.aggtranstype, a.aggmtranstype)
	UNION ALL SELECT 'pg_catalog.pg_cast'::regclass, oid FROM pg_catalog.pg_cast WHERE castmethod = 'b'
	UNION ALL SELECT 'pg_catalog.pg_opclass'::regclass, oid FROM pg_catalog.pg_opclass
	UNION ALL SELECT 'pg_catalog.pg_opfamily'::regclass, oid FROM pg_catalog.pg_opfamily
	UNION ALL SELECT 'pg_catalog.pg_ts_parser'::regclass, oid FROM pg_catalog.pg_ts_parser
	UNION ALL SELECT 'pg_catalog.pg_ts_template'::regclass, oid FROM pg_catalog.pg_ts_template
	UNION ALL SELECT 'pg_catalog.pg_am'::regclass, oid FROM pg_catalog.pg_am
	UNION ALL SELECT 'pg_catalog.pg_language'::regclass, oid FROM pg_catalog.pg_language
	UNION ALL SELECT 'pg_catalog.pg_foreign_data_wrapper'::regclass, oid FROM pg_catalog.pg_foreign_data_wrapper)
SELECT o.class, o.oid, i.type || ' ' || i.identity FROM o, LATERAL pg_catalog.pg_identify_object(o.class, o.oid, 0) i
WHERE o.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = o.class AND d.objid = o.oid AND d.objsubid = 0 AND d.deptype = 'e')`

func (c *catalogue) readPrivileged(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, privilegedSQL, nil, func(row pgx.Rows) error {
		var o object
		var name string
		err := row.Scan(&o.class, &o.oid, &name)
		c.privileged[o] = name
		return err
	})
}

// settersSQL: functions that set, while they run, what only superusers and those they allow may set. Whether the target
// allows it shows when it is tried.
const settersSQL = `
SELECT n.nspname || '.' || p.proname, s.name FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace,
	LATERAL pg_catalog.unnest(p.proconfig) c, pg_catalog.pg_settings s
WHERE s.context = 'superuser' AND pg_catalog.lower(s.name) = pg_catalog.lower(pg_catalog.split_part(c, '=', 1)) AND p.oid >= 16384
	AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e') ORDER BY 1, 2`

func (c *catalogue) readSetters(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, settersSQL, nil, func(row pgx.Rows) error {
		var s setter
		err := row.Scan(&s.function, &s.parameter)
		c.setters = append(c.setters, s)
		return err
	})
}

// lostSQL follows the dependencies from what is not carried over to everything that cannot be without it. A view depends
// on nothing itself: its rule does, and the rule is the view.
const lostSQL = `
WITH RECURSIVE roots(classid, objid) AS (SELECT * FROM unnest($1::oid[], $2::oid[])),
gone(classid, objid, needsclass, needs) AS (
	SELECT classid, objid, classid, objid FROM roots
	UNION
	SELECT x.classid, x.objid, g.needsclass, g.needs FROM gone g, LATERAL (
		SELECT d.classid, d.objid FROM pg_catalog.pg_depend d WHERE d.refclassid = g.classid AND d.refobjid = g.objid AND d.deptype NOT IN ('e', 'x')
		UNION ALL
		SELECT 'pg_catalog.pg_class'::regclass, w.ev_class FROM pg_catalog.pg_rewrite w
		WHERE g.classid = 'pg_catalog.pg_rewrite'::regclass AND w.oid = g.objid AND w.rulename = '_RETURN') x)
SELECT DISTINCT ON (g.classid, g.objid) g.classid, g.objid, i.type, i.identity, g.needsclass, g.needs
FROM gone g, LATERAL pg_catalog.pg_identify_object(g.classid, g.objid, 0) i
WHERE NOT EXISTS (SELECT FROM roots r WHERE (r.classid, r.objid) = (g.classid, g.objid)) ORDER BY 1, 2, 5, 6`

func (c *catalogue) readLost(ctx context.Context, q pgkit.Querier) error {
	var classes, oids []uint32
	for _, out := range []map[uint32]bool{c.excluded, c.flattened} {
		for oid := range out {
			classes, oids = append(classes, c.classes["pg_class"]), append(oids, oid)
		}
	}
	for o := range c.privileged {
		classes, oids = append(classes, o.class), append(oids, o.oid)
	}
	return each(ctx, q, lostSQL, []any{classes, oids}, func(row pgx.Rows) error {
		var l lost
		err := row.Scan(&l.class, &l.oid, &l.kind, &l.identity, &l.needs.class, &l.needs.oid)
		c.lost[l.object] = l
		return err
	})
}

// needed names what an object cannot be without, and says why that is not there.
func (c *catalogue) needed(l lost) (name, why, code string) {
	if name, ok := c.privileged[l.needs]; ok {
		return name, "which only a superuser may make", CodeNeedsSuperuser
	}
	return c.relations[l.needs.oid].name.String(), "which is not in the scope", CodeNeedsExcluded
}
