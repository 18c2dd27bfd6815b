package schemadiff_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/schemadiff"
	"timeferry/internal/source/extract"
	"timeferry/internal/testkit/fixture"
	"timeferry/internal/testkit/pgtest"
)

// everyVersion is what all servers from 12 on understand. Names are words of newer versions' grammars, too.
const everyVersion = `
CREATE SCHEMA v;
CREATE TYPE v.mood AS ENUM ('a', 'b');
CREATE TYPE v.pair AS (x int, y text);
CREATE DOMAIN v.positive AS int NOT NULL CHECK (VALUE > 0);
CREATE TYPE v.floats AS RANGE (subtype = float8);
CREATE COLLATION v.german (provider = icu, locale = 'de_DE');
CREATE TABLE v.t (id bigserial PRIMARY KEY, json_table text COLLATE v.german, m v.mood DEFAULT 'a', p v.positive, f v.floats, at timestamptz NOT NULL DEFAULT now(),
	g int GENERATED ALWAYS AS (1 + 1) STORED, i int GENERATED ALWAYS AS IDENTITY, money money DEFAULT 1.5, CHECK (json_table <> 'x'), UNIQUE (at, id) DEFERRABLE);
CREATE INDEX ON v.t (lower(json_table), at DESC) INCLUDE (p) WHERE id > 3;
CREATE STATISTICS v.s (ndistinct, dependencies) ON id, at FROM v.t;
CREATE TABLE v.parts (at timestamptz NOT NULL, t bigint REFERENCES v.t, n int) PARTITION BY RANGE (at);
CREATE TABLE v.part_1 PARTITION OF v.parts FOR VALUES FROM ('2024-01-01 00:00:00+00') TO ('2025-01-01 00:00:00+00');
CREATE INDEX ON v.parts (n);
CREATE FUNCTION v.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touch BEFORE UPDATE OF json_table ON v.t FOR EACH ROW WHEN (OLD.json_table IS DISTINCT FROM NEW.json_table) EXECUTE FUNCTION v.touch();
CREATE TRIGGER touch_parts AFTER INSERT ON v.parts FOR EACH ROW EXECUTE FUNCTION v.touch();
CREATE VIEW v.one AS SELECT id, json_table || 'x' AS j, at FROM v.t WHERE m = 'a' ORDER BY id;
CREATE VIEW v.two AS SELECT t.*, o.j FROM v.t JOIN v.one o USING (id) WHERE t.p IN (SELECT n FROM v.parts);
CREATE VIEW v.json_array AS WITH w AS (SELECT count(*) AS c FROM v.t) SELECT c, CASE c WHEN 1 THEN 'y' END FROM w UNION ALL SELECT 1, current_user;
CREATE MATERIALIZED VIEW v.mat AS SELECT m, count(*) FROM v.t GROUP BY m;
CREATE UNIQUE INDEX ON v.mat (m);
CREATE RULE r AS ON INSERT TO v.one DO INSTEAD INSERT INTO v.t (json_table) VALUES (NEW.j) RETURNING id, json_table, at;
ALTER TABLE v.t ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON v.t FOR SELECT USING (p > 1 AND EXISTS (SELECT FROM v.parts WHERE n = t.p));
CREATE FUNCTION v.add(a int, b int DEFAULT 2, OUT c int) LANGUAGE sql IMMUTABLE AS 'SELECT a + b';
CREATE AGGREGATE v.total (int) (sfunc = int4pl, stype = int, initcond = '0');
CREATE OPERATOR v.=== (leftarg = int, rightarg = int, function = int4eq, commutator = OPERATOR(v.===));
CREATE CAST (v.pair AS text) WITH INOUT AS ASSIGNMENT;
CREATE TEXT SEARCH CONFIGURATION v.words (COPY = pg_catalog.simple);
GRANT SELECT ON v.t TO PUBLIC; GRANT UPDATE (at) ON v.t TO PUBLIC; GRANT ALL ON v.parts TO versions_role;
COMMENT ON COLUMN v.t.at IS 'when'; COMMENT ON INDEX v.t_pkey IS 'key'; COMMENT ON CONSTRAINT t_pkey ON v.t IS 'key'; COMMENT ON TRIGGER touch ON v.t IS 'touches';
GRANT CREATE ON SCHEMA public TO PUBLIC;
COMMENT ON FUNCTION v.add(int, int) IS 'adds'; COMMENT ON TYPE v.mood IS 'moods'; COMMENT ON STATISTICS v.s IS 'statistics';`

