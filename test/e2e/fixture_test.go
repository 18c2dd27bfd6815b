package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/testkit/fixture"
	"timeferry/internal/testkit/pgserver"
	"timeferry/internal/testkit/pgtest"
)

// TestEverySchemaArrives migrates the fixture, which has every kind of object, from a server of 12, the oldest (of every
// version, if TIMEFERRY_MATRIX asks for it), while a partitioned table is written to, and compares both sides by our own means
// and by pg_dump.
func TestEverySchemaArrives(t *testing.T) {
	setup(t)
	for _, major := range fixture.Majors(12) {
		t.Run(fmt.Sprint(major), func(t *testing.T) { migrateFixture(t, major) })
	}
}

const onlyGenerated = "public.only_generated"

func migrateFixture(t *testing.T, major int) {
	src, newest := pgtest.SourceOf(t, major), 17
	if major > newest {
		newest = major
	}
	dst := pgtest.TargetOf(t, newest)
	fixture.Load(t, src)
	src.Exec(t, "ALTER ROLE "+pgtest.SourceMaster+" BYPASSRLS") // the fixture has a table whose policies bind its owner too
	fixture.ForgetRoles(t, dst)
	w := newWorld(t, withClients(t, major)...)
	m := w.newMigration(fmt.Sprintf("fixture-%d", major), src, dst, func(spec map[string]any) {
		spec["roles"] = "migrate"
		if major >= 18 { // which refuses to publish it: preflight says so
			spec["tables"] = map[string]any{"exclude": []string{onlyGenerated}}
		}
	})
	if major >= 18 {
		m.excluded = []string{onlyGenerated}
	}
	stopWriting := writeEvents(t, src)
	m.start()
	s := m.await(contract.PhaseInSync)
	for _, p := range s.Problems {
		if p.Code == "schema-differs" {
			out, _ := m.try(shared.starter, "verify", m.name, "--schema")
			require.Fail(t, "the schemas differ", out)
		}
	}
	asMaster(t, src, "CREATE TABLE public.latecomer (id int PRIMARY KEY)")
	out, code := m.try(shared.starter, "verify", m.name, "--schema")
	require.Equal(t, 1, code, out)
	require.Contains(t, out, "table public.latecomer: existence")
	asMaster(t, src, "DROP TABLE public.latecomer")
	require.Contains(t, m.run(shared.starter, "verify", m.name, "--schema"), " 0 differences")
	asMaster(t, src, "CREATE TABLE public.newcomer (id int)")
	m.excluded = append(m.excluded, "public.newcomer")
	expected := []string{"public.newcomer"}
	if major < plan.ViaRootVersion/10000 { // where each partition must join the publication by itself
		asMaster(t, src, "CREATE TABLE public.by_two_2 PARTITION OF public.by_two FOR VALUES FROM (2, MINVALUE) TO (3, MINVALUE)")
		expected = append(expected, "public.by_two_2")
		asMaster(t, src, "TRUNCATE public.events_2023_eu")
		asMaster(t, src, "TRUNCATE public.events_attached; INSERT INTO public.events (at, region, customer) VALUES ('2026-01-01', 'us', 1)")
	}
	stopWriting()
	r := m.finish()
	var newTables []string
	for _, p := range r.Problems {
		if p.Code == "new-table" {
			newTables = append(newTables, p.Object)
		}
	}
	require.ElementsMatch(t, expected, newTables)
	require.Greater(t, r.Schema.Objects, 300)
	require.Zero(t, r.Schema.Unexpected)

	reference := pgtest.TargetOf(t, newest)
	fixture.LoadSchema(t, reference, major)
	if major >= 18 {
		reference.Exec(t, "DROP TABLE "+onlyGenerated)
	}
	want := fixture.DumpSchema(t, reference, newest)
	require.Empty(t, strings.Join(fixture.Differences(want, fixture.DumpSchema(t, dst, newest)), "\n"))
}

