package bulk_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/bulk"
	"timeferry/internal/target/ledger"
)

// Everything that was copied and applied goes, with its marks; the plan is made of what the source has now; and nothing else is
// touched, not even by a late attempt.
func TestStartOver(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t, "copy_over")
	f.execBoth(t, `CREATE TABLE plain (id int PRIMARY KEY, v text); CREATE TABLE refers (id int REFERENCES plain); CREATE TABLE parent (id int); CREATE TABLE child () INHERITS (parent);
		CREATE TABLE "Tree" (id int) PARTITION BY RANGE (id); CREATE TABLE leaf PARTITION OF "Tree" FOR VALUES FROM (0) TO (10); CREATE TABLE metrics (ts timestamptz NOT NULL, v int);
		CREATE TABLE dropped (id int)`)
	f.execTarget(t, `SELECT create_hypertable('metrics', 'ts'); CREATE TABLE not_ours (id int); INSERT INTO not_ours VALUES (1)`)
	f.execSource(t, `INSERT INTO plain SELECT g, repeat('x', 500) FROM generate_series(1, 1000) g; INSERT INTO refers VALUES (1); INSERT INTO parent VALUES (1); INSERT INTO child VALUES (2);
		INSERT INTO "Tree" VALUES (1); INSERT INTO metrics SELECT '2026-01-01'::timestamptz + g * interval '1 day', g FROM generate_series(1, 30) g; INSERT INTO dropped VALUES (1)`)
	f.planTables(t, 1<<30)
	f.beginEpoch(t)
	f.copyAll(t)
	f.execTarget(t, `UPDATE timeferry.migration SET applied_lsn = '0/99', applied_commit_time = now(), applied_transactions = 5, applied_changes = 50, stream_source = 'known';
		INSERT INTO timeferry.entries (ordinal, id, section, kind, schema_name, name, table_schema, table_name, owner, owner_sql, roles, sql, after_sql, exclusive, fires) VALUES
			(1, 'view', 'finish', 'MATERIALIZED VIEW DATA', 'public', 'mv', '', '', '', '', '{}', '', '', false, false),
			(2, 'index', 'post-data', 'INDEX', 'public', 'i', '', '', '', '', '{}', '', '', false, false);
		INSERT INTO timeferry.restored (entry, description) VALUES ('view', ''), ('index', '')`)

	// Meanwhile the source goes on: a partition and a table come, a table goes, one grows.
	f.execSource(t, `CREATE TABLE leaf2 PARTITION OF "Tree" FOR VALUES FROM (10) TO (20); INSERT INTO "Tree" VALUES (11); CREATE TABLE unplanned (id int); INSERT INTO unplanned VALUES (1);
		DROP TABLE dropped; INSERT INTO plain SELECT g, repeat('y', 500) FROM generate_series(1001, 3000) g`)
	f.execTarget(t, `CREATE TABLE leaf2 PARTITION OF "Tree" FOR VALUES FROM (10) TO (20)`)
	for range 2 { // twice is as once
		done, err := bulk.StartOver(ctx, f.ledger, 1, f.planned(t, 1<<20))
		require.NoError(t, err)
		require.True(t, done)
	}
	for _, table := range []string{"plain", "refers", "parent", "child", `"Tree"`, "metrics", "dropped"} {
		require.Equal(t, "0", f.dst.QueryValue(t, "SELECT count(*) FROM "+table), table)
	}
	require.Equal(t, "1", f.dst.QueryValue(t, "SELECT count(*) FROM not_ours"))
	require.Equal(t, []string{"index"}, f.dst.Dump(t, "SELECT entry FROM timeferry.restored"), "the views are filled again")
	require.Equal(t, []string{`Tree|leaf`, `Tree|leaf2`}, f.dst.Dump(t, "SELECT table_name, source_table FROM timeferry.parts WHERE table_name = 'Tree' ORDER BY 2"))
	require.Equal(t, "0", f.dst.QueryValue(t, "SELECT count(*) FROM timeferry.parts WHERE table_name IN ('unplanned', 'dropped')"))
	applied, err := ledger.Applied(ctx, f.ledger)
	require.NoError(t, err)
	require.Zero(t, applied)
	counters, err := ledger.ReadCounters(ctx, f.ledger)
	require.NoError(t, err)
	require.Zero(t, counters)
	note, err := ledger.StreamSource(ctx, f.ledger)
	require.NoError(t, err)
	require.Empty(t, note)
	starts, err := ledger.StartLSNs(ctx, f.ledger)
	require.NoError(t, err)
	require.Empty(t, starts)
	resynced, err := ledger.ResyncedEpoch(ctx, f.ledger)
	require.NoError(t, err)
	require.Equal(t, 1, resynced)

	f.hold.end()
	require.NoError(t, <-f.hold.done)
	require.Equal(t, 2, f.beginEpoch(t).epoch)
	f.copyAll(t)
	f.requireSame(t, "*", "plain", "refers", "parent", "child", `"Tree"`, "metrics")
	done, err := bulk.StartOver(ctx, f.ledger, 1, f.planned(t, 1<<20))
	require.NoError(t, err)
	require.False(t, done, "a late attempt")
	f.requireSame(t, "*", "plain", "metrics")
}