const forSuperusers = `CREATE OPERATOR CLASS v.oc FOR TYPE int USING btree AS OPERATOR 1 <, OPERATOR 3 =, FUNCTION 1 btint4cmp(int, int);`

// publicOwner is what all sources before 15 have.
const publicOwner = `schema public: owner is "postgres" on the source, "pg_database_owner" on the target (the schema public is the target's own)`

// TestVersionsRenderAlike: what one statement made on both sides is the same on both, whatever their versions.
func TestVersionsRenderAlike(t *testing.T) {
	dst := pgtest.Target(t)
	withRoles(t, []*pgtest.Database{dst}, "versions_role")
	dst.Exec(t, everyVersion+forSuperusers)
	for _, major := range []int{12, 13, 14, 16, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			if testing.Short() && major != 12 && major != 18 {
				t.Skip("the oldest and the newest are enough for a short run")
			}
			src := pgtest.SourceOf(t, major)
			withRoles(t, []*pgtest.Database{src}, "versions_role")
			src.Exec(t, everyVersion+forSuperusers)
			result := mustCheck(t, src, dst, wholePlan())
			require.Empty(t, lines(result.Differences))
			if major < 15 {
				require.Equal(t, []string{publicOwner}, lines(result.Expected))
			} else {
				require.Empty(t, lines(result.Expected))
			}
			require.Positive(t, result.Compared[schemadiff.View])
		})
	}
}

// TestOldestMigrates: what arrives from 12 is what was there.
func TestOldestMigrates(t *testing.T) {
	src, dst := pgtest.SourceOf(t, 12), pgtest.Target(t)
	withRoles(t, []*pgtest.Database{src, dst}, "versions_role")
	mustMasterExec(t, src, everyVersion)
	mustMigrate(t, src, dst, extract.DumpOptions{Tables: wholePlan().Tables, Privileges: true})
	mustCutOver(t, dst)
	result := mustMasterCheck(t, src, dst, wholePlan())
	require.Empty(t, lines(result.Differences))
	require.Equal(t, []string{publicOwner}, lines(result.Expected))
}

// TestNewestHasNotNullConstraints: from 18 on, they are objects with names.
func TestNewestHasNotNullConstraints(t *testing.T) {
	if os.Getenv(fixture.EnvMatrix) == "" {
		t.Skip("it needs a target of 18, which make test-matrix installs")
	}
	src, dst := pgtest.SourceOf(t, 18), pgtest.TargetOf(t, 18)
	withRoles(t, []*pgtest.Database{src, dst}, "versions_role")
	src.Exec(t, everyVersion)
	dst.Exec(t, everyVersion)
	result := mustCheck(t, src, dst, wholePlan())
	require.Empty(t, lines(result.Differences))
	require.Positive(t, result.Compared[schemadiff.NotNullConstraint])
	dst.Exec(t, "ALTER TABLE v.t RENAME CONSTRAINT t_at_not_null TO other")
	require.Equal(t, []string{"not-null constraint other on v.t: on the target only", "not-null constraint t_at_not_null on v.t: missing on the target"},
		lines(mustCheck(t, src, dst, wholePlan()).Differences))
}

// TestPartitionsGetIdentityColumns: from 17 on, of the table that they belong to. A table of its own gets none by itself.
func TestPartitionsGetIdentityColumns(t *testing.T) {
	src, dst := pgtest.Source(t), pgtest.Target(t)
	const parted = "CREATE SCHEMA v; CREATE TABLE v.p (id int GENERATED BY DEFAULT AS IDENTITY, k int) PARTITION BY LIST (k); CREATE TABLE v.p1 PARTITION OF v.p FOR VALUES IN (1);"
	src.Exec(t, parted+"CREATE TABLE v.plain (id int NOT NULL)")
	dst.Exec(t, parted+"CREATE TABLE v.plain (id int NOT NULL GENERATED BY DEFAULT AS IDENTITY)")
	result := mustCheck(t, src, dst, wholePlan())
	require.Contains(t, strings.Join(lines(result.Expected), "\n"), "column v.p1.id: identity")
	require.Contains(t, strings.Join(lines(result.Differences), "\n"), "column v.plain.id: identity")
	require.NotContains(t, strings.Join(lines(result.Differences), "\n"), "v.p1.id")
}
