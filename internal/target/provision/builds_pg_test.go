package provision_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/source/extract"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/provision"
	"timeferry/internal/testkit/pgtest"
)

// buildsSQL: every kind of key and index that is built in a way of its own.
const buildsSQL = `
	CREATE TABLE big (id int CONSTRAINT big_pkey PRIMARY KEY, a int NOT NULL, b text, c int, CONSTRAINT big_a UNIQUE (a) INCLUDE (b), CONSTRAINT big_fill UNIQUE (c) WITH (fillfactor = 70));
	CREATE INDEX big_b ON big (b); CREATE INDEX big_expr ON big ((a % 7)) WHERE a > 1;
	CREATE TABLE late (id int PRIMARY KEY, n int CONSTRAINT late_soon UNIQUE DEFERRABLE INITIALLY DEFERRED, m int CONSTRAINT late_ever UNIQUE DEFERRABLE, k int CONSTRAINT late_null UNIQUE NULLS NOT DISTINCT,
		CONSTRAINT late_apart EXCLUDE USING gist (int4range(n, m) WITH &&));
	ALTER TABLE late CLUSTER ON late_pkey;
	CREATE TABLE "Odd ""name" ("Id" int NOT NULL, "select" text COLLATE "C", CONSTRAINT "odd key" UNIQUE ("Id", "select")); ALTER TABLE "Odd ""name" REPLICA IDENTITY FULL;
	CREATE TABLE ident (id int NOT NULL CONSTRAINT ident_id UNIQUE); ALTER TABLE ident REPLICA IDENTITY USING INDEX ident_id; COMMENT ON CONSTRAINT ident_id ON ident IS 'mine'; COMMENT ON INDEX ident_id IS 'its index';
	CREATE TABLE parted (id int NOT NULL, at date NOT NULL, v int, CONSTRAINT parted_pkey PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
	CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (id);
	CREATE TABLE parted_1_1 PARTITION OF parted_1 FOR VALUES IN (1, 2, 3); CREATE TABLE parted_1_d PARTITION OF parted_1 DEFAULT; CREATE TABLE parted_d PARTITION OF parted DEFAULT;
	CREATE INDEX parted_v ON parted (v); CREATE UNIQUE INDEX leaf_only ON parted_d (v);
	CREATE TABLE parent (id int PRIMARY KEY, v int); CREATE TABLE child (w int CONSTRAINT child_w UNIQUE) INHERITS (parent); ALTER TABLE child ADD CONSTRAINT child_pkey PRIMARY KEY (id);
	CREATE TABLE bare (v int);
	CREATE TABLE refers (id int PRIMARY KEY, big int REFERENCES big, late int REFERENCES big (a));
	CREATE MATERIALIZED VIEW sums AS SELECT a, count(*) AS n FROM big GROUP BY a; CREATE UNIQUE INDEX sums_a ON sums (a);
	CREATE VIEW grouped AS SELECT big.*, count(*) FROM big GROUP BY id;`

const buildsRowsSQL = `
	INSERT INTO big SELECT n, n + 1, 'b' || n, n FROM generate_series(1, 500) n; INSERT INTO late SELECT n, n * 10, n * 10 + 5, n FROM generate_series(1, 300) n;
	INSERT INTO "Odd ""name" SELECT n, 'x' FROM generate_series(1, 10) n; INSERT INTO ident SELECT n FROM generate_series(1, 10) n;
	INSERT INTO parted SELECT n, '2024-06-01'::date + n, n FROM generate_series(1, 400) n; INSERT INTO parent SELECT n FROM generate_series(1, 10) n; INSERT INTO child SELECT n, n, n FROM generate_series(1, 10) n;
	INSERT INTO bare SELECT n FROM generate_series(1, 10) n; INSERT INTO refers SELECT n, n, n + 1 FROM generate_series(1, 10) n;`

