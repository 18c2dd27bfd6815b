package schemadiff_test

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/schemadiff"
	"timeferry/internal/source/extract"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/provision"
	"timeferry/internal/testkit/pgtest"
)

// mustMigrate carries the schema over as a migration does, up to what happens at cutover.
func mustMigrate(t *testing.T, src, dst *pgtest.Database, o extract.DumpOptions) {
	t.Helper()
	ctx := context.Background()
	o.Source = src.Master
	entries, _, err := extract.Dump(ctx, o)
	require.NoError(t, err)
	conn := dst.MasterConn(t)
	require.NoError(t, ledger.Create(ctx, conn, "test"))
	_, err = ledger.SaveEntries(ctx, conn, entries)
	require.NoError(t, err)
	_, err = provision.PreData(ctx, conn)
	require.NoError(t, err)
	_, err = provision.Hypertables(ctx, conn, o.Hypertables)
	require.NoError(t, err)
	require.NoError(t, provision.PostData(ctx, dst.Master, 2, nil))
	_, err = provision.Finish(ctx, dst.Master, nil)
	require.NoError(t, err)
}

func mustCutOver(t *testing.T, dst *pgtest.Database) {
	t.Helper()
	_, err := provision.AtCutover(context.Background(), dst.MasterConn(t))
	require.NoError(t, err)
}

// mustMasterCheck is Check with the rights that a migration has.
func mustMasterCheck(t *testing.T, src, dst *pgtest.Database, plan schemadiff.Plan) schemadiff.Result {
	t.Helper()
	result, err := schemadiff.Check(context.Background(), src.MasterConn(t), dst.MasterConn(t), plan)
	require.NoError(t, err)
	return result
}

// TestShopArrives compares a schema that uses everything, after its migration from 15 to 17.
func TestShopArrives(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	withRoles(t, []*pgtest.Database{src, dst}, "nasty_owner", "nasty_reader", "nasty Odd")
	sql, err := os.ReadFile("../target/provision/testdata/shop.sql")
	require.NoError(t, err)
	mustMasterExec(t, src, string(sql))
	mustMigrate(t, src, dst, extract.DumpOptions{Tables: wholePlan().Tables, Privileges: true})

	plan := wholePlan()
	plan.BeforeCutover = true
	result := mustMasterCheck(t, src, dst, plan)
	require.Empty(t, lines(result.Differences))
	require.Equal(t, []string{`table app.customers: forced row security is "true" on the source, "false" on the target (it is set at cutover)`,
		`trigger touch_replica on public.a: missing on the target (it is made at cutover)`}, lines(result.Expected))

	mustCutOver(t, dst)
	result = mustMasterCheck(t, src, dst, wholePlan())
	require.Empty(t, lines(result.Differences))
	require.Empty(t, lines(result.Expected))
	for _, kind := range []schemadiff.Kind{schemadiff.Schema, schemadiff.Table, schemadiff.Column, schemadiff.Index, schemadiff.Constraint, schemadiff.Trigger, schemadiff.Rule,
		schemadiff.Policy, schemadiff.View, schemadiff.MaterializedView, schemadiff.Function, schemadiff.Type, schemadiff.Operator, schemadiff.Cast, schemadiff.Collation,
		schemadiff.SearchConfig, schemadiff.Sequence, schemadiff.Statistics, schemadiff.Extension, schemadiff.DefaultPrivileges} {
		require.Positive(t, result.Compared[kind], kind)
	}
	require.True(t, result.Equal())
}

const plannedSource = `
CREATE TABLE events (at timestamptz NOT NULL, region text, n int, PRIMARY KEY (at, region)) PARTITION BY RANGE (at);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE events_2 PARTITION OF events DEFAULT;
CREATE INDEX events_n ON events (n);
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER off_trigger BEFORE INSERT ON events FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE events DISABLE TRIGGER off_trigger;
CREATE VIEW of_root AS SELECT n FROM events;
CREATE VIEW of_partition AS SELECT n FROM events_1;
CREATE TABLE refers (at timestamptz, region text, CONSTRAINT to_events FOREIGN KEY (at, region) REFERENCES events);
CREATE TABLE loose (ts timestamptz, v int);
CREATE TABLE audit (id serial PRIMARY KEY, who text);
CREATE INDEX ON audit (who);
CREATE VIEW of_audit AS SELECT who FROM audit;
CREATE TABLE orders (id int PRIMARY KEY, audit int REFERENCES audit, n int);
ALTER TABLE orders REPLICA IDENTITY FULL;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY only_app ON orders TO plan_app USING (n > 0);
CREATE FUNCTION fires() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
GRANT SELECT ON orders TO rds_superuser, plan_app;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO rds_superuser;`

