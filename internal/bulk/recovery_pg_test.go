package bulk_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/bulk"
	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

func TestTwoStreamsCopyExactlyOnce(t *testing.T) {
	f := newFixture(t, "copy_two")
	f.execBoth(t, "CREATE TABLE a (id int, v text); CREATE TABLE b (id int, v text); CREATE TABLE c (id int)")
	f.execSource(t, `INSERT INTO a SELECT g, repeat('a', 100) FROM generate_series(1, 50000) g; DELETE FROM a WHERE id % 7 = 0;
		INSERT INTO b SELECT g, repeat('b', 100) FROM generate_series(1, 30000) g; INSERT INTO c VALUES (1)`)
	f.planTables(t, 500_000)
	f.beginEpoch(t)
	parts := f.dst.QueryValue(t, "SELECT count(*) FROM timeferry.parts")

	var streams sync.WaitGroup
	var done, rows atomic.Int64
	for range 2 {
		streams.Go(func() {
			var last bulk.Progress
			n, err := bulk.CopyParts(context.Background(), f.options(), func(p bulk.Progress) {
				require.GreaterOrEqual(t, p.PartsDone, last.PartsDone)
				last = p
			})
			require.NoError(t, err)
			require.EqualValues(t, n, last.PartsDone)
			done.Add(int64(n))
			rows.Add(last.TotalRows)
		})
	}
	streams.Wait()
	require.Equal(t, parts, fmt.Sprint(done.Load()))
	f.requireNothingLeft(t)
	f.requireSame(t, "*", "a", "b", "c")
	p, err := ledger.Progress(context.Background(), f.ledger)
	require.NoError(t, err)
	require.Equal(t, p.Parts, p.PartsDone)
	require.Equal(t, rows.Load(), p.CopiedRows)
	require.Equal(t, f.src.QueryValue(t, "SELECT (SELECT count(*) FROM a) + (SELECT count(*) FROM b) + 1"), fmt.Sprint(p.CopiedRows))
	require.Zero(t, f.copyAll(t), "a second run finds nothing to do")
}

// slowFixture has a table whose copy takes long enough to be interrupted.
func slowFixture(t *testing.T, slotName string) *fixture {
	f := newFixture(t, slotName)
	f.execBoth(t, "CREATE TABLE slow (id int, v text)")
	f.execSource(t, "INSERT INTO slow SELECT g, repeat('x', 1000) FROM generate_series(1, 60000) g")
	f.planTables(t, 20_000_000)
	f.beginEpoch(t)
	return f
}

const copySessions = "FROM pg_stat_activity WHERE application_name = 'timeferry copy' AND datname = current_database() AND query LIKE 'COPY%' AND state = 'active'"

func TestCopyAfterKilledSession(t *testing.T) {
	for _, side := range []string{"source", "target"} {
		t.Run(side, func(t *testing.T) {
			f := slowFixture(t, "copy_killed_"+side)
			db := f.src
			if side == "target" {
				db = f.dst
			}
			killer := db.Conn(t)
			ended := make(chan error, 1)
			go func() {
				_, err := bulk.CopyParts(context.Background(), f.options(), nil)
				ended <- err
			}()
			eventually(t, "a COPY is killed", func() bool {
				var n int
				require.NoError(t, killer.QueryRow(context.Background(), "SELECT count(pg_terminate_backend(pid)) "+copySessions).Scan(&n))
				return n > 0
			})
			err := <-ended
			require.Error(t, err)
			require.Equal(t, fault.Transient, fault.Classify(err), "%v", err)
			require.ErrorContains(t, err, "public.slow part ")
			require.ErrorContains(t, err, side+": ")
			f.copyAll(t)
			f.requireSame(t, "*", "slow")
		})
	}
}

func TestCopyCancelled(t *testing.T) {
	f := slowFixture(t, "copy_cancelled")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		_, err := bulk.CopyParts(ctx, f.options(), nil)
		ended <- err
	}()
	watch := f.dst.Conn(t)
	eventually(t, "COPY runs", func() bool {
		var n int
		require.NoError(t, watch.QueryRow(context.Background(), "SELECT count(*) "+copySessions).Scan(&n))
		return n > 0
	})
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	for _, db := range []*pgx.Conn{watch, f.src.Conn(t)} {
		eventually(t, "the sessions are gone", func() bool {
			var n int
			require.NoError(t, db.QueryRow(context.Background(), "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'timeferry copy' AND datname = current_database()").Scan(&n))
			return n == 0
		})
	}
	f.copyAll(t)
	f.requireSame(t, "*", "slow")
}

