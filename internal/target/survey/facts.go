package survey

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/target/ledger"
)

// ReadFacts reads what preflight must know of the target. want are the relations that the migration will make there.
func ReadFacts(ctx context.Context, conn *pgx.Conn, want []ident.Table) (plan.TargetFacts, error) {
	var f plan.TargetFacts
	for _, step := range []struct {
		what string
		read func(context.Context, *pgx.Conn, *plan.TargetFacts) error
	}{
		{"server and privileges", readServer},
		{"locale", readLocale},
		{"settings", readSettings},
		{"extensions", readExtensions},
		{"right to set session_replication_role", tryReplicationRole},
		{"collations", readCollations},
		{"roles", readRoles},
		{"ledger", readLedger},
		{"tables", func(ctx context.Context, conn *pgx.Conn, f *plan.TargetFacts) error {
			return readExisting(ctx, conn, want, f)
		}},
	} {
		if err := step.read(ctx, conn, &f); err != nil {
			return plan.TargetFacts{}, fmt.Errorf("read the target's %s: %w", step.what, err)
		}
	}
	return f, nil
}

const serverSQL = `
SELECT current_setting('server_version_num')::int, current_user::text, current_database()::text, pg_encoding_to_char(d.encoding), pg_database_size(d.oid),
	pg_is_in_recovery(), r.rolsuper, has_database_privilege(d.oid, 'CREATE'), r.rolsuper OR r.rolcreaterole,
	current_setting('max_connections')::int, (SELECT coalesce(sum(numbackends), 0) FROM pg_stat_database)::int
FROM pg_database d, pg_roles r WHERE d.datname = current_database() AND r.rolname = current_user`

func readServer(ctx context.Context, conn *pgx.Conn, f *plan.TargetFacts) error {
	return conn.QueryRow(ctx, serverSQL).Scan(&f.Version, &f.User, &f.Database, &f.Encoding, &f.DatabaseBytes,
		&f.InRecovery, &f.Superuser, &f.CanCreate, &f.CanCreateRole, &f.MaxConnections, &f.Connections)
}

const settingsSQL = `
SELECT name, current_setting(name) FROM pg_settings WHERE name IN ('max_worker_processes', 'max_parallel_workers', 'max_locks_per_transaction',
	'maintenance_work_mem', 'timescaledb.license', 'timescaledb.max_background_workers', 'default_transaction_read_only',
	'superuser_reserved_connections', 'reserved_connections')`

func readSettings(ctx context.Context, conn *pgx.Conn, f *plan.TargetFacts) error {
	rows, err := conn.Query(ctx, settingsSQL)
	if err != nil {
		return err
	}
	f.Settings = map[string]string{}
	var name, value string
	_, err = pgx.ForEachRow(rows, []any{&name, &value}, func() error { f.Settings[name] = value; return nil })
	f.License = f.Settings["timescaledb.license"]
	return err
}

// localeSQL reads columns that not every version has through the row's JSON.
const localeSQL = `
SELECT CASE coalesce(j ->> 'datlocprovider', 'c') WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE j ->> 'datlocprovider' END,
	d.datcollate, d.datctype, coalesce(j ->> 'datlocale', j ->> 'daticulocale', '')
FROM pg_database d, LATERAL to_jsonb(d) j WHERE d.datname = current_database()`

func readLocale(ctx context.Context, conn *pgx.Conn, f *plan.TargetFacts) error {
	return conn.QueryRow(ctx, localeSQL).Scan(&f.Locale.Provider, &f.Locale.Collate, &f.Locale.Ctype, &f.Locale.Name)
}

// extensionsSQL: before 13 no extension was trusted. Providers that let their users create more by pgextwlist name those in
// its setting.
const extensionsSQL = `
SELECT a.name, e.extversion IS NOT NULL, coalesce(e.extversion, a.default_version, ''), coalesce(v.superuser AND NOT coalesce((to_jsonb(v) ->> 'trusted')::bool, false), false)
	AND NOT a.name::text = ANY (string_to_array(replace(coalesce(current_setting('extwlist.extensions', true), ''), ' ', ''), ','))
FROM pg_available_extensions a LEFT JOIN pg_extension e ON e.extname = a.name
LEFT JOIN pg_available_extension_versions v ON v.name = a.name AND v.version = a.default_version
UNION SELECT extname, true, extversion, false FROM pg_extension WHERE extname NOT IN (SELECT name FROM pg_available_extensions) ORDER BY 1`

