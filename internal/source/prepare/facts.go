package prepare

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
)

// longTransaction is the age from which an open transaction is worth a warning.
const longTransaction = 5 * time.Minute

// ReadFacts reads what preflight must know of the source, for the tables in scope. It changes nothing.
func ReadFacts(ctx context.Context, conn *pgx.Conn, tables contract.Tables) (plan.SourceFacts, error) {
	var f plan.SourceFacts
	for _, step := range []struct {
		what string
		read func(context.Context, *pgx.Conn, *plan.SourceFacts) error
	}{
		{"server and privileges", readServer},
		{"locale", readLocale},
		{"settings", readSettings},
		{"partitions", readPartitions},
		{"tables", func(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
			return readTables(ctx, conn, tables, f)
		}},
		{"access to tables", readAccess},
		{"foreign keys", readForeignKeys},
		{"foreign tables", func(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
			return readForeignTables(ctx, conn, tables, f)
		}},
		{"extensions", readExtensions},
		{"hypertables", func(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
			return readHypertables(ctx, conn, tables, f)
		}},
		{"sequences", readSequences},
		{"collations", func(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
			return readCollations(ctx, conn, tables, f)
		}},
		{"objects", func(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
			return readNotables(ctx, conn, tables, f)
		}},
		{"dependencies on what is not carried over", func(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
			return readNeeds(ctx, conn, tables, f)
		}},
		{"names", readQuotedNames},
		{"roles", readRoles},
		{"transactions", func(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
			return readTransactions(ctx, conn, longTransaction, f)
		}},
	} {
		if err := step.read(ctx, conn, &f); err != nil {
			return plan.SourceFacts{}, fmt.Errorf("read the source's %s: %w", step.what, err)
		}
	}
	return f, nil
}

// ReadCopyFacts is ReadFacts with nothing but what a plan for the copy needs.
func ReadCopyFacts(ctx context.Context, conn *pgx.Conn, tables contract.Tables) (f plan.SourceFacts, err error) {
	if err := readServer(ctx, conn, &f); err != nil {
		return f, fmt.Errorf("read the source's server: %w", err)
	}
	if err := readTables(ctx, conn, tables, &f); err != nil {
		return f, fmt.Errorf("read the source's tables: %w", err)
	}
	return f, nil
}

// serverSQL: an owner's rights need a role whose privileges are inherited (USAGE); replication needs mere membership.
const serverSQL = `
SELECT current_setting('server_version_num')::int, current_user::text, current_database()::text, pg_encoding_to_char(d.encoding), pg_database_size(d.oid),
	EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_superuser'), pg_is_in_recovery(), r.rolsuper,
	r.rolsuper OR r.rolreplication OR coalesce((SELECT pg_has_role(x.oid, 'MEMBER') FROM pg_roles x WHERE x.rolname = 'rds_replication'), false),
	has_database_privilege(d.oid, 'CREATE'), pg_has_role(d.datdba, 'USAGE'),
	(SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_stat_replication),
	current_setting('max_connections')::int, (SELECT coalesce(sum(numbackends), 0) FROM pg_stat_database)::int,
	(SELECT count(*) FROM pg_largeobject_metadata), NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
FROM pg_database d, pg_roles r WHERE d.datname = current_database() AND r.rolname = current_user`

func readServer(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
	return conn.QueryRow(ctx, serverSQL).Scan(&f.Version, &f.User, &f.Database, &f.Encoding, &f.DatabaseBytes,
		&f.Managed, &f.InRecovery, &f.Superuser, &f.CanReplicate, &f.CanCreate, &f.OwnsDatabase,
		&f.SlotsUsed, &f.SendersUsed, &f.MaxConnections, &f.Connections, &f.LargeObjects, &f.StatsHidden)
}

const settingsSQL = `
SELECT name, current_setting(name) FROM pg_settings WHERE name IN ('wal_level', 'max_replication_slots', 'max_wal_senders',
	'old_snapshot_threshold', 'max_slot_wal_keep_size', 'wal_keep_size', 'wal_keep_segments', 'idle_replication_slot_timeout', 'wal_sender_timeout',
	'output_plugin_libraries', 'max_worker_processes', 'max_locks_per_transaction', 'max_prepared_transactions', 'superuser_reserved_connections', 'reserved_connections')`

