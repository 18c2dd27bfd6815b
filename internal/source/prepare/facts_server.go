package prepare

import (
	"context"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
)

// localeSQL reads columns that not every version has through the row's JSON: before 15 there is no provider but libc, and
// the name of an ICU locale was daticulocale before 17. From 15 on the database's collation has a version.
const (
	localeSQL = `
SELECT CASE coalesce(j ->> 'datlocprovider', 'c') WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE j ->> 'datlocprovider' END,
	d.datcollate, d.datctype, coalesce(j ->> 'datlocale', j ->> 'daticulocale', ''), coalesce(j ->> 'datcollversion', ''),
	(SELECT coalesce(extract(epoch FROM now() - stats_reset), 0)::float8 FROM pg_stat_database WHERE datid = d.oid)
FROM pg_database d, LATERAL to_jsonb(d) j WHERE d.datname = current_database()`

	actualVersionSQL = `SELECT coalesce(pg_database_collation_actual_version(oid), '') FROM pg_database WHERE datname = current_database()`
)

// databaseVersions is the first server_version_num whose databases record the version of their collation.
const databaseVersions = 150000

func readLocale(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
	l := &f.Locale
	var counted float64
	if err := conn.QueryRow(ctx, localeSQL).Scan(&l.Provider, &l.Collate, &l.Ctype, &l.Name, &l.Recorded, &counted); err != nil {
		return err
	}
	f.StatsAge = time.Duration(counted * float64(time.Second))
	if f.Version < databaseVersions {
		return nil
	}
	return conn.QueryRow(ctx, actualVersionSQL).Scan(&l.Actual)
}

// collationsSQL: what uses a collation depends on it in the catalogue, be it a column, an index or an expression; where it is
// a table or its index, the table is named. Collations that every database has are pinned there, and so is the default.
const collationsSQL = `
SELECT DISTINCT c.collname, coalesce(c.collversion, ''), coalesce(pg_collation_actual_version(c.oid), ''), coalesce(n.nspname, ''), coalesce(t.relname, '')
FROM pg_collation c JOIN pg_depend d ON d.refclassid = 'pg_collation'::regclass AND d.refobjid = c.oid AND d.objid >= 16384
LEFT JOIN pg_index i ON d.classid = 'pg_class'::regclass AND i.indexrelid = d.objid
LEFT JOIN pg_class t ON d.classid = 'pg_class'::regclass AND t.oid = coalesce(i.indrelid, d.objid) AND t.relkind IN ('r', 'p')
LEFT JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE c.collnamespace = 'pg_catalog'::regnamespace AND c.collname NOT IN ('default', 'C', 'POSIX') ORDER BY 1`

// readCollations leaves out what only tables out of scope use.
func readCollations(ctx context.Context, conn *pgx.Conn, scope contract.Tables, f *plan.SourceFacts) error {
	var c plan.Collation
	var t ident.Table
	return each(ctx, conn, collationsSQL, []any{&c.Name, &c.Recorded, &c.Actual, &t.Schema, &t.Name}, func() {
		table := t
		if root, isPartition := f.Partitions[t]; isPartition {
			table = root
		}
		if used := table == (ident.Table{}) || scope.Includes(table); used && !slices.Contains(f.Collations, c) {
			f.Collations = append(f.Collations, c)
		}
	})
}

// rolesSQL leaves out PostgreSQL's own roles and RDS's.
const rolesSQL = `
SELECT rolname, rolcanlogin, rolsuper, rolreplication, rolbypassrls, rolname = current_user FROM pg_roles WHERE rolname !~ '^(pg_|rds)' ORDER BY 1`

func readRoles(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
	var r shape.Role
	return each(ctx, conn, rolesSQL, []any{&r.Name, &r.Login, &r.Superuser, &r.Replication, &r.NoRLS, &r.Master},
		func() { f.Roles = append(f.Roles, r) })
}
