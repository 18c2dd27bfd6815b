package spool

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
)

// message is an insert (or update without its key) of relation oid with values in text form, as pgoutput writes it.
func message(kind byte, oid uint32, values ...string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, oid)
	b = append(b, 'N')
	b = binary.BigEndian.AppendUint16(b, uint16(len(values)))
	for _, v := range values {
		b = append(b, 't')
		b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	return b
}

// workloads are what one transaction of each kind holds.
var workloads = []struct {
	name string
	rows func(r *rand.Rand) [][]byte
}{
	{"pgbench", func(r *rand.Rand) [][]byte {
		aid, delta := fmt.Sprint(r.IntN(3_000_000)), fmt.Sprint(r.IntN(10_000)-5000)
		return [][]byte{message('U', 16401, aid, "17", fmt.Sprint(r.IntN(100_000)), fmt.Sprintf("%84s", "")),
			message('I', 16410, "3", "17", aid, delta, fmt.Sprintf("2026-05-01 12:%02d:%02d.%06d", r.IntN(60), r.IntN(60), r.IntN(1e6)))}
	}},
	{"metrics", func(r *rand.Rand) [][]byte {
		var rows [][]byte
		for range 20 {
			rows = append(rows, message('I', 16420, fmt.Sprintf("2026-05-01 12:%02d:%02d.%06d+00", r.IntN(60), r.IntN(60), r.IntN(1e6)),
				fmt.Sprint(r.IntN(500)), fmt.Sprintf("%.6f", r.NormFloat64()*20), fmt.Sprintf("%.6f", r.Float64())))
		}
		return rows
	}},
	{"documents", func(r *rand.Rand) [][]byte {
		doc := ""
		for range 40 {
			doc += fmt.Sprintf(`{"id": "%016x", "state": "shipped", "total": %d.%02d, "currency": "EUR"}, `, r.Uint64(), r.IntN(900), r.IntN(100))
		}
		return [][]byte{message('I', 16430, fmt.Sprint(r.IntN(1e9)), doc)}
	}},
	{"noise", func(r *rand.Rand) [][]byte {
		b := make([]byte, 4000)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return [][]byte{message('I', 16440, fmt.Sprint(r.IntN(1e9)), string(b))}
	}},
}

// stream is 64 MB of a workload's transactions, and how many bytes its messages have.
func stream(rows func(*rand.Rand) [][]byte) (records []Record, size int64) {
	random := rand.New(rand.NewPCG(1, 2))
	add := func(r Record) {
		records = append(records, r)
		size += int64(len(r.Data))
	}
	for n := 1; size < 64<<20; n++ {
		add(begin(n))
		for _, data := range rows(random) {
			add(Record{LSN: finalOf(n) - 1, Kind: Message, Data: data})
		}
		add(commit(n))
	}
	return records, size
}

// BenchmarkForms writes each workload in each form, in full buffers as a busy receiver does, and reads it again. ratio is the size
// of the messages to that of the files.
func BenchmarkForms(b *testing.B) {
	for _, w := range workloads {
		records, size := stream(w.rows)
		for _, o := range []Options{{}, {Compress: true}} {
			name := w.name + map[bool]string{false: "/plain", true: "/zstd"}[o.Compress]
			var s *Spool
			b.Run(name+"/write", func(writing *testing.B) {
				writing.SetBytes(size)
				for writing.Loop() {
					s = mustOpen(b, b.TempDir(), o)
					mustAppend(writing, s, records...)
					if err := s.Flush(); err != nil {
						writing.Fatal(err)
					}
				}
				writing.ReportMetric(float64(size)/float64(s.Stats().Bytes), "ratio")
				writing.ReportMetric(float64(len(records))*float64(writing.N)/writing.Elapsed().Seconds(), "messages/s")
			})
			b.Run(name+"/read", func(reading *testing.B) {
				reading.SetBytes(size)
				for reading.Loop() {
					readEvery(reading, s)
				}
			})
		}
	}
}

func readEvery(b *testing.B, s *Spool) {
	r, err := s.NewReader(0)
	if err != nil {
		b.Fatal(err)
	}
	for r.Ready() {
		if _, err := r.Next(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
}
