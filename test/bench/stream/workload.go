package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"timeferry/internal/pgkit"
	"timeferry/test/bench/rig"
)

// writers is how many sessions write a backlog at the same time.
const writers = 4

// workload is a database that both sides begin with, and what is written on the source then.
type workload struct {
	about  string
	tables []string
	// fill makes the database; the same rows wherever it runs.
	fill func(scale float64) []string
	// procedures make what write calls; on the source only.
	procedures []string
	// write gives the calls of one of the writers; each commits for itself.
	write func(scale float64, writer int) []string
}

// The workloads' names. steady has a measurement of its own.
const (
	backlog = "backlog"
	hot     = "hot"
	wide    = "wide"
	steady  = "steady"
)

var workloads = map[string]workload{
	backlog: {
		about:  "100,000 transactions as those of pgbench -N, and 50,000 inserts of 20 rows each into a table with a primary key and one more index: 1.2 million changes",
		tables: []string{"pgbench_accounts", "pgbench_history", "metrics"},
		fill:   fillBacklog,
		procedures: []string{
			`CREATE PROCEDURE simple_update(n int, accounts int) LANGUAGE plpgsql AS $$ DECLARE a int; d int; b int; BEGIN
				PERFORM set_config('synchronous_commit', 'off', false);
				FOR i IN 1..n LOOP
					a := 1 + floor(random() * accounts); d := floor(random() * 10001) - 5000;
					UPDATE pgbench_accounts SET abalance = abalance + d WHERE aid = a;
					SELECT abalance INTO b FROM pgbench_accounts WHERE aid = a;
					INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (1 + floor(random() * 300), 1 + floor(random() * 30), a, d, clock_timestamp());
					COMMIT;
				END LOOP; END $$`,
			`CREATE PROCEDURE measure(writer int, n int) LANGUAGE plpgsql AS $$ BEGIN
				PERFORM set_config('synchronous_commit', 'off', false);
				FOR i IN 1..n LOOP
					INSERT INTO metrics SELECT timestamptz '2026-02-01 00:00:00Z' + i * interval '1 second', writer * 1000 + r, random(), random(), r % 5 FROM generate_series(1, 20) r;
					COMMIT;
				END LOOP; END $$`,
		},
		write: func(scale float64, writer int) []string {
			return []string{fmt.Sprintf("CALL simple_update(%d, %d)", int(100_000*scale)/writers, accounts(scale)), fmt.Sprintf("CALL measure(%d, %d)", writer+1, int(50_000*scale)/writers)}
		},
	},
	hot: {
		about:  "150,000 updates of 1,000 rows, each a transaction of its own",
		tables: []string{"counters"},
		fill: func(float64) []string {
			return []string{`CREATE TABLE counters (id int PRIMARY KEY, n bigint NOT NULL, note text, at timestamptz)`,
				`INSERT INTO counters SELECT n, 0, 'counter ' || n, '2026-01-01 00:00:00Z' FROM generate_series(1, 1000) n`}
		},
		procedures: []string{`CREATE PROCEDURE count_up(n int) LANGUAGE plpgsql AS $$ BEGIN
			PERFORM set_config('synchronous_commit', 'off', false);
			FOR i IN 1..n LOOP
				UPDATE counters SET n = counters.n + 1, note = 'counted ' || i, at = clock_timestamp() WHERE id = 1 + floor(random() * 1000)::int;
				COMMIT;
			END LOOP; END $$`},
		write: func(scale float64, _ int) []string {
			return []string{fmt.Sprintf("CALL count_up(%d)", int(150_000*scale)/writers)}
		},
	},
	wide: {
		about: "documents of about 10 kB out of line: 60,000 updates that leave the text alone, 8,000 new texts, 4,000 new and 2,000 deleted documents, " +
			"each a transaction of its own",
		tables: []string{"documents"},
		fill:   fillWide,
		procedures: []string{
			`CREATE FUNCTION body(seed text) RETURNS text LANGUAGE sql AS $$ SELECT string_agg(md5(seed || i), '') FROM generate_series(1, 250 + abs(hashtext(seed)) % 150) i $$`,
			`CREATE PROCEDURE edit(writer int, writers int, n int, documents int) LANGUAGE plpgsql AS $$ DECLARE d int; BEGIN
				PERFORM set_config('synchronous_commit', 'off', false);
				FOR i IN 1..n LOOP
					d := 1 + writer + writers * floor(random() * documents / writers)::int;
					CASE WHEN i % 37 < 30 THEN UPDATE documents SET views = views + 1, seen = clock_timestamp() WHERE id = d;
					WHEN i % 37 < 34 THEN UPDATE documents SET body = body(random()::text) WHERE id = d;
					WHEN i % 37 < 36 THEN INSERT INTO documents VALUES (documents + i * writers + writer, 'new', body(random()::text), '{"new": true}', 0, clock_timestamp());
					ELSE DELETE FROM documents WHERE id = d;
					END CASE;
					COMMIT;
				END LOOP; END $$`,
		},
		write: func(scale float64, writer int) []string {
			return []string{fmt.Sprintf("CALL edit(%d, %d, %d, %d)", writer, writers, int(74_000*scale)/writers, documents(scale))}
		},
	},
	steady: {
		about:  "single rows and transactions of 100 rows inserted as fast as the source can, while they are followed; and one transaction of 5 million rows",
		tables: []string{"ticks", "huge"},
		fill: func(float64) []string {
			return []string{`CREATE TABLE ticks (id bigint NOT NULL, writer int NOT NULL, at timestamptz NOT NULL, value double precision, PRIMARY KEY (writer, id))`,
				`CREATE TABLE huge (id bigint PRIMARY KEY, name text NOT NULL, value double precision)`}
		},
		procedures: []string{`CREATE PROCEDURE tick(writer int, rows int, seconds float8, apart float8, INOUT written bigint) LANGUAGE plpgsql AS $$
			DECLARE until timestamptz := clock_timestamp() + seconds * interval '1 second'; due timestamptz := clock_timestamp(); BEGIN
				PERFORM set_config('synchronous_commit', 'off', false);
				WHILE clock_timestamp() < until LOOP
					INSERT INTO ticks SELECT written + r, writer, clock_timestamp(), random() FROM generate_series(1, rows) r;
					written := written + rows;
					COMMIT;
					due := due + apart * interval '1 second';
					IF due > clock_timestamp() + interval '5 ms' THEN -- one sleep takes a millisecond, however short it is to be
						PERFORM pg_sleep_until(due);
					END IF;
				END LOOP; END $$`},
	},
}

