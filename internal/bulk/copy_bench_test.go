package bulk_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/bulk"
)

const benchRows = 2_000_000

// BenchmarkCopy copies a table of measurements; bytes are those on the wire. One row is about 60 bytes.
func BenchmarkCopy(b *testing.B) {
	const table = "CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, temperature float8, humidity float8, note text);"
	f := newFixture(b, "copy_bench")
	f.execSource(b, table+fmt.Sprintf(`INSERT INTO metrics SELECT timestamptz '2024-01-01' + g * interval '1 second', g %% 1000, random() * 30, random() * 100, 'n' || g
		FROM generate_series(1, %d) g`, benchRows))
	f.execSource(b, "VACUUM ANALYZE metrics")
	for _, target := range []struct{ name, ddl string }{
		{"plain", table},
		{"hypertable", table + "SELECT create_hypertable('metrics', 'ts', chunk_time_interval => interval '1 day', create_default_indexes => false)"},
	} {
		for _, streams := range []int{1, 2} {
			b.Run(fmt.Sprintf("%s/streams=%d", target.name, streams), func(b *testing.B) { benchmarkCopy(b, f, target.ddl, streams) })
		}
	}
}

func benchmarkCopy(b *testing.B, f *fixture, ddl string, streams int) {
	var took time.Duration
	var bytes int64
	for b.Loop() {
		b.StopTimer()
		f.execTarget(b, "DROP TABLE IF EXISTS metrics; DELETE FROM timeferry.tables;"+ddl)
		f.planTables(b, 32<<20)
		f.beginEpoch(b)
		b.StartTimer()
		begun := time.Now()
		bytes += runStreams(b, f, streams)
		took += time.Since(begun)
		b.StopTimer()
		f.requireNothingLeft(b)
		f.hold.end()
		require.NoError(b, <-f.hold.done)
		b.StartTimer()
	}
	b.ReportMetric(float64(bytes)/1e6/took.Seconds(), "MB/s")
	b.ReportMetric(float64(benchRows*b.N)/took.Seconds(), "rows/s")
}

// BenchmarkSmallTables copies many tables of 500 rows each, where the cost of a part is what counts.
func BenchmarkSmallTables(b *testing.B) {
	const tables = 1000
	f := newFixture(b, "copy_small_bench")
	f.execBoth(b, fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP EXECUTE format('CREATE TABLE small_%%s (id int, v text)', i); END LOOP; END $$`, tables))
	f.execSource(b, fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP EXECUTE format('INSERT INTO small_%%s SELECT g, ''row '' || g FROM generate_series(1, 500) g', i); END LOOP; END $$`, tables))
	for _, streams := range []int{1, 2} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			var took time.Duration
			for b.Loop() {
				b.StopTimer()
				f.execTarget(b, "DELETE FROM timeferry.tables")
				f.planTables(b, 1<<30)
				f.beginEpoch(b)
				b.StartTimer()
				begun := time.Now()
				runStreams(b, f, streams)
				took += time.Since(begun)
				b.StopTimer()
				f.requireNothingLeft(b)
				// Rows pile up on the target from round to round; nothing here looks at them.
				f.hold.end()
				require.NoError(b, <-f.hold.done)
				b.StartTimer()
			}
			b.ReportMetric(float64(tables*b.N)/took.Seconds(), "parts/s")
		})
	}
}

func runStreams(b *testing.B, f *fixture, count int) (bytes int64) {
	var streams sync.WaitGroup
	totals := make([]int64, count)
	for i := range count {
		streams.Go(func() {
			_, err := bulk.CopyParts(context.Background(), f.options(), func(p bulk.Progress) { totals[i] = p.TotalBytes })
			if err != nil {
				b.Errorf("copy: %v", err)
			}
		})
	}
	streams.Wait()
	for _, n := range totals {
		bytes += n
	}
	return bytes
}
