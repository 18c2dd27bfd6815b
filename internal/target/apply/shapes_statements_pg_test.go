package apply

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/testkit/pgtest"
)

// Every way in which an application changes rows ends as inserts, updates and deletes, in the order of commits.
func TestStatementsOfAnyShape(t *testing.T) {
	modes(t, func(t *testing.T, replica bool) {
		src := pgtest.OwnSource(t, map[string]string{"max_prepared_transactions": "5"})
		f := newFollower(t, src, followSetup{replica: replica, tables: []string{"t", "u"},
			both:   `CREATE TABLE t (id int PRIMARY KEY, v text, n int DEFAULT 0); CREATE TABLE u (a int, b text)`,
			source: `ALTER TABLE u REPLICA IDENTITY FULL`})
		for _, statement := range []string{
			"INSERT INTO t SELECT n, 'first' FROM generate_series(1, 300) n",
			"INSERT INTO t VALUES (1, 'again'), (301, 'new') ON CONFLICT (id) DO UPDATE SET v = excluded.v, n = t.n + 1",
			"INSERT INTO t VALUES (1, 'never'), (302, 'new') ON CONFLICT DO NOTHING",
			"MERGE INTO t USING generate_series(295, 310) s(id) ON t.id = s.id WHEN MATCHED AND s.id % 2 = 0 THEN DELETE WHEN MATCHED THEN UPDATE SET v = 'merged' WHEN NOT MATCHED THEN INSERT VALUES (s.id, 'merged')",
			"WITH gone AS (DELETE FROM t WHERE id < 5 RETURNING *) INSERT INTO u SELECT id, v FROM gone",
			"BEGIN; SAVEPOINT a; INSERT INTO t VALUES (1, 'lost'); SAVEPOINT b; UPDATE t SET v = 'lost'; ROLLBACK TO a; INSERT INTO t VALUES (1, 'kept'); SAVEPOINT c; DELETE FROM t WHERE id = 10; RELEASE c; COMMIT",
			"BEGIN; INSERT INTO t VALUES (900, 'rolled back'); ROLLBACK",
			"DO $$ BEGIN FOR i IN 1..50 LOOP BEGIN INSERT INTO t VALUES (i, 'sub'); EXCEPTION WHEN unique_violation THEN UPDATE t SET n = n + 1 WHERE id = i; END; END LOOP; END $$",
			"UPDATE t SET id = id + 100000",
			"UPDATE t SET id = 300000 - id", // keys move over each other
			"BEGIN; DELETE FROM t WHERE id < 200000; INSERT INTO t SELECT n, 'reborn' FROM generate_series(1, 20) n; UPDATE t SET id = -id WHERE id <= 20; DELETE FROM t WHERE id = -1; COMMIT",
			"INSERT INTO u SELECT n % 3, NULLIF(n % 2, 0)::text FROM generate_series(1, 60) n",
			"DELETE FROM u WHERE ctid IN (SELECT ctid FROM u WHERE a = 1 LIMIT 7); UPDATE u SET b = 'x' WHERE ctid IN (SELECT ctid FROM u WHERE b IS NULL LIMIT 3)",
			"BEGIN; INSERT INTO t VALUES (5000, 'prepared'); UPDATE t SET n = 77 WHERE id = -2; PREPARE TRANSACTION 'two'",
			"INSERT INTO t VALUES (5001, 'between')",
			"BEGIN; INSERT INTO t VALUES (5002, 'never'); PREPARE TRANSACTION 'undone'",
			"COMMIT PREPARED 'two'",
			"ROLLBACK PREPARED 'undone'",
			"BEGIN; TRUNCATE t; INSERT INTO t VALUES (1, 'after'); COMMIT",
			"BEGIN; INSERT INTO t VALUES (2, 'before'); TRUNCATE t, u; ROLLBACK",
			"TRUNCATE t, u CASCADE",
			"INSERT INTO t VALUES (1, 'last')",
		} {
			conn := src.Conn(t)
			_, err := conn.PgConn().Exec(t.Context(), statement).ReadAll()
			require.NoError(t, err, statement)
			f.settle(t)
		}
	})
}

