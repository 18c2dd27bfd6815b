package activities

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/target/ledger"
)

// lagAt is one look of a meter: seconds of the source's clock, where its WAL ends, and where the target is, with the time of the last
// commit there (none: -1).
func lagAt(m *lagMeter, second int, end, applied change.LSN, commit int) float64 {
	at := func(s int) time.Time { return time.Date(2026, 5, 1, 12, 0, s, 0, time.UTC) }
	position := ledger.Position{LSN: applied}
	if commit >= 0 {
		c := at(commit)
		position.CommitTime = &c
	}
	return m.seconds(look{at(second), end}, position)
}

func TestLagInSeconds(t *testing.T) {
	var m lagMeter
	require.EqualValues(t, 100, lagAt(&m, 200, 1000, 500, 100), "at the first look only the last commit tells")
	require.EqualValues(t, 101, lagAt(&m, 201, 1100, 600, 100))
	require.EqualValues(t, 1, lagAt(&m, 202, 1200, 1100, 199), "it is where the source was a second ago")
	require.EqualValues(t, 0, lagAt(&m, 203, 1200, 1200, 199), "level")
	require.EqualValues(t, 1, lagAt(&m, 204, 1300, 1200, 199), "though the last commit was long ago: until then nothing was missing")
	require.EqualValues(t, 7, lagAt(&m, 210, 1400, 1250, 199))
	require.EqualValues(t, 0.0, lagAt(&lagMeter{}, 210, 1400, 0, -1), "nothing is known")
	for i := range 3 * maxLooks {
		lagAt(&m, 211+i, change.LSN(1500+i), 1250, 199)
	}
	require.LessOrEqual(t, len(m.looks), maxLooks)
	require.InDelta(t, 10, lagAt(&m, 211+3*maxLooks, change.LSN(1500+3*maxLooks), change.LSN(1500+3*maxLooks-10), 199), 10, "looks that were forgotten make it no more than a little worse")
}

func TestTimeToCatchUp(t *testing.T) {
	at := func(s int) time.Time { return time.Date(2026, 5, 1, 12, 0, s, 0, time.UTC) }
	follow := func(written, applied int64) (lag contract.ReplicationStatus) {
		var m lagMeter
		for s := range 10 {
			end := change.LSN(1_000_000 + int64(s)*written)
			lag = contract.ReplicationStatus{AppliedLSN: change.LSN(1000 + int64(s)*applied)}
			lag.LagBytes = lag.AppliedLSN.BytesBehind(end)
			m.rates(at(s), end, &lag)
			if s == 0 {
				require.Zero(t, lag.CatchUpSeconds, "not known yet")
			}
		}
		return lag
	}
	lag := follow(1000, 11_000)
	require.EqualValues(t, 11_000, lag.AppliedPerSecond)
	require.EqualValues(t, 1000, lag.WrittenPerSecond)
	require.EqualValues(t, 91, lag.CatchUpSeconds, "909,000 bytes at 10,000 a second")
	require.EqualValues(t, -1, follow(2000, 1000).CatchUpSeconds)
	require.EqualValues(t, -1, follow(1000, 1000).CatchUpSeconds)
}
