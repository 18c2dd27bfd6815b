package page

import (
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"timeferry/internal/contract"
)

//go:embed page.html.tmpl
var source string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"bytes": bytesWords, "count": countAny, "counted": func(n int, one, many string) string { return counted(int64(n), one, many) },
	"took": took, "ms": millis, "s": seconds, "at": at, "join": strings.Join, "rate": rate,
}).Parse(source))

// Write writes the page of a report.
func Write(out io.Writer, r contract.Report) error {
	return page.Execute(out, newView(r))
}

// view is the report as the page shows it.
type view struct {
	contract.Report
	Good     bool // it came to its end as it should
	Took     time.Duration
	Phases   []bar
	Switches []switched
	Tables   []copiedRow
	CopyTook time.Duration
	Charts   []chart
	Runs     []run
	Verdicts []tableVerdict
	Problems []problem
	Verdict  string
	Equal    bool
	Open     int // problems
}

// bar is a stretch of time: where it lies and how long it is, in percent of the whole.
type bar struct {
	Name        string
	Entered     time.Time
	At, Took    time.Duration
	Left, Width float64
}

// switched is a cutover or a rollback: one of them took the application's time.
type switched struct {
	contract.CutoverStatus
	ID, Title string
	From, To  string
	Bars      []bar
}

type copiedRow struct {
	contract.TableCopy
	Took  time.Duration
	Width float64 // its bytes beside those of the largest, in percent
}

type run struct {
	contract.Verification
	Fenced bool
	Result string
}

// tableVerdict is what was found of a table last, with the rows of the last comparison that read all of it.
type tableVerdict struct {
	contract.TableVerdict
	In string
}

type problem struct {
	contract.ProblemTime
	How string
}

func newView(r contract.Report) view {
	v := view{Report: r, Good: r.Outcome == contract.PhaseCompleted || r.Outcome == contract.PhaseRolledBack, Took: r.Ended.Sub(r.Started), CopyTook: seconds(r.CopySeconds)}
	v.Phases, v.Switches = phases(r), switches(r)
	v.Tables = tables(r.CopiedTables)
	v.Charts = charts(r)
	v.Runs = runs(r)
	v.Verdicts = verdicts(v.Runs)
	v.Verdict, v.Equal = verdict(r)
	v.Problems = problems(r)
	for _, p := range v.Problems {
		if p.Ended == nil && p.Severity != contract.Info {
			v.Open++
		}
	}
	return v
}

func phases(r contract.Report) []bar {
	whole := r.Ended.Sub(r.Started)
	var all []bar
	for _, p := range r.Phases {
		begun := p.Entered.Sub(r.Started)
		all = append(all, bar{Name: string(p.Phase), Entered: p.Entered, At: begun, Took: millis(p.MS),
			Left: percent(begun.Seconds(), whole.Seconds()), Width: percent(millis(p.MS).Seconds(), whole.Seconds())})
	}
	return all
}

func switches(r contract.Report) (all []switched) {
	if len(r.Cutover.Steps) > 0 {
		all = append(all, switched{CutoverStatus: r.Cutover, ID: "cutover", Title: "Downtime", From: "source", To: "target", Bars: downtime(r.Cutover)})
	}
	if r.Rollback != nil {
		all = append(all, switched{CutoverStatus: *r.Rollback, ID: "rollback", Title: "Downtime of the rollback", From: "target", To: "source", Bars: downtime(*r.Rollback)})
	}
	return all
}

// downtime are the steps in the order in which they began, against the time from the first one's beginning to the last one's end.
func downtime(c contract.CutoverStatus) []bar {
	steps := slices.Clone(c.Steps)
	slices.SortStableFunc(steps, func(a, b contract.StepTime) int { return cmp.Compare(a.AtMS, b.AtMS) })
	end := int64(0)
	for _, s := range steps {
		end = max(end, s.AtMS+s.MS)
	}
	var all []bar
	for _, s := range steps {
		begun := steps[0].AtMS
		all = append(all, bar{Name: s.Step, At: millis(s.AtMS - begun), Took: millis(s.MS),
			Left: percent(float64(s.AtMS-begun), float64(end-begun)), Width: percent(float64(s.MS), float64(end-begun))})
	}
	return all
}