// COPY of few rows, whose changes share one LSN, and transactions that begin in one order and commit in another.
func TestCopyAndCrossedCommits(t *testing.T) {
	src := pgtest.Source(t)
	f := newFollower(t, src, followSetup{replica: true, tables: []string{"t"}, both: `CREATE TABLE t (id int PRIMARY KEY, v text)`})
	copyIn := src.Conn(t)
	_, err := copyIn.PgConn().CopyFrom(t.Context(), strings.NewReader("1\ta\n2\tb\n3\tc\n4\td\n"), "COPY t FROM STDIN")
	require.NoError(t, err)
	f.settle(t)
	first, second := src.Conn(t), src.Conn(t)
	for _, step := range []struct {
		conn int
		sql  string
	}{
		{1, "BEGIN"}, {1, "INSERT INTO t VALUES (10, 'first')"}, {2, "BEGIN"}, {2, "INSERT INTO t VALUES (20, 'second')"}, {1, "UPDATE t SET v = 'by first' WHERE id = 1"},
		{2, "UPDATE t SET v = 'by second' WHERE id = 2"}, {2, "COMMIT"}, {2, "UPDATE t SET v = 'later' WHERE id = 20"}, {1, "INSERT INTO t VALUES (11, 'first')"}, {1, "COMMIT"},
		{2, "BEGIN"}, {1, "BEGIN"}, {1, "DELETE FROM t WHERE id = 3"}, {2, "DELETE FROM t WHERE id = 4"}, {2, "COMMIT"}, {1, "ROLLBACK"},
	} {
		conn := first
		if step.conn == 2 {
			conn = second
		}
		_, err := conn.Exec(t.Context(), step.sql)
		require.NoError(t, err, step.sql)
	}
	f.settle(t)
}

// Rows that go from partition to partition, and partitions that come and go, into a plain table and into a hypertable.
func TestPartitionsComeAndGo(t *testing.T) {
	for _, target := range []string{"", "SELECT create_hypertable('p', 'd', chunk_time_interval => interval '10 days')"} {
		modes(t, func(t *testing.T, replica bool) {
			src := pgtest.Source(t)
			f := newFollower(t, src, followSetup{replica: replica, tables: []string{"p"},
				source: `CREATE TABLE p (id int, d date NOT NULL, v text, PRIMARY KEY (id, d)) PARTITION BY RANGE (d);
					CREATE TABLE p1 PARTITION OF p FOR VALUES FROM ('2024-01-01') TO ('2024-02-01'); CREATE TABLE p2 PARTITION OF p FOR VALUES FROM ('2024-02-01') TO ('2024-03-01')`,
				target: `CREATE TABLE p (id int, d date NOT NULL, v text, PRIMARY KEY (id, d));` + target})
			for _, statement := range []string{
				"INSERT INTO p SELECT n, date '2024-01-01' + n % 60, 'v' FROM generate_series(0, 300) n",
				"UPDATE p SET d = d + 20 WHERE d < '2024-01-15'",
				"UPDATE p SET d = d + 1, v = 'moved' WHERE d = '2024-01-31'",
				// A partition with its columns in another order, and one that had been dropped, joins while empty.
				"CREATE TABLE p3 (v text, gone int, d date NOT NULL, id int NOT NULL); ALTER TABLE p3 DROP COLUMN gone; ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM ('2024-03-01') TO ('2024-04-01')",
				"INSERT INTO p SELECT 1000 + n, date '2024-03-01' + n % 30, 'third' FROM generate_series(0, 90) n; UPDATE p SET d = d + 29 WHERE d BETWEEN '2024-02-10' AND '2024-02-20'; UPDATE p SET v = 'x' WHERE d > '2024-03-20'; DELETE FROM p WHERE id % 9 = 0",
				// What is detached goes on by itself: its changes are nobody's any more.
				"BEGIN; DELETE FROM p1; ALTER TABLE p DETACH PARTITION p1; COMMIT",
				"INSERT INTO p1 VALUES (7, '2024-01-05', 'not published')",
				"TRUNCATE p",
				"INSERT INTO p VALUES (1, '2024-02-02', 'last')",
			} {
				src.Exec(t, statement)
			}
			f.await(t)
			const query = "SELECT id, d, v FROM p ORDER BY id, d"
			require.Equal(t, src.Dump(t, query), f.db.Dump(t, query))
		})
	}
}

