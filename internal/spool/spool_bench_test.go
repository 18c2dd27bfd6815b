package spool

import (
	"context"
	"testing"
)

const benchRows = 100 // a transaction of the benchmarks

func benchTransaction(n int, into []Record) []Record {
	into = append(into[:0], begin(n))
	for range benchRows {
		into = append(into, Record{LSN: finalOf(n), Kind: Message, Data: benchRow})
	}
	return append(into, commit(n))
}

var benchRow = append([]byte("I"), make([]byte, 99)...)

// BenchmarkAppend writes rows of 100 bytes and flushes after each transaction of 100.
func BenchmarkAppend(b *testing.B) {
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(benchRows * 100)
	var records []Record
	n := 0
	for b.Loop() {
		n++
		records = benchTransaction(n, records)
		if err := appendAll(s, records...); err != nil {
			b.Fatal(err)
		}
		if n%50 == 0 {
			if err := s.Flush(); err != nil {
				b.Fatal(err)
			}
		}
		if n%2000 == 0 {
			if err := s.Prune(endOf(n)); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(n)*benchRows/b.Elapsed().Seconds(), "rows/s")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkRead reads the same again.
func BenchmarkRead(b *testing.B) {
	s, err := Open(b.TempDir(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	const transactions = 5000
	var records []Record
	for n := 1; n <= transactions; n++ {
		records = benchTransaction(n, records)
		if err := appendAll(s, records...); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.Flush(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(transactions * benchRows * 100)
	rows := 0
	for b.Loop() {
		r, err := s.NewReader(0)
		if err != nil {
			b.Fatal(err)
		}
		for r.Ready() {
			if _, err := r.Next(context.Background()); err != nil {
				b.Fatal(err)
			}
			rows++
		}
		if err := r.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s")
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
}
