package prepare_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/source/prepare"
	"timeferry/internal/testkit/pgtest"
)

func TestPressureCountsOthersSessionsOnly(t *testing.T) {
	for _, major := range []int{12, 17} {
		src := pgtest.SourceOf(t, major)
		watcher := src.Conn(t)
		before, err := prepare.ReadPressure(t.Context(), watcher)
		require.NoError(t, err)
		require.Zero(t, before.ReplicaLag)
		ours, theirs := src.Conn(t), src.Conn(t)
		_, err = theirs.Exec(t.Context(), "SET application_name = 'shop'")
		require.NoError(t, err)
		ended := make(chan error, 2)
		go func() { _, err := ours.Exec(t.Context(), "SELECT pg_sleep(3)"); ended <- err }()
		go func() { _, err := theirs.Exec(t.Context(), "SELECT pg_sleep(3)"); ended <- err }()
		require.Eventually(t, func() bool {
			p, err := prepare.ReadPressure(t.Context(), watcher)
			return err == nil && p.ActiveSessions == before.ActiveSessions+1
		}, 2500*time.Millisecond, 20*time.Millisecond, "one is not ours")
		require.NoError(t, <-ended)
		require.NoError(t, <-ended)
	}
}

func TestFactsTellWhoIsBlind(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, "CREATE ROLE blind_one LOGIN")
	conn := src.Conn(t)
	for _, c := range []struct {
		set    string
		hidden bool
	}{{"SET ROLE blind_one", true}, {"RESET ROLE; GRANT pg_monitor TO blind_one; SET ROLE blind_one", false}, {"RESET ROLE; DROP ROLE blind_one", false}} {
		_, err := conn.Exec(t.Context(), c.set)
		require.NoError(t, err)
		f, err := prepare.ReadFacts(t.Context(), conn, contract.Tables{Include: []string{"*.*"}})
		require.NoError(t, err)
		require.Equal(t, c.hidden, f.StatsHidden, c.set)
		require.Contains(t, f.Settings, "superuser_reserved_connections")
	}
}
