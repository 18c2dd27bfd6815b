package schemadiff

// notOf leaves out the members of extensions.
func notOf(class, oid string) string {
	return `NOT EXISTS (SELECT FROM ext e WHERE e.classid = '` + class + `'::regclass AND e.objid = ` + oid + `)`
}

// typesSQL tells functions of one name apart, bodySQL is a digest of what they do.
const (
	typesSQL = `'(' || coalesce((SELECT string_agg(format_type(u.t, NULL), ', ' ORDER BY u.n) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY u(t, n)), '') || ')'`
	bodySQL  = `'md5 ' || md5(concat_ws(E'\n', p.prosrc, p.probin{body}))`
)

var functionBody = variant{mark: "{body}", from: 140000, text: ", pg_get_function_sqlbody(p.oid)"}

// createSQL is what creates a function whose body is SQL's own, from its arguments on: another version may write such a body
// otherwise, and is given this to read.
const createSQL = `,
	CASE WHEN p.prosqlbody IS NOT NULL THEN substr(pg_get_functiondef(p.oid),
		length(format('CREATE OR REPLACE %s %I.%I', CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, n.nspname, p.proname)) + 1) END AS "_create"`

// codeQueries: functions and types, and what ties them together.
var codeQueries = []query{
	{kind: Function, class: "pg_proc", sql: `
SELECT p.oid, 0, 0, n.nspname, p.proname,
	` + typesSQL + `, pg_get_userbyid(p.proowner),
	CASE p.prokind WHEN 'a' THEN 'aggregate' WHEN 'p' THEN 'procedure' WHEN 'w' THEN 'window function' ELSE 'function' END AS "kind",
	pg_get_function_arguments(p.oid) AS "arguments", pg_get_function_result(p.oid) AS "result", l.lanname AS "language",
	CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' ELSE 'volatile' END AS "volatility",
	CASE p.proparallel WHEN 's' THEN 'safe' WHEN 'r' THEN 'restricted' ELSE 'unsafe' END AS "parallel",
	p.proisstrict AS "strict", p.prosecdef AS "security definer", p.proleakproof AS "leakproof", p.procost AS "cost", p.prorows AS "rows",
	CASE WHEN p.prosupport <> 0 THEN p.prosupport::regproc::text END AS "support function",
	array_to_string(p.proconfig, ', ') AS "settings",
	CASE WHEN p.prokind <> 'a' THEN ` + bodySQL + ` END AS "body",
	p.proname AS "_name", ` + typesSQL + ` AS "_types"{create},
	(SELECT concat_ws(', ', 'kind ' || g.aggkind::text, 'direct arguments ' || g.aggnumdirectargs, 'sfunc ' || g.aggtransfn, 'finalfunc ' || nullif(g.aggfinalfn::oid, 0)::regproc, 'combinefunc ' || nullif(g.aggcombinefn::oid, 0)::regproc,
		'serialfunc ' || nullif(g.aggserialfn::oid, 0)::regproc, 'deserialfunc ' || nullif(g.aggdeserialfn::oid, 0)::regproc, 'msfunc ' || nullif(g.aggmtransfn::oid, 0)::regproc,
		'minvfunc ' || nullif(g.aggminvtransfn::oid, 0)::regproc, 'mfinalfunc ' || nullif(g.aggmfinalfn::oid, 0)::regproc, 'finalfunc extra ' || nullif(g.aggfinalextra, false), 'mfinalfunc extra ' || nullif(g.aggmfinalextra, false),
		'finalfunc modify ' || g.aggfinalmodify::text, 'mfinalfunc modify ' || g.aggmfinalmodify::text, 'sortop ' || nullif(g.aggsortop, 0)::regoperator, 'stype ' || format_type(g.aggtranstype, NULL),
		'sspace ' || nullif(g.aggtransspace, 0), 'mstype ' || format_type(nullif(g.aggmtranstype, 0), NULL), 'msspace ' || nullif(g.aggmtransspace, 0), 'initcond ' || quote_literal(g.agginitval), 'minitcond ' || quote_literal(g.aggminitval))
		FROM pg_aggregate g WHERE g.aggfnoid = p.oid) AS "aggregate"
FROM pg_proc p JOIN ns n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang WHERE ` + notOf("pg_proc", "p.oid") + `
	AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i' AND d.refclassid = 'pg_type'::regclass)`,
		variants: []variant{functionBody, {mark: "{create}", from: 140000, text: createSQL}}},

	// Left out: arrays, multiranges (their ranges name them) and the row types of tables and views.
	{kind: Type, class: "pg_type", sql: `
SELECT t.oid, 0, t.typrelid, n.nspname, t.typname, '', pg_get_userbyid(t.typowner),
	CASE t.typtype WHEN 'b' THEN 'base' WHEN 'c' THEN 'composite' WHEN 'd' THEN 'domain' WHEN 'e' THEN 'enum' WHEN 'r' THEN 'range' ELSE 'shell' END AS "kind",
	(SELECT string_agg(quote_literal(l.enumlabel), ', ' ORDER BY l.enumsortorder) FROM pg_enum l WHERE l.enumtypid = t.oid) AS "labels",
	CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END AS "base type",
	t.typnotnull AS "not null", t.typdefault AS "default",
	CASE WHEN t.typtype = 'd' AND t.typcollation <> b.typcollation THEN (SELECT format('%I.%I', cn.nspname, co.collname) FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = t.typcollation) END AS "collation",
	(SELECT concat_ws(', ', 'subtype ' || format_type(r.rngsubtype, NULL), 'opclass ' || (SELECT format('%I.%I', s.nspname, o.opcname) FROM pg_opclass o JOIN pg_namespace s ON s.oid = o.opcnamespace WHERE o.oid = r.rngsubopc),
		'collation ' || (SELECT format('%I.%I', cn.nspname, co.collname) FROM pg_collation co JOIN pg_namespace cn ON cn.oid = co.collnamespace WHERE co.oid = r.rngcollation),
		'canonical ' || nullif(r.rngcanonical::oid, 0)::regproc, 'difference ' || nullif(r.rngsubdiff::oid, 0)::regproc) FROM pg_range r WHERE r.rngtypid = t.oid) AS "range",
	CASE WHEN t.typtype = 'b' THEN concat_ws(', ', 'input ' || t.typinput, 'output ' || t.typoutput, 'receive ' || nullif(t.typreceive::oid, 0)::regproc, 'send ' || nullif(t.typsend::oid, 0)::regproc,
		'typmod in ' || nullif(t.typmodin::oid, 0)::regproc, 'typmod out ' || nullif(t.typmodout::oid, 0)::regproc, 'analyze ' || nullif(t.typanalyze::oid, 0)::regproc, 'length ' || t.typlen, 'by value ' || t.typbyval,
		'alignment ' || t.typalign::text, 'storage ' || t.typstorage::text, 'category ' || t.typcategory::text, 'preferred ' || t.typispreferred, 'delimiter ' || t.typdelim::text, 'element ' || format_type(nullif(t.typelem, 0), NULL)) END AS "base"{multirange}
FROM pg_type t JOIN ns n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid LEFT JOIN pg_type b ON b.oid = t.typbasetype
WHERE t.typtype IN ('b', 'c', 'd', 'e', 'r', 'p') AND (t.typrelid = 0 OR c.relkind = 'c') AND ` + notOf("pg_type", "t.oid") + `
	AND NOT EXISTS (SELECT FROM pg_type x WHERE x.typarray = t.oid)`,
		variants: []variant{{mark: "{multirange}", from: 140000, text: `, (SELECT format_type(r.rngmultitypid, NULL) FROM pg_range r WHERE r.rngtypid = t.oid) AS "multirange"`}}},

	{kind: Operator, class: "pg_operator", sql: `
SELECT o.oid, 0, 0, '', '', format('%I.%s (%s, %s)', n.nspname, o.oprname, coalesce(format_type(nullif(o.oprleft, 0), NULL), 'NONE'), coalesce(format_type(nullif(o.oprright, 0), NULL), 'NONE')), pg_get_userbyid(o.oprowner),
	format_type(nullif(o.oprresult, 0), NULL) AS "result", nullif(o.oprcode::oid, 0)::regproc AS "function", nullif(o.oprcom, 0)::regoperator AS "commutator", nullif(o.oprnegate, 0)::regoperator AS "negator",
	nullif(o.oprrest::oid, 0)::regproc AS "restrict", nullif(o.oprjoin::oid, 0)::regproc AS "join", o.oprcanmerge AS "merges", o.oprcanhash AS "hashes"
FROM pg_operator o JOIN ns n ON n.oid = o.oprnamespace WHERE ` + notOf("pg_operator", "o.oid")},

	{kind: OperatorFamily, class: "pg_opfamily", sql: `
SELECT f.oid, 0, 0, n.nspname, f.opfname, ' using ' || m.amname, pg_get_userbyid(f.opfowner),
	(SELECT string_agg(format('%s %s for %s, %s%s', a.amopstrategy, a.amopopr::regoperator, format_type(a.amoplefttype, NULL), format_type(a.amoprighttype, NULL),
		CASE WHEN a.amopsortfamily <> 0 THEN (SELECT format(' order by %I.%I', sn.nspname, sf.opfname) FROM pg_opfamily sf JOIN pg_namespace sn ON sn.oid = sf.opfnamespace WHERE sf.oid = a.amopsortfamily) ELSE '' END), '; '
		ORDER BY a.amopstrategy, format_type(a.amoplefttype, NULL) COLLATE "C", format_type(a.amoprighttype, NULL) COLLATE "C", a.amopopr::regoperator::text COLLATE "C") FROM pg_amop a WHERE a.amopfamily = f.oid) AS "operators",
	(SELECT string_agg(format('%s %s for %s, %s', a.amprocnum, a.amproc::oid::regprocedure, format_type(a.amproclefttype, NULL), format_type(a.amprocrighttype, NULL)), '; '
		ORDER BY a.amprocnum, format_type(a.amproclefttype, NULL) COLLATE "C", format_type(a.amprocrighttype, NULL) COLLATE "C") FROM pg_amproc a WHERE a.amprocfamily = f.oid) AS "functions"
FROM pg_opfamily f JOIN ns n ON n.oid = f.opfnamespace JOIN pg_am m ON m.oid = f.opfmethod WHERE ` + notOf("pg_opfamily", "f.oid")},

	{kind: OperatorClass, class: "pg_opclass", sql: `
SELECT c.oid, 0, 0, n.nspname, c.opcname, ' using ' || m.amname, pg_get_userbyid(c.opcowner),
	format_type(c.opcintype, NULL) AS "type", c.opcdefault AS "default", format_type(nullif(c.opckeytype, 0), NULL) AS "storage", format('%I.%I', fn.nspname, f.opfname) AS "family"
FROM pg_opclass c JOIN ns n ON n.oid = c.opcnamespace JOIN pg_am m ON m.oid = c.opcmethod JOIN pg_opfamily f ON f.oid = c.opcfamily JOIN pg_namespace fn ON fn.oid = f.opfnamespace
WHERE ` + notOf("pg_opclass", "c.oid")},

	// 16384 is the first OID that is not the server's own. The cast from a range to its multirange comes with the type.
	{kind: Cast, class: "pg_cast", sql: `
SELECT c.oid, 0, 0, '', '', format('(%s AS %s)', format_type(c.castsource, NULL), format_type(c.casttarget, NULL)), '',
	CASE c.castmethod WHEN 'f' THEN 'function' WHEN 'i' THEN 'inout' ELSE 'binary' END AS "method", nullif(c.castfunc, 0)::regprocedure AS "function",
	CASE c.castcontext WHEN 'e' THEN 'explicit' WHEN 'a' THEN 'assignment' ELSE 'implicit' END AS "context"
FROM pg_cast c WHERE c.oid >= 16384 AND ` + notOf("pg_cast", "c.oid") + `
	AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_cast'::regclass AND d.objid = c.oid AND d.deptype = 'i')`},

	{kind: Conversion, class: "pg_conversion", sql: `
SELECT c.oid, 0, 0, n.nspname, c.conname, '', pg_get_userbyid(c.conowner), pg_encoding_to_char(c.conforencoding) AS "from", pg_encoding_to_char(c.contoencoding) AS "to",
	c.conproc AS "function", c.condefault AS "default"
FROM pg_conversion c JOIN ns n ON n.oid = c.connamespace WHERE ` + notOf("pg_conversion", "c.oid")},

	{kind: Language, class: "pg_language", sql: `
SELECT l.oid, 0, 0, '', l.lanname, '', pg_get_userbyid(l.lanowner), l.lanpltrusted AS "trusted", nullif(l.lanplcallfoid, 0)::regproc AS "handler",
	nullif(l.laninline, 0)::regproc AS "inline handler", nullif(l.lanvalidator, 0)::regproc AS "validator"
FROM pg_language l WHERE l.lanispl AND l.oid >= 16384 AND ` + notOf("pg_language", "l.oid")},
}
