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

	"timeferry/internal/ident"
	"timeferry/internal/testkit/pgserver"
	"timeferry/test/bench/report"
	"timeferry/test/bench/rig"
)

// copydb is pgcopydb follow at work.
type copydb struct {
	world *world
	slot  string
	cmd   *exec.Cmd
	said  *os.File
	done  chan struct{}
	err   error // read it after done only
}

// pgcopydbCommand is one of its commands for a slot, as superuser of both sides, since it makes a replication origin, which is
// called as the slot.
func (w *world) pgcopydbCommand(ctx context.Context, slot string, args ...string) *exec.Cmd {
	super := func(server *pgserver.Server) string {
		e := server.Superuser(rig.Database)
		return fmt.Sprintf("host=%s port=%d dbname=%s user=%s password=%s sslmode=%s", e.Host, e.Port, e.Database, e.User, e.Password, w.Endpoint(server).SSLMode)
	}
	cmd := w.Programs.Command(ctx, w.Programs.Pgcopydb, append(args, "--dir", filepath.Join(w.Dir, slot))...)
	cmd.Env = append(w.ClientEnv(), "TMPDIR="+w.Dir, "XDG_DATA_HOME="+w.Dir, "PGCOPYDB_SOURCE_PGURI="+super(w.Source), "PGCOPYDB_TARGET_PGURI="+super(w.Target))
	return cmd
}

// pgcopydbSlot makes slot and origin as its manual says, and lets the apply begin as soon as follow does. The snapshot that comes
// with the slot is not needed.
func (w *world) pgcopydbSlot(ctx context.Context, slot string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	holder := w.pgcopydbCommand(ctx, slot, "snapshot", "--follow", "--plugin", "test_decoding", "--slot-name", slot)
	if err := holder.Start(); err != nil {
		return err
	}
	defer func() {
		_ = holder.Cancel() // an error means that it has ended
		_ = holder.Wait()   // it was killed
	}()
	if err := w.awaitSlot(ctx, slot); err != nil {
		return err
	}
	if _, err := rig.Run(w.pgcopydbCommand(ctx, slot, "stream", "setup", "--plugin", "test_decoding", "--slot-name", slot, "--origin", slot)); err != nil {
		return err
	}
	_, err := rig.Run(w.pgcopydbCommand(ctx, slot, "stream", "sentinel", "set", "apply"))
	return err
}

// awaitSlot waits until pgcopydb has noted its slot and the snapshot down.
func (w *world) awaitSlot(ctx context.Context, slot string) error {
	for {
		if _, err := os.Stat(filepath.Join(w.Dir, slot, "snapshot")); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("pgcopydb made no slot: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (w *world) startPgcopydb(ctx context.Context, slot string) (running, error) {
	f := &copydb{world: w, slot: slot, done: make(chan struct{})}
	f.cmd = w.pgcopydbCommand(context.WithoutCancel(ctx), slot, "follow", "--resume", "--not-consistent", "--plugin", "test_decoding", "--slot-name", slot, "--origin", slot, "--endpos", w.end.String())
	var err error
	if f.said, err = os.Create(filepath.Join(w.Dir, slot+".log")); err != nil {
		return nil, err
	}
	f.cmd.Stdout, f.cmd.Stderr = f.said, f.said
	if err := f.cmd.Start(); err != nil {
		return nil, errors.Join(err, f.said.Close())
	}
	go func() {
		f.err = f.cmd.Wait()
		close(f.done)
	}()
	return f, nil
}

// Err says that it ended, which is a failure as long as the target does not have the end.
func (f *copydb) Err() error {
	select {
	case <-f.done:
	default:
		return nil
	}
	text, _ := os.ReadFile(f.said.Name()) // without it the error alone must do
	return fmt.Errorf("pgcopydb ended and the target does not have the end: %w\n%s", f.err, text[max(0, len(text)-3000):])
}

func (f *copydb) usage() (cpu map[string]float64, memoryBytes int64, err error) {
	select {
	case <-f.done: // and so its processes were waited for
		return map[string]float64{pgcopydb: (f.cmd.ProcessState.UserTime() + f.cmd.ProcessState.SystemTime()).Seconds()}, 0, nil
	default:
	}
	seconds, err := report.TreeCPU(f.cmd.Process.Pid)
	return map[string]float64{pgcopydb: seconds}, 0, err
}

// stop kills it, since it has done what is counted, and removes its origin once its sessions are gone.
func (f *copydb) stop(ctx context.Context) error {
	_ = syscall.Kill(-f.cmd.Process.Pid, syscall.SIGKILL) // an error means that it has ended
	<-f.done
	err := f.world.Super(ctx, f.world.Target, rig.Database, func(conn *pgx.Conn) error {
		const sql = `SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE application_name LIKE 'pgcopydb%%';
			SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin WHERE roname = %s`
		_, err := conn.PgConn().Exec(ctx, fmt.Sprintf(sql, ident.Literal(f.slot))).ReadAll()
		return err
	})
	return errors.Join(err, f.said.Close(), os.RemoveAll(filepath.Join(f.world.Dir, f.slot)))
}
