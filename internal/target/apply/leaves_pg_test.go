package apply

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
	"timeferry/internal/source/capture"
	"timeferry/internal/source/prepare"
	"timeferry/internal/spool"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

// treeColumns and treeLeaves make the same tables with partitions of many sorts: levels, a default, an attached one with its
// columns in another order. raw has no key; coded goes by an enum's hash, which no two databases agree on.
const (
	treeTypes  = `CREATE TYPE color AS ENUM ('red', 'green', 'blue');`
	treeLeaves = `
CREATE TABLE ev (id int, ts timestamptz NOT NULL, dev text, v text, big text, PRIMARY KEY (id, ts, dev)) PARTITION BY RANGE (ts);
CREATE TABLE ev_1 PARTITION OF ev FOR VALUES FROM ('2024-01-01 00:00+00') TO ('2024-02-01 00:00+00');
CREATE TABLE ev_2 (big text, v text, gone int, dev text NOT NULL, ts timestamptz NOT NULL, id int NOT NULL);
ALTER TABLE ev_2 DROP COLUMN gone;
ALTER TABLE ev ATTACH PARTITION ev_2 FOR VALUES FROM ('2024-02-01 00:00+00') TO ('2024-03-01 00:00+00');
CREATE TABLE ev_3 PARTITION OF ev FOR VALUES FROM ('2024-03-01 00:00+00') TO ('2024-04-01 00:00+00') PARTITION BY LIST (dev);
CREATE TABLE ev_3_a PARTITION OF ev_3 FOR VALUES IN ('a', 'it''s');
CREATE TABLE "Ev 3 rest" PARTITION OF ev_3 DEFAULT;
CREATE TABLE ev_d PARTITION OF ev DEFAULT;
CREATE TABLE raw (n int, day date NOT NULL, note text) PARTITION BY RANGE (day);
CREATE TABLE raw_1 PARTITION OF raw FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
CREATE TABLE raw_d PARTITION OF raw DEFAULT;
CREATE TABLE hashed (id int PRIMARY KEY, v text) PARTITION BY HASH (id);
CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);`
	codedTree = `
CREATE TABLE coded (c color PRIMARY KEY, v text) PARTITION BY HASH (c);
CREATE TABLE coded_0 PARTITION OF coded FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE coded_1 PARTITION OF coded FOR VALUES WITH (MODULUS 2, REMAINDER 1);`
	hypertables = `
CREATE TABLE ev (id int, ts timestamptz NOT NULL, dev text, v text, big text, PRIMARY KEY (id, ts, dev));
SELECT create_hypertable('ev', 'ts', chunk_time_interval => interval '20 days');
CREATE TABLE raw (n int, day date NOT NULL, note text);
SELECT create_hypertable('raw', 'day', chunk_time_interval => interval '20 days');
CREATE TABLE hashed (id int PRIMARY KEY, v text);`
)

var treeNames = []string{"ev", "raw", "hashed"}

// old is a source of 12 whose partitions are published one by one, streamed into a spool.
type old struct {
	src    *pgtest.Database
	leaves map[ident.Table]ledger.Leaf
	sp     *spool.Spool
}

// newOld prepares the source as a migration does, by the code for it.
func newOld(t *testing.T, schema string) *old { return newStreamed(t, 12, schema) }

// newStreamed is newOld for a source of any version.
func newStreamed(t *testing.T, major int, schema string) *old {
	return newStreamedBy(t, "pgoutput", major, schema)
}