// A worker that dies between a part's commit and its table's mark leaves a table that the next call, or epoch, completes.
func TestTableLeftWithoutMark(t *testing.T) {
	f := newFixture(t, "copy_unmarked")
	f.execBoth(t, "CREATE TABLE t (id int); CREATE TABLE u (id int)")
	f.execSource(t, "INSERT INTO t SELECT generate_series(1, 10); INSERT INTO u VALUES (1)")
	f.planTables(t, 1<<30)
	f.beginEpoch(t)
	f.copyAll(t)
	unmark := "UPDATE timeferry.tables SET completed_at = NULL WHERE table_name = 't'"
	f.execTarget(t, unmark)
	left, err := bulk.Remaining(context.Background(), f.ledger)
	require.NoError(t, err)
	require.Equal(t, 1, left)
	require.Zero(t, f.copyAll(t))

	f.execTarget(t, unmark)
	f.hold.end()
	require.NoError(t, <-f.hold.done)
	require.Equal(t, 2, f.beginEpoch(t).epoch)
	require.Zero(t, f.copyAll(t))
	require.Equal(t, "1", f.dst.QueryValue(t, "SELECT epoch FROM timeferry.tables WHERE table_name = 't'"))
	f.requireSame(t, "*", "t", "u")
}

func TestBeginEpochTwice(t *testing.T) {
	f := newFixture(t, "copy_twice")
	f.execBoth(t, "CREATE TABLE t (id int)")
	f.execSource(t, "INSERT INTO t SELECT generate_series(1, 10)")
	f.planTables(t, 1<<30)
	h := f.beginEpoch(t)
	again, err := bulk.BeginEpoch(context.Background(), f.ledger, h.held.ConsistentPoint, h.held.Snapshot)
	require.NoError(t, err)
	require.Equal(t, h.epoch, again)
	require.Equal(t, "1", f.dst.QueryValue(t, "SELECT count(*) FROM timeferry.epochs"))
}

// What an epoch must empty, whatever kind of table it is, and what it must not touch.
func TestBeginEpochEmptiesUnfinishedTables(t *testing.T) {
	f := newFixture(t, "copy_empties")
	ddl := `CREATE TABLE plain (id int PRIMARY KEY); CREATE TABLE refers (id int REFERENCES plain); CREATE TABLE parent (id int); CREATE TABLE complete () INHERITS (parent);
		CREATE TABLE "Tree" (id int) PARTITION BY LIST (id); CREATE TABLE leaf PARTITION OF "Tree" DEFAULT; CREATE TABLE metrics (ts timestamptz NOT NULL);`
	f.execBoth(t, ddl)
	f.execTarget(t, "SELECT create_hypertable('metrics', 'ts'); CREATE TABLE not_ours (id int); INSERT INTO not_ours VALUES (1)")
	fill := `INSERT INTO plain VALUES (1); INSERT INTO refers VALUES (1); INSERT INTO parent VALUES (1); INSERT INTO complete VALUES (2); INSERT INTO "Tree" VALUES (1); INSERT INTO metrics VALUES (now())`
	f.planTables(t, 1<<30)
	f.execTarget(t, fill)
	f.execTarget(t, "UPDATE timeferry.tables SET completed_at = now(), epoch = 1, start_lsn = '0/1' WHERE table_name = 'complete'; UPDATE timeferry.parts SET done_at = now() WHERE table_name = 'complete'; INSERT INTO timeferry.epochs VALUES (1, '0/1', 'x')")
	require.Equal(t, 2, f.beginEpoch(t).epoch)
	require.Equal(t, "0|0|0|1|0|0|1", f.dst.Dump(t, `SELECT (SELECT count(*) FROM plain), (SELECT count(*) FROM refers), (SELECT count(*) FROM ONLY parent), (SELECT count(*) FROM complete),
		(SELECT count(*) FROM "Tree"), (SELECT count(*) FROM metrics), (SELECT count(*) FROM not_ours)`)[0])
	starts, err := ledger.StartLSNs(context.Background(), f.ledger)
	require.NoError(t, err)
	require.Equal(t, change.LSN(1), starts[ident.Table{Schema: "public", Name: "complete"}])
	require.Equal(t, f.hold.held.ConsistentPoint, starts[ident.Table{Schema: "public", Name: "metrics"}])

	f.execTarget(t, "UPDATE timeferry.tables SET completed_at = now() WHERE table_name = 'refers'; INSERT INTO plain VALUES (1)")
	_, err = bulk.BeginEpoch(context.Background(), f.ledger, 100, "other")
	requireFault(t, err, fault.Operator, bulk.CodeCannotEmpty)
}

