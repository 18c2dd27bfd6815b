package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgtest"
)

// alterable has one table that is copied for seconds before the others' turn comes.
const alterable = `
	CREATE TABLE big (id int PRIMARY KEY, v text); ALTER TABLE big ALTER v SET STORAGE EXTERNAL;
	INSERT INTO big SELECT g, repeat('x', 1000) FROM generate_series(1, 8000) g;
	CREATE TABLE orders (id int PRIMARY KEY, price numeric(6,2), note text);
	INSERT INTO orders SELECT g, g, 'n' FROM generate_series(1, 1000) g;
	CREATE TABLE dropped (id int PRIMARY KEY); INSERT INTO dropped VALUES (1);
	CREATE TABLE events (ts timestamptz NOT NULL, k int NOT NULL, PRIMARY KEY (ts, k)) PARTITION BY RANGE (ts);
	CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
	CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2024-02-01') TO ('2024-03-01');
	INSERT INTO events SELECT '2024-01-01'::timestamptz + g * interval '1 hour', g FROM generate_series(1, 1000) g;`

// alterations are what a night brings: some rewrite a table, and the rows and values that come with them are older than the snapshot
// with which the tables are copied in the end.
const alterations = `
	ALTER TABLE orders ALTER id TYPE bigint, ADD COLUMN paid boolean NOT NULL DEFAULT false, DROP COLUMN note;
	UPDATE orders SET paid = true WHERE id % 2 = 0; INSERT INTO orders VALUES (5000000000, 1, true);
	DROP TABLE dropped; DROP TABLE events_1;
	CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM ('2024-03-01') TO ('2024-04-01');
	INSERT INTO events SELECT '2024-03-01'::timestamptz + g * interval '1 hour', g FROM generate_series(1, 500) g;`

// TestAlteredWhileCopied alters the source while it is copied: all that is not copied by then comes over as it is by then, also when
// the worker with the snapshot dies right after.
func TestAlteredWhileCopied(t *testing.T) {
	for _, c := range []struct {
		name, migration string
		kill            bool
	}{{"all goes well", "altered", false}, {"the worker dies", "altered-killed", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			setup(t)
			src, dst := pgtest.Source(t), pgtest.Target(t)
			asMaster(t, src, alterable)
			w := newWorld(t)
			m := w.newMigration(c.migration, src, dst, func(spec map[string]any) {
				spec["copy"] = map[string]any{"concurrency": 1, "maxBytesPerSecond": "1MiB"}
				spec["hypertables"] = []map[string]any{{"table": "public.events", "timeColumn": "ts"}}
				spec["cutover"] = map[string]any{"maxDowntime": "2m"}
			})
			m.excluded = []string{"dropped"}
			m.start()
			m.await(contract.PhaseCopying)
			asMaster(t, src, alterations)
			if c.kill {
				w.killWorker()
				w.startWorker()
			}
			m.await(contract.PhaseInSync)
			require.Equal(t, "bigint", dst.QueryValue(t, "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'id'"))
			require.NotEqual(t, "1", dst.QueryValue(t, "SELECT max(epoch) FROM timeferry.epochs"), "the copy was too quick for the test")
			dst.Exec(t, "DROP TABLE IF EXISTS dropped")
			r := m.finish()
			require.NotEmpty(t, r.SchemaChanges)
		})
	}
}
