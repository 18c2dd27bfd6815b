// Command cutover measures the downtime of a cutover as clients see it: from the last commit that the source accepts to the
// first that the target accepts, while they write a thousand transactions a second and reconnect by themselves.
//
// In: how many cutovers, how clients are led to the target. Out: a table on standard output, and in docs/benchmarks the same as
// JSON and as a short text. Invariants: every round is a whole migration of databases made anew, switched by cutover.switch;
// after it the clients' own journal is compared with the target: no acknowledged write may be missing, none may be there that
// was refused; servers and programs die with this one.
//
// Not here: the time of the copy, and large databases, whose comparison takes longer.
//
//	go run ./test/bench/cutover -cutovers 20 -switch http
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"timeferry/test/bench/rig"
)

// settings are what the flags say.
type settings struct {
	cutovers int
	rate     int
	writers  int
	rows     int
	by       string
	verify   string
	out      string
}

func main() {
	rig.FollowGoRun()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	var s settings
	flag.IntVar(&s.cutovers, "cutovers", 20, "how many cutovers")
	flag.IntVar(&s.rate, "rate", 1000, "transactions a second")
	flag.IntVar(&s.writers, "writers", 8, "connections that write")
	flag.IntVar(&s.rows, "rows", 100_000, "rows that are there before")
	flag.StringVar(&s.by, "switch", "http", "how clients are led to the target: http (they read the address again) or pgbouncer (they wait)")
	flag.StringVar(&s.verify, "verify", "checksum", "cutover.verify: checksum, count or none")
	flag.StringVar(&s.out, "o", "", "the JSON file; the text goes beside it (default docs/benchmarks/cutover-SWITCH.json)")
	flag.Parse()
	if err := s.complete(flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "cutover:", err)
		os.Exit(2)
	}
	if err := bench(ctx, s); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "cutover:", err)
		os.Exit(1)
	}
}

func (s *settings) complete(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case s.cutovers < 1 || s.rate < 1 || s.writers < 1 || s.rows < 1:
		return errors.New("cutovers, rate, writers and rows must be above 0")
	case s.by != byHTTP && s.by != byPgBouncer:
		return fmt.Errorf("there is no switch %q, only %s and %s", s.by, byHTTP, byPgBouncer)
	}
	if s.out == "" {
		s.out = filepath.Join("docs", "benchmarks", "cutover-"+s.by+".json")
	}
	return nil
}

// bench is the whole measurement.
func bench(ctx context.Context, s settings) (err error) {
	w, err := newWorld(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop(context.WithoutCancel(ctx))) }()
	r := newResult(s)
	if err := w.describe(ctx, r); err != nil {
		return err
	}
	for n := range s.cutovers {
		one, err := w.round(ctx, n+1)
		if err != nil {
			return fmt.Errorf("cutover %d: %w; the end of the worker's log:\n%s", n+1, err, w.worker.Tail())
		}
		fmt.Println(one.line())
		r.Runs = append(r.Runs, one)
	}
	r.summarise()
	fmt.Print(r.text())
	return r.write(s.out)
}
