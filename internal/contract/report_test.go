package contract_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

// A migration of five months keeps as many samples as one of an hour; they are spread evenly, and every peak is among them.
func TestLagIsThinnedEvenly(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	const looks = 40_000
	var kept []contract.LagSample
	peak := 0.0
	for i := range looks {
		s := contract.LagSample{At: noon.Add(time.Duration(i) * 5 * time.Minute), Span: 300, Lag: random.ExpFloat64(), Bytes: int64(i)}
		peak = max(peak, s.Lag)
		kept = contract.AddLag(kept, []contract.LagSample{s}, contract.MaxLagSamples)
	}
	require.Len(t, kept, contract.MaxLagSamples)
	whole, seen := 0.0, 0.0
	for i, s := range kept {
		whole, seen = whole+s.Span, max(seen, s.Lag)
		require.Less(t, s.Span, 5*300.0*looks/contract.MaxLagSamples, "sample %d", i)
		if i > 0 {
			require.InDelta(t, s.Span, s.At.Sub(kept[i-1].At).Seconds(), 1e-3, "without gaps and overlaps")
		}
	}
	require.InDelta(t, 300.0*looks, whole, 1)
	require.Equal(t, peak, seen)
	require.EqualValues(t, looks-1, kept[len(kept)-1].Bytes)
}

// Where nobody looked for long, the time between belongs to no sample unless the others lie closer.
func TestGapsStay(t *testing.T) {
	t.Parallel()
	at := func(minute int) contract.LagSample {
		return contract.LagSample{At: noon.Add(time.Duration(minute) * time.Minute), Span: 60}
	}
	kept := contract.AddLag(nil, []contract.LagSample{at(1), at(2), at(500), at(501)}, 2)
	require.Equal(t, []float64{120, 120}, []float64{kept[0].Span, kept[1].Span})
}

func TestChoicesAreWhatTheSpecChanges(t *testing.T) {
	t.Parallel()
	plain, err := contract.ParseSpec([]byte(`{"name": "shop", "source": {"host": "h", "database": "d", "user": "u", "password": {"env": "P"}},
		"target": {"host": "t", "database": "d", "user": "u", "password": {"env": "P"}}}`))
	require.NoError(t, err)
	require.Empty(t, plain.Choices())
	choices := fullest.Choices()
	require.Contains(t, choices, contract.OptionChoice{Option: "tables.include", Value: "public.*", Default: "*.*"})
	require.Contains(t, choices, contract.OptionChoice{Option: "replication.ddl", Value: "follow", Default: "stop"})
	require.Contains(t, choices, contract.OptionChoice{Option: "cutover.maxDowntime", Value: "45s", Default: "60s"})
	require.Contains(t, choices, contract.OptionChoice{Option: "cutover.switch.pgbouncer.database", Value: "shop"})
	require.Contains(t, choices, contract.OptionChoice{Option: "hypertables: public.metrics",
		Value: "by ts; chunks of 7 days; 4 space partitions by device_id; keys without the time column: extend; columnstore by device_id ordered by ts DESC after 7 days; kept for 1 year"})
	for _, c := range choices {
		require.NotContains(t, c.Option, "password")
		require.NotContains(t, c.Value, "/run/secrets")
		require.NotEqual(t, "copy.concurrency", c.Option, "the default")
	}
}
