package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/test/bench/report"
	"timeferry/test/bench/rig"
)

func runs(contender string, seconds ...float64) (list []runResult) {
	for i, s := range seconds {
		list = append(list, runResult{Contender: contender, Round: i + 1, Seconds: s, CPU: map[string]float64{"source": s / 2}})
	}
	return list
}

func newResult() *result {
	r := &result{facts: facts{Workload: backlog, Scale: 1, Machine: report.Machine{CPUs: 2}, Source: rig.ServerFacts{Version: "15.4"}, Target: rig.ServerFacts{Version: "17.1"}}, Rounds: 3, WALBytes: 327 << 20}
	r.Runs = append(r.Runs, runs(pgcopydb, 70, 80, 90)...)
	r.Runs = append(r.Runs, runs(native, 18, 20, 22)...)
	r.Runs = append(r.Runs, runs(timeferry, 6, 5, 7)...)
	r.Runs[0].Differs = "a has 2 rows, not 1"
	r.Runs[len(r.Runs)-1].MemoryBytes = 100 << 20
	return r
}

func TestRatiosAreOfMedians(t *testing.T) {
	r := newResult()
	r.summarise()
	require.Equal(t, []ratio{{To: native, Is: 0.3, Goal: 0.35}, {To: pgcopydb, Is: 0.075, Goal: 0.1}}, r.Ratios)
	require.Equal(t, median{Contender: timeferry, Seconds: 6, Least: 5, Most: 7, CPU: map[string]float64{"source": 3}, MemoryBytes: 100 << 20}, r.Medians[0], "ours comes first, with the most memory of all rounds")
	require.Equal(t, 1, r.Medians[2].Differing)
	again := r.Ratios
	r.summarise()
	require.Equal(t, again, r.Ratios, "twice gives the same")
	r.Scale = 0.1
	r.summarise()
	require.Zero(t, r.Ratios[0].Goal, "the goals are for full size")
	r.Runs = runs(native, 1)
	r.summarise()
	require.Empty(t, r.Ratios, "who did not run has no ratio")
}

func TestTableNamesEveryContenderAndWhatIsNotEqual(t *testing.T) {
	r := newResult()
	r.summarise()
	r.Apart = &apartResult{Receive: stepResult{Seconds: 4}, Apply: stepResult{Seconds: 5, MemoryBytes: 50 << 20}}
	text := r.table()
	for _, part := range []string{"timeferry               6.00      5.00      7.00", "memory 100 MB", "timeferry ÷ native: 0.300 (goal: at most 0.35)", "NOT EQUAL to the source in 1 rounds", "receive alone: 4.00 s", "apply alone:   5.00 s"} {
		require.Contains(t, text, part)
	}
}

func TestWriteMakesJSONAndPlotWithoutPathsOfTheMachine(t *testing.T) {
	r := newResult()
	r.Method, r.Machine = method, report.ReadMachine()
	r.summarise()
	file := filepath.Join(t.TempDir(), "deep", "stream-backlog.json")
	require.NoError(t, r.write(file))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var back result
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, r.Medians, back.Medians)
	require.Equal(t, backlog, back.Workload, "the facts stand at the top")
	for _, path := range []string{"/home", "/root", "/tmp", "/var", "/usr"} {
		require.NotContains(t, string(text), path)
	}
	svg, err := os.ReadFile(strings.TrimSuffix(file, ".json") + ".svg")
	require.NoError(t, err)
	require.Contains(t, string(svg), "PostgreSQL 15 to 17")
	require.Contains(t, string(svg), ">native<")
}

func TestContentTellsWhatDiffers(t *testing.T) {
	want := content{"a": {Rows: 1, Sum: "5"}, "b": {Rows: 2, Sum: "6"}}
	require.Empty(t, want.differs(content{"a": {Rows: 1, Sum: "5"}, "b": {Rows: 2, Sum: "6"}}))
	require.Equal(t, "a has 3 rows, not 1; b has other values", want.differs(content{"a": {Rows: 3, Sum: "5"}, "b": {Rows: 2, Sum: "7"}}))
	require.Equal(t, "b has 0 rows, not 2", want.differs(content{"a": {Rows: 1, Sum: "5"}}))
}

func TestEveryWorkloadHasWhatItNeeds(t *testing.T) {
	for name, load := range workloads {
		require.NotEmpty(t, load.tables, name)
		require.NotEmpty(t, load.about, name)
		require.Contains(t, load.published(), endTable, name)
		made := strings.Join(load.fill(1), "\n")
		for _, table := range load.tables {
			require.Contains(t, made, "CREATE TABLE "+table, name)
		}
		require.Equal(t, name == steady, load.write == nil, name)
	}
}