var buildsTables = []string{"big", "late", `Odd "name`, "ident", "parted", "parent", "child", "bare", "refers"}

// mustPlan makes the tables ones that are being copied; bytes is what the source says of each.
func mustPlan(t *testing.T, dst *pgtest.Database, bytes int64, names ...string) {
	t.Helper()
	var tables []ledger.Table
	for _, name := range names {
		tables = append(tables, ledger.Table{Table: ident.Table{Schema: "public", Name: name}, Bytes: bytes})
	}
	require.NoError(t, ledger.PlanTables(context.Background(), dst.MasterConn(t), tables))
}

// mustComplete says that all rows of the tables are there; without names, of all tables.
func mustComplete(t *testing.T, dst *pgtest.Database, names ...string) {
	t.Helper()
	_, err := dst.MasterConn(t).Exec(context.Background(), "UPDATE timeferry.tables SET completed_at = now() WHERE $1::text[] IS NULL OR table_name = ANY ($1)", names)
	require.NoError(t, err)
}

// mustPrepare brings the schema of sql and the rows to the target, as they are when the copy begins and ends.
func mustPrepare(t *testing.T, src, dst *pgtest.Database, sql, rows string) {
	t.Helper()
	mustMasterExec(t, src, sql)
	mustDump(t, src, dst, extract.DumpOptions{Tables: everything, Privileges: true})
	_, err := provision.PreData(context.Background(), dst.MasterConn(t))
	require.NoError(t, err)
	mustMasterExec(t, dst, rows)
}

// building runs BuildIndexes; wait gives its result.
func building(t *testing.T, dst *pgtest.Database, o provision.BuildOptions) (wait func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	done := make(chan error, 1)
	go func() { done <- provision.BuildIndexes(ctx, dst.Master, o) }()
	return sync.OnceValue(func() error { return <-done })
}

// awaitValue waits until a query says so.
func awaitValue(t *testing.T, d *pgtest.Database, want, query string) {
	t.Helper()
	require.Eventually(t, func() bool { return d.QueryValue(t, query) == want }, 20*time.Second, 20*time.Millisecond, query)
}

