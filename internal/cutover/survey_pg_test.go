package cutover_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/cutover"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgtest"
)

func TestLookSeesWhatAFenceWouldMeet(t *testing.T) {
	ctx := context.Background()
	src := pgtest.Source(t)
	name := src.Master.Database
	src.Exec(t, "CREATE SEQUENCE tickets; GRANT SELECT ON tickets TO PUBLIC; CREATE ROLE look_weak LOGIN PASSWORD 'weak'")
	t.Cleanup(func() { src.Exec(t, "DROP OWNED BY look_weak; DROP ROLE look_weak") })
	master := src.MasterConn(t)
	mustDialApp(t, src.Master, "shop")
	long := mustDialApp(t, src.Master, "report")
	_, err := long.Exec(ctx, "BEGIN; SELECT 1")
	require.NoError(t, err)
	mustDialApp(t, src.Endpoint, "dba")

	var s cutover.Survey
	require.Eventually(t, func() bool { // until the transaction is a long one
		s, err = cutover.Look(ctx, master, name, everything)
		return err != nil || len(s.Long) > 0
	}, cutover.LongTransaction+10*time.Second, 100*time.Millisecond)
	require.NoError(t, err)
	require.Empty(t, s.Refusals)
	require.Len(t, s.Sessions, 2)
	require.Len(t, s.Spared, 1)
	require.Equal(t, "dba", s.Spared[0].Application)
	require.Contains(t, s.Long[0].String(), "(report)")
	require.Contains(t, s.Long[0].String(), "idle in transaction")
	require.Len(t, s.Sequences, 1)
	require.Equal(t, "none", setting(t, src), "nothing is changed")

	src.Exec(t, "ALTER ROLE look_weak IN DATABASE "+ident.Quote(name)+" SET default_transaction_read_only = off")
	weak := src.Master
	weak.User, weak.Password = "look_weak", "weak"
	conn, err := pgkit.Dial(ctx, weak, "readiness")
	require.NoError(t, err)
	defer conn.Close(ctx)
	s, err = cutover.Look(ctx, conn, name, everything)
	require.NoError(t, err)
	require.Len(t, s.Refusals, 2, "a role that is exempt, and the database of another's")
	require.Len(t, s.Stuck, 2)
}