// The holder dies in the middle while the application writes: complete tables stay, unfinished ones are copied again, and
// every table ends with exactly the rows of the transactions whose commit LSN is below its start LSN.
func TestNewEpochWhileWriting(t *testing.T) {
	f := newFixture(t, "copy_epochs")
	tables := []string{"finished", "cut", "untouched"} // in the order of copying
	for _, table := range tables {
		f.execBoth(t, "CREATE TABLE "+table+" (id bigint GENERATED ALWAYS AS IDENTITY, v text)")
	}
	f.execSource(t, `INSERT INTO finished (v) SELECT repeat('x', 1000) FROM generate_series(1, 4000) g;
		INSERT INTO cut (v) SELECT repeat('x', 900) FROM generate_series(1, 6000) g; INSERT INTO untouched (v) VALUES ('before');
		CREATE PUBLICATION copy_epochs FOR TABLE finished, cut, untouched`)
	f.planTables(t, 5_000_000)
	require.Equal(t, []string{"finished|1", "cut|2", "untouched|1"}, f.dst.Dump(t, "SELECT table_name, count(*) FROM timeferry.parts GROUP BY 1 ORDER BY max(bytes) DESC"))
	stop := writeTo(t, f, tables)
	first := f.beginEpoch(t)
	_, err := bulk.CopyParts(context.Background(), f.options(), func(p bulk.Progress) {
		if p.PartsDone == 2 && p.Part.Table.Name == "cut" {
			f.killHolder(t)
		}
	})
	requireFault(t, err, fault.Transient, bulk.CodeSnapshotLost)
	require.Equal(t, "1", f.dst.QueryValue(t, "SELECT count(*) FROM timeferry.parts WHERE table_name = 'cut' AND done_at IS NOT NULL"))
	done, err := bulk.CopyParts(context.Background(), f.options(), nil)
	requireFault(t, err, fault.Transient, bulk.CodeSnapshotLost)
	require.Zero(t, done)

	second := f.beginEpoch(t)
	require.Equal(t, 2, second.epoch)
	require.Equal(t, "0", f.dst.QueryValue(t, "SELECT count(*) FROM cut"))
	require.Equal(t, 3, f.copyAll(t))
	stop()

	starts, err := ledger.StartLSNs(context.Background(), f.ledger)
	require.NoError(t, err)
	commits := insertCommits(t, f, "copy_epochs")
	for _, table := range tables {
		want := first.held.ConsistentPoint
		if table != "finished" {
			want = second.held.ConsistentPoint
		}
		start := starts[ident.Table{Schema: "public", Name: table}]
		require.Equal(t, want, start, table)
		ids := map[string]bool{}
		for _, id := range f.dst.Dump(t, "SELECT id FROM "+table) {
			require.False(t, ids[id], "%s: row %s twice", table, id)
			ids[id] = true
		}
		below, above := 0, 0
		for id, at := range commits[table] {
			require.Equal(t, at < start, ids[id], "%s: row %s of commit %s, start %s", table, id, at, start)
			if at < start {
				below++
			} else {
				above++
			}
		}
		require.Positive(t, above, "the test wrote after the snapshot")
		beforeSlot := len(f.src.Dump(t, "SELECT id FROM "+table)) - len(commits[table])
		require.Equal(t, beforeSlot+below, len(ids), table)
	}
}

// writeTo has four sessions insert into the tables, in transactions over several of them, until stop.
func writeTo(t *testing.T, f *fixture, tables []string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	for w := range 4 {
		conn := f.src.MasterConn(t)
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				sql := "BEGIN;"
				for i, table := range tables {
					if (n+w+i)%3 != 0 {
						sql += "INSERT INTO " + table + " (v) VALUES ('w');"
					}
				}
				if err := conn.PgConn().Exec(context.Background(), sql+"COMMIT").Close(); err != nil {
					t.Errorf("write: %v", err)
					return
				}
			}
		})
	}
	stopped := sync.OnceFunc(func() { cancel(); writers.Wait() })
	t.Cleanup(stopped)
	return stopped
}

// insertCommits reads from the permanent slot, per table, at which commit LSN each inserted row's id became visible.
func insertCommits(t *testing.T, f *fixture, publication string) map[string]map[string]change.LSN {
	t.Helper()
	rows, err := f.src.Conn(t).Query(context.Background(), `SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', $2)`, f.slot, publication)
	require.NoError(t, err)
	messages, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	require.NoError(t, err)
	names := map[uint32]string{}
	commits := map[string]map[string]change.LSN{}
	var final change.LSN
	for _, m := range messages {
		switch m[0] {
		case 'B':
			final = change.LSN(binary.BigEndian.Uint64(m[1:]))
		case 'R': // OID, "public\0", name
			rest := m[5+len("public")+1:]
			end := 0
			for rest[end] != 0 {
				end++
			}
			names[binary.BigEndian.Uint32(m[1:])] = string(rest[:end])
		case 'I': // OID, 'N', number of columns, 't', length, id
			table := names[binary.BigEndian.Uint32(m[1:])]
			if commits[table] == nil {
				commits[table] = map[string]change.LSN{}
			}
			length := binary.BigEndian.Uint32(m[9:])
			commits[table][string(m[13:13+length])] = final
		}
	}
	return commits
}