func TestIndexesAreBuiltWhileOtherTablesAreCopied(t *testing.T) {
	src, dst, reference := pgtest.Source(t), pgtest.Target(t), pgtest.Target(t)
	ctx := context.Background()
	mustPrepare(t, src, dst, buildsSQL, buildsRowsSQL)
	mustPlan(t, dst, 1<<30, buildsTables...)
	var mu sync.Mutex
	var seen []provision.BuildProgress
	wait := building(t, dst, provision.BuildOptions{Jobs: 3, OnProgress: func(p provision.BuildProgress) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, p)
	}})
	const bigStands = `SELECT count(*) FROM timeferry.restored r JOIN timeferry.entries e ON e.id = r.entry OR 'analyze:' || e.id = r.entry WHERE e.section = 'post-data' AND e.table_name = 'big' OR e.kind = 'TABLE' AND e.name = 'big' AND r.entry ~ 'analyze'`
	mustComplete(t, dst, "big")
	awaitValue(t, dst, "6", bigStands)
	require.Equal(t, []string{"big_a|UNIQUE (a) INCLUDE (b)", "big_fill|UNIQUE (c) WITH (fillfactor='70')", "big_pkey|PRIMARY KEY (id)"}, dst.Dump(t, `SELECT conname, pg_get_constraintdef(k.oid) || coalesce(' WITH (' || (SELECT string_agg(option_name || '=' || quote_literal(option_value), ',') FROM pg_options_to_table(c.reloptions)) || ')', '')
		FROM pg_constraint k JOIN pg_class c ON c.oid = conindid WHERE conrelid = 'big'::regclass AND contype IN ('p', 'u') ORDER BY 1`))
	require.Equal(t, "500", dst.QueryValue(t, "SELECT reltuples::int FROM pg_class WHERE relname = 'big'"))
	require.Equal(t, "0", dst.QueryValue(t, `SELECT count(*) FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'big'`), "the others have rows still to come")
	mustComplete(t, dst)
	require.NoError(t, wait())

	require.Equal(t, []string{"CONSTRAINT public.Odd \"name odd key", "CONSTRAINT public.big big_a", "CONSTRAINT public.big big_fill", "CONSTRAINT public.big big_pkey", "CONSTRAINT public.child child_pkey",
		"CONSTRAINT public.child child_w", "CONSTRAINT public.ident ident_id", "CONSTRAINT public.late late_ever", "CONSTRAINT public.late late_null", "CONSTRAINT public.late late_pkey",
		"CONSTRAINT public.late late_soon", "CONSTRAINT public.parent parent_pkey", "CONSTRAINT public.refers refers_pkey"},
		dst.Dump(t, `SELECT replace(description, 'the index of ', '') FROM timeferry.restored WHERE entry ~ '\.index$' ORDER BY description COLLATE "C"`),
		"in two steps: no exclusion constraint, nothing of a partitioned table, and no partition that is small itself")
	require.Equal(t, "0", dst.QueryValue(t, `SELECT count(*) FROM timeferry.entries e WHERE kind = 'CONSTRAINT' AND NOT EXISTS (SELECT FROM timeferry.restored r WHERE r.entry = e.id)`))
	last := seen[len(seen)-1]
	require.Equal(t, last.Indexes-1, last.Done, "the materialized view's is left")
	require.Empty(t, last.Building)
	require.Equal(t, []string{"parent"}, dst.Dump(t, "SELECT name FROM timeferry.entries e WHERE kind = 'TABLE' AND NOT EXISTS (SELECT FROM timeferry.restored r WHERE r.entry = 'analyze:' || e.id) ORDER BY 1"))

	require.Empty(t, restoreAll(t, dst))
	mustMasterExec(t, reference, buildsSQL+buildsRowsSQL)
	require.Empty(t, cmp.Diff(reference.Dump(t, fingerprintSQL), dst.Dump(t, fingerprintSQL)))
	require.NoError(t, provision.BuildIndexes(ctx, dst.Master, provision.BuildOptions{}), "nothing is left to be done")
	left, err := provision.DropCreated(ctx, dst.MasterConn(t))
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestBuildIndexesKilledAnywhere: each run goes on where the last one was, also between the two steps of a constraint.
func TestBuildIndexesKilledAnywhere(t *testing.T) {
	src, dst, reference := pgtest.Source(t), pgtest.Target(t), pgtest.Target(t)
	mustPrepare(t, src, dst, buildsSQL, buildsRowsSQL)
	mustPlan(t, dst, 1<<30, buildsTables...)
	mustComplete(t, dst)
	between := false
	for attempt := 1; ; attempt++ {
		require.Less(t, attempt, 30)
		if runKilled(t, dst, growing(attempt), func(ctx context.Context, _ *pgx.Conn) error {
			return provision.BuildIndexes(ctx, dst.Master, provision.BuildOptions{Jobs: 2})
		}) {
			break
		}
		between = between || dst.QueryValue(t, `SELECT EXISTS (SELECT FROM timeferry.restored r WHERE entry ~ '\.index$' AND NOT EXISTS (SELECT FROM timeferry.restored w WHERE w.entry || '.index' = r.entry))::text`) == "true"
	}
	t.Logf("killed between two steps: %v", between)
	require.Empty(t, restoreAll(t, dst))
	mustMasterExec(t, reference, buildsSQL+buildsRowsSQL)
	require.Empty(t, cmp.Diff(reference.Dump(t, fingerprintSQL), dst.Dump(t, fingerprintSQL)))
}

