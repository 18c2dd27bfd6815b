package prepare_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/source/prepare"
	"timeferry/internal/testkit/pgtest"
)

func TestReadUsage(t *testing.T) {
	src := pgtest.Source(t)
	conn := src.MasterConn(t) // not a superuser: as it will be
	before, err := prepare.ReadUsage(t.Context(), conn)
	require.NoError(t, err)
	require.Positive(t, before.MaxSlots)
	require.Positive(t, before.MaxSenders)
	require.Positive(t, before.MaxWorkers)
	require.Positive(t, before.AllBytes)
	require.Positive(t, before.Workers, "the logical replication launcher is one")

	busy := src.Conn(t)
	_, err = busy.Exec(t.Context(), "SET application_name = 'shop'; BEGIN")
	require.NoError(t, err)
	after, err := prepare.ReadUsage(t.Context(), conn)
	require.NoError(t, err)
	require.Greater(t, after.Connections, before.Connections)
	require.NotNil(t, after.Longest)
	require.Equal(t, "shop", after.Longest.Application)
	require.NotEmpty(t, after.Longest.User)
}

func TestVerifySettings(t *testing.T) {
	src := pgtest.Source(t)
	conn := src.Conn(t)
	_, err := conn.Exec(t.Context(), "SELECT set_config('tcp_keepalives_idle', '77', false)")
	require.NoError(t, err)
	value := func(name string) (value string) {
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT setting FROM pg_settings WHERE name = $1", name).Scan(&value))
		return value
	}
	require.NoError(t, prepare.VerifySettings(t.Context(), conn, map[string]string{
		"max_wal_senders": value("max_wal_senders"), "wal_sender_timeout": value("wal_sender_timeout"),
		"max_worker_processes":    "GREATEST({DBInstanceVCPU*2},8)", // a formula cannot be compared
		"tcp_keepalives_idle":     "10",                             // this session's own
		"rds.logical_replication": "1", "no_such_setting": "1"}))

	err = prepare.VerifySettings(t.Context(), conn, map[string]string{"max_wal_senders": "999"})
	require.Equal(t, fault.Operator, fault.Classify(err))
	require.ErrorContains(t, err, "max_wal_senders: the parameter group says 999, and the server has "+value("max_wal_senders"))
}
