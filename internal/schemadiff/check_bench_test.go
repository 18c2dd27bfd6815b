package schemadiff_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/schemadiff"
	"timeferry/internal/testkit/pgtest"
)

// BenchmarkCheck is on many tables of 10 columns and three indexes, and on views that the two versions write differently. There are
// 1,000 of them, or as many as SCHEMADIFF_TABLES says.
func BenchmarkCheck(b *testing.B) {
	count := 1000
	if text := os.Getenv("SCHEMADIFF_TABLES"); text != "" {
		var err error
		count, err = strconv.Atoi(text)
		require.NoError(b, err)
	}
	const tables = `DO $$ BEGIN FOR i IN %d..%d LOOP
		EXECUTE format('CREATE TABLE t%%s (id int PRIMARY KEY, a int NOT NULL DEFAULT 1, b text, c text DEFAULT ''x'', d timestamptz DEFAULT now(), e numeric(9,2), f jsonb, g bool, h uuid, i date CHECK (i > ''2000-01-01''), UNIQUE (a, b))', i);
		EXECUTE format('CREATE INDEX ON t%%s (d DESC)', i);
		IF i %% 5 = 0 THEN EXECUTE format('CREATE VIEW v%%s AS SELECT id, a, b FROM t%%s WHERE g', i, i); END IF;
	END LOOP; END $$`
	src, dst := pgtest.OwnSource(b, nil), pgtest.OwnTarget(b, nil) // thrown away as a whole: to drop so many tables takes long
	for _, d := range []*pgtest.Database{src, dst} {
		for i := 0; i < count; i += 500 {
			d.Exec(b, fmt.Sprintf(tables, i, min(i+500, count)-1))
		}
	}
	s, t := src.Conn(b), dst.Conn(b)
	b.ReportAllocs()
	for b.Loop() {
		started := time.Now()
		source, err := schemadiff.ReadSource(context.Background(), s, wholePlan())
		require.NoError(b, err)
		read := time.Now()
		target, err := schemadiff.ReadTarget(context.Background(), t, source)
		require.NoError(b, err)
		rendered := time.Now()
		result := schemadiff.Compare(source, target, wholePlan())
		b.Logf("source %s, target and rendering %s, comparing %s", read.Sub(started), rendered.Sub(read), time.Since(rendered))
		require.Empty(b, result.Differences)
		require.Equal(b, count, result.Compared[schemadiff.Table])
		runtime.GC()
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		b.ReportMetric(float64(memory.HeapAlloc)/(1<<20), "live-MiB")
		runtime.KeepAlive(source)
		runtime.KeepAlive(target)
	}
}
