package pgtest_test

import (
	"context"
	"testing"

	"github.com/jackc/pglogrepl"
	"github.com/stretchr/testify/require"

	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestSourceIsEmptyAndItsOwn(t *testing.T) {
	first, second := pgtest.Source(t), pgtest.Source(t)
	first.Exec(t, `CREATE TABLE a (id int, word text); INSERT INTO a VALUES (1, 'x'), (2, NULL)`)
	require.Equal(t, []string{"1|x", "2|NULL"}, first.Dump(t, "SELECT * FROM a ORDER BY id"))
	require.Equal(t, "0", second.QueryValue(t, "SELECT count(*) FROM pg_class WHERE relname = 'a'"))
	require.Equal(t, "logical", first.QueryValue(t, "SHOW wal_level"))
	require.Same(t, first.Server, second.Server)
}

func TestSourceMasterIsNoSuperuserButMayReplicate(t *testing.T) {
	ctx := context.Background()
	src := pgtest.Source(t)
	conn := src.MasterConn(t)
	var super, replicates, member bool
	require.NoError(t, conn.QueryRow(ctx, `SELECT rolsuper, rolreplication, pg_has_role(current_user, 'rds_replication', 'member') FROM pg_roles
		WHERE rolname = current_user`).Scan(&super, &replicates, &member))
	require.False(t, super)
	require.True(t, replicates)
	require.True(t, member)
	_, err := conn.Exec(ctx, "SET session_replication_role = replica")
	require.NoError(t, err)
	_, err = conn.Exec(ctx, "CREATE TABLE own (id int); CREATE SCHEMA mine; CREATE PUBLICATION p FOR TABLE own")
	require.NoError(t, err)

	repl, err := pgkit.DialReplication(ctx, src.Master, "test")
	require.NoError(t, err)
	defer repl.Close(ctx)
	slot, err := pglogrepl.CreateReplicationSlot(ctx, repl, "pgtest_master", "pgoutput", pglogrepl.CreateReplicationSlotOptions{SnapshotAction: "EXPORT_SNAPSHOT"})
	require.NoError(t, err)
	require.NotEmpty(t, slot.SnapshotName)
	// The slot and the connection are left to the end of the test: dropping the database must cope with both.
}

func TestDroppedDatabaseLeavesNothing(t *testing.T) {
	var other *pgtest.Database
	t.Run("leaves a slot and an open transaction", func(t *testing.T) {
		src := pgtest.Source(t)
		other = src
		src.Exec(t, "SELECT pg_create_logical_replication_slot('pgtest_left', 'pgoutput')")
		conn, err := pgkit.Dial(context.Background(), src.Master, "left open")
		require.NoError(t, err)
		_, err = conn.Exec(context.Background(), "BEGIN; CREATE TABLE t (id int)")
		require.NoError(t, err)
	})
	src := pgtest.Source(t)
	require.Equal(t, "0", src.QueryValue(t, "SELECT count(*) FROM pg_database WHERE datname = '"+other.Endpoint.Database+"'"))
	require.Equal(t, "0", src.QueryValue(t, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'pgtest_left'"))
}

func TestTargetHasTimescale(t *testing.T) {
	ctx := context.Background()
	dst := pgtest.Target(t)
	conn := dst.MasterConn(t)
	_, err := conn.Exec(ctx, `CREATE TABLE metrics (ts timestamptz NOT NULL, v float8); SET session_replication_role = replica`)
	require.NoError(t, err)
	_, err = conn.Exec(ctx, `SELECT create_hypertable('metrics', 'ts')`)
	require.NoError(t, err)
	_, err = conn.Exec(ctx, `INSERT INTO metrics SELECT now() - n * interval '1 day', n FROM generate_series(1, 30) n`)
	require.NoError(t, err)
	require.Equal(t, "30", dst.QueryValue(t, "SELECT count(*) FROM metrics"))
	require.Equal(t, "tsdbadmin|false", dst.Dump(t, "SELECT rolname, rolsuper::text FROM pg_roles WHERE rolname = 'tsdbadmin'")[0])
}

func TestOwnSourceHasItsSettings(t *testing.T) {
	src := pgtest.OwnSource(t, map[string]string{"wal_level": "replica", "rds.logical_replication": "off"})
	require.Equal(t, "replica", src.QueryValue(t, "SHOW wal_level"))
	require.NoError(t, src.Server.Restart(context.Background(), map[string]string{"wal_level": "logical", "rds.logical_replication": "on"}))
	require.Equal(t, "logical", src.QueryValue(t, "SHOW wal_level"))
	require.Equal(t, "on", src.QueryValue(t, "SHOW rds.logical_replication"))
}