// TestAnIndexWithoutItsConstraintIsTaken: the crash between two steps, exactly. The index is not built again, also when the
// table now counts as a small one, and by PostData as well.
func TestAnIndexWithoutItsConstraintIsTaken(t *testing.T) {
	for name, finish := range map[string]func(context.Context, *pgtest.Database) error{
		"beside the copy": func(ctx context.Context, dst *pgtest.Database) error {
			return provision.BuildIndexes(ctx, dst.Master, provision.BuildOptions{Jobs: 2})
		},
		"after it": func(ctx context.Context, dst *pgtest.Database) error {
			return provision.PostData(ctx, dst.Master, 2, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			src, dst := pgtest.Source(t), pgtest.Target(t)
			ctx := context.Background()
			mustPrepare(t, src, dst, buildsSQL, buildsRowsSQL)
			mustPlan(t, dst, 0, buildsTables...)
			mustComplete(t, dst)
			conn := dst.MasterConn(t)
			entries, err := ledger.Entries(ctx, conn, ledger.SectionPostData)
			require.NoError(t, err)
			for _, e := range entries {
				if e.Name == "late late_soon" {
					mustMasterExec(t, dst, e.IndexSQL)
					require.NoError(t, ledger.MarkRestored(ctx, conn, e.IndexStep(), ""))
				}
			}
			index := dst.QueryValue(t, "SELECT 'late_soon'::regclass::oid::text || relfilenode FROM pg_class WHERE relname = 'late_soon'")
			require.NoError(t, finish(ctx, dst))
			require.Equal(t, index, dst.QueryValue(t, "SELECT 'late_soon'::regclass::oid::text || relfilenode FROM pg_class WHERE relname = 'late_soon'"))
			require.Equal(t, "true|true|false", dst.Dump(t, "SELECT condeferrable::text, condeferred::text, indimmediate::text FROM pg_constraint JOIN pg_index ON indexrelid = conindid WHERE conname = 'late_soon'")[0])
		})
	}
}

func TestTwoWorkersShareTheBuilds(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	provision.SetSteppedBytes(t, 0)
	var sql strings.Builder
	var names []string
	for i := range 40 {
		names = append(names, fmt.Sprintf("t%d", i))
		fmt.Fprintf(&sql, "CREATE TABLE t%d (id int PRIMARY KEY, n int UNIQUE, m int); CREATE INDEX ON t%d (m); CREATE INDEX ON t%d (n, m);", i, i, i)
	}
	mustPrepare(t, src, dst, sql.String(), "INSERT INTO t0 SELECT n, n, n FROM generate_series(1, 100000) n")
	mustPlan(t, dst, 0, names...)
	first, second := building(t, dst, provision.BuildOptions{Jobs: 2}), building(t, dst, provision.BuildOptions{Jobs: 2})
	mustComplete(t, dst, names[:20]...)
	awaitValue(t, dst, "80", "SELECT count(*) FROM timeferry.restored r JOIN timeferry.entries e ON e.id = r.entry WHERE e.kind IN ('INDEX', 'CONSTRAINT')")
	mustComplete(t, dst)
	require.NoError(t, first())
	require.NoError(t, second())
	require.Equal(t, "160", dst.QueryValue(t, "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public' AND tablename ~ '^t[0-9]'"))
	require.Equal(t, "80", dst.QueryValue(t, "SELECT count(*) FROM pg_constraint WHERE contype IN ('p', 'u') AND conrelid::regclass::text ~ '^t[0-9]'"))
}