func TestColumnsThatDiffer(t *testing.T) {
	modes(t, func(t *testing.T, replica bool) {
		src := pgtest.Source(t)
		f := newFollower(t, src, followSetup{replica: replica, tables: []string{"g", "i", "d"},
			source: `CREATE TABLE g (id int PRIMARY KEY, a int, sum int GENERATED ALWAYS AS (a * 2) STORED, b text);
				CREATE TABLE i (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, other int GENERATED BY DEFAULT AS IDENTITY, v text);
				CREATE TABLE d (gone int, id int PRIMARY KEY, a text, b text); ALTER TABLE d DROP COLUMN gone`,
			target: `CREATE TABLE g (b text, sum int GENERATED ALWAYS AS (a * 2) STORED, a int, id int PRIMARY KEY);
				CREATE TABLE i (v text, id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, other int GENERATED BY DEFAULT AS IDENTITY);
				CREATE TABLE d (b text, a text, more text DEFAULT 'here', id int PRIMARY KEY)`})
		for _, n := range []int{1, 30, 300} {
			src.Exec(t, fmt.Sprintf("INSERT INTO g (id, a, b) SELECT n * 1000 + %[1]d, n, 'b' FROM generate_series(1, %[1]d) n; INSERT INTO i (v) SELECT 'v' FROM generate_series(1, %[1]d); INSERT INTO d SELECT n * 1000 + %[1]d, 'a', 'b' FROM generate_series(1, %[1]d) n", n))
			src.Exec(t, "UPDATE g SET a = a + 1; UPDATE g SET id = -id WHERE id % 7 = 0 AND id > 0; UPDATE i SET id = DEFAULT WHERE id % 5 = 0; UPDATE i SET other = other + 1000, v = 'w' WHERE id % 3 = 0; UPDATE d SET b = 'new'; DELETE FROM d WHERE id % 4 = 0")
		}
		f.await(t)
		for _, query := range []string{"SELECT id, a, sum, b FROM g ORDER BY id", "SELECT id, other, v FROM i ORDER BY id", "SELECT id, a, b FROM d ORDER BY id"} {
			require.Equal(t, src.Dump(t, query), f.db.Dump(t, query))
		}
		require.Equal(t, "1", f.db.QueryValue(t, "SELECT count(DISTINCT more) FROM d"))
		// A column that comes on both sides, the target first as it must be.
		f.db.Exec(t, "ALTER TABLE d ADD COLUMN c int DEFAULT 5")
		src.Exec(t, "ALTER TABLE d ADD COLUMN c int DEFAULT 5")
		src.Exec(t, "INSERT INTO d VALUES (-1, 'a', 'b', 6); UPDATE d SET c = 7 WHERE id > 100000")
		f.await(t)
		const query = "SELECT id, a, b, c FROM d ORDER BY id"
		require.Equal(t, src.Dump(t, query), f.db.Dump(t, query))
	})
}

