package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/test/bench/report"
)

func runs(contender string, jobs int, seconds ...float64) (list []runResult) {
	for i, s := range seconds {
		list = append(list, runResult{Contender: contender, Jobs: jobs, Round: i + 1, Seconds: s, CPU: map[string]float64{"source": s / 2}})
	}
	return list
}

func newResult() *result {
	r := &result{Database: "first", Jobs: 2, Rounds: 3, Tables: 5, Bytes: 1139 << 20, Machine: report.Machine{CPUs: 2}}
	r.Runs = append(r.Runs, runs(floor, 2, 8, 7, 9)...)
	r.Runs = append(r.Runs, runs(pgcopydb, 4, 16, 30, 15)...)
	r.Runs = append(r.Runs, runs(pgcopydb, 2, 20, 24, 22)...)
	r.Runs = append(r.Runs, runs(timeferry, 2, 10, 11, 12)...)
	r.Runs = append(r.Runs, runs(timeferry, 4, 9, 8, 7)...)
	return r
}

func TestRatiosCompareEqualJobsWithTheBestOfPgcopydb(t *testing.T) {
	r := newResult()
	r.summarise()
	require.Equal(t, []ratio{{To: pgcopydb, Jobs: 4, Is: 0.5, Goal: 0.6}, {To: floor, Jobs: 2, Is: 1.375, Goal: 1.2}}, r.Ratios, "who did not run has no ratio")
	var order []string
	for _, m := range r.Medians {
		order = append(order, m.label())
	}
	require.Equal(t, []string{"timeferry, 2 jobs", "timeferry, 4 jobs", "pgcopydb, 2 jobs", "pgcopydb, 4 jobs", "floor, 2 jobs"}, order)
	require.Equal(t, median{Contender: timeferry, Jobs: 2, Seconds: 11, Least: 10, Most: 12, CPU: map[string]float64{"source": 5.5}}, r.Medians[0])

	again := r.Ratios
	r.summarise()
	require.Equal(t, again, r.Ratios, "twice gives the same")
	r.Database = "wide"
	r.summarise()
	require.Zero(t, r.Ratios[0].Goal, "the goals are for the first database")
}

func TestTableNamesEveryContenderAndRatio(t *testing.T) {
	r := newResult()
	r.summarise()
	text := r.table()
	for _, part := range []string{"timeferry, 2 jobs            11.00     10.00     12.00", "timeferry ÷ pgcopydb, 4 jobs: 0.50 (goal: at most 0.60)", "timeferry ÷ floor, 2 jobs: 1.38"} {
		require.Contains(t, text, part)
	}
}

func TestWriteMakesJSONAndPlotWithoutPathsOfTheMachine(t *testing.T) {
	r := newResult()
	r.Method = method
	r.Machine = report.ReadMachine()
	r.summarise()
	file := filepath.Join(t.TempDir(), "deep", "copy-first.json")
	require.NoError(t, r.write(file))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var back result
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, r.Medians, back.Medians)
	require.Positive(t, back.Machine.CPUs)
	require.Positive(t, back.Machine.MemoryBytes)
	require.NotEmpty(t, back.Machine.Kernel)
	for _, path := range []string{"/home", "/root", "/tmp", "/var", "/usr"} {
		require.NotContains(t, string(text), path)
	}
	require.FileExists(t, strings.TrimSuffix(file, ".json")+".svg")
}
