package relay_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/relay"
	"timeferry/internal/spool"
)

func record(n int) spool.Record {
	return spool.Record{Kind: spool.Message, LSN: change.LSN(n), Data: fmt.Appendf(nil, "message %d", n)}
}

func mustAppend(t *testing.T, r *relay.Relay, from, to int) {
	t.Helper()
	for n := from; n <= to; n++ {
		require.NoError(t, r.Append(record(n)))
	}
}

// next reads one record, or fails.
func next(t *testing.T, d *relay.Reader) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	rec, err := d.Next(ctx)
	require.NoError(t, err)
	return string(rec.Data)
}

func requireNothing(t *testing.T, d *relay.Reader) {
	t.Helper()
	require.False(t, d.Ready())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := d.Next(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestRecordsComeInOrderOnceFlushed(t *testing.T) {
	r := relay.New(relay.Memory{})
	require.NoError(t, r.StartAt(100))
	require.Equal(t, change.LSN(100), r.Durable())
	d := r.NewReader(100)
	requireNothing(t, d)
	mustAppend(t, r, 1, 3)
	requireNothing(t, d)
	require.NoError(t, r.Flush())
	for n := 1; n <= 3; n++ {
		require.True(t, d.Ready())
		require.Equal(t, fmt.Sprintf("message %d", n), next(t, d))
	}
	requireNothing(t, d)
	require.NoError(t, r.Append(spool.Record{Kind: spool.Progress, LSN: 500}))
	durable, err := r.Sync()
	require.NoError(t, err)
	require.Equal(t, change.LSN(100), durable, "nothing is durable but what the target says")
	rec, err := d.Next(context.Background())
	require.NoError(t, err)
	require.Equal(t, spool.Progress, rec.Kind)
	require.Equal(t, change.LSN(500), rec.LSN)
	r.Confirm(500)
	r.Confirm(400)
	require.Equal(t, change.LSN(500), r.Durable(), "it never goes back")
}

// However slow the reader, memory is bounded, nothing is lost, and whoever appends is let go on.
func TestASlowReaderHoldsBackTheReceiver(t *testing.T) {
	r := relay.New(relay.Memory{})
	d := r.NewReader(0)
	value := make([]byte, 100_000)
	sent := 0
	for {
		err := r.Append(spool.Record{Kind: spool.Message, LSN: change.LSN(sent), Data: value})
		if err != nil {
			require.True(t, spool.HasCode(err, spool.CodeFull), "%v", err)
			break
		}
		sent++
	}
	require.Less(t, sent*len(value), 10<<20)
	require.NoError(t, r.Flush())
	appended := make(chan error)
	go func() {
		for {
			err := r.Append(spool.Record{Kind: spool.Message, LSN: change.LSN(sent), Data: value})
			if !spool.HasCode(err, spool.CodeFull) {
				appended <- errors.Join(err, r.Flush())
				return
			}
		}
	}()
	for n := range sent + 1 {
		rec, err := d.Next(context.Background())
		require.NoError(t, err)
		require.Equal(t, change.LSN(n), rec.LSN)
		if n == sent-1 {
			require.NoError(t, <-appended)
		}
	}
	requireNothing(t, d)
	huge := make([]byte, 20<<20) // alone it passes, whatever its size
	require.NoError(t, r.Append(spool.Record{Kind: spool.Message, Data: huge}))
	require.NoError(t, r.Flush())
	rec, err := d.Next(context.Background())
	require.NoError(t, err)
	require.Len(t, rec.Data, len(huge))
	rec.Data = nil
	requireNothing(t, d)
	huge = nil
	mustAppend(t, r, 1, 1)
	require.NoError(t, r.Flush())
	next(t, d)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	require.Less(t, m.HeapAlloc, uint64(40<<20), "a great value's memory is given back")
}

// The connection broke: what was read of a transaction is void, and the next reader gets it whole.
func TestAfterARewindTheReaderIsOver(t *testing.T) {
	r := relay.New(relay.Memory{})
	d := r.NewReader(7)
	require.NoError(t, r.Rewind(), "before anything came nobody is disturbed")
	require.NoError(t, r.StartAt(7))
	mustAppend(t, r, 1, 2)
	require.NoError(t, r.Flush())
	mustAppend(t, r, 3, 3)
	require.Equal(t, "message 1", next(t, d))
	require.NoError(t, r.Rewind())
	require.NoError(t, r.Rewind(), "twice")
	require.True(t, d.Ready())
	var err error
	for err == nil {
		_, err = d.Next(context.Background())
	}
	require.ErrorIs(t, err, relay.ErrInterrupted)
	_, err = d.Next(context.Background())
	require.ErrorIs(t, err, relay.ErrInterrupted, "for good")

	again := r.NewReader(7)
	mustAppend(t, r, 1, 3)
	require.NoError(t, r.Flush())
	for n := 1; n <= 3; n++ {
		require.Equal(t, fmt.Sprintf("message %d", n), next(t, again), "the receiver was at its beginning already")
	}
	_, err = d.Next(context.Background())
	require.ErrorIs(t, err, relay.ErrInterrupted)
}

// The applier begins again: what it had read is gone, so the receiver must go back.
func TestANewReaderSendsTheReceiverBack(t *testing.T) {
	r := relay.New(relay.Memory{})
	d := r.NewReader(0)
	mustAppend(t, r, 1, 2)
	require.NoError(t, r.Flush())
	require.Equal(t, "message 1", next(t, d))
	again := r.NewReader(1)
	for _, do := range []func() error{func() error { return r.Append(record(3)) }, r.Flush, func() error { _, err := r.Sync(); return err }} {
		err := do()
		require.Equal(t, fault.Transient, fault.Classify(err), "%v", err)
	}
	requireNothing(t, again)
	require.NoError(t, r.Rewind())
	mustAppend(t, r, 1, 2)
	require.NoError(t, r.Flush())
	require.Equal(t, "message 1", next(t, again))
	require.Equal(t, "message 2", next(t, again))
}

func TestAReceiverThatWaitsForRoomIsSentBackToo(t *testing.T) {
	r := relay.New(relay.Memory{})
	r.NewReader(0)
	value := make([]byte, 1<<20)
	var err error
	for err == nil {
		err = r.Append(spool.Record{Kind: spool.Message, Data: value})
	}
	require.True(t, spool.HasCode(err, spool.CodeFull))
	waiting := make(chan error)
	go func() {
		for {
			if err := r.Append(spool.Record{Kind: spool.Message, Data: value}); !spool.HasCode(err, spool.CodeFull) {
				waiting <- err
				return
			}
		}
	}()
	r.NewReader(0)
	require.Equal(t, fault.Transient, fault.Classify(<-waiting))
}

// A slot that somebody has moved on gives no stream with a hole.
func TestAGapIsRefused(t *testing.T) {
	r := relay.New(relay.Memory{})
	d := r.NewReader(99)
	require.NoError(t, r.StartAt(100))
	require.True(t, d.Ready())
	_, err := d.Next(context.Background())
	require.True(t, spool.HasCode(err, spool.CodeGap), "%v", err)
	require.Equal(t, fault.Integrity, fault.Classify(err))
}

func TestMemoryIsGoneOnWith(t *testing.T) {
	kept := ""
	r := relay.New(relay.Memory{Applied: 700, Source: "the first", Keep: func(note string) error { kept = note; return nil }})
	require.Equal(t, change.LSN(700), r.Durable(), "the receiver begins there")
	require.NoError(t, r.StartAt(600), "the slot may be behind: it was not told yet")
	require.Equal(t, change.LSN(700), r.Durable())
	note, err := r.Source()
	require.NoError(t, err)
	require.Equal(t, "the first", note)
	require.NoError(t, r.SetSource("the second"))
	note, err = r.Source()
	require.NoError(t, err)
	require.Equal(t, "the second", note)
	require.Equal(t, note, kept)
	require.Empty(t, r.Dir())

	broken := errors.New("the target is away")
	r = relay.New(relay.Memory{Keep: func(string) error { return broken }})
	require.ErrorIs(t, r.SetSource("lost"), broken)
	note, err = r.Source()
	require.NoError(t, err)
	require.Empty(t, note, "what is not kept is not known")
}