func newStreamedBy(t *testing.T, plugin string, major int, schema string) *old {
	o := &old{src: pgtest.SourceOf(t, major), leaves: map[ident.Table]ledger.Leaf{}}
	o.src.Exec(t, schema)
	conn := o.src.Conn(t)
	ctx := t.Context()
	tables, err := pgkit.Tables(ctx, conn, func(ident.Table) bool { return true })
	require.NoError(t, err)
	ids := plan.IdentitiesOf(tables, "full", nil)
	require.NoError(t, prepare.FixIdentities(ctx, conn, ids, func(plan.Identity, shape.Identity) error { return nil }))
	publication := fmt.Sprintf("old_%d", time.Now().UnixNano())
	require.NoError(t, prepare.CreatePublication(ctx, conn, publication, plan.PublicationPlan(tables, ids, major*10000)))
	found, err := prepare.Leaves(ctx, conn, tables)
	require.NoError(t, err)
	for _, l := range found {
		o.leaves[l.Table] = ledger.Leaf{Table: l.Table, Root: l.Root, Bounds: l.Bounds, Alike: l.Alike}
	}
	o.src.Exec(t, "SELECT pg_create_logical_replication_slot($1, $2)", publication, plugin)
	o.sp, err = spool.Open(t.TempDir(), spool.Options{SegmentBytes: 1 << 20})
	require.NoError(t, err)
	receiving, stop := context.WithCancel(context.Background())
	received := make(chan error, 1)
	go func() {
		received <- (&capture.Receiver{Source: o.src.Endpoint, Slot: publication, Plugin: plugin, Publications: []string{publication}, Spool: o.sp, Log: testLog(t)}).Run(receiving, nil)
	}()
	t.Cleanup(func() {
		stop()
		require.ErrorIs(t, <-received, context.Canceled)
		require.NoError(t, o.sp.Close())
	})
	return o
}

func (o *old) open(from change.LSN) (Feed, error) {
	r, err := o.sp.NewReader(from)
	if err != nil {
		return nil, err
	}
	return NewSpoolFeed(r), nil
}

// fixture is a target for the tables.
func (o *old) fixture(t *testing.T, schema string, tables ...string) *fixture {
	f := newFixture(t, schema, tables...)
	f.options.Leaves, f.options.Log = o.leaves, testLog(t)
	return f
}

// end is a position that everything written so far is before.
func (o *old) end(t *testing.T) change.LSN {
	t.Helper()
	end, err := change.ParseLSN(o.src.QueryValue(t, "SELECT pg_current_wal_insert_lsn()"))
	require.NoError(t, err)
	o.src.Exec(t, "SELECT pg_logical_emit_message(true, 'timeferry', 'end')")
	return end
}

func (o *old) requireSame(t *testing.T, f *fixture, what string) {
	t.Helper()
	for _, query := range []string{
		`SELECT id, ts AT TIME ZONE 'UTC', dev, v, md5(big) FROM ev ORDER BY id, ts, dev`,
		`SELECT n, day, note, count(*) FROM raw GROUP BY n, day, note ORDER BY n, day, note COLLATE "C"`,
		`SELECT id, v FROM hashed ORDER BY id`,
	} {
		require.Equal(t, o.src.Dump(t, query), f.db.Dump(t, query), "%s: %s", what, query)
	}
}

