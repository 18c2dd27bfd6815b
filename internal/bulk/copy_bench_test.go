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
