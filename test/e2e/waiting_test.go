package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgtest"
)

// TestStatusNamesWhoKeepsTheSlotWaiting: a slot waits for transactions that are older, and a person must see for whose.
func TestStatusNamesWhoKeepsTheSlotWaiting(t *testing.T) {
	t.Parallel()
	setup(t)
	src, dst := pgtest.OwnSource(t, nil), pgtest.Target(t)
	asMaster(t, src, withoutKeys)
	w := newWorld(t)
	h := &holder{migration: w.newMigration("waits", src, dst, nil)}
	// The lock holds the migration between the probe, which would name the transaction too, and the slot.
	h.lock(src, "SET application_name = 'nightly report'; SAVEPOINT locked; LOCK TABLE keyless IN SHARE MODE")
	pid := fmt.Sprintf("pid %d, user ", h.tx.Conn().PgConn().PID())
	h.start()
	h.await(contract.PhaseCreatingSlot)
	_, err := h.tx.Exec(context.Background(), "SELECT pg_current_xact_id(); ROLLBACK TO SAVEPOINT locked")
	require.NoError(t, err)
	var shown string
	require.Eventually(t, func() bool {
		out, code := h.try(shared.starter, "status", h.name)
		shown = out
		flat := strings.Join(strings.Fields(out), " ") // however it is wrapped
		return code == 0 && strings.Contains(flat, "the slot waits for 1 older transaction, the oldest: "+pid) &&
			strings.Contains(flat, "nightly report idle in transaction, open for ")
	}, time.Minute, 200*time.Millisecond, "status does not tell: %s", &shown)
	h.release()
	h.await(contract.PhaseInSync)
	h.order(contract.SignalAbort)
	require.Equal(t, contract.PhaseAborted, h.report().Outcome)
	h.requireNothingLeft()
}
