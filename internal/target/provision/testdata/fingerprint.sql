-- What a database holds, one line per object, for comparing two databases of the same server version. Rights are listed
-- one by one, since their order says nothing; what extensions brought is left out, and so is the bookkeeping.
WITH ns AS (SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE nspname !~ '^(pg_|_timescaledb)' AND nspname NOT IN ('information_schema', 'timeferry', 'timescaledb_information', 'timescaledb_experimental')),
ext AS (SELECT classid, objid FROM pg_depend WHERE deptype = 'e'),
rel AS (SELECT c.*, n.nspname FROM pg_class c JOIN ns n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
	AND NOT EXISTS (SELECT FROM ext e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid)),
proc AS (SELECT p.* FROM pg_proc p JOIN ns n ON n.oid = p.pronamespace WHERE NOT EXISTS (SELECT FROM ext e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid)),
acls(what, acl) AS (
	SELECT 'schema ' || nspname, coalesce(nspacl, acldefault('n', nspowner)) FROM ns
	UNION ALL SELECT relkind::text || ' ' || oid::regclass, coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner)) FROM rel
	UNION ALL SELECT 'column ' || attrelid::regclass || '.' || attname, attacl FROM pg_attribute WHERE attrelid IN (SELECT oid FROM rel) AND attacl IS NOT NULL
	UNION ALL SELECT 'function ' || oid::regprocedure, coalesce(proacl, acldefault('f', proowner)) FROM proc
	UNION ALL SELECT 'type ' || oid::regtype, coalesce(typacl, acldefault('T', typowner)) FROM pg_type WHERE typnamespace IN (SELECT oid FROM ns) AND typrelid = 0 AND typelem = 0
	UNION ALL SELECT 'default ' || defaclobjtype::text || ' ' || defaclrole::regrole || ' ' || defaclnamespace::regnamespace, defaclacl FROM pg_default_acl)
SELECT 'acl ' || what || ': ' || CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END || ' ' || privilege_type || ' ' || is_grantable FROM acls, aclexplode(acl)
UNION ALL SELECT 'schema ' || nspname || ' of ' || nspowner::regrole FROM ns
UNION ALL SELECT 'extension ' || extname || ' in ' || extnamespace::regnamespace FROM pg_extension
UNION ALL SELECT 'relation ' || oid::regclass || ' ' || concat_ws(' ', relkind, relpersistence, relowner::regrole, reloptions::text, relrowsecurity, relforcerowsecurity, relreplident, relispartition, relispopulated, pg_get_partkeydef(oid), pg_get_expr(relpartbound, oid),
	(SELECT string_agg(inhparent::regclass::text, ',' ORDER BY inhseqno) FROM pg_inherits WHERE inhrelid = rel.oid)) FROM rel
UNION ALL SELECT 'column ' || a.attrelid::regclass || '.' || a.attname || ' ' || concat_ws(' ', row_number() OVER (PARTITION BY attrelid ORDER BY attnum), format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, a.attstorage, CASE WHEN a.attstattarget <> -1 THEN a.attstattarget END,
	a.attislocal, a.attinhcount, CASE WHEN a.attcollation <> 0 THEN a.attcollation::regcollation END, pg_get_expr(d.adbin, d.adrelid)) FROM pg_attribute a LEFT JOIN pg_attrdef d ON (d.adrelid, d.adnum) = (a.attrelid, a.attnum) WHERE a.attrelid IN (SELECT oid FROM rel WHERE relkind <> 'S') AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL SELECT 'sequence ' || seqrelid::regclass || ' ' || concat_ws(' ', seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle, (SELECT refobjid::regclass || '.' || refobjsubid || deptype::text FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = seqrelid AND deptype IN ('a', 'i') AND refobjsubid > 0)) FROM pg_sequence WHERE seqrelid IN (SELECT oid FROM rel)
