package ledger_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

func TestSteeringOutlivesItsWriterAndKeepsItsOrder(t *testing.T) {
	dst := pgtest.Target(t)
	conn := dst.MasterConn(t)
	require.NoError(t, ledger.Create(t.Context(), conn, "shop"))
	read := func() ledger.Steering {
		s, err := ledger.CurrentSteering(t.Context(), dst.MasterConn(t))
		require.NoError(t, err)
		return s
	}
	require.Zero(t, read(), "nothing was ordered")
	_, err := conn.Exec(t.Context(), "DROP TABLE IF EXISTS timeferry.steering")
	require.NoError(t, err)
	require.Zero(t, read(), "a ledger of an older version")

	newer := ledger.Steering{Serial: 2, Paused: true, Concurrency: 8, IndexJobs: 3}
	require.NoError(t, ledger.Steer(t.Context(), conn, newer))
	require.NoError(t, ledger.Steer(t.Context(), conn, newer), "twice is once")
	require.NoError(t, ledger.Steer(t.Context(), conn, ledger.Steering{Serial: 1, Concurrency: 4, IndexJobs: 2}))
	require.Equal(t, newer, read(), "a late order undoes nothing")
	require.NoError(t, ledger.Steer(t.Context(), conn, ledger.Steering{Serial: 3, Concurrency: 8, IndexJobs: 3}))
	require.False(t, read().Paused)
}

func TestMain(m *testing.M) { pgtest.Main(m) }
