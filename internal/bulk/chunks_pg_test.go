package bulk_test

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/bulk"
)

// A part that creates chunks keeps all others from creating any until it commits. So they are created ahead, and while a
// part is copied nobody holds that lock.
func TestPartsOfHypertableDoNotWaitForEachOther(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t, "copy_chunks")
	ddl := "CREATE TABLE metrics (id bigint GENERATED ALWAYS AS IDENTITY, ts timestamptz NOT NULL, device int NOT NULL, v float8, doubled float8 GENERATED ALWAYS AS (v * 2) STORED);"
	f.execBoth(t, ddl)
	f.execTarget(t, `SELECT create_hypertable('metrics', 'ts', partitioning_column => 'device', number_partitions => 2, chunk_time_interval => interval '1 day', create_default_indexes => false)`)
	f.execSource(t, `INSERT INTO metrics (ts, device, v) SELECT timestamptz '2024-01-01' + g * interval '10 seconds', g % 20, g FROM generate_series(1, 300000) g`)
	f.planTables(t, 8_000_000)
	f.beginEpoch(t)

	watch := f.dst.Conn(t)
	ended := make(chan error, 1)
	go func() {
		_, err := bulk.CopyParts(ctx, f.options(), nil)
		ended <- err
	}()
	copying, locked, running := 0, 0, true
	for running {
		select {
		case err := <-ended:
			require.NoError(t, err)
			running = false
		default:
			var c, l int
			require.NoError(t, watch.QueryRow(ctx, `SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT 1 FROM pg_locks l WHERE l.pid = a.pid AND l.granted
				AND l.relation = 'metrics'::regclass AND l.mode = 'ShareUpdateExclusiveLock'))
				FROM pg_stat_activity a WHERE a.application_name = 'timeferry copy' AND a.state = 'active' AND a.query LIKE 'COPY "public"."metrics"%'`).Scan(&c, &l))
			copying += c
			locked += l
		}
	}
	require.Positive(t, copying, "the COPY was seen")
	require.Zero(t, locked)
	f.requireNothingLeft(t)
	f.requireSame(t, "*", "metrics")
}

// With the lock held by somebody else for long, the part goes on without: nothing but speed depends on it.
func TestCopyGoesOnWithoutChunksAhead(t *testing.T) {
	ctx := context.Background()
	f := newFixture(t, "copy_chunks_locked")
	f.execBoth(t, "CREATE TABLE metrics (ts timestamptz NOT NULL, v int)")
	f.execTarget(t, "SELECT create_hypertable('metrics', 'ts')")
	f.execSource(t, "INSERT INTO metrics SELECT timestamptz '2024-01-01' + g * interval '1 hour', g FROM generate_series(1, 1000) g")
	f.planTables(t, 1<<30)
	f.beginEpoch(t)
	creator, watch := f.dst.Conn(t), f.dst.Conn(t)
	mustExec(t, creator, "BEGIN; LOCK TABLE metrics IN SHARE UPDATE EXCLUSIVE MODE")
	ended := make(chan error, 1)
	go func() {
		_, err := bulk.CopyParts(ctx, f.options(), nil)
		ended <- err
	}()
	eventually(t, "COPY itself waits for the lock", func() bool {
		var n int
		require.NoError(t, watch.QueryRow(ctx, `SELECT count(*) FROM pg_stat_activity WHERE application_name = 'timeferry copy' AND wait_event_type = 'Lock' AND query LIKE 'COPY "public"."metrics"%'`).Scan(&n))
		return n > 0
	})
	mustExec(t, creator, "COMMIT")
	require.NoError(t, <-ended)
	f.requireSame(t, "*", "metrics")
}

// A person may make hypertables after the plan was made; TRUNCATE ONLY, FREEZE and the lock on chunks matter for them too.
func TestCopyNoticesHypertableMadeByHand(t *testing.T) {
	f := newFixture(t, "copy_by_hand")
	f.execBoth(t, "CREATE TABLE metrics (ts timestamptz NOT NULL, v text)")
	f.execSource(t, "INSERT INTO metrics SELECT timestamptz '2024-01-01' + g * interval '1 hour', repeat('x', 1000) FROM generate_series(1, 10000) g")
	f.planTables(t, 1<<30)
	f.beginEpoch(t)
	f.execTarget(t, "SELECT create_hypertable('metrics', 'ts')")
	f.copyAll(t)
	f.requireSame(t, "*", "metrics")
	require.Equal(t, "t", f.dst.QueryValue(t, "SELECT hypertable FROM timeferry.tables"))
}

// Wide rows pass in pieces, also where chunks are made ahead: what is wide is not part of the sample, or else its row is not.
func TestChunksAheadDoNotHoldWideRows(t *testing.T) {
	f := newFixture(t, "copy_wide_chunks")
	const tables = `CREATE TABLE left_out (ts timestamptz NOT NULL, b bytea, n serial);
		CREATE TABLE not_null (ts timestamptz NOT NULL, b bytea NOT NULL);
		CREATE TABLE checked (ts timestamptz NOT NULL, b bytea, CHECK (b IS NOT NULL));
		CREATE TABLE made_of (ts timestamptz NOT NULL, b bytea, l int NOT NULL GENERATED ALWAYS AS (length(b)) STORED)`
	names := []string{"left_out", "not_null", "checked", "made_of"}
	f.execBoth(t, tables)
	for _, name := range names {
		f.execTarget(t, "SELECT create_hypertable('"+name+"', 'ts', create_default_indexes => false)")
		f.execSource(t, "ALTER TABLE "+name+` ALTER b SET STORAGE EXTERNAL;
			INSERT INTO `+name+" (ts, b) SELECT timestamptz '2024-01-01' + g * interval '30 days', convert_to(repeat('0123456789abcdef', 20 * 65536), 'SQL_ASCII') FROM generate_series(1, 1) g")
	}
	f.execSource(t, "CREATE TABLE narrow (ts timestamptz NOT NULL, b bytea NOT NULL); INSERT INTO narrow SELECT ts, 'x' FROM left_out")
	f.execTarget(t, "CREATE TABLE narrow (ts timestamptz NOT NULL, b bytea NOT NULL); SELECT create_hypertable('narrow', 'ts')")
	f.planTables(t, 1<<30)
	f.beginEpoch(t)
	var log bytes.Buffer
	o := f.options()
	o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := bulk.CopyParts(context.Background(), o, nil)
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	t.Logf("allocated %d KiB for 80 MiB", (after.TotalAlloc-before.TotalAlloc)>>10)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(20<<20), "all that was allocated on the way, garbage included")
	require.NotContains(t, log.String(), "chunks not created ahead")
	f.requireNothingLeft(t)
	for _, name := range append(names, "narrow") {
		f.requireSame(t, "ts, length(b), md5(b)", name)
	}
	require.Equal(t, "f", f.dst.QueryValue(t, "SELECT is_called FROM left_out_n_seq"), "a default was not asked for")
}
