package pgoutput_test

import (
	"encoding/binary"
	"testing"

	"timeferry/internal/pgoutput"
)

// BenchmarkDecode decodes rows of ten columns, about 100 bytes each.
func BenchmarkDecode(b *testing.B) {
	d := pgoutput.NewDecoder()
	relation := []byte("R\x00\x00\x00\x05s\x00t\x00d\x00\x0a")
	msg := []byte("I\x00\x00\x00\x05N\x00\x0a")
	for range 10 {
		relation = append(relation, "\x01c\x00\x00\x00\x00\x17\xff\xff\xff\xff"...)
		msg = append(msg, 't')
		msg = binary.BigEndian.AppendUint32(msg, 5)
		msg = append(msg, "12345"...)
	}
	if _, _, err := d.Decode(relation); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		if _, _, err := d.Decode(msg); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