func readExtensions(ctx context.Context, conn *pgx.Conn, f *plan.TargetFacts) error {
	rows, err := conn.Query(ctx, extensionsSQL)
	if err != nil {
		return err
	}
	f.ExtensionVersions = map[string]string{}
	var name, version string
	var installed, superuser bool
	_, err = pgx.ForEachRow(rows, []any{&name, &installed, &version, &superuser}, func() error {
		f.Available = append(f.Available, name)
		f.ExtensionVersions[name] = version
		if superuser {
			f.SuperuserExtensions = append(f.SuperuserExtensions, name)
		}
		if !installed {
			return nil
		}
		f.Installed = append(f.Installed, name)
		if name == "timescaledb" {
			f.TimescaleDB = version
		}
		return nil
	})
	return err
}

const (
	collationsSQL = `SELECT collname FROM pg_collation WHERE collnamespace = 'pg_catalog'::regnamespace
		AND collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))`
	rolesSQL = "SELECT rolname FROM pg_roles"
)

func readCollations(ctx context.Context, conn *pgx.Conn, f *plan.TargetFacts) (err error) {
	f.Collations, err = readNames(ctx, conn, collationsSQL)
	return err
}

func readRoles(ctx context.Context, conn *pgx.Conn, f *plan.TargetFacts) (err error) {
	f.Roles, err = readNames(ctx, conn, rolesSQL)
	return err
}

func readNames(ctx context.Context, conn *pgx.Conn, sql string) (map[string]bool, error) {
	rows, err := conn.Query(ctx, sql)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	var name string
	_, err = pgx.ForEachRow(rows, []any{&name}, func() error { names[name] = true; return nil })
	return names, err
}

// errTried ends the trial's transaction.
var errTried = errors.New("tried")

// tryReplicationRole tries it, since the right can come from superuser, from a grant (15 and later) or from a provider's
// own rules. The transaction is rolled back.
func tryReplicationRole(ctx context.Context, conn *pgx.Conn, f *plan.TargetFacts) error {
	err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL session_replication_role = replica"); err != nil {
			return err
		}
		return errTried
	})
	switch {
	case errors.Is(err, errTried):
		f.CanSetReplicationRole = true
		return nil
	case denied(err):
		return nil
	}
	return err
}

func denied(err error) bool {
	var state interface{ SQLState() string }
	return errors.As(err, &state) && state.SQLState() == "42501"
}

func readLedger(ctx context.Context, conn *pgx.Conn, f *plan.TargetFacts) error {
	owner, err := ledger.Owner(ctx, conn)
	f.LedgerOwner = owner
	return err
}

// existingSQL finds whatever relation bears a wanted name: an index would be in the way as much as a table.
const existingSQL = `
SELECT n.nspname, c.relname, c.relkind::text, (pg_identify_object('pg_class'::regclass, c.oid, 0)).identity
FROM unnest($1::text[], $2::text[]) t(schema, name)
JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name ORDER BY 1, 2`

func readExisting(ctx context.Context, conn *pgx.Conn, want []ident.Table, f *plan.TargetFacts) error {
	ours, err := createdByUs(ctx, conn, f.LedgerOwner)
	if err != nil {
		return err
	}
	var schemas, names []string
	for _, t := range want {
		schemas, names = append(schemas, t.Schema), append(names, t.Name)
	}
	rows, err := conn.Query(ctx, existingSQL, schemas, names)
	if err != nil {
		return err
	}
	var e plan.ExistingTable
	var identity string
	_, err = pgx.ForEachRow(rows, []any{&e.Schema, &e.Name, &e.Kind, &identity}, func() error {
		e.Ours = ours[identity]
		f.Existing = append(f.Existing, e)
		return nil
	})
	if err != nil {
		return err
	}
	for i := range f.Existing {
		if f.Existing[i].HasRows, err = hasRows(ctx, conn, f.Existing[i]); err != nil {
			return err
		}
	}
	return nil
}

// createdByUs is the set of tables, by pg_identify_object's identity, that the ledger says its migration made.
func createdByUs(ctx context.Context, conn *pgx.Conn, owner string) (map[string]bool, error) {
	ours := map[string]bool{}
	if owner == "" {
		return ours, nil
	}
	created, err := ledger.Created(ctx, conn)
	for _, c := range created {
		if c.Type == "table" {
			ours[c.Identity] = true
		}
	}
	return ours, err
}

// hasRows takes a table that may not be read for one with rows.
func hasRows(ctx context.Context, conn *pgx.Conn, e plan.ExistingTable) (bool, error) {
	if e.Kind != "r" && e.Kind != "p" && e.Kind != "m" {
		return false, nil
	}
	var found bool
	err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+e.Table.Quote()+" LIMIT 1)").Scan(&found)
	if denied(err) {
		return true, nil
	}
	return found, err
}
