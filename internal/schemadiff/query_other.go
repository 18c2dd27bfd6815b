package schemadiff

// icuLocale is where a collation's ICU locale is.
var icuLocale = []variant{{mark: "{locale}", from: 170000, text: "c.colllocale", before: "{older}"}, {mark: "{older}", from: 150000, text: "c.colliculocale", before: "c.collcollate"}}

const collationRules = `, c.collicurules AS "rules"`

// otherQueries: collations, text search, foreign servers, and what belongs to no schema.
var otherQueries = []query{
	// The locale of an ICU collation has had three places.
	{kind: Collation, class: "pg_collation", sql: `
SELECT c.oid, 0, 0, n.nspname, c.collname, '', pg_get_userbyid(c.collowner),
	CASE c.collprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' WHEN 'd' THEN 'default' ELSE 'libc' END AS "provider", c.collisdeterministic AS "deterministic",
	CASE WHEN c.collprovider = 'c' THEN concat_ws(', ', c.collcollate, c.collctype) ELSE {locale} END AS "locale"{rules}
FROM pg_collation c JOIN ns n ON n.oid = c.collnamespace WHERE ` + notOf("pg_collation", "c.oid"),
		variants: append([]variant{{mark: "{rules}", from: 160000, text: collationRules, before: ""}}, icuLocale...)},

	{kind: SearchParser, class: "pg_ts_parser", sql: `
SELECT p.oid, 0, 0, n.nspname, p.prsname, '', '', p.prsstart AS "start", p.prstoken AS "token", p.prsend AS "end", p.prslextype AS "types", nullif(p.prsheadline::oid, 0)::regproc AS "headline"
FROM pg_ts_parser p JOIN ns n ON n.oid = p.prsnamespace WHERE ` + notOf("pg_ts_parser", "p.oid")},

	{kind: SearchTemplate, class: "pg_ts_template", sql: `
SELECT t.oid, 0, 0, n.nspname, t.tmplname, '', '', nullif(t.tmplinit::oid, 0)::regproc AS "init", t.tmpllexize AS "lexize"
FROM pg_ts_template t JOIN ns n ON n.oid = t.tmplnamespace WHERE ` + notOf("pg_ts_template", "t.oid")},

	{kind: SearchDictionary, class: "pg_ts_dict", sql: `
SELECT d.oid, 0, 0, n.nspname, d.dictname, '', pg_get_userbyid(d.dictowner),
	(SELECT format('%I.%I', tn.nspname, t.tmplname) FROM pg_ts_template t JOIN pg_namespace tn ON tn.oid = t.tmplnamespace WHERE t.oid = d.dicttemplate) AS "template", d.dictinitoption AS "options"
FROM pg_ts_dict d JOIN ns n ON n.oid = d.dictnamespace WHERE ` + notOf("pg_ts_dict", "d.oid")},

	{kind: SearchConfig, class: "pg_ts_config", sql: `
SELECT c.oid, 0, 0, n.nspname, c.cfgname, '', pg_get_userbyid(c.cfgowner),
	(SELECT format('%I.%I', pn.nspname, p.prsname) FROM pg_ts_parser p JOIN pg_namespace pn ON pn.oid = p.prsnamespace WHERE p.oid = c.cfgparser) AS "parser",
	(SELECT string_agg(coalesce(k.alias, m.maptokentype::text) || ' ' || m.mapdict::regdictionary, ', ' ORDER BY m.maptokentype, m.mapseqno)
		FROM pg_ts_config_map m LEFT JOIN ts_token_type(c.cfgparser) k ON k.tokid = m.maptokentype WHERE m.mapcfg = c.oid) AS "mappings"
FROM pg_ts_config c JOIN ns n ON n.oid = c.cfgnamespace WHERE ` + notOf("pg_ts_config", "c.oid")},

	{kind: ForeignWrapper, class: "pg_foreign_data_wrapper", sql: `
SELECT w.oid, 0, 0, '', w.fdwname, '', pg_get_userbyid(w.fdwowner), nullif(w.fdwhandler, 0)::regproc AS "handler", nullif(w.fdwvalidator, 0)::regproc AS "validator", ` + digestOf("w.fdwoptions") + ` AS "options"
FROM pg_foreign_data_wrapper w WHERE ` + notOf("pg_foreign_data_wrapper", "w.oid")},

	{kind: ForeignServer, class: "pg_foreign_server", sql: `
SELECT s.oid, 0, 0, '', s.srvname, '', pg_get_userbyid(s.srvowner), w.fdwname AS "wrapper", s.srvtype AS "type", s.srvversion AS "version", ` + digestOf("s.srvoptions") + ` AS "options"
FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw WHERE ` + notOf("pg_foreign_server", "s.oid")},

	{kind: EventTrigger, class: "pg_event_trigger", sql: `
SELECT t.oid, 0, 0, '', t.evtname, '', pg_get_userbyid(t.evtowner), t.evtevent AS "event", array_to_string(t.evttags, ', ') AS "tags", t.evtfoid::regproc AS "function", ` + enabledWord("t.evtenabled") + ` AS "enabled"
FROM pg_event_trigger t WHERE ` + notOf("pg_event_trigger", "t.oid")},

	// Every database has plpgsql, and the target has TimescaleDB for a reason.
	{kind: Extension, class: "pg_extension", sql: `
SELECT x.oid, 0, 0, '', x.extname, '', '' FROM pg_extension x WHERE x.extname <> 'plpgsql' AND x.extname NOT LIKE 'timescaledb%'`},

	{kind: DefaultPrivileges, class: "pg_default_acl", sql: `
SELECT d.oid, 0, 0, '', '', CASE d.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE 'large objects' END
	|| CASE WHEN d.defaclnamespace <> 0 THEN format(' in schema %I', n.nspname) ELSE '' END, pg_get_userbyid(d.defaclrole)
FROM pg_default_acl d LEFT JOIN ns n ON n.oid = d.defaclnamespace WHERE d.defaclnamespace = 0 OR n.oid IS NOT NULL`},
}