// leafSteps are what the application does; after each both sides are compared. A step is one transaction.
var leafSteps = []struct{ what, sql string }{
	{"insert", `INSERT INTO ev SELECT i, '2023-12-20 00:00+00'::timestamptz + i * interval '12 hours', (ARRAY['a', 'b', 'it''s'])[1 + i % 3], 'v' || i, repeat(md5(i::text), 200)
			FROM generate_series(1, 250) i;
		INSERT INTO raw SELECT i % 7, date '2023-12-25' + i % 60, 'n' || i % 3 FROM generate_series(1, 200) i;
		INSERT INTO hashed SELECT i, 'x' FROM generate_series(1, 40) i`},
	{"update", `UPDATE ev SET v = v || '!' WHERE id % 2 = 0; UPDATE raw SET note = 'm' WHERE n = 3; UPDATE hashed SET v = 'y' WHERE id < 10`},
	{"delete", `DELETE FROM ev WHERE id % 10 = 0; DELETE FROM raw WHERE n = 5; DELETE FROM hashed WHERE id > 35`},
	{"move", `UPDATE ev SET ts = ts + interval '1 month', v = 'moved' WHERE id % 5 = 1; UPDATE ev SET dev = 'a' WHERE dev = 'b' AND id % 4 = 1;
		UPDATE raw SET day = day + 31 WHERE n = 1; UPDATE hashed SET id = id + 101 WHERE id % 3 = 0`},
	{"move one row to and fro", `UPDATE ev SET ts = '2024-01-15 00:00+00' WHERE id = 7; UPDATE ev SET ts = '2024-02-15 00:00+00', v = 'second' WHERE id = 7;
		UPDATE ev SET ts = '2024-03-15 00:00+00' WHERE id = 7; UPDATE ev SET v = 'last', dev = 'it''s' WHERE id = 7; UPDATE ev SET ts = '2025-01-01 00:00+00' WHERE id = 7`},
	{"insert, move and delete", `INSERT INTO ev VALUES (1000, '2024-01-01 00:00+00', 'a', 'new'), (1001, '2024-02-01 00:00+00', 'a', 'new'); UPDATE ev SET ts = ts + interval '31 days' WHERE id >= 1000;
		DELETE FROM ev WHERE id = 1000`},
	{"truncate one leaf", "TRUNCATE ev_1"},
	{"truncate one with columns in another order, and fill it in the same transaction", `INSERT INTO ev VALUES (2000, '2024-02-02 00:00+00', 'a', 'before'); TRUNCATE ev_2;
		INSERT INTO ev VALUES (2001, '2024-02-02 00:00+00', 'a', 'after')`},
	{"truncate leaves of two tables", `TRUNCATE "Ev 3 rest", raw_1`},
	{"truncate an inner node", "TRUNCATE ev_3"},
	{"truncate the default", "TRUNCATE ev_d"},
	{"fill again", `INSERT INTO ev SELECT i, '2024-01-20 00:00+00'::timestamptz + i * interval '12 hours', 'a', 'again' FROM generate_series(1, 250) i`},
	{"truncate the root and another", "INSERT INTO ev VALUES (3000, '2024-01-02 00:00+00', 'a', 'gone'); TRUNCATE ev, hashed; INSERT INTO ev VALUES (3001, '2024-02-02 00:00+00', 'a', 'stays')"},
	{"truncate all leaves one by one", "TRUNCATE raw_1; TRUNCATE raw_d"},
}

func TestLeavesOf12IntoTheSameTree(t *testing.T)    { testLeaves(t, treeLeaves) }
func TestLeavesOf12IntoHypertables(t *testing.T)    { testLeaves(t, hypertables) }
func TestManyChangesOfLeavesOf12(t *testing.T)      { testManyChanges(t, treeLeaves, "hashed_1") }
func TestManyChangesIntoHypertables12(t *testing.T) { testManyChanges(t, hypertables, "hashed") }

func testLeaves(t *testing.T, target string) {
	o := newOld(t, treeTypes+treeLeaves)
	f := o.fixture(t, target, treeNames...)
	stop := f.start(t, o.open)
	for _, step := range leafSteps {
		o.src.Exec(t, "BEGIN; "+step.sql+"; COMMIT")
		end := o.end(t)
		require.Eventually(t, func() bool { return f.last().AppliedLSN >= end }, time.Minute, 5*time.Millisecond, step.what)
		o.requireSame(t, f, step.what)
	}
	require.Equal(t, "1", f.db.QueryValue(t, "SELECT count(*) FROM ev"))
	require.ErrorIs(t, stop(), context.Canceled)
}

