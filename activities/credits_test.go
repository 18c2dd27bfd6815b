package activities

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
)

// A balance is asked for once a minute, and the last one counts while CloudWatch does not answer.
func TestCPUCreditsAreRemembered(t *testing.T) {
	asked, answer, failure := 0, 12.0, error(nil)
	s := &copyStream{credits: func(context.Context) (float64, bool, error) { asked++; return answer, failure == nil, failure }}
	s.input.Copy.BackOff = &contract.BackOff{CPUCredits: 50}
	ask := func() *float64 {
		t.Helper()
		balance, err := s.cpuCredits(t.Context())
		require.NoError(t, err)
		return balance
	}
	require.InDelta(t, 12, *ask(), 0)
	answer = 99
	require.InDelta(t, 12, *ask(), 0)
	require.Equal(t, 1, asked)
	s.creditsAt = s.creditsAt.Add(-creditsAge)
	failure = fault.New(fault.Transient, "read", "credits", "", "throttled")
	require.InDelta(t, 12, *ask(), 0)
	s.creditsAt = s.creditsAt.Add(-creditsAge)
	failure = nil
	require.InDelta(t, 99, *ask(), 0)
	s.creditsAt = s.creditsAt.Add(-creditsAge)
	failure = fault.New(fault.Operator, "read", "credits", "", "denied")
	_, err := s.cpuCredits(t.Context())
	require.ErrorContains(t, err, "denied")
	s.input.Copy.BackOff.CPUCredits = 0
	require.InDelta(t, 99, *ask(), 0)
	require.Equal(t, 4, asked)
}
