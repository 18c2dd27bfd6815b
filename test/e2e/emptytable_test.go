package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgtest"
)

// TestTableWithoutItsRows migrates a database of whose log only the definition is wanted: the table arrives with its indexes,
// empty, and stays so whatever is written to it, while all else is as on the source.
func TestTableWithoutItsRows(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.Source(t), pgtest.Target(t)
	asMaster(t, src, small+`
		CREATE TABLE log (id bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), line text) PARTITION BY RANGE (id);
		CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (1000000);
		CREATE INDEX log_at ON log (at);
		CREATE TABLE keyless_log (line text); INSERT INTO keyless_log VALUES ('never moved');
		INSERT INTO log (line) SELECT 'line ' || g FROM generate_series(1, 500) g;
		CREATE VIEW latest AS SELECT max(at) FROM log;
		CREATE TABLE marks (id int PRIMARY KEY, log_id bigint REFERENCES log); INSERT INTO marks VALUES (1, 7);`)
	w := newWorld(t)
	m := w.newMigration("empty", src, dst, func(spec map[string]any) {
		spec["tables"] = map[string]any{"excludeData": []string{"public.*log"}}
	})
	m.excluded = []string{"public.log", "public.keyless_log"}
	m.start()
	s := m.await(contract.PhaseInSync)
	require.True(t, has(s.Problems, contract.Info, "rows-left-out"), s.Problems)
	require.True(t, has(s.Problems, contract.Warning, "referenced-rows-left-out"), s.Problems)
	require.True(t, has(s.Problems, contract.Warning, "foreign-key-not-valid"), s.Problems)
	asMaster(t, src, "INSERT INTO log (line) VALUES ('while it streams'); DELETE FROM log WHERE id = 1; INSERT INTO keyless_log VALUES ('x'); INSERT INTO notes VALUES (1, 'late')")
	require.Eventually(t, func() bool { return dst.QueryValue(t, "SELECT count(*) FROM notes WHERE body = 'late'") == "1" }, time.Minute, 50*time.Millisecond)
	r := m.finish()
	require.False(t, has(r.Problems, contract.Warning, "new-table"), r.Problems)
	require.Zero(t, r.Schema.Unexpected, "%+v", r.Schema)
	require.Contains(t, r.Schema.Planned, contract.SchemaDifference{Kind: "constraint", Object: "marks_log_id_fkey on public.marks", Property: "validated",
		Source: "true", Target: "false", Why: "the rows that it refers to, of public.log, are left out"})
	require.Equal(t, []string{"0 0"}, dst.Dump(t, "SELECT (SELECT count(*) FROM log) || ' ' || (SELECT count(*) FROM keyless_log)"))
	require.Equal(t, []string{"log_1_at_idx", "log_1_pkey", "log_at", "log_pkey"}, dst.Dump(t, "SELECT indexname FROM pg_indexes WHERE tablename IN ('log', 'log_1') ORDER BY 1"))
	require.Equal(t, "502", dst.QueryValue(t, "SELECT nextval('log_id_seq')"), "the sequence goes on where the source's stands")
	for _, i := range r.Identities {
		require.NotContains(t, i.Table, "log", "no identity was set for a table that is not published")
	}
}
