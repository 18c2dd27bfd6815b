package relay_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/relay"
	"timeferry/internal/source/capture"
	"timeferry/internal/spool"
	"timeferry/internal/target/apply"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// direct is a source and a target with the same tables, a slot, and what applies it without anything between.
type direct struct {
	src, dst *pgtest.Database
	slot     string
	options  apply.Options
}

const schema = `CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL, note text);
	CREATE TABLE history (at bigserial PRIMARY KEY, account int NOT NULL, delta int NOT NULL);`

func newDirect(t *testing.T) *direct {
	t.Helper()
	d := &direct{src: pgtest.Source(t), dst: pgtest.Target(t), slot: "relay_test"}
	d.src.Exec(t, schema+`CREATE PUBLICATION relay FOR TABLE accounts, history`)
	d.dst.Exec(t, schema)
	d.src.Exec(t, `SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, d.slot)
	require.NoError(t, ledger.Create(t.Context(), d.dst.Conn(t), "relay"))
	start, err := change.ParseLSN(d.src.QueryValue(t, `SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'relay_test'`))
	require.NoError(t, err)
	d.options = apply.Options{Target: d.dst.Endpoint, ReplicaRole: true, Starts: map[ident.Table]change.LSN{
		{Schema: "public", Name: "accounts"}: start, {Schema: "public", Name: "history"}: start}}
	d.src.Exec(t, `INSERT INTO accounts SELECT g, 0, repeat(md5(g::text), 100) FROM generate_series(1, 200) g`)
	return d
}

// run receives and applies as the activity does, until ctx ends or one of them fails.
func (d *direct) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var memory relay.Memory
	if err := d.remember(ctx, &memory); err != nil {
		return err
	}
	between := relay.New(memory)
	receiver := capture.Receiver{Source: d.src.Endpoint, Slot: d.slot, Publications: []string{"relay"}, Spool: between}
	received := make(chan error, 1)
	go func() {
		received <- receiver.Run(ctx, nil)
		cancel()
	}()
	err := apply.Run(ctx, d.options, func(from change.LSN) (apply.Feed, error) {
		return apply.NewSpoolFeed(again{between.NewReader(from)}), nil
	}, func(p apply.Progress) { between.Confirm(p.FlushedLSN) })
	cancel()
	return errors.Join(err, <-received)
}

// remember reads from the target what a relay goes on with.
func (d *direct) remember(ctx context.Context, memory *relay.Memory) error {
	conn, err := pgkit.Dial(ctx, d.dst.Endpoint, "relay test")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	flushed, err := ledger.FlushedPosition(ctx, conn)
	memory.Applied, memory.Keep = flushed.LSN, func(string) error { return nil }
	return err
}

type again struct{ *relay.Reader }

func (a again) Next(ctx context.Context) (spool.Record, error) {
	rec, err := a.Reader.Next(ctx)
	if errors.Is(err, relay.ErrInterrupted) {
		err = apply.Again("the stream begins again", err)
	}
	return rec, err
}

// requireConfirmedLess holds that the source was told no more than what the target has: the slot is read first.
func (d *direct) requireConfirmedLess(t *testing.T) {
	t.Helper()
	confirmed, err := change.ParseLSN(d.src.QueryValue(t, `SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'relay_test'`))
	require.NoError(t, err)
	applied, err := ledger.Applied(t.Context(), d.dst.Conn(t))
	require.NoError(t, err)
	if applied.LSN == 0 {
		applied.LSN = d.options.Starts[ident.Table{Schema: "public", Name: "history"}]
	}
	require.GreaterOrEqual(t, applied.LSN, confirmed)
}

func (d *direct) requireEqual(t *testing.T) {
	t.Helper()
	for _, query := range []string{`SELECT * FROM accounts ORDER BY id`, `SELECT * FROM history ORDER BY at`} {
		require.Equal(t, d.src.Dump(t, query), d.dst.Dump(t, query))
	}
}

// awaitApplied waits until everything that is committed now is on the target.
func (d *direct) awaitApplied(t *testing.T) {
	t.Helper()
	d.src.Exec(t, `INSERT INTO history (account, delta) VALUES (0, 0)`)
	last := d.src.QueryValue(t, `SELECT max(at) FROM history`)
	require.Eventually(t, func() bool {
		return d.dst.QueryValue(t, `SELECT coalesce(max(at), 0) FROM history`) == last
	}, 4*time.Minute, 50*time.Millisecond)
}

// Whatever is cut at whatever moment, every transaction arrives once, and the slot never gets past the target. Ends of the context
// stand for the death of the process: the relay and all that it held are gone.
func TestCutsAndDeathsLoseNothing(t *testing.T) {
	d := newDirect(t)
	seed := uint64(11)
	random := rand.New(rand.NewPCG(seed, 1))
	load, stop := context.WithCancel(context.Background())
	var working sync.WaitGroup
	for worker := range 2 {
		conn := d.src.Conn(t)
		working.Go(func() {
			for n := 0; load.Err() == nil; n++ {
				sql := fmt.Sprintf(`BEGIN; UPDATE accounts SET balance = balance + 1 WHERE id = %d; INSERT INTO history (account, delta) VALUES (%d, 1); COMMIT`, n%200+1, n%200+1)
				if n%300 == 99 { // one that is more than the relay holds
					sql = `BEGIN; UPDATE accounts SET note = repeat(md5(balance::text), 1500 + ` + fmt.Sprint(worker) + `); COMMIT`
				}
				if _, err := conn.Exec(context.Background(), sql); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	killing := [2]string{`SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = 'relay_test' AND active_pid IS NOT NULL`,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'timeferry apply%'`}
	for round := range 6 {
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- d.run(ctx) }()
		for range 3 {
			select {
			case <-time.After(time.Duration(100+random.IntN(500)) * time.Millisecond):
			case err := <-ended:
				t.Fatalf("seed %d, round %d: ended by itself: %v", seed, round, err)
			}
			if random.IntN(2) == 0 {
				d.src.Exec(t, killing[0])
			} else {
				d.dst.Exec(t, killing[1])
			}
			d.requireConfirmedLess(t)
		}
		cancel()
		require.ErrorIs(t, <-ended, context.Canceled)
		d.requireConfirmedLess(t)
	}
	stop()
	working.Wait()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.run(ctx) }()
	d.awaitApplied(t)
	d.requireEqual(t)
	require.Eventually(t, func() bool { // and at rest the source may let go of its WAL
		return d.src.QueryValue(t, `SELECT pg_current_wal_lsn() - confirmed_flush_lsn < 1000000 FROM pg_replication_slots WHERE slot_name = 'relay_test'`) == "t"
	}, 30*time.Second, 200*time.Millisecond)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