func workloadNames() []string { return slices.Sorted(maps.Keys(workloads)) }

func accounts(scale float64) int  { return max(1000, int(3_000_000*scale)) }
func documents(scale float64) int { return max(100, int(20_000*scale)) }

// fillBacklog makes the tables of pgbench that -N writes to, at scale 30, and 6 million rows of metrics.
func fillBacklog(scale float64) []string {
	return []string{
		`CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))`,
		`CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84)) WITH (fillfactor = 100)`,
		fmt.Sprintf(`INSERT INTO pgbench_accounts (aid, bid, abalance, filler) SELECT n, (n - 1) / 100000 + 1, 0, '' FROM generate_series(1, %d) n`, accounts(scale)),
		`ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid)`,
		`CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value double precision, load double precision, status int)`,
		fmt.Sprintf(`INSERT INTO metrics SELECT timestamptz '2026-01-01 00:00:00Z' + n / 1000 * interval '10 seconds', n %% 1000, sin(n), (n::bigint * 7919 %% 1000) / 10.0, n %% 5
			FROM generate_series(0, %d - 1) n`, int(6_000_000*scale)),
		`ALTER TABLE metrics ADD PRIMARY KEY (device, ts)`,
		`CREATE INDEX metrics_ts ON metrics (ts)`,
	}
}

// fillWide makes values that compression does not shrink: hexadecimal digests.
func fillWide(scale float64) []string {
	return []string{
		`CREATE TABLE documents (id bigint PRIMARY KEY, kind text NOT NULL, body text NOT NULL, meta jsonb, views int NOT NULL, seen timestamptz)`,
		fmt.Sprintf(`INSERT INTO documents SELECT n, 'kind ' || n %% 20, (SELECT string_agg(md5(n::text || i), '') FROM generate_series(1, 250 + n %% 150) i),
			jsonb_build_object('author', 'u' || n %% 500, 'tags', jsonb_build_array(n %% 7, n %% 11)), 0, NULL FROM generate_series(1, %d) n`, documents(scale)),
		`CREATE INDEX documents_kind ON documents (kind, id)`,
	}
}

// endTable gets one row after everything else: a contender is done when the target has it.
const endTable = "the_end"

// fill makes the tables with their rows in one database. All that contenders must agree about is in them.
func (w workload) make(ctx context.Context, conn *pgx.Conn, scale float64) error {
	statements := append([]string{"SET synchronous_commit = off"}, w.fill(scale)...)
	statements = append(statements, "CREATE TABLE "+endTable+" (n int PRIMARY KEY)", "VACUUM (FREEZE, ANALYZE)")
	return rig.ExecAll(ctx, conn, statements...)
}

func (w workload) published() []string { return append(slices.Clone(w.tables), endTable) }

// write makes the backlog, and says that it is over.
func (w *world) write(ctx context.Context) error {
	load := workloads[w.workload]
	w.Say("writing the backlog")
	group, working := errgroup.WithContext(ctx)
	for writer := range writers {
		group.Go(func() error {
			return rig.Session(working, w.Endpoint(w.Source), func(conn *pgx.Conn) error {
				return rig.ExecAll(working, conn, load.write(w.scale, writer)...)
			})
		})
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("write the backlog: %w", err)
	}
	return w.finishWriting(ctx)
}

// finishWriting puts the end into the stream, and reads what the target must become.
func (w *world) finishWriting(ctx context.Context) error {
	return rig.Session(ctx, w.Source.Superuser(rig.Database), func(conn *pgx.Conn) (err error) {
		if err := rig.ExecAll(ctx, conn, "INSERT INTO "+endTable+" VALUES (1)"); err != nil {
			return err
		}
		if w.end, err = pgkit.CurrentLSN(ctx, conn); err != nil {
			return err
		}
		w.backlogBytes = w.begin.BytesBehind(w.end)
		w.expected, err = readContent(ctx, conn, workloads[w.workload].published())
		w.Say("the backlog has %d MB of WAL; the source holds %s", w.backlogBytes>>20, strings.Join(w.expected.counts(), ", "))
		return err
	})
}
