package provision_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/plan"
	"timeferry/internal/source/extract"
	"timeferry/internal/target/provision"
	"timeferry/internal/testkit/pgtest"
)

// partitionsSQL: partitions by tenant and then by time, with pg_partman's names, a default, one detached, and things of
// their own; and partitions by a range of two columns.
const partitionsSQL = `
	CREATE TABLE visits (tenant int NOT NULL, ts timestamptz NOT NULL, v int DEFAULT 1, note text, CONSTRAINT visits_pkey PRIMARY KEY (tenant, ts)) PARTITION BY LIST (tenant);
	CREATE INDEX visits_v ON visits (v);
	CREATE TABLE visits_t1 PARTITION OF visits FOR VALUES IN (1) PARTITION BY RANGE (ts);
	CREATE TABLE visits_t1_p20240101 PARTITION OF visits_t1 FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
	CREATE TABLE visits_t1_p20240201 (note text, gone int, v int DEFAULT 2, ts timestamptz NOT NULL, tenant int NOT NULL, CONSTRAINT own_check CHECK (v < 1000));
	ALTER TABLE visits_t1_p20240201 DROP COLUMN gone;
	ALTER TABLE visits_t1 ATTACH PARTITION visits_t1_p20240201 FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
	CREATE TABLE visits_t1_default PARTITION OF visits_t1 DEFAULT;
	CREATE TABLE visits_default PARTITION OF visits DEFAULT;
	CREATE TABLE visits_t1_p20231201 PARTITION OF visits_t1 FOR VALUES FROM ('2023-12-01') TO ('2024-01-01');
	INSERT INTO visits_t1_p20231201 (tenant, ts) VALUES (1, '2023-12-05'); ALTER TABLE visits_t1 DETACH PARTITION visits_t1_p20231201;
	CREATE INDEX own_index ON visits_t1_p20240101 (note); CREATE UNIQUE INDEX own_unique ON visits_t1_p20240201 (ts);
	CREATE FUNCTION tr() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
	CREATE TRIGGER of_all BEFORE INSERT ON visits_default FOR EACH ROW EXECUTE FUNCTION tr();
	INSERT INTO visits SELECT t, '2024-01-01'::timestamptz + n * interval '1 day', n, 'n' FROM generate_series(1, 3) t, generate_series(0, 99) n;
	CREATE TABLE pairs (d date NOT NULL, region int NOT NULL, v int) PARTITION BY RANGE (d, region);
	CREATE TABLE pairs_1 PARTITION OF pairs FOR VALUES FROM ('2024-01-01', 0) TO ('2024-02-01', 5); CREATE TABLE pairs_d PARTITION OF pairs DEFAULT;
	INSERT INTO pairs SELECT '2024-01-15'::date + n, n % 7, n FROM generate_series(0, 99) n`

func TestPartitionsBecomeOneHypertable(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	mustMasterExec(t, src, partitionsSQL)
	spec, err := contract.ParseSpec([]byte(`{"name": "x", "source": {"host": "h", "database": "d", "user": "u", "password": {"env": "P"}}, "target": {"host": "h", "database": "d", "user": "u", "password": {"env": "P"}},
		"hypertables": [{"table": "public.visits", "timeColumn": "ts", "chunkInterval": "1 month", "spaceColumn": "tenant", "spacePartitions": 2}, {"table": "public.pairs", "timeColumn": "d"}]}`))
	require.NoError(t, err)

	said := map[string]string{}
	for _, p := range assessAll(t, spec, src, dst) {
		require.False(t, p.Severity == contract.Fatal && strings.HasPrefix(p.Code, "hypertable"), p.Message)
		if p.Code == plan.CodePartitionOwn || p.Code == plan.CodePartitionOwnIndex {
			said[p.Object+" "+p.Code] += p.Message
		}
	}
	require.Len(t, said, 2)
	for _, own := range []string{"public.visits_t1_p20240101.own_index", "public.visits_t1_p20240201.own_check", "public.visits_t1_p20240201.v", "public.visits_default.of_all"} {
		require.Contains(t, said["public.visits "+plan.CodePartitionOwn], own)
	}
	require.Contains(t, said["public.visits_t1_p20240201 "+plan.CodePartitionOwnIndex], "own_unique")

	mustDump(t, src, dst, extract.DumpOptions{Tables: spec.Tables, Hypertables: spec.Hypertables, Privileges: true})
	conn := dst.MasterConn(t)
	_, err = provision.PreData(t.Context(), conn)
	require.NoError(t, err)
	made, err := provision.Hypertables(t.Context(), conn, spec.Hypertables)
	require.NoError(t, err)
	require.Equal(t, []string{"public.visits", "public.pairs"}, made)
	for table, columns := range map[string]string{"visits": "tenant, ts, v, note", "pairs": "d, region, v", "visits_t1_p20231201": "tenant, ts, v, note"} {
		mustCopy(t, src, dst, table, columns)
	}
	require.Empty(t, restoreAll(t, dst))

	const sums = "SELECT (SELECT count(*) || ' ' || sum(v) FROM visits), (SELECT count(*) || ' ' || sum(v) FROM pairs), (SELECT count(*) FROM visits_t1_p20231201)"
	require.Equal(t, src.QueryValue(t, sums), dst.QueryValue(t, sums))
	require.Equal(t, []string{"pairs", "visits", "visits_t1_p20231201"}, dst.Dump(t, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"), "what was detached stays a table")
	require.Equal(t, []string{"CREATE UNIQUE INDEX visits_pkey ON public.visits USING btree (tenant, ts)", "CREATE INDEX visits_v ON public.visits USING btree (v)"},
		dst.Dump(t, "SELECT indexdef FROM pg_indexes WHERE tablename = 'visits' ORDER BY indexname"))
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM pg_trigger WHERE tgname = 'of_all'"))
	require.Equal(t, "1", dst.QueryValue(t, "SELECT pg_get_expr(adbin, adrelid) FROM pg_attrdef WHERE adrelid = 'visits'::regclass"), "the root's default")
}

func mustCopy(t *testing.T, src, dst *pgtest.Database, table, columns string) {
	t.Helper()
	var rows bytes.Buffer
	_, err := src.MasterConn(t).PgConn().CopyTo(t.Context(), &rows, "COPY (SELECT "+columns+" FROM "+table+") TO STDOUT")
	require.NoError(t, err)
	_, err = dst.MasterConn(t).PgConn().CopyFrom(t.Context(), &rows, "COPY "+table+" ("+columns+") FROM STDIN")
	require.NoError(t, err)
}
