package apply

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/source/capture"
	"timeferry/internal/spool"
	"timeferry/internal/testkit/pgtest"
)

// streamTables is the schema of both sides; %s is what only one of them has.
const streamTables = `
CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TABLE pk (id int PRIMARY KEY, v text, big text, m mood, tags text[], j jsonb, n numeric, sum int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE uq (code text NOT NULL, n int, u int UNIQUE, t timestamptz DEFAULT now());
CREATE UNIQUE INDEX uq_code ON uq (code);
CREATE TABLE nokey (a int, b text, r float8, j json, c char(6));
CREATE TABLE comp (a int, b text, v int, PRIMARY KEY (a, b));
CREATE TABLE ident (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, v text);
CREATE TABLE fullpk (id int PRIMARY KEY, big text, v int);
CREATE TABLE m (ts timestamptz, dev int, v float8, note text, PRIMARY KEY (dev, ts));
CREATE TABLE part (id int, d date, v text, PRIMARY KEY (id, d)) %s;`

var streamNames = []string{"pk", "uq", "nokey", "comp", "ident", "fullpk", "m", "part"}

// statements makes one random statement. The keys are few, so that the same rows change again and again.
func statement(r *rand.Rand) string {
	id, other, text := r.IntN(80), r.IntN(80), strings.Repeat(fmt.Sprint(r.IntN(1000)), 1+r.IntN(3))
	day := fmt.Sprintf("date '2024-01-10' + %d", r.IntN(40))
	all := []string{
		fmt.Sprintf(`INSERT INTO pk (id, v, big, m, tags, j, n) VALUES (%d, E'%s\t\\\\N', (SELECT string_agg(md5(i::text || '%s'), '') FROM generate_series(1, 200) i), 'ok', ARRAY['a b', NULL, '%s'], '{"a": 1.0}', 1.%d0) ON CONFLICT DO NOTHING`, id, text, text, text, r.IntN(100)),
		fmt.Sprintf("INSERT INTO pk (id, v) SELECT i, 'bulk' FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING", 100+id*10, 100+id*10+other),
		fmt.Sprintf("UPDATE pk SET v = '%s' WHERE id %% 7 = %d", text, id%7),
		fmt.Sprintf("UPDATE pk SET m = 'happy', n = n + 1 WHERE id = %d", id),
		fmt.Sprintf("UPDATE pk SET id = %d WHERE id = %d", other, id),
		fmt.Sprintf("DELETE FROM pk WHERE id BETWEEN %d AND %d", id*9, id*9+other),
		fmt.Sprintf("INSERT INTO uq VALUES ('%d', %d, %d) ON CONFLICT DO NOTHING", id, other, id),
		fmt.Sprintf("UPDATE uq SET n = n + 1 WHERE code = '%d'", id),
		fmt.Sprintf("UPDATE uq SET code = '%d' WHERE code = '%d'", other, id),
		fmt.Sprintf("UPDATE uq SET u = NULL WHERE code = '%d'; UPDATE uq SET u = %d WHERE code = '%d'", id, id, other),
		fmt.Sprintf("DELETE FROM uq WHERE code = '%d'", id),
		fmt.Sprintf("INSERT INTO nokey SELECT %d, NULLIF('%s', '%d'), (ARRAY['-0', '0', 'NaN', '1.1'])[%d]::float8, '{\"x\":  %d}', 'c' FROM generate_series(1, %d)", id%5, text, id, 1+id%4, id%3, 1+id%4),
		fmt.Sprintf("DELETE FROM nokey WHERE ctid = (SELECT ctid FROM nokey WHERE a = %d LIMIT 1)", id%5),
		fmt.Sprintf("UPDATE nokey SET b = '%s', r = -r WHERE ctid = (SELECT ctid FROM nokey WHERE a = %d LIMIT 1)", text, id%5),
		fmt.Sprintf("UPDATE nokey SET a = NULL WHERE a = %d AND b IS NULL", id%5),
		fmt.Sprintf("INSERT INTO comp SELECT %d, i, i FROM generate_series(%d, %d) i ON CONFLICT DO NOTHING", id, id, id+other),
		fmt.Sprintf("UPDATE comp SET v = v + 1 WHERE a = %d", id),
		fmt.Sprintf("UPDATE comp SET a = %d WHERE a = %d", other, id),
		fmt.Sprintf("DELETE FROM comp WHERE a = %d AND v > %d", id, other),
		fmt.Sprintf("INSERT INTO ident (v) SELECT '%s' FROM generate_series(1, %d)", text, 1+id%7),
		fmt.Sprintf("UPDATE ident SET v = '%s' WHERE id %% 11 = %d", text, id%11),
		fmt.Sprintf("UPDATE ident SET id = DEFAULT WHERE id %% 40 = %d", id%40),
		fmt.Sprintf("DELETE FROM ident WHERE id %% 13 = %d", id%13),
		fmt.Sprintf("INSERT INTO fullpk VALUES (%d, repeat('%s', 3000), 1) ON CONFLICT (id) DO UPDATE SET v = fullpk.v + 1", id, text),
		fmt.Sprintf("DELETE FROM fullpk WHERE id = %d", id),
		fmt.Sprintf("INSERT INTO m SELECT timestamptz '2024-01-01 00:00+00' + i * interval '%d minutes', %d, i / 7.0, NULL FROM generate_series(1, %d) i ON CONFLICT DO NOTHING", 1+r.IntN(200), id%6, 1+other),
		fmt.Sprintf("UPDATE m SET v = v + 1, note = '%s' WHERE dev = %d AND ts > timestamptz '2024-01-01' + %d * interval '1 day'", text, id%6, other/2),
		fmt.Sprintf("UPDATE m SET ts = ts + interval '%d hours 1 second' WHERE dev = %d AND ts < timestamptz '2024-01-01' + %d * interval '1 hour'", other, id%6, id),
		fmt.Sprintf("DELETE FROM m WHERE dev = %d AND ts > timestamptz '2024-01-01' + %d * interval '1 day'", id%6, other),
		fmt.Sprintf("INSERT INTO part VALUES (%d, %s, '%s') ON CONFLICT DO NOTHING", id, day, text),
		fmt.Sprintf("UPDATE part SET v = v || 'x' WHERE id = %d", id),
		fmt.Sprintf("UPDATE part SET d = %s WHERE id = %d", day, id),
		fmt.Sprintf("DELETE FROM part WHERE id = %d", id),
	}
	if r.IntN(400) == 0 {
		return "TRUNCATE " + []string{"comp, uq RESTART IDENTITY", "nokey", "m", "part CASCADE"}[r.IntN(4)]
	}
	return all[r.IntN(len(all))]
}

