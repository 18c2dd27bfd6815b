package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgserver"
)

// The goals: median and worst, in milliseconds.
const (
	goalMedian = 2000
	goalWorst  = 5000
)

// method says in the JSON what the numbers mean.
const method = "each run is a migration of databases made anew, switched by cutover.switch while clients write; gapMs: from the last acknowledgement that a client got from the source to the first from the target; " +
	"downtimeMs and steps: as the report has them; afterwards the clients' journal is compared with the target"

// result is what is written as JSON.
type result struct {
	Measured time.Time         `json:"measured"`
	Method   string            `json:"method"`
	Switch   string            `json:"switch"`
	Verify   string            `json:"verify"`
	Rate     int               `json:"transactionsPerSecond"`
	Writers  int               `json:"writers"`
	Rows     int               `json:"rows"`
	CPUs     int               `json:"cpus"`
	Versions map[string]string `json:"versions"`
	Runs     []run             `json:"runs"`
	// Summary is over all runs.
	MedianMS int64            `json:"medianMs"`
	WorstMS  int64            `json:"worstMs"`
	Steps    map[string]int64 `json:"medianStepsMs"`
	Lost     int              `json:"lost"`
	Writes   int              `json:"acknowledged"`
}

// run is one cutover.
type run struct {
	Number       int                 `json:"number"`
	GapMS        int64               `json:"gapMs"`
	DowntimeMS   int64               `json:"downtimeMs"`
	Steps        []contract.StepTime `json:"steps"`
	Rate         float64             `json:"rateBefore"`
	Acknowledged int                 `json:"acknowledged"`
	Refused      int                 `json:"refused"`
	Ambiguous    int                 `json:"ambiguous"`
	Lost         int                 `json:"lost"`
	Unexpected   int                 `json:"unexpected"`
	Errors       map[string]int      `json:"errors"`
}

func newResult(s settings) *result {
	return &result{Measured: time.Now().UTC().Truncate(time.Second), Method: method, Switch: s.by, Verify: s.verify, Rate: s.rate, Writers: s.writers, Rows: s.rows,
		CPUs: runtime.NumCPU(), Versions: map[string]string{}, Steps: map[string]int64{}}
}

// describe reads the versions.
func (w *world) describe(ctx context.Context, r *result) error {
	for name, server := range map[string]*pgserver.Server{"source": w.source, "target": w.target} {
		err := session(ctx, server.Superuser("postgres"), func(conn *pgx.Conn) error {
			var version string
			err := conn.QueryRow(ctx, "SELECT current_setting('server_version')").Scan(&version)
			r.Versions[name] = version
			return err
		})
		if err != nil {
			return err
		}
	}
	if out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty").Output(); err == nil { // else it is left out
		r.Versions["timeferry"] = strings.TrimSpace(string(out))
	}
	return nil
}

func (one *run) take(c *clients, s contract.Status) {
	one.GapMS, one.DowntimeMS, one.Steps, one.Errors = c.first.Sub(c.last).Milliseconds(), s.Cutover.DowntimeMS, s.Cutover.Steps, c.errors
	for _, e := range c.journal {
		switch e.outcome {
		case acknowledged:
			one.Acknowledged++
		case refused:
			one.Refused++
		case ambiguous:
			one.Ambiguous++
		}
	}
}

func (one run) line() string {
	var steps []string
	for _, s := range one.Steps {
		steps = append(steps, fmt.Sprintf("%s %d", s.Step, s.MS))
	}
	return fmt.Sprintf("%2d  gap %5d ms  reported %5d ms  %4.0f/s before  %d written, %d refused, %d ambiguous  (%s)", one.Number, one.GapMS, one.DowntimeMS, one.Rate,
		one.Acknowledged, one.Refused, one.Ambiguous, strings.Join(steps, ", "))
}

func (r *result) summarise() {
	var gaps []int64
	steps := map[string][]int64{}
	for _, one := range r.Runs {
		gaps = append(gaps, one.GapMS)
		r.Lost += one.Lost
		r.Writes += one.Acknowledged
		for _, s := range one.Steps {
			steps[s.Step] = append(steps[s.Step], s.MS)
		}
	}
	r.MedianMS, r.WorstMS = middle(gaps), slices.Max(gaps)
	for name, times := range steps {
		r.Steps[name] = middle(times)
	}
}

// middle is the median; of an even number, the mean of the two in the middle.
func middle(values []int64) int64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func (r *result) text() string {
	met := func(ms, goal int64) string {
		if ms <= goal {
			return "reached"
		}
		return "not reached"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%d cutovers by %s, %d transactions a second, cutover.verify: %s, %d rows\n\n", len(r.Runs), r.Switch, r.Rate, r.Verify, r.Rows)
	fmt.Fprintf(&b, "from the last commit on the source to the first on the target: median %d ms (goal %d: %s), worst %d ms (goal %d: %s)\n",
		r.MedianMS, goalMedian, met(r.MedianMS, goalMedian), r.WorstMS, goalWorst, met(r.WorstMS, goalWorst))
	fmt.Fprintf(&b, "%d writes acknowledged, %d lost\n", r.Writes, r.Lost)
	return b.String()
}

func (r *result) write(file string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, append(raw, '\n'), 0o644))
}