// TestASessionThatIsStillAtAnEntryIsLeftAlone: a worker that died may leave its session building for a while.
func TestASessionThatIsStillAtAnEntryIsLeftAlone(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	mustPrepare(t, src, dst, "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY)", "")
	mustPlan(t, dst, 0, "a", "b")
	mustComplete(t, dst)
	other := dst.MasterConn(t)
	tx, err := other.Begin(ctx)
	require.NoError(t, err)
	_, err = tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext('timeferry.entry'), hashtext(id)) FROM timeferry.entries WHERE name = 'a a_pkey'")
	require.NoError(t, err)
	wait := building(t, dst, provision.BuildOptions{Jobs: 1})
	awaitValue(t, dst, "b_pkey", "SELECT string_agg(conname, ',') FROM pg_constraint WHERE contype = 'p' AND connamespace = 'public'::regnamespace")
	require.NoError(t, tx.Commit(ctx))
	require.NoError(t, wait())
	require.Equal(t, "2", dst.QueryValue(t, "SELECT count(*) FROM pg_constraint WHERE contype = 'p' AND connamespace = 'public'::regnamespace"))
}

// TestABuildThatFailsStopsFurtherOnes: the reason is told, and the next call goes on when it is gone.
func TestABuildThatFailsStopsFurtherOnes(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	mustPrepare(t, src, dst, "CREATE TABLE dup (id int CONSTRAINT dup_pkey PRIMARY KEY); CREATE TABLE open (id int PRIMARY KEY)", "INSERT INTO dup VALUES (4711), (4711)")
	mustPlan(t, dst, 1<<30, "dup", "open")
	mustComplete(t, dst, "dup")
	err := provision.BuildIndexes(ctx, dst.Master, provision.BuildOptions{Jobs: 2})
	require.ErrorContains(t, err, "restore CONSTRAINT public.dup dup_pkey: ERROR: could not create unique index")
	require.Equal(t, fault.Integrity, fault.Classify(err))
	require.NotContains(t, err.Error(), "4711")
	mustMasterExec(t, dst, "DELETE FROM dup")
	mustComplete(t, dst)
	require.NoError(t, provision.BuildIndexes(ctx, dst.Master, provision.BuildOptions{Jobs: 2}))
	require.Equal(t, "2", dst.QueryValue(t, "SELECT count(*) FROM pg_constraint WHERE contype = 'p' AND connamespace = 'public'::regnamespace"))
}

func TestBuildsFollowTheSteering(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	mustPrepare(t, src, dst, "CREATE TABLE a (id int PRIMARY KEY)", "")
	mustPlan(t, dst, 0, "a")
	mustComplete(t, dst)
	conn := dst.MasterConn(t)
	require.NoError(t, ledger.Steer(ctx, conn, ledger.Steering{Serial: 1, Paused: true}))
	paused := make(chan struct{})
	wait := building(t, dst, provision.BuildOptions{Jobs: 1, OnProgress: func(p provision.BuildProgress) {
		if p.Paused && paused != nil {
			close(paused)
			paused = nil
		}
	}})
	<-paused
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM pg_constraint WHERE contype = 'p' AND connamespace = 'public'::regnamespace"))
	require.NoError(t, ledger.Steer(ctx, conn, ledger.Steering{Serial: 2, IndexJobs: 3}))
	require.NoError(t, wait())
	require.Equal(t, "1", dst.QueryValue(t, "SELECT count(*) FROM pg_constraint WHERE contype = 'p' AND connamespace = 'public'::regnamespace"))
}