// load writes on the source until stop is closed. Transactions that the source refuses are part of it.
func load(t *testing.T, src *pgtest.Database, seed uint64, stop <-chan struct{}) {
	conn := src.Conn(t)
	random := rand.New(rand.NewPCG(seed, 3))
	for {
		select {
		case <-stop:
			return
		case <-time.After(5 * time.Millisecond): // leaves the machine to the apply
		}
		sql := "BEGIN; "
		for range 1 + random.IntN(6) {
			switch random.IntN(8) {
			case 0:
				sql += "SAVEPOINT s; " + statement(random) + "; ROLLBACK TO s; "
			default:
				sql += statement(random) + "; "
			}
		}
		end := "COMMIT"
		if random.IntN(10) == 0 {
			end = "ROLLBACK"
		}
		_, err := conn.PgConn().Exec(context.Background(), sql+end).ReadAll()
		var pg *pgconn.PgError
		if errors.As(err, &pg) && (pg.Code == "23505" || pg.Code[:2] == "40") {
			_, err = conn.Exec(context.Background(), "ROLLBACK")
		}
		if err != nil {
			t.Errorf("load: %v", err)
			return
		}
	}
}

// Source to target, with everything between that a migration has, while sessions die and Run is stopped.
func TestStreamOfARandomWorkload(t *testing.T) {
	for _, replica := range []bool{true, false} {
		t.Run(fmt.Sprintf("replica=%v", replica), func(t *testing.T) { testStream(t, replica, uint64(time.Now().UnixNano())) })
	}
}

