package verify_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/testkit/pgtest"
	"timeferry/internal/verify"
)

// BenchmarkDigest reads one table as both sides, so that each row counts twice for the machine and once in rows/s.
func BenchmarkDigest(b *testing.B) {
	src := pgtest.Source(b)
	src.Exec(b, `CREATE TABLE m AS SELECT n AS id, timestamptz '2024-01-01' + n * interval '1 s' AS ts, 'device-' || n % 1000 AS device, random() AS v, md5(n::text) AS note
		FROM generate_series(1, 500000) n`)
	src.Exec(b, "GRANT SELECT ON m TO "+pgtest.SourceMaster)
	src.Exec(b, "VACUUM ANALYZE m")
	t := table("m", "id", "ts", "device", "v", "note")
	for b.Loop() {
		o := verify.Options{Source: src.Master, Target: src.Master, Method: verify.MethodChecksum}
		require.NoError(b, verify.Compare(context.Background(), o, []verify.Table{t}, func(r verify.Result) error {
			require.True(b, r.Equal)
			return nil
		}))
	}
	b.ReportMetric(float64(b.N)*500000/b.Elapsed().Seconds(), "rows/s")
}