// leafStatement makes one random statement; truncated is what to truncate of the table hashed.
func leafStatement(r *rand.Rand, truncated string) string {
	id, other := r.IntN(60), r.IntN(60)
	at := fmt.Sprintf("timestamptz '2023-12-20 00:00+00' + %d * interval '1 day'", r.IntN(130))
	day := fmt.Sprintf("date '2023-12-25' + %d", r.IntN(60))
	dev := []string{"'a'", "'b'", "'it''s'"}[r.IntN(3)]
	if r.IntN(25) == 0 {
		return "TRUNCATE " + []string{"ev", "ev_1", "ev_2", `"Ev 3 rest", raw_d`, "ev_3_a", "ev_d, ev_3", "raw", "raw_1", "ev, raw_d, " + truncated, truncated}[r.IntN(10)]
	}
	return []string{
		fmt.Sprintf("INSERT INTO ev SELECT i, %s, %s, 'v%d' FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING", at, dev, other, id, id+r.IntN(5)),
		fmt.Sprintf("INSERT INTO ev SELECT i, timestamptz '2023-12-20 00:00+00' + i * interval '1 day', %s, 'v%d', repeat(md5(i::text), 200) FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING", dev, other, id, id+other),
		fmt.Sprintf("UPDATE ev SET v = v || 'x' WHERE id %% 7 = %d", id%7),
		fmt.Sprintf("UPDATE ev SET ts = ts + %d * interval '1 day' WHERE id = %d", other-30, id),
		fmt.Sprintf("UPDATE ev SET dev = %s WHERE id = %d", dev, id),
		fmt.Sprintf("UPDATE ev SET id = %d, v = 'key' WHERE id = %d AND dev = %s", other, id, dev),
		fmt.Sprintf("DELETE FROM ev WHERE id BETWEEN %d AND %d", id, id+other/8),
		fmt.Sprintf("INSERT INTO raw SELECT %d, %s, 'n%d' FROM generate_series(1, %d)", id%5, day, other%3, 1+id%3),
		fmt.Sprintf("UPDATE raw SET day = %s WHERE ctid = (SELECT ctid FROM raw WHERE n = %d LIMIT 1) AND n = %d", day, id%5, id%5),
		fmt.Sprintf("UPDATE raw SET note = NULL WHERE n = %d AND note = 'n%d'", id%5, other%3),
		fmt.Sprintf("DELETE FROM raw WHERE n = %d AND day > %s", id%5, day),
		fmt.Sprintf("INSERT INTO hashed VALUES (%d, 'h') ON CONFLICT (id) DO UPDATE SET v = hashed.v || 'h'", id),
		fmt.Sprintf("DELETE FROM hashed WHERE id = %d; UPDATE hashed SET id = %d WHERE id = %d", other, other, id),
	}[r.IntN(13)]
}

// Batches of any size, cut anywhere, with sessions that die.
func testManyChanges(t *testing.T, target, truncated string) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 12))
	o := newOld(t, treeTypes+treeLeaves)
	f := o.fixture(t, target, treeNames...)
	conn, killer := o.src.Conn(t), f.db.Conn(t)
	for round := range 4 {
		f.options.BatchChanges, f.options.ReplicaRole = 1+random.IntN(2000), round%2 == 0
		for range 60 {
			sql := "BEGIN; "
			for range 1 + random.IntN(6) {
				sql += leafStatement(random, truncated) + "; "
			}
			_, err := conn.PgConn().Exec(t.Context(), sql+"COMMIT").ReadAll()
			var pg *pgconn.PgError
			if errors.As(err, &pg) && pg.Code == "23505" {
				_, err = conn.Exec(t.Context(), "ROLLBACK")
			}
			require.NoError(t, err)
		}
		end := o.end(t)
		stop := f.start(t, o.open)
		require.Eventually(t, func() bool { return f.last().AppliedLSN != 0 }, time.Minute, 5*time.Millisecond)
		_, err := killer.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'timeferry apply'")
		require.NoError(t, err)
		require.Eventually(t, func() bool { return f.last().AppliedLSN >= end }, 2*time.Minute, 5*time.Millisecond)
		require.ErrorIs(t, stop(), context.Canceled)
		o.requireSame(t, f, "after a while")
	}
}

