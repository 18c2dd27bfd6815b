package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func TestSummaryIsOverAllRuns(t *testing.T) {
	r := newResult(settings{by: byHTTP, rate: 1000})
	for _, ms := range []int64{700, 100, 5200, 300} {
		r.Runs = append(r.Runs, run{GapMS: ms, Acknowledged: 10, Steps: []contract.StepTime{{Step: "fence", MS: ms / 10}}})
	}
	r.summarise()
	require.EqualValues(t, 500, r.MedianMS)
	require.EqualValues(t, 5200, r.WorstMS)
	require.EqualValues(t, 50, r.Steps["fence"])
	require.Equal(t, 40, r.Writes)
	require.Contains(t, r.text(), "median 500 ms (goal 2000: reached), worst 5200 ms (goal 5000: not reached)")
	require.EqualValues(t, 3, middle([]int64{9, 1, 3}))
}
