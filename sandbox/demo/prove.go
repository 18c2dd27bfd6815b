package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/sandbox/world"
)

// table is one to compare: its name and its columns in the source's order.
type table struct {
	ident.Table
	columns []string
}

// tablesSQL lists plain tables and roots of partitions. The application's schemas are all but the system's.
const tablesSQL = `SELECT n.nspname, c.relname, array_agg(a.attname::text ORDER BY a.attnum)
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
	WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
	GROUP BY 1, 2 ORDER BY 1, 2`

// digest of a table: how many rows, and a hash over the hashes of all rows in order.
type digest struct {
	rows int64
	hash string
}

func readDigest(ctx context.Context, q pgkit.Querier, t table) (d digest, err error) {
	err = q.QueryRow(ctx, fmt.Sprintf(`SELECT count(*), coalesce(md5(string_agg(h::text, '' ORDER BY h)), '')
		FROM (SELECT md5(ROW(%s)::text)::uuid AS h FROM %s) rows`, ident.Columns(t.columns), t.Quote())).Scan(&d.rows, &d.hash)
	return d, err
}

// proveData compares every table on both sides, every sequence, and every object that is more than data. The source is
// fenced, so both stand still.
func (d *demo) proveData(ctx context.Context) error {
	tables, err := d.bothTables(ctx)
	if err != nil {
		return err
	}
	d.proveTables(ctx, tables)
	d.proveSequences(ctx)
	d.proveObjects(ctx)
	d.proveHypertables(ctx)
	return nil
}

// bothTables lists the source's tables; the target must have the same.
func (d *demo) bothTables(ctx context.Context) ([]table, error) {
	rows, err := d.source.Query(ctx, tablesSQL)
	if err != nil {
		return nil, err
	}
	tables, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t table, err error) {
		err = row.Scan(&t.Schema, &t.Name, &t.columns)
		return t, err
	})
	if err == nil && len(tables) == 0 {
		err = errors.New("there are none to compare")
	}
	if err != nil {
		return nil, fmt.Errorf("list the source's tables: %w", err)
	}
	return tables, nil
}

func (d *demo) proveTables(ctx context.Context, tables []table) {
	var sum int64
	var different []string
	for _, t := range tables {
		source, target, err := d.bothDigests(ctx, t)
		switch {
		case err != nil:
			different = append(different, fmt.Sprintf("%s: %v", t, err))
		case source.rows != target.rows:
			different = append(different, fmt.Sprintf("%s has %d rows on the source and %d on the target", t, source.rows, target.rows))
		case source.hash != target.hash:
			different = append(different, fmt.Sprintf("%s has %d rows on both sides, but not the same", t, source.rows))
		}
		sum += source.rows
	}
	d.verdict.check(fmt.Sprintf("all %d tables are equal, %d rows", len(tables), sum), listed(different))
}

func (d *demo) bothDigests(ctx context.Context, t table) (source, target digest, err error) {
	var group errgroup.Group // without a context: an error on one side must not cut the other's session off
	group.Go(func() (err error) { source, err = readDigest(ctx, d.source, t); return wrap("source", err) })
	group.Go(func() (err error) { target, err = readDigest(ctx, d.target, t); return wrap("target", err) })
	return source, target, group.Wait()
}

func wrap(side string, err error) error {
	if err != nil {
		return fmt.Errorf("on the %s: %w", side, err)
	}
	return nil
}

func listed(items []string) error {
	if len(items) == 0 {
		return nil
	}
	return errors.New("\n      " + strings.Join(items, "\n      "))
}

const sequencesSQL = `SELECT quote_ident(schemaname) || '.' || quote_ident(sequencename) || ' by ' || increment_by || ' at ' || coalesce(last_value::text, 'its start')
	FROM pg_sequences WHERE schemaname !~ '^(_timescaledb|timescaledb)' ORDER BY 1`

func (d *demo) proveSequences(ctx context.Context) {
	d.verdict.check("every sequence stands where it stood", d.missing(ctx, sequencesSQL))
}