// TestPlannedDifferences: what the plan wants is told apart, with its reason.
func TestPlannedDifferences(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	withRoles(t, []*pgtest.Database{src}, "plan_app")
	mustMasterExec(t, src, plannedSource)
	src.Exec(t, "CREATE EVENT TRIGGER everywhere ON ddl_command_end EXECUTE FUNCTION fires(); ALTER TABLE public.audit OWNER TO shopmaster; COMMENT ON SCHEMA public IS 'other'")
	src.Exec(t, "CREATE TABLE theirs (); ALTER TABLE theirs OWNER TO rds_superuser")
	dst.Exec(t, "CREATE EXTENSION citext")
	plan := wholePlan()
	plan.Roles = false
	plan.Tables.Exclude = []string{"public.audit"}
	plan.Hypertables = []contract.Hypertable{{Table: "public.events", TimeColumn: "at", ChunkInterval: "7 days"}, {Table: "public.loose", TimeColumn: "ts", ChunkInterval: "7 days"}}
	plan.Identities = []ident.Table{{Schema: "public", Name: "orders"}}
	mustMigrate(t, src, dst, extract.DumpOptions{Tables: plan.Tables, Hypertables: plan.Hypertables, Privileges: true})
	mustCutOver(t, dst)
	dst.Exec(t, "COMMENT ON SCHEMA public IS 'standard public schema'; ALTER TABLE orders REPLICA IDENTITY DEFAULT; INSERT INTO events VALUES ('2024-05-05', 'x', 1), ('2025-05-05', 'x', 1); INSERT INTO refers VALUES ('2024-05-05', 'x')")

	result := mustMasterCheck(t, src, dst, plan)
	require.Empty(t, lines(result.Differences))
	require.Equal(t, []string{
		`schema public: comment is "other" on the source, "standard public schema" on the target (the schema public is the target's own)`,
		`extension citext: on the target only (the target's own)`,
		`table public.events: kind is "partitioned" on the source, "plain" on the target (the table is a hypertable now)`,
		`table public.events: partition key is "RANGE (\"at\")" on the source, "" on the target (the table is a hypertable now)`,
		`table public.events_1: missing on the target (its rows are in the hypertable public.events)`,
		`table public.events_2: missing on the target (its rows are in the hypertable public.events)`,
		`table public.orders: grants to plan_app is "SELECT" on the source, "the default" on the target (the target does not have the role, and roles were not migrated)`,
		`table public.orders: grants to rds_superuser is "SELECT" on the source, "the default" on the target (the roles of RDS are left out)`,
		`table public.orders: replica identity is "full" on the source, "default" on the target (the migration has changed it on the source, for its time)`,
		`table public.theirs: owner is "rds_superuser" on the source, "tsdbadmin" on the target (the roles of RDS are left out)`,
		`view public.of_audit: missing on the target (it needs public.audit, which is not on the target)`,
		`view public.of_partition: missing on the target (it needs public.events_1, which is not on the target)`,
		`column public.loose.ts: not null is "false" on the source, "true" on the target (a hypertable's time column is NOT NULL)`,
		`constraint orders_audit_fkey on public.orders: missing on the target (it needs public.audit, which is not on the target)`,
		`trigger off_trigger on public.events: missing on the target (a hypertable does not allow triggers that are switched off)`,
		`trigger ts_insert_blocker on public.events: on the target only (TimescaleDB's, on every hypertable)`,
		`trigger ts_insert_blocker on public.loose: on the target only (TimescaleDB's, on every hypertable)`,
		`policy only_app on public.orders: missing on the target (the target does not have all its roles, which were not migrated)`,
		`event trigger everywhere: missing on the target (event triggers need a superuser and are not carried over)`,
		`default privileges of tsdbadmin for tables: grants to rds_superuser is "SELECT" on the source, "the default" on the target (the roles of RDS are left out)`,
	}, lines(result.Expected))

	// Without the plan's word, all of it is unexpected but what is the target's own.
	bare := schemadiff.Plan{Tables: wholePlan().Tables, SourceMaster: plan.SourceMaster, TargetAdmin: plan.TargetAdmin, Roles: true, Privileges: true}
	unplanned := mustMasterCheck(t, src, dst, bare)
	require.Contains(t, lines(unplanned.Differences), "table public.audit: missing on the target")
	require.Contains(t, lines(unplanned.Differences), "table public.events_1: missing on the target")
	require.Contains(t, lines(unplanned.Differences), "hypertable public.events: on the target only")
	require.Contains(t, lines(unplanned.Differences), "view public.of_audit: missing on the target")
	require.NotContains(t, lines(unplanned.Differences), "view public.of_audit: missing on the target (", "no reason is made up")
	require.False(t, unplanned.Equal())

	// A hypertable that is none, or another one.
	plan.Hypertables[1].TimeColumn = "v"
	plan.Hypertables = append(plan.Hypertables, contract.Hypertable{Table: "public.orders", TimeColumn: "n"})
	require.Equal(t, []string{`hypertable public.loose: time column is "v" on the source, "ts" on the target`, `hypertable public.orders: missing on the target`,
		`column public.loose.ts: not null is "false" on the source, "true" on the target`}, lines(mustMasterCheck(t, src, dst, plan).Differences))
}