// While the target is held up, the connection to the source lives, and the slot stays where the target is.
func TestABlockedTargetKeepsTheStreamAlive(t *testing.T) {
	d := newDirect(t)
	d.src.Exec(t, `INSERT INTO history (account, delta) SELECT 1, g FROM generate_series(1, 10) g`)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.run(ctx) }()
	d.awaitApplied(t)
	blocker := d.dst.Conn(t)
	_, err := blocker.Exec(t.Context(), `BEGIN; LOCK TABLE accounts IN ACCESS EXCLUSIVE MODE`)
	require.NoError(t, err)
	for range 40 {
		d.src.Exec(t, `UPDATE accounts SET note = repeat(md5(random()::text), 400)`)
	}
	pid := `SELECT coalesce(active_pid, 0) FROM pg_replication_slots WHERE slot_name = 'relay_test'`
	before := d.src.QueryValue(t, pid)
	require.NotEqual(t, "0", before)
	replies := `SELECT max(reply_time) FROM pg_stat_replication WHERE pid = ` + before
	first := d.src.QueryValue(t, replies)
	require.Eventually(t, func() bool { return d.src.QueryValue(t, replies) != first }, 20*time.Second, 100*time.Millisecond)
	d.requireConfirmedLess(t)
	require.Equal(t, before, d.src.QueryValue(t, pid), "the same connection")
	_, err = blocker.Exec(t.Context(), `COMMIT`)
	require.NoError(t, err)
	d.awaitApplied(t)
	d.requireEqual(t)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

// A slot that somebody has moved on is named, not followed.
func TestASlotThatWasMovedOnIsRefused(t *testing.T) {
	d := newDirect(t)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.run(ctx) }()
	d.awaitApplied(t)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	d.src.Exec(t, `INSERT INTO history (account, delta) VALUES (7, 7)`)
	d.src.Exec(t, `SELECT pg_replication_slot_advance('relay_test', pg_current_wal_lsn())`)
	err := d.run(context.Background())
	require.True(t, spool.HasCode(err, spool.CodeGap), "%v", err)
}