// What cannot be told is not guessed: which rows a hashed leaf had, where the target has no such leaf or another hash.
func TestTruncatedLeafThatCannotBeTold(t *testing.T) {
	for _, c := range []struct{ name, target, truncate, root string }{
		{"hashed leaf, one table", hypertables, "hashed_0", "public.hashed"},
		{"hashed by an enum", codedTree, "coded_1", "public.coded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := newOld(t, treeTypes+treeLeaves+codedTree)
			f := o.fixture(t, treeTypes+c.target, strings.TrimPrefix(c.root, "public."))
			o.src.Exec(t, "TRUNCATE "+strings.TrimPrefix(c.root, "public.")) // as a whole it can
			o.src.Exec(t, "TRUNCATE "+c.truncate)
			err := f.runUntil(t, o.open, o.end(t))
			require.Equal(t, c.root, requireFault(t, err, fault.Operator, CodePartitionTruncated).Subject)
			require.ErrorContains(t, err, c.truncate)
		})
	}
}

// A foreign key to the root is one to each leaf: TRUNCATE would be refused.
func TestTruncatedLeafThatOthersReferTo(t *testing.T) {
	const owned = `CREATE TABLE owner (id int PRIMARY KEY) PARTITION BY RANGE (id);
		CREATE TABLE owner_1 PARTITION OF owner FOR VALUES FROM (0) TO (10); CREATE TABLE owner_2 PARTITION OF owner FOR VALUES FROM (10) TO (20);
		CREATE TABLE owned (id int REFERENCES owner);`
	o := newOld(t, owned)
	f := o.fixture(t, owned, "owner", "owned")
	o.src.Exec(t, "INSERT INTO owner VALUES (1), (11); INSERT INTO owned VALUES (1), (11)")
	o.src.Exec(t, "TRUNCATE owner_1 CASCADE; INSERT INTO owned VALUES (11)")
	o.src.Exec(t, "ALTER TABLE owned DROP CONSTRAINT owned_id_fkey")
	o.src.Exec(t, "TRUNCATE owner_2")
	require.NoError(t, f.runUntil(t, o.open, o.end(t)))
	require.Equal(t, []string{"11"}, f.db.Dump(t, "SELECT id FROM owned"))
	require.Equal(t, "0", f.db.QueryValue(t, "SELECT count(*) FROM owner"))
}

func TestTruncatedLeafThatIsMissing(t *testing.T) {
	o := newOld(t, treeTypes+treeLeaves)
	f := o.fixture(t, treeLeaves, treeNames...)
	f.db.Exec(t, "ALTER TABLE raw DETACH PARTITION raw_1")
	o.src.Exec(t, "TRUNCATE raw_1")
	err := f.runUntil(t, o.open, o.end(t))
	requireFault(t, err, fault.Operator, CodeSchemaChanged)
	require.ErrorContains(t, err, `"raw_1" is missing`)
}

// Columns added on both sides while the stream runs reach the leaves' descriptions one after the other.
func TestDDLOnLeavesOf12(t *testing.T) {
	o := newOld(t, treeTypes+treeLeaves)
	f := o.fixture(t, hypertables, treeNames...)
	stop := f.start(t, o.open)
	insert := func(id int, columns, values string) {
		o.src.Exec(t, fmt.Sprintf("INSERT INTO ev (id, ts, dev%[2]s) VALUES (%[1]d, '2024-01-05 00:00+00', 'a'%[3]s), (%[1]d, '2024-02-05 00:00+00', 'a'%[3]s), (%[1]d, '2024-03-05 00:00+00', 'a'%[3]s)", id, columns, values))
		end := o.end(t)
		require.Eventually(t, func() bool { return f.last().AppliedLSN >= end }, time.Minute, 5*time.Millisecond)
	}
	insert(1, "", "")
	f.db.Exec(t, "ALTER TABLE ev ADD COLUMN extra int")
	o.src.Exec(t, "ALTER TABLE ev ADD COLUMN extra int")
	insert(2, ", extra", ", 5")
	o.src.Exec(t, "UPDATE ev SET extra = id WHERE id = 1; UPDATE ev SET ts = ts + interval '31 days 1 hour' WHERE id = 2")
	insert(3, "", "")
	query := "SELECT id, ts AT TIME ZONE 'UTC', extra FROM ev ORDER BY 1, 2"
	require.Equal(t, o.src.Dump(t, query), f.db.Dump(t, query))
	require.ErrorIs(t, stop(), context.Canceled)
}
