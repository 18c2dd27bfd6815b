package bulk_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/bulk"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

// cutTables are of every kind that is cut: by keys where the server or the table wants it, else by blocks.
const cutTables = `
CREATE TABLE nothing (id int PRIMARY KEY, v text);
CREATE TABLE tiny (id int PRIMARY KEY, v text);
CREATE TABLE dense (id bigint PRIMARY KEY, v text);
CREATE TABLE bloated (at timestamptz NOT NULL, "the ""id" int, v text); CREATE UNIQUE INDEX ON bloated (at, "the ""id");
CREATE TABLE toasted (id uuid PRIMARY KEY, v text);
CREATE TABLE keyless (id int, v text);
CREATE TABLE parent (day date NOT NULL, v text); CREATE TABLE child (PRIMARY KEY (day)) INHERITS (parent);
CREATE TABLE tree (id int NOT NULL, v text) PARTITION BY RANGE (id);
CREATE TABLE tree_a PARTITION OF tree (PRIMARY KEY (id)) FOR VALUES FROM (MINVALUE) TO (5000);
CREATE TABLE tree_b PARTITION OF tree (PRIMARY KEY (id)) FOR VALUES FROM (5000) TO (MAXVALUE);`

const cutRows = `
ALTER TABLE bloated SET (autovacuum_enabled = off);
ALTER TABLE toasted ALTER v SET STORAGE EXTERNAL;
INSERT INTO tiny SELECT g, 'v' FROM generate_series(1, 3) g;
INSERT INTO dense SELECT g, repeat('d', 60) FROM generate_series(-10000, 10000) g;
INSERT INTO bloated SELECT timestamptz '2024-01-01 00:00:00.123456+05' + g * interval '1 hour', g, repeat('b', 100) FROM generate_series(1, 30000) g;
DELETE FROM bloated WHERE "the ""id" % 10 > 0;
INSERT INTO toasted SELECT (lpad(to_hex(g), 8, '0') || '-0000-0000-0000-000000000000')::uuid, repeat('t', 9000) FROM generate_series(1, 400) g;
INSERT INTO keyless SELECT g, repeat('k', 60) FROM generate_series(1, 10000) g;
INSERT INTO parent SELECT date '2024-01-01' + g % 100, repeat('p', 60) FROM generate_series(1, 8000) g; INSERT INTO child SELECT date '1000-01-01' + g, repeat('c', 60) FROM generate_series(1, 8000) g;
INSERT INTO tree SELECT g, repeat('r', 60) FROM generate_series(1, 12000) g;
ANALYZE;`

// cutNames with ONLY compares each heap by itself.
var cutNames = []string{"nothing", "tiny", "dense", "bloated", "toasted", "keyless", "ONLY parent", "child", "tree"}

func digestCut() string {
	var digests []string
	for _, name := range cutNames {
		digests = append(digests, fmt.Sprintf("SELECT '%s', d.* FROM (%s) d", name, digestSQL("*", name)))
	}
	return strings.Join(digests, " UNION ALL ") + " ORDER BY 1"
}

// Every row that the snapshot shows is in exactly one part, however the tables are cut, and whatever the application does
// to them after the plan and the snapshot were made.
func TestEveryRowInExactlyOnePart(t *testing.T) {
	for major, wantByKey := range map[int][]string{
		13: {"bloated", "child", "dense", "toasted", "tree"},
		15: {"bloated"},
	} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			f := newFixtureFrom(t, pgtest.SourceOf(t, major), fmt.Sprintf("copy_cut_%d", major))
			f.execBoth(t, cutTables)
			f.execSource(t, cutRows)
			random := rand.New(rand.NewPCG(9, uint64(major)))
			for round := range 2 {
				f.execTarget(t, "DELETE FROM timeferry.tables")
				f.planCut(t, 50_000+random.Int64N(400_000), major >= 14)
				if round == 0 { // later on, the rows that moved have spoiled some keys' order in the heap
					require.Equal(t, wantByKey, f.dst.Dump(t, "SELECT DISTINCT table_name FROM timeferry.parts WHERE key_column <> '' ORDER BY 1"))
				}
				f.execSource(t, churn(random)) // after the plan, before the snapshot
				f.beginEpoch(t)
				want := f.src.Dump(t, digestCut())
				f.execSource(t, churn(random)) // after the snapshot
				_, err := bulk.CopyParts(context.Background(), f.options(), nil)
				require.NoError(t, err)
				f.requireNothingLeft(t)
				require.Equal(t, want, f.dst.Dump(t, digestCut()), "round %d", round)
				f.hold.end()
				require.NoError(t, <-f.hold.done)
				f.execSource(t, "ANALYZE")
			}
		})
	}
}

