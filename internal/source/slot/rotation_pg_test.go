package slot_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/config"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/source/slot"
	"timeferry/internal/testkit/pgtest"
)

// A rotated password is found when a snapshot must be taken again, both for the holder's session and for the slot's.
func TestHoldAgainAfterThePasswordWasRotated(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, `CREATE ROLE slot_rotated LOGIN REPLICATION PASSWORD 'first secret'; GRANT pg_monitor TO slot_rotated`)
	t.Cleanup(func() { src.Exec(t, `DROP ROLE slot_rotated`) })
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("first secret\n"), 0o600))
	e, err := config.ResolveLazily(contract.Endpoint{Host: src.Master.Host, Port: src.Master.Port, Database: src.Master.Database,
		User: "slot_rotated", Password: contract.SecretRef{File: file}, SSLMode: "disable"}, nil)
	require.NoError(t, err)

	o := slot.HoldOptions{Source: e, Slot: "hold_rotated", Plugin: "pgoutput", Fresh: true}
	first := mustHold(t, o)
	src.Exec(t, `ALTER ROLE slot_rotated PASSWORD 'second secret'`)
	require.NoError(t, os.WriteFile(file, []byte("second secret\n"), 0o600))
	src.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'slot_rotated'")
	requireFault(t, first.wait(t), fault.Transient, slot.CodeSnapshotLost)

	o.Fresh = false
	second := mustHold(t, o)
	require.False(t, second.held.Created)
	second.stop(t)
}
