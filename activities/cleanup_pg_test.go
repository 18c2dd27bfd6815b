package activities_test

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"timeferry/activities"
	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// A slot that nobody reads fills the source's disk: it must go even when the target, with the bookkeeping, is gone.
func TestSlotIsDroppedThoughTheTargetIsGone(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION timeferry_gone_target FOR TABLE t; ALTER PUBLICATION timeferry_gone_target OWNER TO "+pgtest.SourceMaster)
	src.Exec(t, "SELECT pg_create_logical_replication_slot('timeferry_gone_target', 'pgoutput')")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	t.Setenv("GONE_PASSWORD", "unused")
	t.Setenv("SOURCE_PASSWORD", src.Master.Password)
	spec := contract.Spec{Name: "gone-target",
		Source: contract.Source{Endpoint: contract.Endpoint{Host: src.Master.Host, Port: src.Master.Port, Database: src.Master.Database, User: src.Master.User,
			Password: contract.SecretRef{Env: "SOURCE_PASSWORD"}, SSLMode: "disable"}},
		Target: contract.Endpoint{Host: "127.0.0.1", Port: port, Database: "none", User: "none", Password: contract.SecretRef{Env: "GONE_PASSWORD"}, SSLMode: "disable"}}

	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.SetTestTimeout(time.Minute)
	a := &activities.Activities{}
	env.RegisterActivity(a.CleanSource)
	_, err = env.ExecuteActivity(a.CleanSource, contract.UndoInput{Spec: spec})
	require.ErrorContains(t, err, "connect to none@127.0.0.1", "the identities are still to be set back")
	require.Equal(t, "0", src.QueryValue(t, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'timeferry_gone_target'"))
	require.Equal(t, "0", src.QueryValue(t, "SELECT count(*) FROM pg_publication WHERE pubname = 'timeferry_gone_target'"))
}