// churn moves rows, also beyond what the plan knew, and across keys.
func churn(random *rand.Rand) string {
	n := random.IntN(1000)
	return fmt.Sprintf(`
		UPDATE dense SET v = v || 'x' WHERE id %% 17 = %[1]d %% 17;
		INSERT INTO dense SELECT (SELECT max(id) FROM dense) + g, 'new' FROM generate_series(1, %[1]d) g;
		INSERT INTO dense SELECT (SELECT min(id) FROM dense) - g, 'new' FROM generate_series(1, 50) g;
		UPDATE bloated SET at = at + interval '100 years' WHERE "the ""id" %% 7 = %[1]d %% 7 AND at < '2100-01-01';
		UPDATE child SET day = day + 100000 WHERE day < date '1000-01-01' + %[1]d;
		DELETE FROM tree WHERE id %% 23 = %[1]d %% 23; DELETE FROM toasted WHERE id IN (SELECT id FROM toasted ORDER BY md5(id::text || %[1]d) LIMIT 5);
		UPDATE keyless SET v = v || 'y' WHERE id %% 13 = %[1]d %% 13; INSERT INTO tiny SELECT coalesce(max(id), 0) + 1 FROM tiny`, n)
}

// planCut is planTables as the activity does it.
func (f *fixture) planCut(t testing.TB, partBytes int64, tidRange bool) {
	t.Helper()
	ctx := context.Background()
	conn := f.src.MasterConn(t)
	tables, err := pgkit.Tables(ctx, conn, func(ident.Table) bool { return true })
	require.NoError(t, err)
	require.NoError(t, prepare.ReadSplits(ctx, conn, tables, partBytes))
	var planned []ledger.Table
	for _, s := range tables {
		p := ledger.Table{Table: s.Table, Bytes: s.Bytes, EstimatedRows: s.EstimatedRows, TextCopy: s.NeedsTextCopy(), Columns: s.CopyColumns()}
		for n, part := range plan.Parts(s, partBytes, tidRange) {
			p.Parts = append(p.Parts, ledger.Part{Number: n, Source: part.Source, First: part.First, End: part.End,
				KeyColumn: part.KeyColumn, FirstKey: part.FirstKey, EndKey: part.EndKey, Bytes: part.Bytes})
		}
		planned = append(planned, p)
	}
	require.NoError(t, ledger.PlanTables(ctx, f.ledger, planned))
}

// The planner would rather read the whole table for a third of it, which would make a part of every key range a full scan.
func TestKeyRangesAreReadByTheIndex(t *testing.T) {
	f := newFixtureFrom(t, pgtest.SourceOf(t, 13), "copy_by_index")
	f.execBoth(t, "CREATE TABLE dense (id bigint PRIMARY KEY, v text)")
	f.execSource(t, "INSERT INTO dense SELECT g, repeat('d', 60) FROM generate_series(1, 30000) g")
	f.execSource(t, "VACUUM ANALYZE dense")
	f.planCut(t, 1_000_000, false)
	parts := f.dst.QueryValue(t, "SELECT count(*) FROM timeferry.parts WHERE key_column = 'id'")
	require.Equal(t, "4", parts)
	f.beginEpoch(t)
	f.copyAll(t)
	f.requireSame(t, "*", "dense")
	eventually(t, "the server has counted the scans", func() bool {
		return f.src.QueryValue(t, "SELECT seq_scan <= 3 AND idx_scan >= 4 FROM pg_stat_user_tables WHERE relname = 'dense'") == "t"
	})
}