// TestKeysOfHypertablesAreMadeDirectly: those that the spec names, and one that was made by hand at the gate, after the dump.
func TestKeysOfHypertablesAreMadeDirectly(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	const sql = `CREATE TABLE device (id int PRIMARY KEY);
		CREATE TABLE named (at timestamptz NOT NULL, id int NOT NULL REFERENCES device, CONSTRAINT named_pkey PRIMARY KEY (id, at)); CREATE INDEX named_at ON named (at);
		CREATE TABLE byhand (at timestamptz NOT NULL, id int NOT NULL REFERENCES device, CONSTRAINT byhand_key UNIQUE (id, at)); CREATE INDEX byhand_at ON byhand (at)`
	mustMasterExec(t, src, sql)
	specs := []contract.Hypertable{{Table: "public.named", TimeColumn: "at", ChunkInterval: "7 days"}}
	mustDump(t, src, dst, extract.DumpOptions{Tables: everything, Hypertables: specs})
	_, err := provision.PreData(ctx, dst.MasterConn(t))
	require.NoError(t, err)
	_, err = provision.Hypertables(ctx, dst.MasterConn(t), specs)
	require.NoError(t, err)
	mustPlan(t, dst, 1<<30, "device", "named", "byhand")
	mustMasterExec(t, dst, `SELECT create_hypertable('byhand', 'at', create_default_indexes => false); INSERT INTO device SELECT generate_series(1, 9);
		INSERT INTO named SELECT '2024-01-01'::timestamptz + n * interval '1 day', n % 9 + 1 FROM generate_series(0, 99) n; INSERT INTO byhand SELECT * FROM named`)
	mustComplete(t, dst)
	require.NoError(t, provision.BuildIndexes(ctx, dst.Master, provision.BuildOptions{Jobs: 2}))
	require.Equal(t, []string{"CONSTRAINT public.device device_pkey"}, dst.Dump(t, `SELECT replace(description, 'the index of ', '') FROM timeferry.restored WHERE entry ~ '\.index$'`))
	require.Empty(t, restoreAll(t, dst))
	require.Equal(t, []string{"byhand|FOREIGN KEY (id) REFERENCES device(id)", "byhand|UNIQUE (id, at)", "named|FOREIGN KEY (id) REFERENCES device(id)", "named|PRIMARY KEY (id, at)"},
		dst.Dump(t, "SELECT conrelid::regclass, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid IN ('named'::regclass, 'byhand'::regclass) AND contype IN ('p', 'u', 'f') ORDER BY 1, 2"))
	require.Equal(t, "4", dst.QueryValue(t, "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public' AND tablename IN ('named', 'byhand')"))
}

// TestFinishMakesTheVisibilityMapOfLargeTables: also of chunks, but not of what has one, and once.
func TestFinishMakesTheVisibilityMapOfLargeTables(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	provision.SetVacuumBytes(t, 1<<20)
	mustPrepare(t, src, dst, "CREATE TABLE large (id int PRIMARY KEY, v text); CREATE TABLE small (id int PRIMARY KEY); CREATE TABLE frozen (id int, v text)",
		"INSERT INTO small VALUES (1); INSERT INTO large SELECT n, repeat('x', 500) FROM generate_series(1, 5000) n")
	mustMasterExec(t, dst, "ALTER TABLE large SET (autovacuum_enabled = off); ALTER TABLE frozen SET (autovacuum_enabled = off)")
	mustMasterExec(t, dst, "INSERT INTO frozen SELECT n, repeat('x', 500) FROM generate_series(1, 5000) n")
	mustMasterExec(t, dst, "VACUUM frozen")
	mustPlan(t, dst, 0, "large", "small", "frozen")
	mustComplete(t, dst)
	require.NoError(t, provision.BuildIndexes(ctx, dst.Master, provision.BuildOptions{Jobs: 2}))
	require.Equal(t, "0", dst.QueryValue(t, "SELECT relallvisible FROM pg_class WHERE relname = 'large'"))
	for range 2 {
		var did []string
		_, err := provision.Finish(ctx, dst.Master, func(_, _ int, current string) { did = append(did, current) })
		require.NoError(t, err)
		require.NotContains(t, did, "ANALYZE public.large", "it has statistics")
		require.Equal(t, []string{"vacuum:public.large"}, dst.Dump(t, "SELECT entry FROM timeferry.restored WHERE entry ~ '^vacuum:'"))
		require.Equal(t, "true", dst.QueryValue(t, "SELECT (relallvisible = relpages)::text FROM pg_class WHERE relname = 'large'"))
	}
}

