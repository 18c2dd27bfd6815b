package pgtest_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
	"timeferry/internal/testkit/pgtest"
)

const majorSQL = "SELECT current_setting('server_version_num')::int / 10000"

func TestSourceOfAVersion(t *testing.T) {
	for _, major := range []int{12, 13, 16, 18} { // pgserver's tests start all of them; here, those that differ to pgtest
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			ctx := context.Background()
			var first string
			t.Run("leaves a slot and a session", func(t *testing.T) {
				src := pgtest.SourceOf(t, major)
				first = src.Endpoint.Database
				require.Equal(t, fmt.Sprint(major), src.QueryValue(t, majorSQL))
				require.Equal(t, "logical", src.QueryValue(t, "SHOW wal_level"))
				require.Equal(t, "shopmaster|f|t|t", src.QueryValue(t, `SELECT rolname, rolsuper, rolreplication, pg_has_role(oid, 'rds_replication', 'member')
					FROM pg_roles WHERE rolname = 'shopmaster'`))
				conn, err := pgkit.Dial(ctx, src.Master, "left open")
				require.NoError(t, err)
				_, err = conn.Exec(ctx, "CREATE TABLE own (id int PRIMARY KEY); CREATE PUBLICATION p FOR TABLE own")
				require.NoError(t, err)
				_, err = conn.Exec(ctx, "SELECT pg_create_logical_replication_slot('pgtest_versions', 'pgoutput')")
				require.NoError(t, err)
			})
			src := pgtest.SourceOf(t, major)
			require.NotEqual(t, first, src.Endpoint.Database)
			require.Equal(t, "0", src.QueryValue(t, "SELECT count(*) FROM pg_replication_slots"))
			require.Equal(t, "0", src.QueryValue(t, "SELECT count(*) FROM pg_database WHERE datname = '"+first+"'"))
			require.Same(t, src.Server, pgtest.SourceOf(t, major).Server)
		})
	}
}

func TestOwnSourceOfAVersionHasItsSettings(t *testing.T) {
	src := pgtest.OwnSourceOf(t, 12, map[string]string{"wal_level": "replica"})
	require.Equal(t, "12", src.QueryValue(t, majorSQL))
	require.Equal(t, "replica", src.QueryValue(t, "SHOW wal_level"))
	require.NotSame(t, src.Server, pgtest.SourceOf(t, 12).Server)
	require.NoError(t, src.Server.Restart(context.Background(), map[string]string{"wal_level": "logical"}))
	require.Equal(t, "logical", src.QueryValue(t, "SHOW wal_level"))
}

func TestOwnTLSSourceOfAVersion(t *testing.T) {
	src := pgtest.OwnTLSSourceOf(t, 18, pgserver.TLS{Only: true})
	require.Equal(t, "verify-ca", src.Master.SSLMode)
	require.Equal(t, "18|t", src.QueryValue(t, majorSQL+", ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
}

func TestTargetOfAVersion(t *testing.T) {
	require.Equal(t, "17", pgtest.TargetOf(t, 17).QueryValue(t, majorSQL))
	t.Run("18", func(t *testing.T) { // needs a Debian tree of its own, which tests do not require
		server, err := pgserver.StartTarget(context.Background(), pgserver.Options{Major: 18})
		if errors.Is(err, pgserver.ErrUnavailable) {
			t.Skip(err)
		}
		require.NoError(t, err)
		require.NoError(t, server.Stop(context.Background()))
		dst := pgtest.TargetOf(t, 18)
		require.Equal(t, "18|1", dst.QueryValue(t, majorSQL+", (SELECT count(*) FROM pg_extension WHERE extname = 'timescaledb')"))
	})
}
