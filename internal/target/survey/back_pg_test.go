package survey_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/target/survey"
	"timeferry/internal/testkit/pgtest"
)

func TestReadBackTriesThePlugin(t *testing.T) {
	dst := pgtest.OwnTarget(t, nil)
	read := func(plugin string) (f plan.BackFacts) {
		t.Helper()
		require.NoError(t, survey.ReadBack(t.Context(), dst.MasterConn(t), plugin, &f))
		return f
	}
	f := read("pgoutput")
	require.Equal(t, plan.BackFacts{WALLevel: "logical", Encoding: "UTF8", MaxSlots: f.MaxSlots, Senders: f.Senders, CanReplicate: true, OwnsDatabase: true, Plugin: "pgoutput"}, f)
	require.Positive(t, f.MaxSlots)
	require.Contains(t, read("no_such_plugin").PluginError, "no_such_plugin")
	dst.TrustWal2json(t)
	require.Empty(t, read("wal2json").PluginError)
	dst.Exec(t, "CREATE TABLE t (id int); INSERT INTO t VALUES (1)")
	require.Equal(t, "0", dst.QueryValue(t, "SELECT count(*) FROM pg_replication_slots WHERE NOT temporary"))
	dst.Exec(t, "ALTER ROLE "+pgtest.TargetMaster+" NOREPLICATION")
	require.False(t, read("pgoutput").CanReplicate)
}

func TestHypertablesThatChangeByThemselves(t *testing.T) {
	dst := pgtest.Target(t)
	dst.Exec(t, "CREATE TABLE plain (ts timestamptz NOT NULL); SELECT create_hypertable('plain', 'ts'); CREATE TABLE t (id int)")
	got, err := survey.Hypertables(t.Context(), dst.MasterConn(t))
	require.NoError(t, err)
	require.Equal(t, map[ident.Table]bool{{Schema: "public", Name: "plain"}: false}, got)
}