// TestBuildsShareMemoryAndWorkers: of what the server has, and never less memory than it would give by itself. The
// session that builds is one of the processes that are shared.
func TestBuildsShareMemoryAndWorkers(t *testing.T) {
	dst := pgtest.Target(t)
	ctx := context.Background()
	conn := dst.MasterConn(t)
	settings := func(jobs int, tail bool) (memory, workers string) {
		_, err := conn.Exec(ctx, provision.ResourcesSQL, jobs, tail)
		require.NoError(t, err)
		require.NoError(t, conn.QueryRow(ctx, "SELECT current_setting('maintenance_work_mem'), current_setting('max_parallel_maintenance_workers')").Scan(&memory, &workers))
		return memory, workers
	}
	memory, workers := settings(2, false)
	require.Equal(t, dst.QueryValue(t, "SHOW maintenance_work_mem"), memory, "half of the test server's shared_buffers is no more")
	require.Equal(t, "3", workers, "8 processes in all")
	_, workers = settings(1, false)
	require.Equal(t, "7", workers)
	_, workers = settings(64, false)
	require.Equal(t, "0", workers, "each builds alone")
	_, workers = settings(64, true)
	require.Equal(t, "1", workers, "and at the end uses what others leave")
	dst.Exec(t, "ALTER ROLE tsdbadmin SET max_parallel_maintenance_workers = 0; ALTER ROLE tsdbadmin SET maintenance_work_mem = '1MB'")
	t.Cleanup(func() { dst.Exec(t, "ALTER ROLE tsdbadmin RESET ALL") })
	conn = dst.MasterConn(t)
	memory, workers = settings(2, true)
	require.Equal(t, "0", workers, "somebody wants none")
	require.Equal(t, dst.QueryValue(t, "SELECT setting::int * 8 / 1024 / 4 || 'MB' FROM pg_settings WHERE name = 'shared_buffers'"), memory)
}

// TestBuildsShareByTheJobsInForce: an index on a function shows what the session has that builds it, also when the same
// session builds the next one after an order.
func TestBuildsShareByTheJobsInForce(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	mustPrepare(t, src, dst, `CREATE TABLE a (id int); CREATE TABLE b (id int); CREATE TABLE later (id int); CREATE TABLE seen (id int, memory text, workers text);
		CREATE FUNCTION note(id int) RETURNS int LANGUAGE sql AS $$ INSERT INTO public.seen VALUES (id, current_setting('maintenance_work_mem'),
			current_setting('max_parallel_maintenance_workers')) RETURNING id $$;
		CREATE FUNCTION noted(id int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN public.note(id); END $$;
		CREATE INDEX ON a (noted(id)); CREATE INDEX ON b (noted(id))`, "INSERT INTO a VALUES (1); INSERT INTO b VALUES (2)")
	dst.Exec(t, "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET maintenance_work_mem = %L', current_database(), '1MB'); END $$")
	mustMasterExec(t, dst, "TRUNCATE seen")
	mustPlan(t, dst, 0, "a", "b", "later")
	mustComplete(t, dst, "a")
	wait := building(t, dst, provision.BuildOptions{Jobs: 2})
	awaitValue(t, dst, "1", "SELECT count(DISTINCT id) FROM seen")
	require.NoError(t, ledger.Steer(ctx, dst.MasterConn(t), ledger.Steering{Serial: 1, IndexJobs: 8}))
	time.Sleep(time.Second) // several looks
	mustComplete(t, dst, "b")
	awaitValue(t, dst, "2", "SELECT count(DISTINCT id) FROM seen")
	mustComplete(t, dst)
	require.NoError(t, wait())
	share := func(jobs int) string {
		return dst.QueryValue(t, fmt.Sprintf("SELECT setting::int * 8 / 1024 / 2 / %d || 'MB' FROM pg_settings WHERE name = 'shared_buffers'", jobs))
	}
	require.Equal(t, []string{"1|" + share(2) + "|3", "2|" + share(8) + "|0"}, dst.Dump(t, "SELECT DISTINCT id, memory, workers FROM seen ORDER BY 1"))
}
