package ledger_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

// A ledger of an earlier version, whose migration is streaming, gets what this version counts in, and is not locked when it has it.
func TestUpgradeCounters(t *testing.T) {
	dst := pgtest.Target(t)
	conn := dst.Conn(t)
	require.NoError(t, ledger.Create(t.Context(), conn, "shop"))
	dst.Exec(t, `ALTER TABLE timeferry.migration DROP COLUMN applied_transactions, DROP COLUMN applied_changes, DROP COLUMN resynced_epoch, DROP COLUMN stream_source; UPDATE timeferry.migration SET applied_lsn = '0/7'`)
	require.NoError(t, ledger.UpgradeCounters(t.Context(), conn))
	counters, err := ledger.ReadCounters(t.Context(), conn)
	require.NoError(t, err)
	require.Zero(t, counters)
	tag, err := conn.Exec(t.Context(), ledger.SetAppliedSQL, "0/9", nil, 2, 30)
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected())
	counters, err = ledger.ReadCounters(t.Context(), conn)
	require.NoError(t, err)
	require.Equal(t, ledger.Counters{Transactions: 2, Changes: 30}, counters)

	require.NoError(t, ledger.SetStreamSource(t.Context(), conn, "this one"))
	note, err := ledger.StreamSource(t.Context(), conn)
	require.NoError(t, err)
	require.Equal(t, "this one", note)
	position, err := ledger.FlushedPosition(t.Context(), conn)
	require.NoError(t, err)
	require.EqualValues(t, 9, position.LSN)

	locked := dst.Conn(t)
	_, err = locked.Exec(t.Context(), `BEGIN; LOCK TABLE timeferry.migration IN ROW EXCLUSIVE MODE`)
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), `SET lock_timeout = '1s'`)
	require.NoError(t, err)
	require.NoError(t, ledger.UpgradeCounters(t.Context(), conn))
	_, err = locked.Exec(t.Context(), `ROLLBACK`)
	require.NoError(t, err)
}
