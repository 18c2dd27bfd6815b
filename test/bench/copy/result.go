package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"timeferry/test/bench/report"
	"timeferry/test/bench/rig"
)

// method says in the JSON what the numbers mean.
var method = map[string]string{
	timeferry: "a real migration by worker and Temporal; seconds: from entering creating-slot to entering catching-up, that is slot, snapshot, schema, rows, indexes, keys; " +
		"inSync: from the start of the workflow until both sides are in sync, preflight, comparison of the schemas and all included",
	pgcopydb:    "wall time of pgcopydb clone with as many table jobs as index jobs; schema, rows, indexes, VACUUM ANALYZE",
	dumpRestore: "wall time of pg_dump -Fd -Z0 and then pg_restore, both with -j; schema, rows, indexes; no ANALYZE",
	floor: "wall time of the same rows through pairs of psql with COPY in binary, one pair for each table, largest first, and of the index builds, each begun when its table is there; " +
		"so many jobs at a time; tables made before and not counted; no snapshot, no bookkeeping, no ANALYZE; " +
		"with thousands of small tables it is no floor: starting two programs for each costs more than its rows",
	"before each run": "target database made anew, CHECKPOINT on both servers, sync; after each run rows of every table, indexes and constraints are counted and compared",
	"cpu":             "processor seconds by server and program during the run",
	"ratios":          "of medians; pgcopydb: with the number of jobs that is best for it, the same for both; the others: with the number of jobs given as jobs",
}

// Goals for the database "first".
var goals = map[string]float64{pgcopydb: 0.6, dumpRestore: 0.75, floor: 1.2}

// result is what is written as JSON.
type result struct {
	Database string            `json:"database"`
	About    string            `json:"about"`
	Measured time.Time         `json:"measured"`
	Scale    float64           `json:"scale"`
	Bytes    int64             `json:"bytes"`
	Tables   int               `json:"tables"`
	Indexes  int               `json:"indexes"`
	Rows     int64             `json:"rows"`
	Rounds   int               `json:"rounds"`
	Jobs     int               `json:"jobs"`
	Method   map[string]string `json:"method"`
	Machine  report.Machine    `json:"machine"`
	Versions map[string]string `json:"versions"`
	Source   rig.ServerFacts   `json:"source"`
	Target   rig.ServerFacts   `json:"target"`
	Runs     []runResult       `json:"runs"`
	Medians  []median          `json:"medians"`
	Ratios   []ratio           `json:"ratios"`
	Where    *where            `json:"where,omitempty"`
}

// runResult is one run of one contender.
type runResult struct {
	Contender string             `json:"contender"`
	Jobs      int                `json:"jobs"`
	Round     int                `json:"round"`
	Seconds   float64            `json:"seconds"`
	InSync    float64            `json:"inSync,omitempty"`
	Phases    map[string]float64 `json:"phases,omitempty"` // seconds
	CPU       map[string]float64 `json:"cpu"`              // seconds
}

// median is a contender over all rounds.
type median struct {
	Contender string  `json:"contender"`
	Jobs      int     `json:"jobs"`
	Seconds   float64 `json:"seconds"`
	Least     float64 `json:"least"`
	Most      float64 `json:"most"`
	InSync    float64 `json:"inSync,omitempty"`
	// Phases and CPU are medians each for itself: they need not add up.
	Phases map[string]float64 `json:"phases,omitempty"`
	CPU    map[string]float64 `json:"cpu"`
}

func (m median) label() string { return fmt.Sprintf("%s, %d jobs", m.Contender, m.Jobs) }

// ratio is Timeferry's median as a part of another one's.
type ratio struct {
	To   string  `json:"to"`
	Jobs int     `json:"jobs"`
	Is   float64 `json:"is"`
	Goal float64 `json:"goal,omitempty"`
}

// summarise makes medians and ratios out of the runs. A ratio needs both sides to have run.
func (r *result) summarise() {
	r.Medians, r.Ratios = nil, nil
	for _, run := range r.Runs {
		if _, known := r.median(run.Contender, run.Jobs); !known {
			r.Medians = append(r.Medians, r.medianOf(run.Contender, run.Jobs))
		}
	}
	slices.SortFunc(r.Medians, func(a, b median) int {
		return cmp.Or(cmp.Compare(rank(a.Contender), rank(b.Contender)), cmp.Compare(a.Jobs, b.Jobs))
	})
	for _, to := range []string{pgcopydb, dumpRestore, floor} {
		jobs := r.Jobs
		if to == pgcopydb {
			jobs = r.best(pgcopydb)
		}
		other, found := r.median(to, jobs)
		ours, ran := r.median(timeferry, jobs)
		if !found || !ran || other.Seconds == 0 {
			continue
		}
		q := ratio{To: to, Jobs: jobs, Is: report.Rounded(ours.Seconds / other.Seconds)}
		if r.Database == "first" {
			q.Goal = goals[to]
		}
		r.Ratios = append(r.Ratios, q)
	}
}