// One value that is far greater than a batch, and its row changed again without it. Memory is what it takes to hold the value a
// few times: from the connection, in the spool's buffers, and on its way to the target.
func TestOneGreatValue(t *testing.T) {
	megabytes := 64
	if text := os.Getenv("TIMEFERRY_GREAT_VALUE_MB"); text != "" {
		var err error
		megabytes, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	src := pgtest.Source(t)
	f := newFollower(t, src, followSetup{replica: true, tables: []string{"t"}, both: `CREATE TABLE t (id int PRIMARY KEY, big text, bytes bytea, n int); ALTER TABLE t ALTER big SET STORAGE EXTERNAL, ALTER bytes SET STORAGE EXTERNAL`})
	before := peakMemory(t)
	began := time.Now()
	src.Exec(t, fmt.Sprintf("INSERT INTO t VALUES (1, repeat('0123456789abcdef', %d), NULL, 0), (2, 'small', decode(repeat('00ff', %d), 'hex'), 0)", megabytes<<16, megabytes<<18))
	src.Exec(t, "UPDATE t SET n = n + 1")
	src.Exec(t, "UPDATE t SET id = id + 10")
	f.await(t)
	const query = "SELECT id, md5(big), length(big), md5(bytes), length(bytes), n FROM t ORDER BY id"
	require.Equal(t, src.Dump(t, query), f.db.Dump(t, query))
	after := peakMemory(t)
	t.Logf("a text of %d MB and a bytea of half of that in one transaction: %s, peak memory %d MB, before %d MB", megabytes, time.Since(began), after>>20, before>>20)
	require.Less(t, after-before, int64(megabytes)*10<<20)
}

// peakMemory is the most that this process has had resident so far, in bytes.
func peakMemory(t *testing.T) int64 {
	t.Helper()
	var usage syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return usage.Maxrss << 10
}

// A chunk that a row leaves, with changes before and after in the same transaction.
func TestRowsChangeChunksInTheStream(t *testing.T) {
	modes(t, func(t *testing.T, replica bool) {
		src := pgtest.Source(t)
		f := newFollower(t, src, followSetup{replica: replica, tables: []string{"m", "w"},
			both:   `CREATE TABLE m (ts timestamptz NOT NULL, dev int NOT NULL, v float8, big text, PRIMARY KEY (dev, ts)); CREATE TABLE w (ts timestamptz NOT NULL, v int, big text)`,
			source: `ALTER TABLE w REPLICA IDENTITY FULL; ALTER TABLE m ALTER big SET STORAGE EXTERNAL; ALTER TABLE w ALTER big SET STORAGE EXTERNAL`,
			target: `SELECT create_hypertable('m', 'ts', chunk_time_interval => interval '1 day'); SELECT create_hypertable('w', 'ts', chunk_time_interval => interval '1 day')`})
		src.Exec(t, "INSERT INTO m SELECT timestamptz '2024-01-01' + n * interval '1 hour', n % 3, n, repeat('x', 3000) FROM generate_series(1, 240) n; INSERT INTO w SELECT timestamptz '2024-01-01' + n % 40 * interval '1 hour', n % 4, repeat('y', 3000) FROM generate_series(1, 120) n")
		src.Exec(t, "BEGIN; UPDATE m SET v = -v; UPDATE m SET ts = ts + interval '3 days 1 second' WHERE dev = 1; UPDATE m SET v = v - 1 WHERE dev = 1; UPDATE m SET ts = ts - interval '3 days 1 second' WHERE dev = 1 AND v::int % 2 = 0; DELETE FROM m WHERE v = 12; COMMIT")
		src.Exec(t, "UPDATE w SET ts = ts + interval '5 days' WHERE v = 1; UPDATE w SET v = 9 WHERE v = 2; DELETE FROM w WHERE ctid IN (SELECT min(ctid) FROM w GROUP BY ts, v)")
		f.settle(t)
	})
}

// A transaction that is seen on its own is on the target at once: nothing waits for more to come.
func TestALoneTransactionArrivesWithinMoments(t *testing.T) {
	src := pgtest.Source(t)
	f := newFollower(t, src, followSetup{replica: true, tables: []string{"t"}, both: `CREATE TABLE t (id int PRIMARY KEY)`})
	f.await(t)
	writer, reader := src.Conn(t), f.db.Conn(t)
	var took []time.Duration
	for i := range 21 {
		began := time.Now()
		_, err := writer.Exec(t.Context(), "INSERT INTO t VALUES ($1)", i)
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			var there bool
			err := reader.QueryRow(context.Background(), "SELECT EXISTS (SELECT FROM t WHERE id = $1)", i).Scan(&there)
			return err == nil && there
		}, 30*time.Second, time.Millisecond)
		took = append(took, time.Since(began))
		time.Sleep(time.Duration(i%5) * 20 * time.Millisecond) // at any moment of our own rhythms
	}
	slices.Sort(took)
	t.Logf("%v", took)
	require.Less(t, took[len(took)/2], 100*time.Millisecond)
}
