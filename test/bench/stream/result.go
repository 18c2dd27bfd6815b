package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"timeferry/test/bench/report"
	"timeferry/test/bench/rig"
)

// method says in the JSON what the numbers mean.
var method = map[string]string{
	"every run": "the backlog is written once, after every contender got a slot for each round; the target database is made anew from a template, CHECKPOINT on both servers, sync; " +
		"seconds: from starting the contender until the last transaction of the backlog can be seen on the target, looked for every 10 ms; " +
		"then every table is counted, and the sums of a hash over all rows are compared with the source's; differs: in what they are not equal",
	timeferry: "one process with receiver, spool and applier as in the worker; memoryBytes: the most it had resident",
	native:    "ALTER SUBSCRIPTION … ENABLE; streaming = off (native-parallel: parallel), synchronous_commit = off",
	pgcopydb:  "pgcopydb follow with test_decoding, from its start, which includes reading both catalogues",
	"cpu":     "processor seconds by server and program during the run; native replication's applier is part of the target",
	"apart":   "Timeferry once more: receiving alone until all is in the spool and fsynced, then applying alone from there",
	"where":   "Timeferry once more, while the sessions of both servers were looked at every 100 ms",
}

// goals are Timeferry's part of another one's time, by workload. They are for full size.
var goals = map[string]map[string]float64{
	backlog: {native: 0.35, pgcopydb: 0.1},
	hot:     {native: 0.2, pgcopydb: 0.1},
	wide:    {pgcopydb: 0.1},
}

// facts are what every result says about how it was measured.
type facts struct {
	Workload string            `json:"workload"`
	About    string            `json:"about"`
	Measured time.Time         `json:"measured"`
	Scale    float64           `json:"scale"`
	Machine  report.Machine    `json:"machine"`
	Versions map[string]string `json:"versions"`
	Source   rig.ServerFacts   `json:"source"`
	Target   rig.ServerFacts   `json:"target"`
}

// result is what is written as JSON.
type result struct {
	facts
	WALBytes int64             `json:"walBytes"`
	Rounds   int               `json:"rounds"`
	Method   map[string]string `json:"method"`
	Runs     []runResult       `json:"runs"`
	Medians  []median          `json:"medians"`
	Ratios   []ratio           `json:"ratios"`
	Apart    *apartResult      `json:"apart,omitempty"`
	Where    *where            `json:"where,omitempty"`
}

// runResult is one run of one contender.
type runResult struct {
	Contender   string             `json:"contender"`
	Round       int                `json:"round,omitempty"`
	Seconds     float64            `json:"seconds"`
	CPU         map[string]float64 `json:"cpu"` // seconds
	MemoryBytes int64              `json:"memoryBytes,omitempty"`
	Differs     string             `json:"differs,omitempty"`
}

// stepResult is one half of what Timeferry does.
type stepResult struct {
	Seconds     float64            `json:"seconds"`
	CPU         map[string]float64 `json:"cpu"`
	MemoryBytes int64              `json:"memoryBytes"`
}

type apartResult struct {
	Receive    stepResult `json:"receive"`
	Apply      stepResult `json:"apply"`
	SpoolBytes int64      `json:"spoolBytes"`
}

// where is one more run of Timeferry while the servers were looked at.
type where struct {
	Run    runResult     `json:"run"`
	Source []rig.Waiting `json:"source"`
	Target []rig.Waiting `json:"target"`
}

// median is a contender over all rounds.
type median struct {
	Contender string             `json:"contender"`
	Seconds   float64            `json:"seconds"`
	Least     float64            `json:"least"`
	Most      float64            `json:"most"`
	CPU       map[string]float64 `json:"cpu"` // medians each for itself
	// MemoryBytes is the most of all rounds.
	MemoryBytes int64 `json:"memoryBytes,omitempty"`
	// Differing is in how many rounds the target was not what the source is.
	Differing int `json:"differing,omitempty"`
}

