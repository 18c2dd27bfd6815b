package apply

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"strconv"
	"testing"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgoutput"
	"timeferry/internal/shape"
)

// messages is a feed of encoded messages in memory, as a spool yields them.
type messages struct {
	decoder *pgoutput.Decoder
	buffer  []byte
	ends    []int
	next    int
}

func (m *messages) Ready() bool { return m.next < len(m.ends) }

func (m *messages) Next(ctx context.Context) (change.Event, error) {
	if !m.Ready() {
		return change.Event{}, context.Canceled
	}
	start := 0
	if m.next > 0 {
		start = m.ends[m.next-1]
	}
	m.next++
	ev, _, err := m.decoder.Decode(m.buffer[start:m.ends[m.next-1]])
	return ev, err
}

func (m *messages) end() { m.ends = append(m.ends, len(m.buffer)) }

func (m *messages) relation(oid uint32, name string, columns ...string) {
	m.buffer = binary.BigEndian.AppendUint32(append(m.buffer, 'R'), oid)
	m.buffer = append(m.buffer, "public\x00"+name+"\x00d"...)
	m.buffer = binary.BigEndian.AppendUint16(m.buffer, uint16(len(columns)))
	for i, c := range columns {
		m.buffer = append(append(m.buffer, 0), c+"\x00\x00\x00\x00\x19\xff\xff\xff\xff"...)
		if i == 0 {
			m.buffer[len(m.buffer)-len(c)-10] = 1
		}
	}
	m.end()
}

func (m *messages) row(kind byte, oid uint32, values ...string) {
	m.buffer = binary.BigEndian.AppendUint32(append(m.buffer, kind), oid)
	m.buffer = binary.BigEndian.AppendUint16(append(m.buffer, 'N'), uint16(len(values)))
	for _, v := range values {
		m.buffer = binary.BigEndian.AppendUint32(append(m.buffer, 't'), uint32(len(v)))
		m.buffer = append(m.buffer, v...)
	}
	m.end()
}

func (m *messages) begin(n int) {
	m.buffer = binary.BigEndian.AppendUint64(append(m.buffer, 'B'), uint64(lsnOf(n)))
	m.buffer = append(m.buffer, make([]byte, 12)...)
	m.end()
}

func (m *messages) commit(n int) {
	m.buffer = binary.BigEndian.AppendUint64(append(m.buffer, 'C', 0), uint64(lsnOf(n)))
	m.buffer = binary.BigEndian.AppendUint64(m.buffer, uint64(lsnOf(n)+10))
	m.buffer = append(m.buffer, make([]byte, 8)...)
	m.end()
}

// BenchmarkGather is the apply without the target: decoding, net changes, and what would be sent. changes/s is what counts.
func BenchmarkGather(b *testing.B) {
	feed := &messages{}
	random := rand.New(rand.NewPCG(1, 1))
	feed.relation(1, "accounts", "aid", "bid", "abalance", "filler")
	feed.relation(2, "m", "id", "ts", "device", "v")
	changes := 0
	for n := 1; n <= 30_000; n++ {
		feed.begin(n)
		if n%3 == 0 {
			for j := range 20 {
				feed.row('I', 2, strconv.Itoa(n*20+j), "2024-05-06 07:08:09.123456+00", strconv.Itoa(j), "0.123456789")
				changes++
			}
		} else {
			feed.row('U', 1, strconv.Itoa(random.IntN(300_000)), "1", strconv.Itoa(random.IntN(5000)), "                    ")
			changes++
		}
		feed.commit(n)
	}
	tables := map[ident.Table]*table{}
	starts := map[ident.Table]change.LSN{}
	for name, columns := range map[string][]string{"accounts": {"aid", "bid", "abalance", "filler"}, "m": {"id", "ts", "device", "v"}} {
		t := &table{name: ident.Table{Schema: "public", Name: name}, uniques: [][]string{columns[:1]}}
		for _, c := range columns {
			t.columns = append(t.columns, column{name: c, typeOID: 25, cast: "text", equal: "="})
		}
		tables[t.name], starts[t.name] = t, 0
	}
	b.ReportAllocs()
	for b.Loop() {
		feed.next, feed.decoder = 0, pgoutput.NewDecoder()
		r := &runner{Options: Options{Starts: starts, ReplicaRole: true, BatchBytes: defaultBatchBytes, BatchChanges: defaultBatchChanges}, known: map[ident.Table]*shape.Definition{}}
		g := newGatherer(r, feed, 0, tables)
		done := make(chan int64)
		go func() {
			var n int64
			for batch := range g.out {
				n += batch.changes
			}
			done <- n
		}()
		if err := g.run(b.Context()); err != context.Canceled {
			b.Fatal(err)
		}
		close(g.out)
		if n := <-done; n != int64(changes) {
			b.Fatalf("%d changes, not %d", n, changes)
		}
	}
	b.ReportMetric(float64(changes)*float64(b.N)/b.Elapsed().Seconds(), "changes/s")
}
