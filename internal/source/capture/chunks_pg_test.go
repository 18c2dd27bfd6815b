package capture_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/testkit/pgtest"
)

// A hypertable's changes come under its own name, those in chunks that are made later too, whatever their columns' order.
func TestChunksComeUnderTheirHypertable(t *testing.T) {
	src := pgtest.OwnTarget(t, map[string]string{"wal_level": "logical"})
	src.TrustWal2json(t)
	src.Exec(t, `CREATE TABLE metrics (ts timestamptz NOT NULL, gone int, device int NOT NULL, value int, PRIMARY KEY (ts, device));
		SELECT create_hypertable('metrics', 'ts', chunk_time_interval => interval '7 days'); INSERT INTO metrics VALUES ('2024-01-01 00:00+00', 0, 1, 1);
		CREATE TABLE whole (ts timestamptz NOT NULL, v int); SELECT create_hypertable('whole', 'ts'); INSERT INTO whole VALUES ('2024-01-01 00:00+00', 1);
		ALTER TABLE whole REPLICA IDENTITY FULL; CREATE TABLE outside (ts timestamptz NOT NULL); SELECT create_hypertable('outside', 'ts')`)
	src.Exec(t, `CREATE PUBLICATION changes FOR TABLE metrics, whole; CREATE PUBLICATION inserts`)
	src.Exec(t, `SELECT pg_create_logical_replication_slot('chunks_wal2json', 'wal2json')`)
	sp, r := scenarioReceiver(t, src, "chunks", "wal2json")
	running := start(t, r)
	t.Cleanup(func() { running.stop(t) })
	await(t, "begun", func() bool { return sp.Durable() != 0 })
	for _, sql := range []string{`SET timezone = 'UTC'; UPDATE metrics SET value = 2`, `ALTER TABLE metrics DROP COLUMN gone`,
		`INSERT INTO metrics VALUES ('2024-06-01 00:00+00', 2, 3)`, `UPDATE metrics SET value = 4`, `DELETE FROM metrics WHERE device = 1`,
		`INSERT INTO whole VALUES ('2025-01-01 00:00+00', 2)`, `UPDATE whole SET v = 3 WHERE v = 1`, `DELETE FROM whole`, `INSERT INTO outside VALUES (now())`, `TRUNCATE metrics`} {
		_, err := src.Conn(t).PgConn().Exec(t.Context(), sql).ReadAll()
		require.NoError(t, err, sql)
		if sql == `INSERT INTO outside VALUES (now())` { // TRUNCATE drops the chunks: what a receiver reads only then belongs to nothing that is left
			end := durableAt(t, src)
			await(t, "received", func() bool { return sp.Durable() >= end })
		}
	}
	end := durableAt(t, src)
	await(t, "received", func() bool { return sp.Durable() >= end })
	require.Equal(t, []string{
		"begin", "U public.metrics new[ts=2024-01-01 00:00:00+00 gone=0 device=1 value=2]", "commit",
		"begin", "I public.metrics new[ts=2024-06-01 00:00:00+00 device=2 value=3]", "commit",
		"begin", "U public.metrics new[ts=2024-01-01 00:00:00+00 device=1 value=4]", "U public.metrics new[ts=2024-06-01 00:00:00+00 device=2 value=4]", "commit",
		"begin", "D public.metrics old(key=true)[ts=2024-01-01 00:00:00+00 device=1 value=<n>]", "commit",
		"begin", "I public.whole new[ts=2025-01-01 00:00:00+00 v=2]", "commit",
		"begin", "U public.whole old(key=false)[ts=2024-01-01 00:00:00+00 v=1] new[ts=2024-01-01 00:00:00+00 v=3]", "commit",
		"begin", "D public.whole old(key=false)[ts=2024-01-01 00:00:00+00 v=3]", "D public.whole old(key=false)[ts=2025-01-01 00:00:00+00 v=2]", "commit",
		"begin", "truncate metrics", "commit"}, withoutPositions(eventsOf(t, sp)))
}

// A chunk that was seen stays known after it was dropped: changes of it may still be on their way.
func TestDroppedChunkStaysKnown(t *testing.T) {
	src := pgtest.OwnTarget(t, map[string]string{"wal_level": "logical"})
	src.Exec(t, `CREATE TABLE metrics (ts timestamptz NOT NULL); SELECT create_hypertable('metrics', 'ts'); INSERT INTO metrics VALUES ('2024-01-01 00:00+00');
		CREATE PUBLICATION changes FOR TABLE metrics; CREATE PUBLICATION inserts`)
	chunk := src.QueryValue(t, "SELECT chunk_name FROM timescaledb_information.chunks")
	_, r := scenarioReceiver(t, src, "dropped", "wal2json")
	under := r.TableOf(t.Context())
	for _, drop := range []string{"", "TRUNCATE metrics", "ALTER TABLE metrics ADD v int"} {
		if drop != "" {
			src.Exec(t, drop)
		}
		name, err := under("_timescaledb_internal", chunk)
		require.NoError(t, err)
		require.Equal(t, "metrics", name, "after %q", drop)
	}
}
