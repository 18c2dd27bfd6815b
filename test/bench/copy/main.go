// Command copy measures the initial copy: Timeferry against pgcopydb, against pg_dump with pg_restore, and against the floor,
// on one machine and the same reference database.
//
// In: the name of a reference database, how many rounds and jobs. Out: a table on standard output, and in docs/benchmarks the
// same as JSON (machine, versions, settings, every run, medians, ratios) and as a plot.
// Invariants: every contender finds the same servers, the same source and a target database made anew; a run counts only if
// the target has all rows, indexes and constraints afterwards; servers and programs die with this one.
//
// Not here: whether the copied rows are right (test/e2e), and the speed of single rooms (their own Go benchmarks).
//
//	go run ./test/bench/copy -database first
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"timeferry/test/bench/rig"
)

// settings are what the flags say.
type settings struct {
	database string
	rounds   int
	jobs     int
	bare     bool
	scale    float64
	out      string
	only     string
	where    bool
}

func main() {
	rig.FollowGoRun()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var s settings
	flag.StringVar(&s.database, "database", "first", "the reference database: "+strings.Join(databaseNames(), ", "))
	flag.IntVar(&s.rounds, "rounds", 3, "how often each contender runs")
	flag.IntVar(&s.jobs, "jobs", 2, "parallel jobs of every contender; Timeferry and pgcopydb run with 2 and 4 in any case")
	flag.Float64Var(&s.scale, "scale", 1, "size of the database; less than 1 for a try-out")
	flag.StringVar(&s.out, "o", "", "the JSON file; the plot goes beside it (default docs/benchmarks/copy-DATABASE.json)")
	flag.StringVar(&s.only, "only", "", "comma-separated names of contenders to run, like timeferry,floor; for a try-out")
	flag.BoolVar(&s.bare, "bare", false, "servers without TLS that never wait for their disks, instead of such as production has")
	flag.BoolVar(&s.where, "where", true, "run Timeferry once more, not counted, and note what the servers waited for")
	flag.Parse()
	if err := s.complete(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "copy:", err)
		os.Exit(2)
	}
	if err := bench(ctx, s); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "copy:", err)
		os.Exit(1)
	}
}

func (s *settings) complete(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case !slices.Contains(databaseNames(), s.database):
		return fmt.Errorf("there is no reference database %q, only %s", s.database, strings.Join(databaseNames(), ", "))
	case s.rounds < 1 || s.jobs < 1 || s.scale <= 0:
		return errors.New("rounds, jobs and scale must be above 0")
	}
	if s.out == "" {
		s.out = filepath.Join("docs", "benchmarks", "copy-"+s.database+".json")
	}
	return nil
}

// bench is the whole measurement.
func bench(ctx context.Context, s settings) (err error) {
	w, err := newWorld(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Stop(context.WithoutCancel(ctx))) }()
	if err := w.build(ctx); err != nil {
		return err
	}
	result, err := w.describe(ctx)
	if err != nil {
		return err
	}
	field := w.contenders()
	// Whoever comes first makes the servers' files and touches their memory for the first time: that took a third more, and is to
	// count for nobody.
	w.Say("warming up, not counted")
	if _, err := w.measure(ctx, field[len(field)-1], 0); err != nil {
		return fmt.Errorf("warm up by %s: %w", field[len(field)-1].label(), err)
	}
	for round := range s.rounds {
		for i := range field { // each round begins with another one
			c := field[(i+round)%len(field)]
			run, err := w.measure(ctx, c, round+1)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", c.label(), round+1, err)
			}
			result.Runs = append(result.Runs, run)
		}
	}
	result.summarise()
	if s.where && slices.ContainsFunc(field, func(c contender) bool { return c.name == timeferry }) {
		if result.Where, err = w.explain(ctx); err != nil {
			return fmt.Errorf("look where the time goes: %w", err)
		}
	}
	fmt.Print(result.table())
	return result.write(s.out)
}
