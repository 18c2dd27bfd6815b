package provision_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/source/extract"
	"timeferry/internal/target/provision"
	"timeferry/internal/testkit/pgtest"
)

// keysSQL: every kind of key, on a plain table and on one that is partitioned by another column than the time.
const keysSQL = `
	CREATE SCHEMA "K x";
	CREATE TABLE "K x".ev (id bigint GENERATED ALWAYS AS IDENTITY, "At" timestamptz NOT NULL, "a ""b" text NOT NULL, c int, dev int,
		CONSTRAINT "ev key" PRIMARY KEY (id) INCLUDE (c), CONSTRAINT later UNIQUE ("a ""b", c) DEFERRABLE INITIALLY DEFERRED, CONSTRAINT "has all" UNIQUE ("At", dev, c));
	COMMENT ON CONSTRAINT "ev key" ON "K x".ev IS 'said'; COMMENT ON INDEX "K x".later IS 'of the index';
	CREATE UNIQUE INDEX odd ON "K x".ev (lower("a ""b") COLLATE "C" text_pattern_ops DESC NULLS LAST, c DESC) INCLUDE (dev) WITH (fillfactor = 70) WHERE c > 0 AND "a ""b" <> ') INCLUDE (';
	COMMENT ON INDEX "K x".odd IS 'odd one';
	ALTER TABLE "K x".ev CLUSTER ON "ev key";
	CREATE TABLE "K x".parted (id int NOT NULL, "At" timestamp NOT NULL, v int, CONSTRAINT parted_pk PRIMARY KEY (id)) PARTITION BY RANGE (id);
	CREATE TABLE "K x".parted_1 PARTITION OF "K x".parted FOR VALUES FROM (0) TO (1000); CREATE TABLE "K x".parted_d PARTITION OF "K x".parted DEFAULT;
	CREATE UNIQUE INDEX parted_v ON "K x".parted (v, id);
	INSERT INTO "K x".ev ("At", "a ""b", c, dev) SELECT '2024-01-01'::timestamptz + n * interval '1 day', 'n' || n, n, 1 FROM generate_series(1, 30) n`

func keySpecs(choice string) []contract.Hypertable {
	return []contract.Hypertable{
		{Table: `"K x".ev`, TimeColumn: "At", ChunkInterval: "7 days", SpaceColumn: "dev", SpacePartitions: 2, Key: choice},
		{Table: `"K x".parted`, TimeColumn: "At", ChunkInterval: "1 month", Key: choice},
	}
}

const keysOnTargetSQL = `SELECT indexdef FROM pg_indexes WHERE schemaname = 'K x' ORDER BY indexname`

