package bulk_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/bulk"
)

func TestBetweenEndsTheStream(t *testing.T) {
	f := newFixture(t, "copy_between")
	f.execBoth(t, "CREATE TABLE t (id int, v text)")
	f.execSource(t, "INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 3000) g")
	f.planTables(t, 700_000)
	require.Equal(t, "6", f.dst.QueryValue(t, "SELECT count(*) FROM timeferry.parts"))
	f.beginEpoch(t)
	o := f.options()
	calls := 0
	o.Between = func(context.Context) error {
		if calls++; calls == 3 {
			return fmt.Errorf("enough: %w", bulk.ErrStop)
		}
		return nil
	}
	done, err := bulk.CopyParts(context.Background(), o, nil)
	require.NoError(t, err)
	require.Equal(t, 2, done)
	require.Equal(t, "2", f.dst.QueryValue(t, "SELECT count(done_at) FROM timeferry.parts"))
	broken := errors.New("cannot ask")
	o.Between = func(context.Context) error { return broken }
	_, err = bulk.CopyParts(context.Background(), o, nil)
	require.ErrorIs(t, err, broken)
	require.Equal(t, 4, f.copyAll(t))
	f.requireSame(t, "*", "t")
}

func TestCopyHeldBack(t *testing.T) {
	f := newFixture(t, "copy_limit")
	f.execBoth(t, "CREATE TABLE t (id int, v text)")
	f.execSource(t, "INSERT INTO t SELECT g, repeat('x', 1000) FROM generate_series(1, 3000) g; ANALYZE t")
	f.planTables(t, 1<<30)
	f.beginEpoch(t)
	o := f.options()
	o.Limit = bulk.NewLimit(1_500_000) // about 3 MB on the wire
	begun := time.Now()
	inside, last := 0, bulk.Progress{}
	_, err := bulk.CopyParts(context.Background(), o, func(p bulk.Progress) {
		require.LessOrEqual(t, p.DoneBytes, p.Part.Bytes)
		require.GreaterOrEqual(t, p.TotalBytes, last.TotalBytes)
		if last = p; p.PartsDone == 0 && p.DoneBytes > 0 && p.DoneBytes < p.Part.Bytes {
			require.Equal(t, p.DoneBytes, p.OpenBytes)
			inside++
		}
	})
	require.NoError(t, err)
	require.Greater(t, time.Since(begun), 1500*time.Millisecond)
	require.Positive(t, inside, "a single part moves")
	require.Equal(t, last.Part.Bytes, last.DoneBytes)
	require.Zero(t, last.OpenBytes)
	f.requireSame(t, "*", "t")
}

// Many small parts share a transaction, and none is lost when one of them fails.
func TestSmallPartsTogether(t *testing.T) {
	const tables = 150
	f := newFixture(t, "copy_small")
	f.execBoth(t, fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP EXECUTE format('CREATE TABLE small_%%s (id int, v text)', i); END LOOP; END $$`, tables))
	f.execSource(t, fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP EXECUTE format('INSERT INTO small_%%s SELECT g, repeat(''s'', 5) FROM generate_series(1, %%s) g', i, i); END LOOP; END $$`, tables))
	f.execTarget(t, "ALTER TABLE small_1 ADD CHECK (id < 0)")
	f.planTables(t, 1<<30)
	f.beginEpoch(t)
	done, err := bulk.CopyParts(context.Background(), f.options(), nil)
	require.ErrorContains(t, err, "public.small_1: target: ")
	require.Equal(t, "t", f.dst.QueryValue(t, fmt.Sprintf("SELECT count(done_at) = %d AND count(*) = %d FROM timeferry.parts", done, tables)))
	require.Less(t, done, tables)
	f.execTarget(t, "ALTER TABLE small_1 DROP CONSTRAINT small_1_id_check")
	reports := 0
	again, err := bulk.CopyParts(context.Background(), f.options(), func(bulk.Progress) { reports++ })
	require.NoError(t, err)
	require.Equal(t, tables, done+again)
	require.Less(t, reports, again, "one commit for many parts")
	f.requireNothingLeft(t)
	require.Equal(t, fmt.Sprint(tables*(tables+1)/2), f.dst.QueryValue(t, "SELECT sum(copied_rows) FROM timeferry.parts"))
	f.requireSame(t, "*", "small_1", "small_77", "small_150")
}

// A row of 200 MB passes in pieces. The servers need several times its size; this process does not.
func TestWideRowsPassInPieces(t *testing.T) {
	f := newFixture(t, "copy_wide")
	f.execBoth(t, "CREATE TABLE wide (id int, b bytea)")
	f.execSource(t, `ALTER TABLE wide ALTER b SET STORAGE EXTERNAL;
		INSERT INTO wide SELECT 1, convert_to(repeat('0123456789abcdef', 200 * 65536), 'SQL_ASCII'); INSERT INTO wide SELECT 2, b FROM wide`)
	f.planTables(t, 1<<30)
	f.beginEpoch(t)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := bulk.CopyParts(context.Background(), f.options(), nil)
	require.NoError(t, err)
	runtime.ReadMemStats(&after)
	t.Logf("allocated %d KiB for 400 MiB", (after.TotalAlloc-before.TotalAlloc)>>10)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(50<<20), "all that was allocated on the way, garbage included")
	f.requireNothingLeft(t)
	f.requireSame(t, "id, length(b), md5(b)", "wide")
}
