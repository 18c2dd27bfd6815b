package bulk_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/bulk"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/source/slot"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// fixture is a source with a slot and a target with a ledger. Both sides' users are the owners, who are no superusers.
type fixture struct {
	src, dst *pgtest.Database
	slot     string
	ledger   *pgx.Conn
	hold     *hold
}

// hold is a snapshot that is being held.
type hold struct {
	held  slot.Held
	done  chan error
	end   context.CancelFunc
	epoch int
}

func newFixture(t testing.TB, slotName string) *fixture {
	t.Helper()
	return newFixtureFrom(t, pgtest.Source(t), slotName)
}

func newFixtureFrom(t testing.TB, source *pgtest.Database, slotName string) *fixture {
	t.Helper()
	f := &fixture{src: source, dst: pgtest.Target(t), slot: slotName}
	f.ledger = f.dst.MasterConn(t)
	require.NoError(t, ledger.Create(context.Background(), f.ledger, slotName))
	return f
}

func (f *fixture) options() bulk.Options {
	return bulk.Options{Source: f.src.Master, Target: f.dst.Master, ReplicaRole: true}
}

// execBoth runs SQL as the owner on both sides.
func (f *fixture) execBoth(t testing.TB, sql string) {
	t.Helper()
	f.execSource(t, sql)
	f.execTarget(t, sql)
}

func (f *fixture) execSource(t testing.TB, sql string) {
	t.Helper()
	mustExec(t, f.src.MasterConn(t), sql)
}
func (f *fixture) execTarget(t testing.TB, sql string) {
	t.Helper()
	mustExec(t, f.dst.MasterConn(t), sql)
}

func mustExec(t testing.TB, conn *pgx.Conn, sql string) {
	t.Helper()
	require.NoError(t, conn.PgConn().Exec(context.Background(), sql).Close())
}

// planTables records all tables of the source, cut into parts.
func (f *fixture) planTables(t testing.TB, partBytes int64) {
	t.Helper()
	require.NoError(t, ledger.PlanTables(context.Background(), f.ledger, f.planned(t, partBytes)))
}

// planned are all tables of the source, cut into parts.
func (f *fixture) planned(t testing.TB, partBytes int64) (planned []ledger.Table) {
	t.Helper()
	ctx := context.Background()
	tables, err := pgkit.Tables(ctx, f.src.MasterConn(t), func(ident.Table) bool { return true })
	require.NoError(t, err)
	for _, s := range tables {
		p := ledger.Table{Table: s.Table, Bytes: s.Bytes, EstimatedRows: s.EstimatedRows, TextCopy: s.NeedsTextCopy(), Columns: s.CopyColumns()}
		err := f.ledger.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM timescaledb_information.hypertables WHERE hypertable_schema = $1 AND hypertable_name = $2)",
			s.Schema, s.Name).Scan(&p.Hypertable)
		require.NoError(t, err)
		for n, part := range plan.Parts(s, partBytes, true) {
			p.Parts = append(p.Parts, ledger.Part{Number: n, Source: part.Source, First: part.First, End: part.End, Bytes: part.Bytes})
		}
		planned = append(planned, p)
	}
	return planned
}

// beginEpoch takes a snapshot and makes it the epoch's.
func (f *fixture) beginEpoch(t testing.TB) *hold {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	h := &hold{done: make(chan error, 1), end: cancel}
	ready := make(chan struct{})
	go func() {
		h.done <- slot.Hold(ctx, slot.HoldOptions{Source: f.src.Master, Slot: f.slot, Plugin: "pgoutput", Fresh: true}, func(held slot.Held) error {
			h.held = held
			close(ready)
			return nil
		}, func() {})
	}()
	t.Cleanup(cancel)
	select {
	case <-ready:
	case err := <-h.done:
		require.NoError(t, err)
	}
	var err error
	h.epoch, err = bulk.BeginEpoch(context.Background(), f.ledger, h.held.ConsistentPoint, h.held.Snapshot)
	require.NoError(t, err)
	f.hold = h
	return h
}

// killHolder ends the session that holds the snapshot, and returns when it is gone.
func (f *fixture) killHolder(t testing.TB) {
	f.src.Exec(t, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name = 'timeferry snapshot holder' AND datname = current_database()")
	require.Error(t, <-f.hold.done)
}

// copyAll runs one stream to the end and requires that nothing is left.
func (f *fixture) copyAll(t testing.TB) (done int) {
	t.Helper()
	done, err := bulk.CopyParts(context.Background(), f.options(), nil)
	require.NoError(t, err)
	f.requireNothingLeft(t)
	return done
}

func (f *fixture) requireNothingLeft(t testing.TB) {
	t.Helper()
	left, err := bulk.Remaining(context.Background(), f.ledger)
	require.NoError(t, err)
	require.Zero(t, left)
	require.Equal(t, "0", f.dst.QueryValue(t, "SELECT count(*) FROM timeferry.tables WHERE completed_at IS NULL"))
}

// digestSQL is independent of the order of rows, and of columns if they are named.
func digestSQL(columns, table string) string {
	return fmt.Sprintf("SELECT count(*), sum(('x' || left(md5(r::text), 15))::bit(60)::bigint) FROM (SELECT %s FROM %s) r", columns, table)
}

func (f *fixture) requireSame(t testing.TB, columns string, tables ...string) {
	t.Helper()
	for _, table := range tables {
		want := f.src.Dump(t, digestSQL(columns, table))
		require.Equal(t, want, f.dst.Dump(t, digestSQL(columns, table)), table)
	}
}

func requireFault(t *testing.T, err error, class fault.Class, code string) *fault.Error {
	t.Helper()
	var e *fault.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, code, e.Code, "%v", err)
	require.Equal(t, class, e.Class, "%v", err)
	return e
}

// eventually polls a condition of a server.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
