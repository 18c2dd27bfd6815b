package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/test/bench/report"
	"timeferry/test/bench/rig"
)

const sourceMajor = 15

// world is the rig, and what is copied over it.
type world struct {
	settings
	*rig.Rig
	temporal, worker, starter string // programs
	expected                  content
}

// newWorld installs what is missing, starts the servers, and builds worker and starter from this tree. Stop the world.
func newWorld(ctx context.Context, s settings) (*world, error) {
	r, err := rig.Open(ctx, os.Stderr, rig.Options{SourceMajor: sourceMajor, Bare: s.bare})
	if err != nil {
		return nil, err
	}
	w := &world{settings: s, Rig: r}
	if err := w.buildPrograms(ctx); err != nil {
		return nil, errors.Join(err, w.Stop(context.WithoutCancel(ctx)))
	}
	return w, nil
}

func (w *world) buildPrograms(ctx context.Context) (err error) {
	if w.temporal, err = exec.LookPath("temporal"); err != nil {
		return fault.New(fault.Operator, "find the", "temporal program", "run `make bench-copy`, which builds it", "%w", err)
	}
	w.worker, w.starter = filepath.Join(w.Dir, "worker"), filepath.Join(w.Dir, "starter")
	for _, program := range []string{w.worker, w.starter} {
		build := exec.CommandContext(ctx, "go", "build", "-o", program, "timeferry/"+filepath.Base(program))
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", filepath.Base(program), err, out)
		}
	}
	return nil
}

// build makes the reference database on the source.
func (w *world) build(ctx context.Context) error {
	w.Say("building the database %q at scale %g", w.database, w.scale)
	began := time.Now()
	if err := w.FreshDatabase(ctx, w.Source, nil); err != nil {
		return err
	}
	err := rig.Session(ctx, w.Endpoint(w.Source), func(conn *pgx.Conn) (err error) {
		if err := references[w.database].fill(ctx, conn, w.scale); err != nil {
			return err
		}
		if err := rig.ExecAll(ctx, conn, "VACUUM (FREEZE, ANALYZE)"); err != nil {
			return err
		}
		w.expected, err = readContent(ctx, conn)
		return err
	})
	if err != nil {
		return fmt.Errorf("build the database %s: %w", w.database, err)
	}
	w.Say("built it in %.0f s: %d tables, %d indexes, %d rows", time.Since(began).Seconds(), len(w.expected.rows), w.expected.indexes, w.expected.total())
	return nil
}

// reset makes both sides as they are before every run: the target empty, nothing left to be written by the servers or the
// kernel.
func (w *world) reset(ctx context.Context) error {
	if err := w.FreshDatabase(ctx, w.Target, []string{"timescaledb"}); err != nil {
		return err
	}
	if err := w.Checkpoint(ctx); err != nil {
		return err
	}
	syscall.Sync()
	return nil
}

// describe fills in all of the result that does not depend on runs.
func (w *world) describe(ctx context.Context) (r *result, err error) {
	r = &result{Database: w.database, About: references[w.database].about, Scale: w.scale, Rounds: w.rounds, Jobs: w.jobs,
		Method: method, Machine: report.ReadMachine(), Measured: time.Now().UTC().Truncate(time.Second)}
	r.Versions = w.Programs.Versions(ctx, map[string][]string{"pg_dump": {"pg_dump", "--version"}, "temporal": {w.temporal, "--version"}})
	r.Tables, r.Indexes, r.Rows = len(w.expected.rows), w.expected.indexes, w.expected.total()
	if r.Source, err = w.Facts(ctx, w.Source, rig.Database); err != nil {
		return nil, err
	}
	r.Bytes = r.Source.Bytes
	r.Target, err = w.Facts(ctx, w.Target, "postgres")
	return r, err
}
