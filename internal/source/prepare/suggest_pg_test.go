package prepare_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/source/prepare"
	"timeferry/internal/testkit/pgtest"
)

func candidatesByName(t *testing.T, src *pgtest.Database) map[string]plan.Candidate {
	t.Helper()
	found, err := prepare.ReadCandidates(t.Context(), src.MasterConn(t), func(ident.Table) bool { return true })
	require.NoError(t, err)
	byName := map[string]plan.Candidate{}
	for _, c := range found {
		byName[c.Table.Name] = c
	}
	return byName
}

func TestReadCandidates(t *testing.T) {
	src := pgtest.Source(t)
	conn := src.MasterConn(t)
	_, err := conn.Exec(t.Context(), `
		CREATE TABLE ev (id bigint PRIMARY KEY, ts timestamptz NOT NULL, d date, note text); CREATE TABLE mark (ev bigint REFERENCES ev);
		INSERT INTO ev SELECT n, '2024-01-01'::timestamptz + n * interval '1 hour', '2024-01-01'::date + (n * 7919 % 1000)::int, 'x' FROM generate_series(0, 2400) n;
		CREATE TABLE parted (tenant int, "At" timestamp NOT NULL, v int) PARTITION BY LIST (tenant);
		CREATE TABLE parted_1 PARTITION OF parted FOR VALUES IN (1) PARTITION BY RANGE ("At");
		CREATE TABLE parted_1_1 PARTITION OF parted_1 FOR VALUES FROM ('2024-01-01') TO ('2024-02-01'); CREATE TABLE parted_1_d PARTITION OF parted_1 DEFAULT;
		CREATE INDEX ON parted (v);
		INSERT INTO parted SELECT 1, '2024-01-01'::timestamp + n * interval '1 hour', n FROM generate_series(0, 2400) n;
		CREATE TABLE fresh (ts timestamptz NOT NULL); CREATE TABLE plain (id int);
		ANALYZE ev, parted_1_1, parted_1_d`)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return candidatesByName(t, src)["parted"].Inserts == 2401 }, 20*time.Second, 200*time.Millisecond, "the counters follow the writing session")
	c := candidatesByName(t, src)

	ev := c["ev"]
	require.EqualValues(t, 2401, ev.Inserts)
	require.Positive(t, ev.IndexBytes)
	require.Empty(t, ev.RangeColumns)
	require.Equal(t, []ident.Table{public("mark")}, ev.ReferredBy)
	require.Len(t, ev.Times, 2)
	require.Equal(t, plan.TimeColumn{Name: "ts", Analyzed: true, Correlation: 1, Span: 2400 * time.Hour}, ev.Times[0])
	require.Less(t, ev.Times[1].Correlation, 0.5)
	require.InDelta(t, 999*24, ev.Times[1].Span.Hours(), 10*24, "the histogram leaves out the commonest values")

	parted := c["parted"]
	require.Equal(t, []string{"At"}, parted.RangeColumns)
	require.Equal(t, []plan.TimeColumn{{Name: "At", Analyzed: true, Correlation: 1, Span: 2400 * time.Hour}}, parted.Times)
	require.Equal(t, []plan.TimeColumn{{Name: "ts"}}, c["fresh"].Times)
	require.Empty(t, c["plain"].Times)

	found := plan.Suggest(contract.Spec{Tables: contract.Tables{Include: []string{"*.*"}}}, []plan.Candidate{parted, ev, c["fresh"], c["plain"]}, 1<<30)
	require.Len(t, found, 1)
	require.Equal(t, contract.Hypertable{Table: "public.parted", TimeColumn: "At", ChunkInterval: "3 months"}, found[0].Hypertable)
}

// The catalogues differ from version to version.
func TestHypertableFactsOfTheOldestAndTheNewest(t *testing.T) {
	for _, major := range []int{12, 15, 18} {
		src := pgtest.SourceOf(t, major)
		conn := src.MasterConn(t)
		_, err := conn.Exec(t.Context(), `
			CREATE TABLE m (id int NOT NULL, ts timestamptz, v int DEFAULT 1, s json, CHECK (v < 100)) PARTITION BY RANGE (id);
			CREATE INDEX m_v ON m (v); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
			CREATE TRIGGER of_root AFTER INSERT ON m FOR EACH ROW EXECUTE FUNCTION f();
			CREATE TABLE m_1 PARTITION OF m FOR VALUES FROM (0) TO (10); CREATE TABLE m_d PARTITION OF m DEFAULT;
			CREATE INDEX own_index ON m_1 (ts); CREATE UNIQUE INDEX own_unique ON m_1 (id); ALTER TABLE m_1 ADD CONSTRAINT own_check CHECK (id < 50), ALTER v SET DEFAULT 5;
			CREATE TRIGGER own_trigger AFTER INSERT ON m_d FOR EACH ROW EXECUTE FUNCTION f(); CREATE RULE own_rule AS ON DELETE TO m_d DO INSTEAD NOTHING;
			CREATE POLICY own_policy ON m_1 USING (true);
			CREATE TABLE n (id int PRIMARY KEY, ts timestamptz); CREATE VIEW grouped AS SELECT id, ts FROM n GROUP BY id; CREATE TABLE r (n int CONSTRAINT to_n REFERENCES n);
			INSERT INTO n VALUES (1, NULL), (2, '-infinity')`)
		require.NoError(t, err)
		f, err := prepare.ReadFacts(t.Context(), conn, contract.Tables{Include: []string{"*.*"}})
		require.NoError(t, err)
		found, err := prepare.ReadHypertables(t.Context(), conn, f.Tables, map[ident.Table]contract.Hypertable{
			public("m"): {TimeColumn: "ts", SpaceColumn: "s"}, public("n"): {TimeColumn: "ts"}, public("absent"): {TimeColumn: "ts"}})
		require.NoError(t, err)
		require.Len(t, found, 2)
		m := found[public("m")]
		require.Equal(t, []plan.PartitionOwn{{Partition: public("m_1"), Kind: "constraint", Name: "own_check"}, {Partition: public("m_1"), Kind: "default", Name: "v"},
			{Partition: public("m_1"), Kind: "index", Name: "own_index"}, {Partition: public("m_1"), Kind: "policy", Name: "own_policy"},
			{Partition: public("m_d"), Kind: "rule", Name: "own_rule"}, {Partition: public("m_d"), Kind: "trigger", Name: "own_trigger"}}, m.PartitionOwn, "PostgreSQL %d", major)
		require.True(t, m.NotHashable)
		require.Equal(t, plan.FoundNone, m.Nulls)
		n := found[public("n")]
		require.Equal(t, plan.FoundSome, n.Nulls)
		require.Equal(t, plan.FoundSome, n.OutOfRange)
		require.Equal(t, []plan.KeyUser{{Index: "n_pkey", Kind: plan.KeyUserForeignKey, Name: "to_n", From: public("r")}, {Index: "n_pkey", Kind: plan.KeyUserView, Name: "grouped", From: public("grouped")}}, n.KeyUsers)
		_, err = prepare.ReadCandidates(t.Context(), conn, func(ident.Table) bool { return true })
		require.NoError(t, err, "PostgreSQL %d", major)
	}
}