// objectsSQL describes everything about the schema that an application relies on, one line for each. Partitions are left
// out: those of a table that became a hypertable are gone on purpose. So are index definitions, since a partitioned
// table's say ON ONLY: names suffice, as tables' contents are compared.
const objectsSQL = `
WITH relations AS (
	SELECT c.*, quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS name
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	WHERE n.nspname IN ('public', 'iot') AND NOT c.relispartition
		AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'))
SELECT CASE relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' ELSE 'table ' END || name || ' of ' || pg_get_userbyid(relowner)
		|| CASE WHEN relkind = 'm' AND NOT relispopulated THEN ', empty' ELSE '' END FROM relations WHERE relkind IN ('r', 'p', 'v', 'm')
UNION ALL SELECT 'column ' || r.name || '.' || quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
		|| CASE WHEN a.attidentity <> '' THEN ' identity ' || a.attidentity::text ELSE '' END || CASE WHEN a.attgenerated <> '' THEN ' generated' ELSE '' END
		|| coalesce(' default ' || pg_get_expr(ad.adbin, ad.adrelid), '')
	FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
	LEFT JOIN pg_attrdef ad ON ad.adrelid = a.attrelid AND ad.adnum = a.attnum WHERE r.relkind IN ('r', 'p')
UNION ALL SELECT 'index ' || i.name || ' on ' || r.name FROM relations r JOIN pg_index x ON x.indrelid = r.oid JOIN relations i ON i.oid = x.indexrelid WHERE x.indisvalid
UNION ALL SELECT 'constraint ' || quote_ident(k.conname) || ' on ' || r.name || ': ' || pg_get_constraintdef(k.oid)
	FROM relations r JOIN pg_constraint k ON k.conrelid = r.oid WHERE k.contype IN ('p', 'u', 'f', 'c') AND k.convalidated AND k.conparentid = 0
UNION ALL SELECT 'trigger ' || quote_ident(t.tgname) || ' on ' || r.name || ' ' || t.tgenabled::text FROM relations r JOIN pg_trigger t ON t.tgrelid = r.oid WHERE NOT t.tgisinternal AND t.tgname !~ '^ts_'
UNION ALL SELECT 'function ' || p.oid::regprocedure || ' of ' || pg_get_userbyid(p.proowner) || ' may ' || coalesce((SELECT string_agg(pg_get_userbyid(x.grantee), ', ' ORDER BY 1)
		FROM aclexplode(p.proacl) x WHERE x.grantee <> 0), 'all') FROM pg_proc p WHERE p.pronamespace IN (SELECT oid FROM pg_namespace WHERE nspname IN ('public', 'iot'))
		AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL SELECT 'enum ' || t.typname || ' ' || string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder) FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid
	WHERE t.typnamespace = 'public'::regnamespace GROUP BY t.typname
UNION ALL SELECT 'grant ' || x.privilege_type || ' on ' || r.name || ' to ' || pg_get_userbyid(x.grantee) FROM relations r, aclexplode(r.relacl) x WHERE x.grantee <> 0
UNION ALL SELECT 'grant ' || x.privilege_type || ' on ' || r.name || '.' || quote_ident(a.attname) || ' to ' || pg_get_userbyid(x.grantee)
	FROM relations r JOIN pg_attribute a ON a.attrelid = r.oid, aclexplode(a.attacl) x WHERE a.attnum > 0
UNION ALL SELECT 'comment on ' || r.name || coalesce('.' || quote_ident(a.attname), '') || ': ' || d.description
	FROM relations r JOIN pg_description d ON d.objoid = r.oid AND d.classoid = 'pg_class'::regclass LEFT JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum = d.objsubid AND d.objsubid > 0
ORDER BY 1`

func (d *demo) proveObjects(ctx context.Context) {
	d.verdict.check("every view, column, index, constraint, trigger, function, owner, grant and comment is there", d.missing(ctx, objectsSQL))
}

// missing names the lines that the source has and the target has not. What belongs to the source's master user belongs to
// the target's administrator, who is in its place there.
func (d *demo) missing(ctx context.Context, sql string) error {
	source, err := lines(ctx, d.source, sql)
	if err != nil {
		return wrap("source", err)
	}
	for i := range source {
		source[i] = strings.ReplaceAll(source[i], world.SourceUser, world.TargetUser)
	}
	target, err := lines(ctx, d.target, sql)
	if err != nil {
		return wrap("target", err)
	}
	return listed(without(source, target, "not on the target: "))
}

