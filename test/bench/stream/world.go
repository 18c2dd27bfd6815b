package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
	"timeferry/test/bench/rig"
)

const (
	publication = "bench"
	// templateName is the database on the target that each run begins with.
	templateName = "bench_start"
)

// world is the rig with the database on both sides, and the backlog.
type world struct {
	settings
	*rig.Rig
	begin, end   change.LSN // on the source, around the backlog
	backlogBytes int64
	expected     content
}

// newWorld starts the servers. Every contender has a slot for each round from the beginning.
func newWorld(ctx context.Context, s settings) (*world, error) {
	r, err := rig.Open(ctx, os.Stderr, rig.Options{SourceMajor: s.source, Bare: s.bare,
		Settings: map[string]string{"max_replication_slots": "60", "max_wal_senders": "60", "max_logical_replication_workers": "10"}})
	if err != nil {
		return nil, err
	}
	return &world{settings: s, Rig: r}, nil
}

// build makes the database on both sides, and on the target a copy of it to begin every run with.
func (w *world) build(ctx context.Context) error {
	w.Say("making the database of %q at scale %g on both sides", w.workload, w.scale)
	group, working := errgroup.WithContext(ctx)
	for _, server := range []*pgserver.Server{w.Source, w.Target} {
		group.Go(func() error { return w.fill(working, server) })
	}
	if err := group.Wait(); err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	err := w.Super(ctx, w.Target, "postgres", func(conn *pgx.Conn) error {
		// Closed, because TimescaleDB's launcher looks into every database now and then, and a template must be left alone.
		return rig.ExecAll(ctx, conn, fmt.Sprintf("ALTER DATABASE %s RENAME TO %s", rig.Database, templateName), fmt.Sprintf("ALTER DATABASE %s ALLOW_CONNECTIONS false", templateName))
	})
	if err != nil {
		return err
	}
	load := workloads[w.workload]
	return w.Super(ctx, w.Source, rig.Database, func(conn *pgx.Conn) (err error) {
		statements := append([]string{"SET ROLE " + ident.Quote(rig.Role)}, load.procedures...)
		statements = append(statements, fmt.Sprintf("CREATE PUBLICATION %s FOR TABLE %s", publication, strings.Join(load.published(), ", ")))
		if err := rig.ExecAll(ctx, conn, statements...); err != nil {
			return err
		}
		w.begin, err = pgkit.CurrentLSN(ctx, conn)
		return err
	})
}

func (w *world) fill(ctx context.Context, server *pgserver.Server) error {
	if err := w.FreshDatabase(ctx, server, nil); err != nil {
		return err
	}
	return rig.Session(ctx, w.Endpoint(server), func(conn *pgx.Conn) error { return workloads[w.workload].make(ctx, conn, w.scale) })
}

// reset gives the target the database that runs begin with, and leaves nothing to be written by the servers or the kernel.
func (w *world) reset(ctx context.Context) error {
	err := w.Super(ctx, w.Target, "postgres", func(conn *pgx.Conn) error {
		return rig.ExecAll(ctx, conn, "DROP DATABASE IF EXISTS "+rig.Database+" WITH (FORCE)",
			fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s STRATEGY file_copy OWNER %s", rig.Database, templateName, rig.Role))
	})
	if err != nil {
		return err
	}
	if err := w.Checkpoint(ctx); err != nil {
		return err
	}
	syscall.Sync()
	return nil
}

// check says in what the target is not what the source is, "" if in nothing.
func (w *world) check(ctx context.Context) (wrong string, err error) {
	err = w.Super(ctx, w.Target, rig.Database, func(conn *pgx.Conn) error {
		got, err := readContent(ctx, conn, workloads[w.workload].published())
		wrong = w.expected.differs(got)
		return err
	})
	return wrong, err
}
