package main

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func TestAStreamIsShownWithAllThatPeopleAsk(t *testing.T) {
	var s contract.Status
	mergeBeat(&s, "Receive", contract.Beat{Replication: &contract.ReplicationStatus{ReceivedLSN: 0x300, SpooledBytes: 5 << 20,
		StreamStatus: contract.StreamStatus{SpooledLSN: 0x200, SpoolSegments: 2, SpoolFirstLSN: 0x80, SpoolOldestSeconds: 90}}})
	mergeBeat(&s, "Apply", contract.Beat{Replication: &contract.ReplicationStatus{AppliedLSN: 0x100, Transactions: 40, Changes: 900, StreamStatus: contract.StreamStatus{
		TransactionsPerSecond: 4, ChangesPerSecond: 90, Busiest: []contract.TableChanges{{Table: "public.orders", Changes: 800, ChangesPerSecond: 80.5, Transactions: 300, TransactionsPerSecond: 3}}}}})
	mergeBeat(&s, "WatchLag", contract.Beat{Replication: &contract.ReplicationStatus{LagBytes: 3 << 20, LagSeconds: 1.5, Transactions: 1000, Changes: 9000,
		StreamStatus: contract.StreamStatus{AppliedPerSecond: 2, WrittenPerSecond: 1, CatchUpSeconds: 75}}})
	mergeBeat(&s, "WatchSlot", contract.Beat{Replication: &contract.ReplicationStatus{StreamStatus: contract.StreamStatus{Slot: &contract.SlotStatus{
		WALStatus: "extended", SafeWALBytes: 7 << 30, RetainedBytes: 3 << 30, Longest: &contract.OpenTransaction{PID: 42, User: "app", State: "idle in transaction", Seconds: 3600}}}}})
	var out bytes.Buffer
	printStream(&out, s.Replication)
	require.Equal(t, `stream: received to 0/300, safe to 0/200, applied to 0/100, 3.0 MiB behind (1.5 s)
  90 changes/s in 4.0 transactions/s · level in 1m15s
spool: 5.0 MiB in 2 segments, the oldest begun 1m30s ago after 0/80
slot: 3.0 GiB of WAL kept, extended, 7.0 GiB more are safe, longest transaction: pid 42, app idle in transaction 1h0m0s
tables with the most changes applied:
  public.orders                            80 changes/s in 3.0 transactions/s, 800 in 300 since the applier started
`, out.String())
	require.EqualValues(t, 1000, s.Replication.Transactions, "the ledger's, over all runs of the applier")
	s.Phase = contract.PhaseCatchingUp
	require.Equal(t, []string{"  3.0 MiB behind (1.5 s), applied to 0/100 · 90 changes/s in 4.0 transactions/s · level in 1m15s",
		"  slot: 3.0 GiB of WAL kept, extended, 7.0 GiB more are safe, longest transaction: pid 42, app idle in transaction 1h0m0s",
		"  80 changes/s in 3.0 transactions/s  public.orders"}, block(s))
	s.Replication.CatchUpSeconds = -1
	require.Contains(t, streamWords(s.Replication), "falling behind")
}

// Before anything is received, and where the server tells little, nothing is made up.
func TestAStreamThatIsNotThereIsNotShown(t *testing.T) {
	var out bytes.Buffer
	printStream(&out, contract.ReplicationStatus{})
	require.Empty(t, out.String())
	printStream(&out, contract.ReplicationStatus{StreamStatus: contract.StreamStatus{Slot: &contract.SlotStatus{SafeWALBytes: -1}}})
	require.Equal(t, "slot: 0 B of WAL kept\n", out.String())
}