UNION ALL SELECT 'constraint ' || conname || ' ' || CASE conrelid WHEN 0 THEN contypid::regtype::text ELSE conrelid::regclass::text END || ' ' || pg_get_constraintdef(oid) || ' ' || conislocal || coninhcount FROM pg_constraint WHERE connamespace IN (SELECT oid FROM ns) AND (conrelid = 0 OR conrelid IN (SELECT oid FROM rel))
UNION ALL SELECT 'index ' || pg_get_indexdef(indexrelid) || ' ' || concat_ws(' ', indisclustered, indisreplident, indisvalid, (SELECT inhparent::regclass FROM pg_inherits WHERE inhrelid = indexrelid)) FROM pg_index WHERE indrelid IN (SELECT oid FROM rel)
UNION ALL SELECT 'trigger ' || pg_get_triggerdef(oid) || ' ' || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM rel) AND tgname <> 'ts_insert_blocker'
UNION ALL SELECT 'rule ' || pg_get_ruledef(oid) || ' ' || ev_enabled::text FROM pg_rewrite WHERE ev_class IN (SELECT oid FROM rel)
UNION ALL SELECT 'policy ' || concat_ws(' ', schemaname, tablename, policyname, permissive, roles::text, cmd, qual, with_check) FROM pg_policies WHERE schemaname IN (SELECT nspname FROM ns)
UNION ALL SELECT 'function ' || oid::regprocedure || ' ' || proowner::regrole || ' ' || CASE prokind WHEN 'a' THEN (SELECT concat_ws(' ', aggtransfn, aggtranstype::regtype, agginitval) FROM pg_aggregate WHERE aggfnoid = proc.oid) ELSE pg_get_functiondef(oid) END FROM proc
UNION ALL SELECT 'type ' || t.oid::regtype || ' ' || concat_ws(' ', typtype, typowner::regrole, typnotnull, typdefault, (SELECT string_agg(enumlabel, '|' ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = t.oid), (SELECT rngsubtype::regtype FROM pg_range WHERE rngtypid = t.oid),
	CASE typtype WHEN 'c' THEN (SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), '|' ORDER BY attnum) FROM pg_attribute WHERE attrelid = typrelid AND attnum > 0) END) FROM pg_type t WHERE typnamespace IN (SELECT oid FROM ns) AND NOT EXISTS (SELECT FROM ext e WHERE e.classid = 'pg_type'::regclass AND e.objid = t.oid) AND NOT EXISTS (SELECT FROM pg_type x WHERE x.typarray = t.oid AND EXISTS (SELECT FROM ext e WHERE e.objid = x.oid))
UNION ALL SELECT 'operator ' || o.oid::regoperator || ' ' || oprcode FROM pg_operator o WHERE oprnamespace IN (SELECT oid FROM ns) AND NOT EXISTS (SELECT FROM ext e WHERE e.classid = 'pg_operator'::regclass AND e.objid = o.oid)
UNION ALL SELECT 'cast ' || castsource::regtype || ' ' || casttarget::regtype || ' ' || castmethod::text || castcontext::text FROM pg_cast c WHERE oid >= 16384 AND NOT EXISTS (SELECT FROM ext e WHERE e.classid = 'pg_cast'::regclass AND e.objid = c.oid)
UNION ALL SELECT 'collation ' || collname || ' ' || concat_ws(' ', collprovider, collisdeterministic, colllocale) FROM pg_collation WHERE collnamespace IN (SELECT oid FROM ns)
UNION ALL SELECT 'text search ' || cfgname || ' ' || string_agg(maptokentype || ':' || mapdict::regdictionary, ',' ORDER BY maptokentype, mapseqno) FROM pg_ts_config JOIN pg_ts_config_map ON mapcfg = pg_ts_config.oid WHERE cfgnamespace IN (SELECT oid FROM ns) GROUP BY cfgname
UNION ALL SELECT 'statistics ' || pg_get_statisticsobjdef(oid) || ' ' || stxowner::regrole FROM pg_statistic_ext WHERE stxnamespace IN (SELECT oid FROM ns)
UNION ALL SELECT 'comment ' || i.type || ' ' || i.identity || ' ' || d.description FROM pg_description d, LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) i WHERE d.objoid >= 16384 AND i.type <> 'extension' AND NOT EXISTS (SELECT FROM ext e WHERE e.classid = d.classoid AND e.objid = d.objoid) AND coalesce(i.schema, '') !~ '^_timescaledb'
ORDER BY 1
