package activities_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/source/slot"
	"timeferry/internal/target/ledger"
)

// renew begins an epoch with a snapshot of now, as a migration does.
func (w *watchWorld) renew(t *testing.T, point change.LSN) error {
	t.Helper()
	w.a.Log = slog.New(slog.DiscardHandler)
	holder := w.src.MasterConn(t)
	var snapshot string
	_, err := holder.Exec(t.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ")
	require.NoError(t, err)
	require.NoError(t, holder.QueryRow(t.Context(), "SELECT pg_export_snapshot()").Scan(&snapshot))
	_, err = w.a.BeginEpoch(t.Context(), w.spec, slot.Held{Snapshot: snapshot, ConsistentPoint: point})
	return err
}

func (w *watchWorld) copyAll(t *testing.T) error {
	t.Helper()
	_, err := w.env.ExecuteActivity(w.a.CopyParts, contract.CopyInput{Spec: w.spec, Stream: 1, Streams: 1})
	return err
}

func operatorFault(t *testing.T, err error) *fault.Error {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, fault.Operator, f.Class, "%v", err)
	return f
}

// What an epoch copies is what its snapshot shows, whatever the plan said when it was made: new columns with their values, wider
// types, new partitions, and nothing of what is gone.
func TestEpochFollowsTheSource(t *testing.T) {
	w := newWatchWorld(t, "t", "u", "gone", "p")
	w.spec.Copy = contract.Copy{Concurrency: 1, PartSize: "1GiB", IndexJobs: 1}
	w.source(t, "INSERT INTO t VALUES (1, 'a'), (2, 'b'); INSERT INTO u VALUES (1); INSERT INTO gone VALUES (1); INSERT INTO p VALUES (1), (11)")
	require.NoError(t, w.renew(t, 10))
	w.dst.Exec(t, "UPDATE timeferry.tables SET completed_at = now() WHERE table_name = 'u'")

	for _, sql := range []string{"ALTER TABLE t ADD COLUMN c int DEFAULT 5", "ALTER TABLE t ALTER id TYPE bigint", "ALTER TABLE t DROP COLUMN v",
		"UPDATE t SET c = 7 WHERE id = 2; INSERT INTO t VALUES (5000000000, 8); INSERT INTO u VALUES (2)",
		"DROP TABLE gone", "DROP TABLE p2", "CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (20) TO (30); INSERT INTO p VALUES (21)"} {
		w.source(t, sql)
	}
	w.dst.Exec(t, "CREATE TABLE p3 PARTITION OF p FOR VALUES FROM (20) TO (30)")
	require.ErrorContains(t, w.copyAll(t), "under another one", "the first snapshot does not show what was altered")
	require.NoError(t, w.renew(t, 20))
	require.NoError(t, w.copyAll(t))

	require.Equal(t, []string{"1|5", "2|7", "5000000000|8"}, w.dst.Dump(t, "SELECT id, c FROM t ORDER BY id"))
	require.Equal(t, []string{"1", "21"}, w.dst.Dump(t, "SELECT id FROM p ORDER BY id"))
	require.Equal(t, "0", w.dst.QueryValue(t, "SELECT count(*) FROM gone"))
	require.Equal(t, []string{"gone|0/14", "p|0/14", "t|0/14", "u|0/A"}, w.dst.Dump(t, "SELECT table_name, start_lsn FROM timeferry.tables WHERE completed_at IS NOT NULL ORDER BY 1"))
	shapes, err := ledger.Shapes(t.Context(), w.dst.MasterConn(t))
	require.NoError(t, err)
	for name, known := range shapes {
		if name.Name == "t" {
			require.Len(t, known.Columns, 2)
		}
	}
	require.Equal(t, []string{"c|integer|5", "id|bigint|-"}, w.dst.Dump(t, `SELECT attname, format_type(atttypid, atttypmod), coalesce(pg_get_expr(adbin, adrelid), '-')
		FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum WHERE a.attrelid = 't'::regclass AND a.attnum > 0 AND NOT attisdropped ORDER BY 1`))
	require.NotEmpty(t, w.watch(t).Followed, "the report tells of it")
}

// A table that goes on by another name has rows that nobody would copy, and one that cannot be followed is said with the statement.
func TestEpochThatCannotFollow(t *testing.T) {
	w := newWatchWorld(t, "t", "u", "gone", "p")
	require.NoError(t, w.renew(t, 10))
	w.source(t, "ALTER TABLE gone RENAME TO kept")
	err := w.renew(t, 20)
	require.Equal(t, contract.CodeTableRenamed, operatorFault(t, err).Code)
	require.ErrorContains(t, err, "public.kept")
	w.source(t, "ALTER TABLE kept RENAME TO gone; CREATE TYPE fresh AS ENUM ('a'); ALTER TABLE t ADD COLUMN f fresh")
	f := operatorFault(t, w.renew(t, 30))
	require.Equal(t, "public.t", f.Subject)
	require.Contains(t, f.Hint, `ADD COLUMN "f"`)
	w.dst.Exec(t, "CREATE TYPE fresh AS ENUM ('a')")
	require.NoError(t, w.renew(t, 40))
}
