package rdsctl_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

func TestCPUCredits(t *testing.T) {
	w := newFixture(t, nil)
	_, known, err := w.client.CPUCredits(t.Context(), shop)
	require.NoError(t, err)
	require.False(t, known, "a class that has none")
	w.simulator.SetCPUCredits("shop", 41.5)
	balance, known, err := w.client.CPUCredits(t.Context(), shop)
	require.NoError(t, err)
	require.True(t, known)
	require.InDelta(t, 41.5, balance, 0.001)
}

func TestCPUCreditsOfAClusterAreTheWriters(t *testing.T) {
	w := newClusterFixture(t, awssim.Timings{}, "aurora-postgresql")
	in, err := w.client.Inspect(t.Context(), cluster)
	require.NoError(t, err)
	w.simulator.SetCPUCredits(in.Writer, 7)
	balance, known, err := w.client.CPUCredits(t.Context(), cluster)
	require.NoError(t, err)
	require.True(t, known)
	require.InDelta(t, 7, balance, 0.001)
}

func TestCPUCreditsThatMayNotBeRead(t *testing.T) {
	w := newFixture(t, nil)
	w.simulator.Inject(awssim.Fault{Kind: awssim.FailCall, Action: "GetMetricStatistics", Count: 100, Status: 403, Code: "AccessDenied", Message: "not authorized"})
	_, _, err := w.client.CPUCredits(t.Context(), contract.RDS{Instance: "shop"})
	require.Error(t, err)
	require.Equal(t, fault.Operator, fault.Classify(err))
	require.ErrorContains(t, err, "shop")
}