func lines(ctx context.Context, q pgkit.Querier, sql string) ([]string, error) {
	rows, err := q.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

func without(list, other []string, prefix string) []string {
	var left []string
	for _, l := range list {
		if !slices.Contains(other, l) {
			left = append(left, prefix+l)
		}
	}
	return left
}

func (d *demo) proveHypertables(ctx context.Context) {
	found, err := lines(ctx, d.target, `SELECT hypertable_schema || '.' || hypertable_name FROM timescaledb_information.hypertables WHERE num_chunks > 1 ORDER BY 1`)
	if err == nil {
		err = mustBe(strings.Join(found, " "), "iot.sensor_events public.metrics")
	}
	d.verdict.check("public.metrics and iot.sensor_events are hypertables with chunks", err)
}

// footprintSQL describes what a migration may touch on the source, one line for each thing.
const footprintSQL = `
SELECT 'slot ' || slot_name FROM pg_replication_slots
UNION ALL SELECT 'publication ' || pubname FROM pg_publication
UNION ALL SELECT 'subscription ' || subname FROM pg_subscription
UNION ALL SELECT 'origin ' || roname FROM pg_replication_origin
UNION ALL SELECT 'event trigger ' || evtname FROM pg_event_trigger
UNION ALL SELECT 'schema ' || nspname || coalesce(' ' || nspacl::text, '') FROM pg_namespace WHERE nspname !~ '^pg_(temp|toast)'
UNION ALL SELECT 'relation ' || oid::regclass || ' identity ' || relreplident::text || coalesce(' ' || (SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = c.oid AND indisreplident), '')
		|| ' of ' || pg_get_userbyid(relowner) || coalesce(' ' || relacl::text, '')
	FROM pg_class c WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND relnamespace NOT IN (SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_' OR nspname = 'information_schema')
UNION ALL SELECT 'function ' || p.oid::regprocedure FROM pg_proc p WHERE pronamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
UNION ALL SELECT 'role ' || rolname || ' ' || concat(rolsuper, rolinherit, rolcreaterole, rolcreatedb, rolcanlogin, rolreplication, rolbypassrls, rolconnlimit) FROM pg_roles
UNION ALL SELECT 'member ' || pg_get_userbyid(member) || ' of ' || pg_get_userbyid(roleid) FROM pg_auth_members
UNION ALL SELECT 'setting ' || coalesce(d.datname, 'any') || ' ' || coalesce(pg_get_userbyid(nullif(s.setrole, 0)), 'all') || ' ' || c FROM pg_db_role_setting s LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) c
ORDER BY 1`

// fence begins the line of what stays on the source on purpose: nobody shall write there any more.
const fence = "setting " + world.SourceDatabase + " all default_transaction_read_only="

// proveSourceAsBefore compares the source with what it was.
func (d *demo) proveSourceAsBefore(ctx context.Context) {
	after, err := lines(ctx, d.source, footprintSQL)
	if err == nil {
		after = slices.DeleteFunc(after, func(l string) bool { return strings.HasPrefix(l, fence) })
		err = listed(append(without(after, d.before, "new: "), without(d.before, after, "gone: ")...))
	}
	d.verdict.check("the source is as it was, but for the fence: slots, publications, replica identities, roles, rights", err)
}

// proveTargetClean looks for the migration's bookkeeping on the target, and for what belongs to RDS alone.
func (d *demo) proveTargetClean(ctx context.Context) {
	left, err := lines(ctx, d.target, `SELECT 'schema ' || nspname FROM pg_namespace WHERE nspname = '`+contract.LedgerSchema+`'
		UNION ALL SELECT 'publication ' || pubname FROM pg_publication UNION ALL SELECT 'slot ' || slot_name FROM pg_replication_slots
		UNION ALL SELECT 'origin ' || roname FROM pg_replication_origin UNION ALL SELECT 'role ' || rolname FROM pg_roles WHERE rolname ~ '^rds'`)
	if err == nil {
		err = listed(left)
	}
	d.verdict.check("nothing of the migration is left on the target", err)
}