// ratio is Timeferry's median as a part of another one's.
type ratio struct {
	To   string  `json:"to"`
	Is   float64 `json:"is"`
	Goal float64 `json:"goal,omitempty"`
}

func (w *world) facts(ctx context.Context) (f facts, err error) {
	f = facts{Workload: w.workload, About: workloads[w.workload].about, Scale: w.scale, Machine: report.ReadMachine(),
		Versions: w.Programs.Versions(ctx, nil), Measured: time.Now().UTC().Truncate(time.Second)}
	if f.Source, err = w.Facts(ctx, w.Source, rig.Database); err != nil {
		return f, err
	}
	f.Target, err = w.Facts(ctx, w.Target, "postgres")
	return f, err
}

// describe fills in all of the result that does not depend on runs.
func (w *world) describe(ctx context.Context) (r *result, err error) {
	r = &result{Rounds: w.rounds, Method: method, WALBytes: w.backlogBytes}
	r.facts, err = w.facts(ctx)
	return r, err
}

// look fills in what is found out in runs that are not counted.
func (w *world) look(ctx context.Context, r *result) error {
	if w.apart {
		w.Say("receiving and applying apart")
		apart, err := w.runApart(ctx)
		if err != nil {
			return err
		}
		r.Apart = &apart
	}
	if !w.where {
		return nil
	}
	w.Say("looking where the time goes")
	found := &where{}
	ours := w.contenders()[0]
	starting := ours.start
	// Only the run itself is sampled, not the comparison of the content after it.
	sampling, cancel := context.WithCancel(ctx)
	defer cancel()
	var sampled chan error
	ours.start = func(ctx context.Context, slot string) (running, error) {
		sampled = make(chan error, 1)
		go func() {
			var err error
			found.Source, found.Target, err = w.SampleBoth(ctx, func() error { <-sampling.Done(); return nil })
			sampled <- err
		}()
		run, err := starting(ctx, slot)
		return stopping{run, cancel}, err
	}
	var err error
	if found.Run, err = w.once(ctx, ours, whereSlot); err != nil {
		return fmt.Errorf("look where the time goes: %w", err)
	}
	r.Where = found
	return <-sampled
}

// stopping tells when it is stopped.
type stopping struct {
	running
	stopped func()
}

func (s stopping) stop(ctx context.Context) error {
	s.stopped()
	return s.running.stop(ctx)
}

// summarise makes medians and ratios out of the runs. A ratio needs both sides to have run.
func (r *result) summarise() {
	r.Medians, r.Ratios = nil, nil
	for _, run := range r.Runs {
		if _, known := r.median(run.Contender); !known {
			r.Medians = append(r.Medians, r.medianOf(run.Contender))
		}
	}
	slices.SortFunc(r.Medians, func(a, b median) int { return cmp.Compare(rank(a.Contender), rank(b.Contender)) })
	ours, ran := r.median(timeferry)
	for _, other := range r.Medians {
		if !ran || other.Contender == timeferry || other.Seconds == 0 {
			continue
		}
		q := ratio{To: other.Contender, Is: report.Rounded(ours.Seconds / other.Seconds)}
		if r.Scale == 1 {
			q.Goal = goals[r.Workload][other.Contender]
		}
		r.Ratios = append(r.Ratios, q)
	}
}

func rank(name string) int {
	return slices.Index([]string{timeferry, timeferryLanes, native, nativeParallel, pgcopydb}, name)
}

func (r *result) median(name string) (median, bool) {
	i := slices.IndexFunc(r.Medians, func(m median) bool { return m.Contender == name })
	if i < 0 {
		return median{}, false
	}
	return r.Medians[i], true
}

func (r *result) medianOf(name string) median {
	m := median{Contender: name}
	var seconds []float64
	cpu := map[string][]float64{}
	for _, run := range r.Runs {
		if run.Contender != name {
			continue
		}
		seconds = append(seconds, run.Seconds)
		for program, s := range run.CPU {
			cpu[program] = append(cpu[program], s)
		}
		m.MemoryBytes = max(m.MemoryBytes, run.MemoryBytes)
		if run.Differs != "" {
			m.Differing++
		}
	}
	m.Seconds, m.Least, m.Most, m.CPU = report.Middle(seconds), slices.Min(seconds), slices.Max(seconds), report.Middles(cpu)
	return m
}

