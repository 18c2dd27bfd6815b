package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/test/bench/report"
	"timeferry/test/bench/rig"
)

// The contenders' names.
const (
	timeferry   = "timeferry"
	pgcopydb    = "pgcopydb"
	dumpRestore = "dump-restore"
	floor       = "floor"
)

// contender is one way to copy a database, with a number of jobs.
type contender struct {
	name string
	jobs int
	// run copies the database. Its time is the run's unless it gives one of its own.
	run func(ctx context.Context, jobs int) (outcome, error)
	// before is done with the target empty, and not counted; after likewise, when the rows have been counted.
	before, after func(ctx context.Context, jobs int) error
}

func (c contender) label() string { return fmt.Sprintf("%s-%d", c.name, c.jobs) }

// outcome is what a contender says about its run. Zero means that it says nothing.
type outcome struct {
	seconds  float64
	inSync   float64
	phases   map[string]float64
	programs map[string]float64 // processor seconds by program
}

// contenders are the field: Timeferry and pgcopydb with 2 and 4 jobs, so that the best of pgcopydb has its equal, the others
// with the jobs asked for.
func (w *world) contenders() []contender {
	both := []int{2, 4}
	if !slices.Contains(both, w.jobs) {
		both = append(both, w.jobs)
	}
	t := &timeferryRun{world: w}
	var field []contender
	for _, jobs := range both {
		field = append(field,
			contender{name: timeferry, jobs: jobs, before: t.start, run: t.copy, after: t.stop},
			contender{name: pgcopydb, jobs: jobs, run: w.pgcopydbClone})
	}
	field = append(field,
		contender{name: dumpRestore, jobs: w.jobs, run: w.dumpAndRestore},
		contender{name: floor, jobs: w.jobs, before: w.floorSchema, run: w.pipes})
	return slices.DeleteFunc(field, func(c contender) bool {
		return w.only != "" && !slices.Contains(strings.Split(w.only, ","), c.name)
	})
}

// measure runs one contender once.
func (w *world) measure(ctx context.Context, c contender, round int) (r runResult, err error) {
	if err := w.reset(ctx); err != nil {
		return r, err
	}
	if c.before != nil {
		if err := c.before(ctx, c.jobs); err != nil {
			return r, err
		}
	}
	meter, err := w.StartMeter()
	if err != nil {
		return r, err
	}
	o, err := c.run(ctx, c.jobs)
	if err != nil {
		return r, err
	}
	r = runResult{Contender: c.name, Jobs: c.jobs, Round: round, Phases: o.phases, InSync: report.Rounded(o.inSync)}
	if r.Seconds, r.CPU, err = meter.Stop(); err != nil {
		return r, err
	}
	if o.seconds > 0 {
		r.Seconds = o.seconds
	}
	r.Seconds = report.Rounded(r.Seconds)
	for name, seconds := range o.programs {
		r.CPU[name] = report.Rounded(seconds)
	}
	if err := w.check(ctx); err != nil {
		return r, err
	}
	w.Say("round %d: %-15s %6.2f s   processor: %s", round, c.label(), r.Seconds, report.FormatSeconds(r.CPU))
	if len(r.Phases) > 0 {
		w.Say("   phases: %s", report.FormatSeconds(r.Phases))
	}
	if c.after != nil {
		return r, c.after(ctx, c.jobs)
	}
	return r, nil
}

// check makes sure that the target has everything.
func (w *world) check(ctx context.Context) error {
	return rig.Session(ctx, w.Endpoint(w.Target), func(conn *pgx.Conn) error {
		got, err := readContent(ctx, conn)
		if err != nil {
			return err
		}
		if wrong := w.expected.differs(got); wrong != "" {
			return fmt.Errorf("the target is not what the source is: %s", wrong)
		}
		return nil
	})
}
