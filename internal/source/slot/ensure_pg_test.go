package slot_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/source/slot"
	"timeferry/internal/testkit/pgtest"
)

func TestEnsureMakesASlotOnce(t *testing.T) {
	src := pgtest.Source(t)
	o := slot.HoldOptions{Source: src.Master, Slot: "ensured", Plugin: "pgoutput"}
	point := func() string {
		return src.QueryValue(t, "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'ensured' AND NOT active")
	}
	require.NoError(t, slot.Ensure(t.Context(), src.MasterConn(t), o, time.Minute))
	first := point()
	require.NoError(t, slot.Ensure(t.Context(), src.MasterConn(t), o, time.Minute), "found by its name")
	require.Equal(t, first, point())
	o.Plugin = "wal2json"
	requireFault(t, slot.Ensure(t.Context(), src.MasterConn(t), o, time.Minute), fault.Operator, slot.CodeSlotTaken)
}

// Whoever keeps it waiting is named, and no slot stays.
func TestEnsureGivesUp(t *testing.T) {
	src := pgtest.OwnSource(t, nil) // older transactions of other tests would be named too
	src.Exec(t, "CREATE TABLE t (id int)")
	blocker := src.Conn(t)
	_, err := blocker.Exec(context.Background(), "SET application_name = 'nightly report'; BEGIN; INSERT INTO t VALUES (1)")
	require.NoError(t, err)
	o := slot.HoldOptions{Source: src.Master, Slot: "in_vain", Plugin: "pgoutput"}
	err = slot.Ensure(t.Context(), src.MasterConn(t), o, 5*time.Second)
	requireFault(t, err, fault.Operator, slot.CodeSlotWaits)
	require.ErrorContains(t, err, "nightly report idle in transaction")
	require.Equal(t, "0", src.QueryValue(t, "SELECT count(*) FROM pg_replication_slots"))
	_, err = blocker.Exec(context.Background(), "COMMIT")
	require.NoError(t, err)
	require.NoError(t, slot.Ensure(t.Context(), src.MasterConn(t), o, time.Minute))
}