func rank(name string) int {
	return slices.Index([]string{timeferry, pgcopydb, dumpRestore, floor}, name)
}

func (r *result) median(name string, jobs int) (median, bool) {
	i := slices.IndexFunc(r.Medians, func(m median) bool { return m.Contender == name && m.Jobs == jobs })
	if i < 0 {
		return median{}, false
	}
	return r.Medians[i], true
}

func (r *result) medianOf(name string, jobs int) median {
	var seconds, inSync []float64
	phases, cpu := map[string][]float64{}, map[string][]float64{}
	for _, run := range r.Runs {
		if run.Contender != name || run.Jobs != jobs {
			continue
		}
		seconds, inSync = append(seconds, run.Seconds), append(inSync, run.InSync)
		for phase, s := range run.Phases {
			phases[phase] = append(phases[phase], s)
		}
		for program, s := range run.CPU {
			cpu[program] = append(cpu[program], s)
		}
	}
	return median{Contender: name, Jobs: jobs, Seconds: report.Middle(seconds), Least: slices.Min(seconds), Most: slices.Max(seconds),
		InSync: report.Middle(inSync), Phases: report.Middles(phases), CPU: report.Middles(cpu)}
}

// best is the number of jobs with which a contender is fastest, 0 if it did not run.
func (r *result) best(name string) (jobs int) {
	least := math.Inf(1)
	for _, m := range r.Medians {
		if m.Contender == name && m.Seconds < least {
			least, jobs = m.Seconds, m.Jobs
		}
	}
	return jobs
}

// table is the summary for a person.
func (r *result) table() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "\n%s: %s (%d MB, %d tables, %d indexes, %d rows; %d rounds)\n\n", r.Database, r.About, r.Bytes>>20, r.Tables, r.Indexes, r.Rows, r.Rounds)
	fmt.Fprintf(b, "%-24s %9s %9s %9s %9s\n", "contender", "median s", "least", "most", "in sync")
	for _, m := range r.Medians {
		inSync := ""
		if m.InSync > 0 {
			inSync = fmt.Sprintf("%.2f", m.InSync)
		}
		fmt.Fprintf(b, "%-24s %9.2f %9.2f %9.2f %9s\n", m.label(), m.Seconds, m.Least, m.Most, inSync)
	}
	for _, m := range r.Medians {
		fmt.Fprintf(b, "\n%s: processor %s", m.label(), report.FormatSeconds(m.CPU))
		if len(m.Phases) > 0 {
			fmt.Fprintf(b, "\n   phases %s", report.FormatSeconds(m.Phases))
		}
	}
	for _, q := range r.Ratios {
		fmt.Fprintf(b, "\ntimeferry ÷ %s, %d jobs: %.2f", q.To, q.Jobs, q.Is)
		if q.Goal > 0 {
			fmt.Fprintf(b, " (goal: at most %.2f)", q.Goal)
		}
	}
	return b.String() + "\n"
}

// plot draws the medians as bars, and a line from the least to the most of the rounds over each.
func (r *result) plot() ([]byte, error) {
	p := report.Plot{
		Title:    fmt.Sprintf("Initial copy with indexes: %s", r.Database),
		Subtitle: fmt.Sprintf("%d MB, %d tables; PostgreSQL %d to %d on one machine of %d CPUs; median of %d rounds", r.Bytes>>20, r.Tables, sourceMajor, rig.TargetMajor, r.Machine.CPUs, r.Rounds),
	}
	for _, m := range r.Medians {
		p.Bars = append(p.Bars, report.Bar{Label: m.label(), Value: fmt.Sprintf("%.1f s", m.Seconds), Color: colors[m.Contender], Length: m.Seconds, Least: m.Least, Most: m.Most})
	}
	return p.SVG()
}

var colors = map[string]string{timeferry: "#f5a623", pgcopydb: "#4a76a8", dumpRestore: "#7ba05b", floor: "#9a9a9a"}

// write writes the JSON, and the plot beside it.
func (r *result) write(file string) error {
	plot, err := r.plot()
	if err != nil {
		return err
	}
	return report.Write(file, r, plot)
}
