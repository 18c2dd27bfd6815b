package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"timeferry/internal/testkit/pgserver"
	"timeferry/sandbox/load"
	"timeferry/sandbox/world"
)

func runUp(ctx context.Context, s settings) (err error) {
	if err := s.check(); err != nil {
		return err
	}
	if err := pgserver.Ensure(ctx, os.Stdout); err != nil {
		return err
	}
	w, err := world.Start(ctx, s.world)
	if err != nil {
		return err
	}
	defer func() {
		fmt.Println("\ntaking the sandbox down")
		err = errors.Join(err, w.Stop(context.WithoutCancel(ctx)))
	}()
	if !s.noLoad {
		g := load.Start(ctx, load.Options{Endpoint: w.SourceApp(), Rate: s.rate, Seed: 1})
		defer g.Stop()
	}
	printGuide(os.Stdout, w)
	return keepUp(ctx, w)
}

// keepUp waits for Ctrl-C. A part that dies is told once: trying what happens then is what a sandbox is for.
func keepUp(ctx context.Context, w *world.World) error {
	told := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Second):
		}
		if err := w.Err(); err != nil && !told {
			told = true
			fmt.Fprintln(os.Stderr, err)
		} else if err == nil {
			told = false
		}
	}
}

// steps are what there is to try, each with starter, temporal and tctl. DIR is the state directory.
var steps = []struct{ what, starter, temporal, tctl string }{
	{"start", "preflight -f DIR/shop.yaml && starter start -f DIR/shop.yaml",
		"workflow start -w timeferry-shop --type LiveMigration --task-queue timeferry --input-file DIR/shop.json",
		"workflow start --workflow_id timeferry-shop --workflow_type LiveMigration --taskqueue timeferry --input_file DIR/shop.json"},
	{"watch", "watch shop", "workflow query -w timeferry-shop --type status", "workflow query --workflow_id timeferry-shop --query_type status"},
	{"approve", "approve-reboot shop --by me", "workflow update execute -w timeferry-shop --name approve-reboot", "workflow signal --workflow_id timeferry-shop --name approve-reboot"},
	{"switch", "cutover shop --by me", "workflow update execute -w timeferry-shop --name cutover", "workflow signal --workflow_id timeferry-shop --name cutover"},
	{"end", "complete shop", "workflow signal -w timeferry-shop --name complete", "workflow signal --workflow_id timeferry-shop --name complete"},
	{"undo", "abort shop", "workflow signal -w timeferry-shop --name abort", "workflow signal --workflow_id timeferry-shop --name abort"},
	{"look back", "report shop", "workflow show -w timeferry-shop", "workflow show --workflow_id timeferry-shop"},
}

func printGuide(out io.Writer, w *world.World) {
	dir := w.Dir()
	if here, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(here, dir); err == nil && filepath.IsLocal(rel) {
			dir = rel
		}
	}
	p := w.Ports
	fmt.Fprintf(out, `
The sandbox is up.
  source    RDS instance %s, 127.0.0.1:%d, database %s, user %s
  RDS API   http://127.0.0.1:%d, instance metadata on port %d
  target    127.0.0.1:%d, database %s, user %s
  Temporal  127.0.0.1:%d, UI http://127.0.0.1:%d
  logs      %s/logs

In another shell, in this directory:
  source %s/env
  psql service=source       and service=target, service=app
`, world.Instance, p.Source, world.SourceDatabase, world.SourceUser, p.AWS, p.Metadata, p.Target, world.TargetDatabase,
		world.TargetUser, p.Temporal, p.UI, dir, dir)
	lines := &strings.Builder{}
	for _, s := range steps {
		fmt.Fprintf(lines, "\n%-10s starter %s\n%-10s temporal %s\n%-10s tctl %s\n", s.what, s.starter, "    or", s.temporal, "    or", s.tctl)
	}
	fmt.Fprint(out, strings.ReplaceAll(lines.String(), "DIR/", dir+"/"))
	fmt.Fprintln(out, "\nCtrl-C takes everything down.")
}
