package demo

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/sandbox/load"
)

func TestStuckNamesWhatStopsTheMigration(t *testing.T) {
	problem := []contract.Problem{{Severity: contract.Info, Code: "x", Message: "nothing"},
		{Severity: contract.Fatal, Code: "slot-lost", Object: "slot", Message: "it is gone", Remedy: "resync"}}
	for _, s := range []contract.Status{
		{Phase: contract.PhaseFailed, Problems: problem},
		{Phase: contract.PhaseAborted, Problems: problem},
		{Phase: contract.PhaseCopying, Awaiting: []string{contract.SignalResume, contract.SignalAbort}, Problems: problem},
	} {
		err := stuck(s)
		require.ErrorContains(t, err, string(s.Phase))
		require.ErrorContains(t, err, "slot-lost slot: it is gone (resync)")
		require.NotContains(t, err.Error(), "nothing")
	}
	require.NoError(t, stuck(contract.Status{Phase: contract.PhaseInSync, Awaiting: []string{contract.SignalCutover}, Problems: problem}))
}

func TestProgressSaysWhatThePhaseIsAbout(t *testing.T) {
	out := &bytes.Buffer{}
	p := &progress{demo: &demo{Options: Options{Out: out}, load: &load.Generator{}}}
	copying := contract.CopyStatus{Tables: 4, TablesDone: 2, Bytes: 100, BytesDone: 50, Rows: 7}
	p.show(contract.Status{Phase: contract.PhaseCopying, Copy: copying})
	require.Contains(t, out.String(), "copying            [##########..........]  50%  2/4 tables, 7 rows")
	out.Reset()
	p.show(contract.Status{Phase: contract.PhaseCopying, Copy: copying})
	require.Empty(t, out.String(), "a log gets a line only now and then")
	p.show(contract.Status{Phase: contract.PhaseInSync, Copy: copying, Replication: contract.ReplicationStatus{LagBytes: 3 << 19}})
	require.Contains(t, out.String(), "lag 1.5 MiB, 0.0 s")
	out.Reset()
	p.show(contract.Status{Phase: contract.PhasePreflight, Message: "checking"})
	require.Contains(t, out.String(), "checking")
}
