package main

import (
	"context"
	"os"
	"strconv"

	"timeferry/test/bench/rig"
)

// pgcopydbClone runs pgcopydb as its manual says: COPY, indexes, VACUUM ANALYZE, sequences. Nothing of it is switched off.
func (w *world) pgcopydbClone(ctx context.Context, jobs int) (o outcome, err error) {
	dir, err := os.MkdirTemp(w.Dir, "pgcopydb-")
	if err != nil {
		return o, err
	}
	defer os.RemoveAll(dir) // the whole directory goes at the end anyway
	cmd := w.Programs.Command(ctx, w.Programs.Pgcopydb, "clone", "--source", w.Conninfo(w.Source), "--target", w.Conninfo(w.Target),
		"--table-jobs", strconv.Itoa(jobs), "--index-jobs", strconv.Itoa(jobs), "--dir", dir+"/work", "--fail-fast")
	cmd.Env = append(w.ClientEnv(), "TMPDIR="+dir, "XDG_DATA_HOME="+dir)
	cpu, err := rig.Run(cmd)
	o.programs = map[string]float64{"pgcopydb": cpu}
	return o, err
}

// dumpAndRestore dumps into a directory without compressing, and restores from it.
func (w *world) dumpAndRestore(ctx context.Context, jobs int) (o outcome, err error) {
	dir, err := os.MkdirTemp(w.Dir, "dump-")
	if err != nil {
		return o, err
	}
	defer os.RemoveAll(dir) // the whole directory goes at the end anyway
	dump := w.Programs.Command(ctx, "pg_dump", "-Fd", "-j", strconv.Itoa(jobs), "-Z0", "-f", dir+"/dump", w.Conninfo(w.Source))
	dump.Env = w.ClientEnv()
	cpu, err := rig.Run(dump)
	if err != nil {
		return o, err
	}
	restore := w.Programs.Command(ctx, "pg_restore", "-j", strconv.Itoa(jobs), "--exit-on-error", "-d", w.Conninfo(w.Target), dir+"/dump")
	restore.Env = w.ClientEnv()
	more, err := rig.Run(restore)
	o.programs = map[string]float64{"pg_dump": cpu, "pg_restore": more}
	return o, err
}