// table is the summary for a person.
func (r *result) table() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "\n%s: %s (%d MB of WAL; %d rounds)\n\n", r.Workload, r.About, r.WALBytes>>20, r.Rounds)
	fmt.Fprintf(b, "%-18s %9s %9s %9s\n", "contender", "median s", "least", "most")
	for _, m := range r.Medians {
		fmt.Fprintf(b, "%-18s %9.2f %9.2f %9.2f   processor %s%s", m.Contender, m.Seconds, m.Least, m.Most, report.FormatSeconds(m.CPU), formatMemory(m.MemoryBytes))
		if m.Differing > 0 {
			fmt.Fprintf(b, "   NOT EQUAL to the source in %d rounds", m.Differing)
		}
		fmt.Fprintln(b)
	}
	for _, q := range r.Ratios {
		fmt.Fprintf(b, "timeferry ÷ %s: %.3f%s\n", q.To, q.Is, formatGoal(q.Goal))
	}
	if a := r.Apart; a != nil {
		fmt.Fprintf(b, "receive alone: %.2f s, processor %s%s\n", a.Receive.Seconds, report.FormatSeconds(a.Receive.CPU), formatMemory(a.Receive.MemoryBytes))
		fmt.Fprintf(b, "apply alone:   %.2f s, processor %s%s\n", a.Apply.Seconds, report.FormatSeconds(a.Apply.CPU), formatMemory(a.Apply.MemoryBytes))
	}
	if r.Where != nil {
		formatWaiting(b, "source", r.Where.Source)
		formatWaiting(b, "target", r.Where.Target)
	}
	return b.String()
}

func formatWaiting(b *strings.Builder, side string, list []rig.Waiting) {
	for _, l := range list {
		fmt.Fprintf(b, "   %s: %6.2f s %-20s %-30s %s\n", side, l.Seconds, l.Session, l.Wait, l.Doing)
	}
}

func formatMemory(bytes int64) string {
	if bytes == 0 {
		return ""
	}
	return fmt.Sprintf(", memory %d MB", bytes>>20)
}

func formatWrong(wrong string) string {
	if wrong == "" {
		return ""
	}
	return "   NOT EQUAL: " + wrong
}

func formatGoal(goal float64) string {
	if goal == 0 {
		return ""
	}
	return fmt.Sprintf(" (goal: at most %.2f)", goal)
}

var colors = map[string]string{timeferry: "#f5a623", timeferryLanes: "#f8c471", native: "#4a76a8", nativeParallel: "#7fa3cc", pgcopydb: "#9a9a9a"}

// plot draws the medians as bars, and a line from the least to the most of the rounds over each.
func (r *result) plot() ([]byte, error) {
	p := report.Plot{Title: "Change stream, time to bring a backlog over: " + r.Workload,
		Subtitle: fmt.Sprintf("%d MB of WAL; PostgreSQL %s to %s on one machine of %d CPUs; median of %d rounds", r.WALBytes>>20, major(r.Source.Version), major(r.Target.Version), r.Machine.CPUs, r.Rounds)}
	for _, m := range r.Medians {
		p.Bars = append(p.Bars, report.Bar{Label: m.Contender, Value: fmt.Sprintf("%.1f s", m.Seconds), Color: colors[m.Contender], Length: m.Seconds, Least: m.Least, Most: m.Most})
	}
	return p.SVG()
}

func major(version string) string {
	first, _, _ := strings.Cut(version, ".")
	return first
}

// write writes the JSON, and the plot beside it.
func (r *result) write(file string) error {
	plot, err := r.plot()
	if err != nil {
		return err
	}
	return report.Write(file, r, plot)
}
