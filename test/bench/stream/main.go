// Command stream measures the change stream: Timeferry against native logical replication and against pgcopydb follow, each
// bringing the same backlog over, in turn, on one machine.
//
// In: the name of a workload, how many rounds. Out: a table on standard output, and in docs/benchmarks the same as JSON
// (machine, versions, settings, every run, medians, ratios, peak memory) and as a plot.
// Invariants: every contender has a slot of its own at the same point, so that the backlog is the same to the byte; it finds the
// target database made anew; a run of ours counts only if source and target are equal afterwards, row for row; what a peer
// loses is said in the result; servers and programs die with this one.
//
// The program starts itself with -follow as the process that is measured: receiver, spool and applier as in the worker, without
// Temporal.
//
// Not here: what may happen in a stream (internal/target/apply), the speed of single rooms (their own Go benchmarks).
//
//	go run ./test/bench/stream -workload backlog
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
	workload string
	rounds   int
	scale    float64
	source   int
	out      string
	only     string
	apart    bool
	where    bool
	profile  string
	bare     bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var s settings
	var following bool
	flag.StringVar(&s.workload, "workload", "backlog", "what is brought over: "+strings.Join(workloadNames(), ", "))
	flag.IntVar(&s.rounds, "rounds", 3, "how often each contender runs")
	flag.Float64Var(&s.scale, "scale", 1, "size of database and backlog; less than 1 for a try-out")
	flag.IntVar(&s.source, "source", 15, "the source's major version; from 16 on native replication also applies in parallel")
	flag.StringVar(&s.out, "o", "", "the JSON file; the plot goes beside it (default docs/benchmarks/stream-WORKLOAD.json)")
	flag.StringVar(&s.only, "only", "", "comma-separated names of contenders to run, like timeferry,native; for a try-out")
	flag.BoolVar(&s.apart, "apart", true, "run Timeferry once more, not counted, first receiving alone, then applying alone")
	flag.BoolVar(&s.where, "where", true, "run Timeferry once more, not counted, and note what the servers waited for")
	flag.StringVar(&s.profile, "profile", "", "a directory for processor profiles of Timeferry's runs")
	flag.BoolVar(&s.bare, "bare", false, "servers without TLS that never wait for their disks, instead of such as production has")
	flag.BoolVar(&following, "follow", false, "be the process that is measured; for this program's own use")
	flag.Parse()
	if following {
		exit(stop, follow(ctx, os.Stdin, os.Stdout))
	}
	rig.FollowGoRun()
	if err := s.complete(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "stream:", err)
		os.Exit(2)
	}
	exit(stop, bench(ctx, s))
}

func exit(stop func(), err error) {
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "stream:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func (s *settings) complete(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case !slices.Contains(workloadNames(), s.workload):
		return fmt.Errorf("there is no workload %q, only %s", s.workload, strings.Join(workloadNames(), ", "))
	case s.rounds < 1 || s.scale <= 0:
		return errors.New("rounds and scale must be above 0")
	}
	if s.out == "" {
		s.out = filepath.Join("docs", "benchmarks", "stream-"+s.workload+".json")
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
	if s.workload == steady {
		return w.benchSteady(ctx)
	}
	return w.benchBacklog(ctx)
}

// benchBacklog lets every contender bring the same backlog over.
func (w *world) benchBacklog(ctx context.Context) error {
	field := w.contenders()
	if err := w.makeSlots(ctx, field); err != nil {
		return err
	}
	if err := w.write(ctx); err != nil {
		return err
	}
	result, err := w.describe(ctx)
	if err != nil {
		return err
	}
	for round := range w.rounds {
		for i := range field { // each round begins with another one
			c := field[(i+round)%len(field)]
			run, err := w.measure(ctx, c, round+1)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", c.name, round+1, err)
			}
			result.Runs = append(result.Runs, run)
		}
	}
	result.summarise()
	if w.has(timeferry) {
		if err := w.look(ctx, result); err != nil {
			return err
		}
	}
	fmt.Print(result.table())
	return result.write(w.out)
}
