package slot_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/source/slot"
	"timeferry/internal/testkit/pgtest"
)

func TestLookFindsTheLongestTransaction(t *testing.T) {
	src := pgtest.OwnSource(t, map[string]string{"max_slot_wal_keep_size": "64MB", "max_prepared_transactions": "2"})
	src.Exec(t, `SELECT pg_create_logical_replication_slot('looked_at', 'pgoutput')`)
	src.Exec(t, `CREATE TABLE t (id int)`)
	conn := src.Conn(t)
	p, err := slot.Look(t.Context(), conn, "looked_at")
	require.NoError(t, err)
	require.True(t, p.Exists)
	require.EqualValues(t, 64<<20, p.KeepBytes)
	require.Nil(t, p.Longest, "a session that only looks is none")

	open := src.Conn(t)
	_, err = open.Exec(t.Context(), `SET application_name = 'report'; BEGIN; INSERT INTO t VALUES (1)`)
	require.NoError(t, err)
	p, err = slot.Look(t.Context(), conn, "looked_at")
	require.NoError(t, err)
	require.NotNil(t, p.Longest)
	require.EqualValues(t, open.PgConn().PID(), p.Longest.PID)
	require.Equal(t, "report", p.Longest.Application)
	require.Equal(t, "idle in transaction", p.Longest.State)

	_, err = open.Exec(t.Context(), `PREPARE TRANSACTION 'left behind'`)
	require.NoError(t, err)
	p, err = slot.Look(t.Context(), conn, "looked_at")
	require.NoError(t, err)
	require.Zero(t, p.Longest.PID)
	require.Equal(t, "left behind", p.Longest.Application)
	src.Exec(t, `ROLLBACK PREPARED 'left behind'`)
	_, err = open.Exec(t.Context(), `SET application_name = 'timeferry snapshot holder'; BEGIN; INSERT INTO t VALUES (1)`)
	require.NoError(t, err)
	p, err = slot.Look(t.Context(), conn, "looked_at")
	require.NoError(t, err)
	require.Nil(t, p.Longest, "ours are not meant")

	p, err = slot.Look(t.Context(), conn, "not_there")
	require.NoError(t, err)
	require.False(t, p.Exists)
}