func TestKeysWithoutTheTimeColumn(t *testing.T) {
	for choice, want := range map[string]struct{ indexes, constraints, comments []string }{
		contract.KeyExtend: {
			indexes: []string{
				`CREATE UNIQUE INDEX "ev key" ON "K x".ev USING btree (id, "At", dev) INCLUDE (c)`,
				`CREATE UNIQUE INDEX "has all" ON "K x".ev USING btree ("At", dev, c)`,
				`CREATE UNIQUE INDEX later ON "K x".ev USING btree ("a ""b", c, "At", dev)`,
				`CREATE UNIQUE INDEX odd ON "K x".ev USING btree (lower("a ""b") COLLATE "C" text_pattern_ops DESC NULLS LAST, c DESC, "At", dev) INCLUDE (dev) WITH (fillfactor='70') WHERE ((c > 0) AND ("a ""b" <> ') INCLUDE ('::text))`,
				`CREATE UNIQUE INDEX parted_pk ON "K x".parted USING btree (id, "At")`,
				`CREATE UNIQUE INDEX parted_v ON "K x".parted USING btree (v, id, "At")`},
			constraints: []string{`ev key|PRIMARY KEY (id, "At", dev) INCLUDE (c)`, `has all|UNIQUE ("At", dev, c)`,
				`later|UNIQUE ("a ""b", c, "At", dev) DEFERRABLE INITIALLY DEFERRED`, `parted_pk|PRIMARY KEY (id, "At")`},
			comments: []string{"odd one", "of the index", "said"},
		},
		contract.KeyDrop: {
			indexes: []string{
				`CREATE INDEX "ev key" ON "K x".ev USING btree (id) INCLUDE (c)`,
				`CREATE UNIQUE INDEX "has all" ON "K x".ev USING btree ("At", dev, c)`,
				`CREATE INDEX later ON "K x".ev USING btree ("a ""b", c)`,
				`CREATE INDEX odd ON "K x".ev USING btree (lower("a ""b") COLLATE "C" text_pattern_ops DESC NULLS LAST, c DESC) INCLUDE (dev) WITH (fillfactor='70') WHERE ((c > 0) AND ("a ""b" <> ') INCLUDE ('::text))`,
				`CREATE INDEX parted_pk ON "K x".parted USING btree (id)`,
				`CREATE INDEX parted_v ON "K x".parted USING btree (v, id)`},
			constraints: []string{`has all|UNIQUE ("At", dev, c)`},
			comments:    []string{"odd one", "of the index"},
		},
	} {
		t.Run(choice, func(t *testing.T) {
			src, dst := pgtest.Source(t), pgtest.Target(t)
			mustMasterExec(t, src, keysSQL)
			specs := keySpecs(choice)
			before := dst.Dump(t, fingerprintSQL)
			problems := mustDump(t, src, dst, extract.DumpOptions{Tables: everything, Hypertables: specs, Privileges: true})
			require.Len(t, problems, 5)
			code := map[string]string{contract.KeyExtend: extract.CodeKeyExtended, contract.KeyDrop: extract.CodeKeyDropped}[choice]
			for _, p := range problems {
				require.Equal(t, code, p.Code)
				require.Equal(t, contract.Info, p.Severity)
			}
			conn := dst.MasterConn(t)
			_, err := provision.PreData(t.Context(), conn)
			require.NoError(t, err)
			_, err = provision.Hypertables(t.Context(), conn, specs)
			require.NoError(t, err)
			mustMasterExec(t, dst, `INSERT INTO "K x".ev ("At", "a ""b", c, dev) SELECT '2024-01-01'::timestamptz + n * interval '1 day', 'n' || n, n, n % 3 FROM generate_series(1, 30) n;
				INSERT INTO "K x".parted SELECT n, '2024-01-01'::timestamp + n * interval '1 day', n FROM generate_series(1, 1200) n`)
			require.Empty(t, restoreAll(t, dst))
			require.Empty(t, restoreAll(t, dst), "a second run")
			require.Equal(t, want.indexes, dst.Dump(t, keysOnTargetSQL))
			require.Equal(t, want.constraints, dst.Dump(t, `SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = '"K x"'::regnamespace AND contype IN ('p', 'u') AND conparentid = 0 ORDER BY 1`))
			require.Equal(t, want.comments, dst.Dump(t, `SELECT description FROM pg_description d WHERE objoid IN (SELECT oid FROM pg_class WHERE relnamespace = '"K x"'::regnamespace UNION ALL SELECT oid FROM pg_constraint WHERE connamespace = '"K x"'::regnamespace) ORDER BY 1`))
			require.Equal(t, "1", dst.QueryValue(t, `SELECT count(DISTINCT num_dimensions) FROM timescaledb_information.hypertables WHERE hypertable_name = 'parted'`))

			left, err := provision.DropCreated(t.Context(), conn)
			require.NoError(t, err)
			require.Empty(t, left)
			require.Equal(t, before, dst.Dump(t, fingerprintSQL))
		})
	}
}

func TestKeysStayWhereNothingIsChosen(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	mustMasterExec(t, src, "CREATE TABLE ev (id int PRIMARY KEY, at timestamptz NOT NULL)")
	specs := []contract.Hypertable{{Table: "public.ev", TimeColumn: "at", ChunkInterval: "7 days"}}
	require.Empty(t, mustDump(t, src, dst, extract.DumpOptions{Tables: everything, Hypertables: specs, Privileges: true}))
	conn := dst.MasterConn(t)
	_, err := provision.PreData(t.Context(), conn)
	require.NoError(t, err)
	_, err = provision.Hypertables(t.Context(), conn, specs)
	require.NoError(t, err)
	require.ErrorContains(t, provision.PostData(t.Context(), dst.Master, 1, nil), `without the column "at"`, "what preflight's finding says")
}
