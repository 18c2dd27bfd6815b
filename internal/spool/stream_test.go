package spool

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/pgoutput"
)

// The test stream: transaction n has its commit record at n*100 and ends at n*100+50. Every third begins with a new
// description of relation 1, every fifth with one of relation 2.

func finalOf(n int) change.LSN { return change.LSN(n * 100) }
func endOf(n int) change.LSN   { return change.LSN(n*100 + 50) }

func beginMessage(final change.LSN) []byte {
	return binary.BigEndian.AppendUint64([]byte{'B'}, uint64(final))[:9:9]
}

func begin(n int) Record {
	b := append(beginMessage(finalOf(n)), make([]byte, 12)...)
	return Record{LSN: finalOf(n), Kind: Message, Data: b}
}

func commit(n int) Record {
	b := binary.BigEndian.AppendUint64([]byte{'C', 0}, uint64(finalOf(n)))
	b = binary.BigEndian.AppendUint64(b, uint64(endOf(n)))
	return Record{LSN: endOf(n), Kind: Message, Data: append(b, make([]byte, 8)...)}
}

func relation(oid uint32, version int) Record {
	b := binary.BigEndian.AppendUint32([]byte{'R'}, oid)
	return Record{Kind: Message, Data: fmt.Appendf(b, "public\x00t%d_%d\x00d\x00\x00", oid, version)}
}

func row(n, i int) Record {
	return Record{LSN: finalOf(n) - 1, Kind: Message, Data: fmt.Appendf(nil, "I row %d of transaction %d", i, n)}
}

func loose(at change.LSN) Record {
	b := binary.BigEndian.AppendUint64([]byte{'M', 0}, uint64(at))
	return Record{LSN: at, Kind: Message, Data: append(b, "p\x00\x00\x00\x00\x00"...)}
}

func progress(at change.LSN) Record { return Record{LSN: at, Kind: Progress} }

// transaction is the whole of transaction n.
func transaction(n int) []Record {
	records := []Record{begin(n)}
	if n%3 == 1 {
		records = append(records, relation(1, n))
	}
	if n%5 == 1 {
		records = append(records, relation(2, n))
	}
	for i := range 3 {
		records = append(records, row(n, i))
	}
	return append(records, commit(n))
}

func appendAll(s *Spool, records ...Record) error {
	for _, r := range records {
		if err := s.Append(r); err != nil {
			return err
		}
	}
	return nil
}

func mustAppend(t testing.TB, s *Spool, records ...Record) {
	t.Helper()
	require.NoError(t, appendAll(s, records...))
}

func mustSync(t testing.TB, s *Spool) change.LSN {
	t.Helper()
	durable, err := s.Sync()
	require.NoError(t, err)
	require.Equal(t, durable, s.Durable())
	return durable
}

func mustOpen(t testing.TB, dir string, o Options) *Spool {
	t.Helper()
	s, err := Open(dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func mustReader(t testing.TB, s *Spool, from change.LSN) *Reader {
	t.Helper()
	r, err := s.NewReader(from)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Close()) })
	return r
}

// readReady reads as long as the reader is ready, and checks that Ready and Next agree.
func readReady(t testing.TB, r *Reader) []string {
	t.Helper()
	var got []string
	for r.Ready() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		rec, err := r.Next(ctx)
		cancel()
		require.NoError(t, err, "after Ready")
		got = append(got, text(rec))
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := r.Next(ctx)
	require.ErrorIs(t, err, context.Canceled, "not Ready, so Next must wait")
	return got
}

func text(r Record) string {
	if r.Kind == Progress {
		return "progress " + r.LSN.String()
	}
	if final, ok := pgoutput.IsBegin(r.Data); ok {
		return "begin " + final.String()
	}
	if end, ok := pgoutput.IsCommit(r.Data); ok {
		return "commit " + end.String()
	}
	return string(r.Data)
}

func texts(records ...Record) []string {
	var out []string
	for _, r := range records {
		out = append(out, text(r))
	}
	return out
}

// expected is what a reader gets of transactions first to last, when it starts at first.
func expected(first, last int) []string {
	var index relationIndex
	for n := 1; n < first; n++ {
		for _, r := range transaction(n) {
			index.put(r.Data)
		}
	}
	var out []string
	for _, oid := range index.order {
		out = append(out, string(index.byOID[oid]))
	}
	for n := first; n <= last; n++ {
		out = append(out, texts(transaction(n)...)...)
	}
	return out
}

func requireCode(t testing.TB, err error, code string) {
	t.Helper()
	require.Error(t, err)
	require.True(t, HasCode(err, code), "%v", errors.Unwrap(err))
}

// laterCRC ends a header of version 5 that is zero otherwise; made with another implementation of CRC32C.
var laterCRC = []byte{0xad, 0x96, 0x55, 0xf3}

// inBothForms runs a test with segments of either form. form makes a spool's options so.
func inBothForms(t *testing.T, test func(t *testing.T, form func(Options) Options)) {
	t.Helper()
	for name, compress := range map[string]bool{"plain": false, "compressed": true} {
		t.Run(name, func(t *testing.T) {
			test(t, func(o Options) Options { o.Compress = compress; return o })
		})
	}
}