// TestKeysOfHypertables: extended means the same columns and those of the hypertable, nothing else.
func TestKeysOfHypertables(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	const table = "CREATE TABLE m (id int, at timestamptz NOT NULL, device int NOT NULL, v int);"
	mustMasterExec(t, src, table+"ALTER TABLE m ADD PRIMARY KEY (id); CREATE UNIQUE INDEX other ON m (v); CREATE UNIQUE INDEX has_all ON m (device, at); CREATE INDEX plain ON m (v)")
	mustMasterExec(t, dst, table+"SELECT public.create_hypertable('m', 'at', 'device', 2)")
	plan := wholePlan()
	plan.Hypertables = []contract.Hypertable{{Table: "public.m", TimeColumn: "at", SpaceColumn: "device", SpacePartitions: 2}}
	key := ident.Table{Schema: "public", Name: "m"}

	plan.Keys = map[ident.Table]schemadiff.KeyChange{key: schemadiff.KeyDrop}
	mustMasterExec(t, dst, "ALTER TABLE m ALTER id SET NOT NULL") // a dropped primary key leaves that behind
	result := mustMasterCheck(t, src, dst, plan)
	require.Equal(t, []string{"index public.has_all: missing on the target", "index public.plain: missing on the target"}, lines(result.Differences))
	require.Equal(t, []string{"index public.m_at_idx: on the target only (an index that TimescaleDB makes by default)",
		"index public.m_device_at_idx: on the target only (an index that TimescaleDB makes by default)", "index public.m_pkey: missing on the target (the plan drops the keys that lack the time column)",
		"index public.other: missing on the target (the plan drops the keys that lack the time column)",
		"constraint m_pkey on public.m: missing on the target (the plan drops the keys that lack the time column)",
		"trigger ts_insert_blocker on public.m: on the target only (TimescaleDB's, on every hypertable)"}, lines(result.Expected))

	plan.Keys[key] = schemadiff.KeyExtend
	mustMasterExec(t, dst, "ALTER TABLE m ADD PRIMARY KEY (id, at, device); CREATE UNIQUE INDEX other ON m (v, device, at); CREATE UNIQUE INDEX has_all ON m (device, at); CREATE INDEX plain ON m (v)")
	result = mustMasterCheck(t, src, dst, plan)
	require.Equal(t, []string{`index public.other: definition is "CREATE UNIQUE INDEX \"other\" ON \"public\".\"m\" USING \"btree\" (\"v\")" on the source, "CREATE UNIQUE INDEX \"other\" ON \"public\".\"m\" USING \"btree\" (\"v\", \"device\", \"at\")" on the target`},
		lines(result.Differences), "the columns are in another order")
	require.Contains(t, lines(result.Expected), `constraint m_pkey on public.m: definition is "PRIMARY KEY (\"id\")" on the source, "PRIMARY KEY (\"id\", \"at\", \"device\")" on the target (the plan extends the keys that lack the time column)`)
}