func tables(c *contract.CopiedTables) []copiedRow {
	if c == nil {
		return nil
	}
	var all []copiedRow
	for _, t := range c.Largest {
		all = append(all, copiedRow{TableCopy: t, Took: t.Ended.Sub(t.Began), Width: percent(float64(t.Bytes), float64(c.Largest[0].Bytes))})
	}
	return all
}

func charts(r contract.Report) []chart {
	if len(r.Lag) == 0 {
		return nil
	}
	var cutovers []time.Time
	for _, p := range r.Phases {
		if p.Phase == contract.PhaseCuttingOver {
			cutovers = append(cutovers, p.Entered)
		}
	}
	return []chart{
		lagChart("Seconds behind", r.Lag, func(s contract.LagSample) float64 { return s.Lag }, lagWords, stepOfSeconds, cutovers),
		lagChart("WAL of the source that was not on the target yet", r.Lag, func(s contract.LagSample) float64 { return float64(s.Bytes) },
			func(n float64) string { return bytesWords(int64(n)) }, stepOfBytes, cutovers),
	}
}

// runs are the comparisons, the one behind the fence last.
func runs(r contract.Report) []run {
	var all []run
	for _, v := range r.Verifications {
		all = append(all, run{Verification: v, Result: result(v)})
	}
	if r.Verification.Tables > 0 {
		all = append(all, run{Verification: r.Verification, Fenced: true, Result: result(r.Verification)})
	}
	return all
}

func result(v contract.Verification) string {
	switch {
	case !v.Equal || v.UnequalCount > 0:
		return "differs"
	case v.UnverifiedCount > 0:
		return fmt.Sprintf("equal, but for %s not verified", counted(int64(v.UnverifiedCount), "table", "tables"))
	}
	return "equal"
}

// verdicts are those of the tables: the ones that are not equal first, then by size.
func verdicts(runs []run) []tableVerdict {
	var all []tableVerdict
	seen := map[string]int{}
	for _, r := range slices.Backward(runs) {
		in := r.Run
		if r.Fenced {
			in = "behind the fence"
		}
		for _, t := range r.Verdicts {
			i, known := seen[t.Table]
			if !known {
				seen[t.Table] = len(all)
				all = append(all, tableVerdict{t, in})
			} else if known := &all[i]; t.Whole && !known.Whole {
				known.Rows, known.Bytes, known.Whole, known.In = t.Rows, t.Bytes, true, in
			}
		}
	}
	slices.SortStableFunc(all, func(a, b tableVerdict) int {
		if a.Equal != b.Equal {
			return map[bool]int{false: -1, true: 1}[a.Equal]
		}
		return cmp.Compare(b.Bytes, a.Bytes)
	})
	return all
}

// verdict says in a word or two what was found when both sides were compared last.
func verdict(r contract.Report) (words string, equal bool) {
	all := runs(r)
	if len(all) == 0 {
		return "nothing was compared", false
	}
	last := all[len(all)-1]
	return last.Result, last.Result == "equal"
}

// problems are those that came and went, and the ones that were there at the end. A report of an earlier version has these only.
func problems(r contract.Report) []problem {
	var all []problem
	for _, p := range r.History {
		all = append(all, problem{p, how(p, r.Decisions)})
	}
	if len(r.History) == 0 {
		for _, p := range r.Problems {
			all = append(all, problem{contract.ProblemTime{Problem: p}, "there at the end"})
		}
	}
	return all
}

// soonAfter is how soon after an order a problem ends that the order ended.
const soonAfter = time.Second

func how(p contract.ProblemTime, decisions []contract.Decision) string {
	if p.Ended == nil {
		return "there at the end"
	}
	words := "over after " + took(p.Ended.Sub(p.Opened))
	for _, d := range decisions {
		if !d.At.After(*p.Ended) && p.Ended.Sub(d.At) < soonAfter && !d.At.Before(p.Opened) {
			words += ", at " + d.Signal
			if d.By != "" {
				words += " by " + d.By
			}
			break
		}
	}
	return words
}