func readSettings(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
	f.Settings = map[string]string{}
	var name, value string
	return each(ctx, conn, settingsSQL, []any{&name, &value}, func() { f.Settings[name] = value })
}

const partitionsSQL = `
SELECT n.nspname, c.relname, rn.nspname, r.relname
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_class r ON r.oid = pg_partition_root(c.oid) JOIN pg_namespace rn ON rn.oid = r.relnamespace
WHERE c.relispartition AND c.relkind IN ('r', 'p', 'f')`

func readPartitions(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
	f.Partitions = map[ident.Table]ident.Table{}
	var partition, root ident.Table
	return each(ctx, conn, partitionsSQL, []any{&partition.Schema, &partition.Name, &root.Schema, &root.Name},
		func() { f.Partitions[partition] = root })
}

const inheritanceParentsSQL = `
SELECT DISTINCT n.nspname, p.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
JOIN pg_class p ON p.oid = i.inhparent JOIN pg_namespace n ON n.oid = p.relnamespace
WHERE NOT c.relispartition AND c.relkind IN ('r', 'f') ORDER BY 1, 2`

func readTables(ctx context.Context, conn *pgx.Conn, scope contract.Tables, f *plan.SourceFacts) error {
	all, err := pgkit.Tables(ctx, conn, func(ident.Table) bool { return true })
	if err != nil {
		return err
	}
	for _, t := range all {
		f.AllTables = append(f.AllTables, t.Table)
		switch {
		case scope.Moves(t.Table):
			f.Tables = append(f.Tables, t)
		case scope.Includes(t.Table):
			f.Empty = append(f.Empty, t)
		}
	}
	var parent ident.Table
	return each(ctx, conn, inheritanceParentsSQL, []any{&parent.Schema, &parent.Name},
		func() { f.InheritanceParents = append(f.InheritanceParents, parent) })
}

const accessSQL = `
SELECT n.nspname, c.relname, pg_has_role(c.relowner, 'USAGE'),
	has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'), row_security_active(c.oid)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2`

func readAccess(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
	moved, inScope := map[ident.Table]bool{}, map[ident.Table]bool{}
	for _, t := range f.Tables {
		forEachRelation(t, func(name ident.Table) { moved[name], inScope[name] = true, true })
	}
	for _, t := range f.Empty { // the dump of their definition locks them, and that is as much as to read them
		forEachRelation(t, func(name ident.Table) { inScope[name] = true })
	}
	var t ident.Table
	var owned, readable, hidden bool
	return each(ctx, conn, accessSQL, []any{&t.Schema, &t.Name, &owned, &readable, &hidden}, func() {
		if !inScope[t] {
			return
		}
		if !readable {
			f.Unreadable = append(f.Unreadable, t)
		}
		if !owned && moved[t] {
			f.NotOwned = append(f.NotOwned, t)
		}
		if hidden && moved[t] {
			f.RowSecurity = append(f.RowSecurity, t)
		}
	})
}

func forEachRelation(t shape.Table, do func(ident.Table)) {
	do(t.Table)
	for _, leaf := range t.Leaves {
		do(leaf.Table)
	}
}

const foreignKeysSQL = `
SELECT k.conname, fn.nspname, f.relname, tn.nspname, t.relname
FROM pg_constraint k JOIN pg_class f ON f.oid = k.conrelid JOIN pg_namespace fn ON fn.oid = f.relnamespace
JOIN pg_class t ON t.oid = k.confrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY 2, 3, 1`

func readForeignKeys(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
	var k plan.ForeignKey
	return each(ctx, conn, foreignKeysSQL, []any{&k.Name, &k.From.Schema, &k.From.Name, &k.To.Schema, &k.To.Name},
		func() { f.ForeignKeys = append(f.ForeignKeys, k) })
}

const foreignTablesSQL = `
SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'f' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema' ORDER BY 1, 2`