// A tree of partitions that the source publishes leaf by leaf becomes one hypertable.
func TestPartitionsOf12BecomeAHypertable(t *testing.T) {
	setup(t)
	src, dst := pgtest.SourceOf(t, 12), pgtest.Target(t)
	_, err := src.MasterConn(t).Exec(context.Background(), `CREATE SCHEMA app; CREATE TABLE app.customers (id bigint PRIMARY KEY); INSERT INTO app.customers SELECT generate_series(1, 3);
		CREATE TABLE public.events (at timestamptz NOT NULL, region text NOT NULL, customer bigint, payload jsonb, PRIMARY KEY (at, region)) PARTITION BY RANGE (at);
		CREATE TABLE public.events_2022 PARTITION OF public.events FOR VALUES FROM ('2022-01-01 00:00+00') TO ('2023-01-01 00:00+00');
		CREATE TABLE public.events_2023 PARTITION OF public.events FOR VALUES FROM ('2023-01-01 00:00+00') TO ('2024-01-01 00:00+00') PARTITION BY LIST (region);
		CREATE TABLE public.events_2023_eu PARTITION OF public.events_2023 FOR VALUES IN ('eu', 'it''s');
		CREATE TABLE public.events_2023_rest PARTITION OF public.events_2023 DEFAULT;
		CREATE TABLE public.events_rest (payload jsonb, customer bigint, gone int, region text NOT NULL, at timestamptz NOT NULL);
		ALTER TABLE public.events_rest DROP COLUMN gone; ALTER TABLE public.events ATTACH PARTITION public.events_rest DEFAULT;
		INSERT INTO public.events SELECT '2022-02-03 00:00+00'::timestamptz + i * interval '5 hours', (ARRAY['eu', 'us'])[1 + i % 2], 1 + i % 3 FROM generate_series(1, 5000) i`)
	require.NoError(t, err)
	m := newWorld(t, withClients(t, 12)...).newMigration("leaves", src, dst, func(spec map[string]any) {
		spec["hypertables"] = []any{map[string]any{"table": "public.events", "timeColumn": "at", "chunkInterval": "90 days"}}
	})
	stopWriting := writeEvents(t, src)
	m.start()
	m.await(contract.PhaseInSync)
	for _, sql := range []string{"TRUNCATE public.events_2023_eu", "TRUNCATE public.events_2022, public.events_rest", "TRUNCATE public.events"} {
		asMaster(t, src, sql)
		require.NoError(t, pgkit.Sleep(t.Context(), 300*time.Millisecond)) // for more rows to come
	}
	asMaster(t, src, "TRUNCATE public.events_2023_rest")
	stopWriting()
	r := m.finish()
	require.Equal(t, "1", dst.QueryValue(t, "SELECT count(*) FROM timescaledb_information.hypertables WHERE hypertable_name = 'events'"))
	var warnings []string
	for _, p := range r.Problems {
		if p.Severity != contract.Info {
			warnings = append(warnings, p.Code+" "+p.Object)
		}
	}
	require.Equal(t, []string{plan.CodePartitionsBefore13 + " public.events"}, warnings)
}

// writeEvents changes the fixture's tree of partitions all the time: rows come, move from leaf to leaf, and go.
func writeEvents(t *testing.T, src *pgtest.Database) (stop func()) {
	conn := src.MasterConn(t)
	random := rand.New(rand.NewPCG(7, 12))
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		for ctx.Err() == nil {
			at := fmt.Sprintf("timestamptz '2022-06-01 00:00+00' + %d * interval '1 hour'", random.IntN(20000))
			region := []string{"'eu'", "'us'", "'it''s'", "'cn'"}[random.IntN(4)]
			sql := []string{
				"INSERT INTO public.events (at, region, customer) SELECT " + at + " + i * interval '1 day', " + region + ", 1 + i % 3 FROM generate_series(1, 20) i ON CONFLICT DO NOTHING",
				"UPDATE public.events SET payload = '{\"n\": 1}', at = at + interval '200 days 1 minute' WHERE at BETWEEN " + at + " AND " + at + " + interval '9 days'",
				"UPDATE public.events SET region = " + region + ", at = at + interval '1 second' WHERE at BETWEEN " + at + " AND " + at + " + interval '9 days'",
				"DELETE FROM public.events WHERE at BETWEEN " + at + " AND " + at + " + interval '9 days'",
			}[random.IntN(4)]
			_, err := conn.Exec(context.Background(), sql)
			var refused *pgconn.PgError
			if errors.As(err, &refused) && refused.Code == "23505" { // two rows of one time
				err = nil
			}
			if err == nil {
				err = pgkit.Sleep(context.Background(), 10*time.Millisecond)
			}
			if err != nil {
				t.Errorf("write events: %v", err)
				return
			}
		}
	})
	stop = func() {
		cancel()
		done.Wait()
	}
	t.Cleanup(stop)
	return stop
}

// withClients puts client programs that are new enough for the source first on the worker's path.
func withClients(t *testing.T, major int) []string {
	t.Helper()
	dir, err := pgserver.ClientBin(context.Background(), major)
	if err != nil {
		require.NoError(t, pgserver.EnsureClients(context.Background(), io.Discard, major))
		dir, err = pgserver.ClientBin(context.Background(), major)
	}
	require.NoError(t, err)
	return []string{"PATH=" + dir + string(filepath.ListSeparator) + os.Getenv("PATH")}
}
