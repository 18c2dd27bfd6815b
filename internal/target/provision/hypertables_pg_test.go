package provision_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/source/extract"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/provision"
	"timeferry/internal/testkit/pgtest"
)

const metricsSQL = `
	CREATE TABLE device (id int PRIMARY KEY, name text);
	CREATE TABLE metrics (at timestamptz NOT NULL, device int NOT NULL REFERENCES device, v float8, note text DEFAULT 'x',
		CONSTRAINT metrics_pkey PRIMARY KEY (device, at), CHECK (v > -1)) PARTITION BY RANGE (at);
	CREATE TABLE metrics_2023 PARTITION OF metrics FOR VALUES FROM ('2023-01-01') TO ('2024-01-01') PARTITION BY LIST (device);
	CREATE TABLE metrics_2023_1 PARTITION OF metrics_2023 FOR VALUES IN (1, 2);
	CREATE INDEX metrics_v ON metrics (v) WHERE v > 0; CREATE INDEX leaf_only ON metrics_2023_1 (note);
	CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE TRIGGER metrics_tr BEFORE INSERT ON metrics FOR EACH ROW EXECUTE FUNCTION tr();
	CREATE TRIGGER metrics_off BEFORE INSERT ON metrics FOR EACH ROW EXECUTE FUNCTION tr(); ALTER TABLE metrics DISABLE TRIGGER metrics_off;
	CREATE TRIGGER metrics_always BEFORE INSERT ON metrics FOR EACH ROW EXECUTE FUNCTION tr(); ALTER TABLE metrics ENABLE ALWAYS TRIGGER metrics_always;
	CREATE VIEW recent AS SELECT * FROM metrics;
	CREATE TABLE plain (n bigint NOT NULL, at timestamptz, g int GENERATED ALWAYS AS (1) STORED, id bigint GENERATED ALWAYS AS IDENTITY, UNIQUE (n, id));
	CREATE INDEX plain_at ON plain (at);
	CREATE TABLE alert (id int PRIMARY KEY, device int, at timestamptz, FOREIGN KEY (device, at) REFERENCES metrics);`

var metricsSpecs = []contract.Hypertable{
	{Table: "public.metrics", TimeColumn: "at", ChunkInterval: "7 days", SpaceColumn: "device", SpacePartitions: 3,
		Columnstore: &contract.Columnstore{SegmentBy: []string{"device"}, After: "7 days"}, Retention: "1 year"},
	{Table: "public.plain", TimeColumn: "n", ChunkInterval: "1000"},
}

func TestFlattenedHypertable(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	ctx := context.Background()
	mustMasterExec(t, src, metricsSQL)
	before := dst.Dump(t, fingerprintSQL)
	problems := mustDump(t, src, dst, extract.DumpOptions{Tables: everything, Hypertables: metricsSpecs, Privileges: true})
	require.Len(t, problems, 1)
	require.Equal(t, "trigger public.metrics metrics_off", problems[0].Object)
	conn := dst.MasterConn(t)
	_, err := provision.PreData(ctx, conn)
	require.NoError(t, err)
	for range 2 {
		made, err := provision.Hypertables(ctx, conn, metricsSpecs)
		require.NoError(t, err)
		require.Equal(t, []string{"public.metrics", "public.plain"}, made)
	}
	require.Equal(t, []string{"metrics|at|7 days|NULL|NULL", "metrics|device|NULL|NULL|3", "plain|n|NULL|1000|NULL"},
		dst.Dump(t, "SELECT hypertable_name, column_name, time_interval, integer_interval, num_partitions FROM timescaledb_information.dimensions ORDER BY 1, 2"))
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM pg_indexes WHERE schemaname = 'public'"))
	_, err = conn.Exec(ctx, `INSERT INTO device VALUES (1, 'one'); INSERT INTO metrics SELECT '2023-01-01'::timestamptz + n * interval '1 day', 1, n FROM generate_series(0, 50) n;
		INSERT INTO plain (n) SELECT n FROM generate_series(1, 5000, 100) n`)
	require.NoError(t, err)

	require.Empty(t, restoreAll(t, dst))
	require.Empty(t, restoreAll(t, dst), "a second run")
	require.Equal(t, []string{
		"alert|FOREIGN KEY (device, at) REFERENCES metrics(device, at)|true", "alert|PRIMARY KEY (id)|true", "device|PRIMARY KEY (id)|true",
		"metrics|CHECK ((v > ('-1'::integer)::double precision))|true", "metrics|FOREIGN KEY (device) REFERENCES device(id)|true", "metrics|PRIMARY KEY (device, at)|true",
		"plain|UNIQUE (n, id)|true"},
		dst.Dump(t, "SELECT conrelid::regclass, pg_get_constraintdef(oid), convalidated::text FROM pg_constraint WHERE conrelid IN ('metrics'::regclass, 'plain'::regclass, 'alert'::regclass, 'device'::regclass) AND contype <> 't' AND conparentid = 0 ORDER BY conrelid::regclass::text, 2"))
	require.Equal(t, []string{"metrics_always|O", "metrics_tr|O"},
		dst.Dump(t, "SELECT tgname, tgenabled::text FROM pg_trigger WHERE tgrelid = 'metrics'::regclass AND tgname ~ '^metrics' ORDER BY 1"))
	require.Equal(t, []string{"CREATE UNIQUE INDEX metrics_pkey ON public.metrics USING btree (device, at)", "CREATE INDEX metrics_v ON public.metrics USING btree (v) WHERE (v > (0)::double precision)"},
		dst.Dump(t, "SELECT indexdef FROM pg_indexes WHERE tablename = 'metrics' ORDER BY indexname"))
	require.Equal(t, "51", dst.QueryValue(t, "SELECT count(*) FROM recent"))
	require.Positive(t, len(dst.Dump(t, "SELECT 1 FROM timescaledb_information.chunks WHERE hypertable_name = 'metrics'")))

	left, err := provision.DropCreated(ctx, conn)
	require.NoError(t, err)
	require.Empty(t, left)
	require.Equal(t, before, dst.Dump(t, fingerprintSQL))
}

func TestHypertableErrorsSayWhatToDo(t *testing.T) {
	dst := pgtest.Target(t)
	ctx := context.Background()
	conn := dst.MasterConn(t)
	require.NoError(t, ledger.Create(ctx, conn, "test"))
	mustMasterExec(t, dst, "CREATE TABLE n (n int NOT NULL); CREATE TABLE full_one (at timestamptz NOT NULL); INSERT INTO full_one VALUES (now())")
	for _, c := range []struct {
		spec contract.Hypertable
		want string
	}{
		{contract.Hypertable{Table: "n", TimeColumn: "n", ChunkInterval: "7 days"}, "is no number"},
		{contract.Hypertable{Table: "n", TimeColumn: "absent", ChunkInterval: "7 days"}, `column "absent"`},
		{contract.Hypertable{Table: "full_one", TimeColumn: "at", ChunkInterval: "7 days"}, "not empty"},
		{contract.Hypertable{Table: "full_one", TimeColumn: "at", ChunkInterval: "7 potatoes"}, "potatoes"},
	} {
		_, err := provision.Hypertables(ctx, conn, []contract.Hypertable{c.spec})
		require.ErrorContains(t, err, c.want)
		require.Equal(t, fault.Operator, fault.Classify(err))
		require.NotEmpty(t, fault.HintOf(err))
	}
}