// readForeignTables counts a foreign partition as in scope with its root.
func readForeignTables(ctx context.Context, conn *pgx.Conn, scope contract.Tables, f *plan.SourceFacts) error {
	var t ident.Table
	return each(ctx, conn, foreignTablesSQL, []any{&t.Schema, &t.Name}, func() {
		root, isPartition := f.Partitions[t]
		if isPartition && scope.Includes(root) || !isPartition && scope.Includes(t) {
			f.ForeignTables = append(f.ForeignTables, t)
		}
	})
}

func readExtensions(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
	f.ExtensionVersions = map[string]string{}
	var name, version string
	return each(ctx, conn, "SELECT extname, extversion FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1", []any{&name, &version}, func() {
		f.Extensions = append(f.Extensions, name)
		f.ExtensionVersions[name] = version
	})
}

func readHypertables(ctx context.Context, conn *pgx.Conn, scope contract.Tables, f *plan.SourceFacts) error {
	for _, name := range f.Extensions {
		if name != "timescaledb" {
			continue
		}
		var t ident.Table
		return each(ctx, conn, "SELECT schema_name::text, table_name::text FROM _timescaledb_catalog.hypertable ORDER BY 1, 2", []any{&t.Schema, &t.Name}, func() {
			if scope.Includes(t) {
				f.Hypertables = append(f.Hypertables, t)
			}
		})
	}
	return nil
}

// sequencesSQL: where the column that owns the sequence is the smaller of the two, it is the column that runs out first.
const sequencesSQL = `
SELECT s.schemaname, s.sequencename, s.start_value,
	CASE WHEN s.increment_by < 0 THEN greatest(s.min_value, -o.holds - 1) ELSE least(s.max_value, o.holds) END, s.last_value
FROM pg_sequences s LEFT JOIN LATERAL (
	SELECT CASE a.atttypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647 END::int8 AS holds
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
	JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
	WHERE n.nspname = s.schemaname AND c.relname = s.sequencename LIMIT 1) o ON true
WHERE s.last_value IS NOT NULL AND NOT s.cycle AND s.schemaname NOT LIKE 'pg\_%' ORDER BY 1, 2`

func readSequences(ctx context.Context, conn *pgx.Conn, f *plan.SourceFacts) error {
	var s plan.SequenceUse
	return each(ctx, conn, sequencesSQL, []any{&s.Schema, &s.Name, &s.Start, &s.End, &s.LastValue},
		func() { f.Sequences = append(f.Sequences, s) })
}

// openTransactionsSQL looks at all databases: slot creation waits for every transaction of the server.
const (
	openTransactionsSQL = `
SELECT pid, coalesce(usename, ''), coalesce(application_name, ''), extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name NOT LIKE $2
	AND clock_timestamp() - xact_start >= make_interval(secs => $1) ORDER BY xact_start`
	preparedTransactionsSQL = `
SELECT gid, coalesce(owner, ''), extract(epoch FROM clock_timestamp() - prepared)::float8 FROM pg_prepared_xacts ORDER BY prepared`
)

func readTransactions(ctx context.Context, conn *pgx.Conn, older time.Duration, f *plan.SourceFacts) error {
	var t plan.Transaction
	var seconds float64
	err := each(ctx, conn, openTransactionsSQL, []any{&t.PID, &t.User, &t.Application, &seconds}, func() {
		t.Age = time.Duration(seconds * float64(time.Second))
		f.LongTransactions = append(f.LongTransactions, t)
	}, older.Seconds(), pgkit.ApplicationName+"%")
	if err != nil {
		return err
	}
	var p plan.Transaction
	return each(ctx, conn, preparedTransactionsSQL, []any{&p.GID, &p.User, &seconds}, func() {
		p.Age = time.Duration(seconds * float64(time.Second))
		f.PreparedTransactions = append(f.PreparedTransactions, p)
	})
}

// each scans every row of the query into the destinations and then calls do.
func each(ctx context.Context, q pgkit.Querier, sql string, destinations []any, do func(), args ...any) error {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	_, err = pgx.ForEachRow(rows, destinations, func() error { do(); return nil })
	return err
}
