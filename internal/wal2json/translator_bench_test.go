package wal2json_test

import (
	"testing"

	"timeferry/internal/wal2json"
)

// BenchmarkTranslate translates inserts of six columns.
func BenchmarkTranslate(b *testing.B) {
	tr := wal2json.NewTranslator(catalogue())
	object := []byte(change1("I", "plain", row, ""))
	put := func([]byte) error { return nil }
	b.ReportAllocs()
	b.SetBytes(int64(len(object)))
	for b.Loop() {
		if err := tr.Translate(1, object, false, put); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