func testStream(t *testing.T, replica bool, seed uint64) {
	t.Logf("seed %d", seed)
	src := pgtest.Source(t)
	src.Exec(t, fmt.Sprintf(streamTables, "PARTITION BY RANGE (d)")+`
		CREATE TABLE part1 PARTITION OF part FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
		CREATE TABLE part2 PARTITION OF part FOR VALUES FROM ('2024-02-01') TO ('2024-03-01'); CREATE TABLE part3 PARTITION OF part DEFAULT;
		ALTER TABLE uq REPLICA IDENTITY USING INDEX uq_code; ALTER TABLE nokey REPLICA IDENTITY FULL; ALTER TABLE fullpk REPLICA IDENTITY FULL;
		CREATE PUBLICATION apply FOR TABLE `+strings.Join(streamNames, ", ")+` WITH (publish_via_partition_root = true);`)
	slot := fmt.Sprintf("apply_%d", seed)
	src.Exec(t, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", slot)
	f := newFixture(t, fmt.Sprintf(streamTables, "")+`SELECT create_hypertable('m', 'ts'); SELECT create_hypertable('part', 'd', chunk_time_interval => interval '20 days')`, streamNames...)
	f.options.ReplicaRole, f.options.Log = replica, testLog(t)

	sp, err := spool.Open(t.TempDir(), spool.Options{SegmentBytes: 1 << 20})
	require.NoError(t, err)
	defer func() { require.NoError(t, sp.Close()) }()
	receiving, stopReceiving := context.WithCancel(context.Background())
	received := make(chan error, 1)
	go func() {
		received <- (&capture.Receiver{Source: src.Endpoint, Slot: slot, Publications: []string{"apply"}, Spool: sp, Log: testLog(t)}).Run(receiving, nil)
	}()
	defer func() {
		stopReceiving()
		require.ErrorIs(t, <-received, context.Canceled)
	}()

	stop := make(chan struct{})
	var loaders sync.WaitGroup
	stopLoad := sync.OnceFunc(func() {
		close(stop)
		loaders.Wait()
	})
	defer stopLoad()
	for i := range uint64(3) {
		loaders.Go(func() { load(t, src, seed+i, stop) })
	}
	open := func(from change.LSN) (Feed, error) {
		r, err := sp.NewReader(from)
		if err != nil {
			return nil, err
		}
		return NewSpoolFeed(r), nil
	}
	random := rand.New(rand.NewPCG(seed, 4))
	killer := f.db.Conn(t)
	for range 6 {
		f.options.BatchChanges = 1 + random.IntN(3000)
		stopApply := f.start(t, open)
		for range 1 + random.IntN(3) {
			before := f.last().AppliedLSN
			require.Eventually(t, func() bool { return f.last().AppliedLSN != before }, 2*time.Minute, 2*time.Millisecond)
			time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
			_, err := killer.Exec(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'timeferry apply'")
			require.NoError(t, err)
			require.NoError(t, sp.Prune(f.last().FlushedLSN))
		}
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
		require.ErrorIs(t, stopApply(), context.Canceled)
	}
	stopLoad()
	end, err := change.ParseLSN(src.QueryValue(t, "SELECT pg_current_wal_insert_lsn()"))
	require.NoError(t, err)
	src.Exec(t, "SELECT pg_logical_emit_message(true, 'timeferry', 'end')")
	f.options.BatchChanges = 0
	stopApply := f.start(t, open)
	require.Eventually(t, func() bool { return f.last().AppliedLSN >= end }, 2*time.Minute, 20*time.Millisecond)
	require.ErrorIs(t, stopApply(), context.Canceled)
	requireSameTables(t, src, f.db)
	t.Logf("%d transactions in the last run, applied %s", f.last().Transactions, f.last().AppliedLSN)
}

func testLog(t *testing.T) *slog.Logger { return slog.New(slog.NewTextHandler(t.Output(), nil)) }

func requireSameTables(t *testing.T, a, b *pgtest.Database) {
	t.Helper()
	for _, name := range streamNames {
		query := fmt.Sprintf("SELECT x::text FROM %s AS x ORDER BY x::text COLLATE \"C\"", name)
		if name == "pk" { // numbers equal for the type must be the same text too
			query = "SELECT concat_ws('|', id, v, big, m, tags, j, n, sum) AS l FROM pk ORDER BY 1"
		}
		require.Equal(t, a.Dump(t, query), b.Dump(t, query), name)
	}
}
