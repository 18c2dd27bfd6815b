package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/jackc/pgx/v5"

	"timeferry/test/bench/rig"
)

// reference is a database that is copied. Its statements take one argument: how much to put in, 1 being the full size.
type reference struct {
	about string
	fill  func(ctx context.Context, conn *pgx.Conn, scale float64) error
}

var references = map[string]reference{
	"first": {"the tables and rows of pgbench at scale 30, and 6 million rows of metrics with a primary key and one more index", fillFirst},
	"wide":  {"documents of about 10 kB out of line, and events in jsonb, with a primary key and one more index each; about 500 MB", fillWide},
	"small": {"2,000 tables of 500 rows, with a primary key and one more index each", fillSmall},
}

func databaseNames() []string { return slices.Sorted(maps.Keys(references)) }

// fillFirst makes what `pgbench -i -I dtGvp -s 30` makes, without needing that program, and the metrics.
func fillFirst(ctx context.Context, conn *pgx.Conn, scale float64) error {
	branches := max(1, int(30*scale))
	return rig.ExecAll(ctx, conn,
		`CREATE TABLE pgbench_history (tid int, bid int, aid int, delta int, mtime timestamp, filler char(22))`,
		`CREATE TABLE pgbench_tellers (tid int NOT NULL, bid int, tbalance int, filler char(84)) WITH (fillfactor = 100)`,
		`CREATE TABLE pgbench_accounts (aid int NOT NULL, bid int, abalance int, filler char(84)) WITH (fillfactor = 100)`,
		`CREATE TABLE pgbench_branches (bid int NOT NULL, bbalance int, filler char(88)) WITH (fillfactor = 100)`,
		fmt.Sprintf(`INSERT INTO pgbench_branches (bid, bbalance) SELECT n, 0 FROM generate_series(1, %d) n`, branches),
		fmt.Sprintf(`INSERT INTO pgbench_tellers (tid, bid, tbalance) SELECT n, (n - 1) / 10 + 1, 0 FROM generate_series(1, %d) n`, 10*branches),
		fmt.Sprintf(`INSERT INTO pgbench_accounts (aid, bid, abalance, filler) SELECT n, (n - 1) / 100000 + 1, 0, '' FROM generate_series(1, %d) n`, 100_000*branches),
		`ALTER TABLE pgbench_branches ADD PRIMARY KEY (bid)`,
		`ALTER TABLE pgbench_tellers ADD PRIMARY KEY (tid)`,
		`ALTER TABLE pgbench_accounts ADD PRIMARY KEY (aid)`,
		`CREATE TABLE metrics (ts timestamptz NOT NULL, device int NOT NULL, value double precision, load double precision, status int)`,
		// 1,000 devices that report every ten seconds, one after the other: the rows lie in the order of time.
		fmt.Sprintf(`INSERT INTO metrics SELECT timestamptz '2026-01-01 00:00:00Z' + n / 1000 * interval '10 seconds', n %% 1000, sin(n), (n::bigint * 7919 %% 1000) / 10.0, n %% 5
			FROM generate_series(0, %d - 1) n`, int(6_000_000*scale)),
		`ALTER TABLE metrics ADD PRIMARY KEY (device, ts)`,
		`CREATE INDEX metrics_ts ON metrics (ts)`)
}

// fillWide makes values that compression does not shrink: hexadecimal digests.
func fillWide(ctx context.Context, conn *pgx.Conn, scale float64) error {
	return rig.ExecAll(ctx, conn,
		`CREATE TABLE documents (id bigint NOT NULL, kind text NOT NULL, body text NOT NULL, meta jsonb)`,
		fmt.Sprintf(`INSERT INTO documents SELECT n, 'kind ' || n %% 20, (SELECT string_agg(md5(n::text || i), '') FROM generate_series(1, 150 + n %% 300) i),
			jsonb_build_object('author', 'u' || n %% 500, 'pages', n %% 90, 'tags', jsonb_build_array(n %% 7, n %% 11)) FROM generate_series(1, %d) n`, int(30_000*scale)),
		`ALTER TABLE documents ADD PRIMARY KEY (id)`,
		`CREATE INDEX documents_kind ON documents (kind, id)`,
		`CREATE TABLE events (id bigint NOT NULL, at timestamptz NOT NULL, payload jsonb NOT NULL)`,
		fmt.Sprintf(`INSERT INTO events SELECT n, timestamptz '2026-01-01 00:00:00Z' + n * interval '1 second', jsonb_build_object('user', 'u' || n::bigint * 7919 %% 5000, 'session', md5(n::text),
			'trace', md5((n * 3)::text) || md5((n * 5)::text), 'count', n %% 100, 'items', (SELECT jsonb_agg(jsonb_build_object('sku', md5((n + i)::text), 'price', n %% 977 / 10.0)) FROM generate_series(1, 5) i))
			FROM generate_series(1, %d) n`, int(250_000*scale)),
		`ALTER TABLE events ADD PRIMARY KEY (id)`,
		`CREATE INDEX events_user ON events ((payload->>'user'))`)
}

// fillSmall makes its tables a hundred at a time: the locks of all of them would not fit into the server's table.
func fillSmall(ctx context.Context, conn *pgx.Conn, scale float64) error {
	const batch = 100
	tables := max(batch, int(2000*scale))
	for from := 1; from <= tables; from += batch {
		err := rig.ExecAll(ctx, conn, fmt.Sprintf(`DO $$ BEGIN FOR i IN %d..%d LOOP
			EXECUTE format('CREATE TABLE small_%%s (id int PRIMARY KEY, name text NOT NULL, amount numeric, at timestamptz)', i);
			EXECUTE format('INSERT INTO small_%%s SELECT n, md5(n::text), n / 7.0, timestamptz ''2026-01-01'' + n * interval ''1 minute'' FROM generate_series(1, 400 + %%s %%%% 201) n', i, i);
			EXECUTE format('CREATE INDEX small_%%s_name ON small_%%s (name)', i, i);
			END LOOP; END $$`, from, min(from+batch-1, tables)))
		if err != nil {
			return err
		}
	}
	return nil
}
