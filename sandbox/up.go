package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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

func printGuide(out io.Writer, w *world.World) {
	p := w.Ports
	fmt.Fprintf(out, `
The sandbox is up.
  source    RDS instance %s: %s:%d, database %s, user %s
  RDS API   http://%s:%d
  target    %s:%d, database %s, user %s
  Temporal  %s:%d, UI http://%s:%d
  logs      %s

In another shell, in this directory:
  source %s
  starter preflight -f %s
  starter start -f %s                   or: temporal workflow start -w timeferry-shop --type LiveMigration --task-queue timeferry --input-file %s
                                        or: tctl workflow start --workflow_id timeferry-shop --workflow_type LiveMigration --taskqueue timeferry --input_file %s
  starter watch shop                    or: temporal workflow query -w timeferry-shop --type status
                                        or: tctl workflow query --workflow_id timeferry-shop --query_type status
  starter approve-reboot shop --by me   or: temporal workflow signal -w timeferry-shop --name approve-reboot
                                        or: tctl workflow signal --workflow_id timeferry-shop --name approve-reboot
  starter cutover shop                  or: temporal workflow update execute -w timeferry-shop --name cutover
                                        or: tctl workflow signal --workflow_id timeferry-shop --name cutover
  starter complete shop                 starter abort shop undoes everything
  starter report shop                   temporal workflow show -w timeferry-shop; tctl workflow show --workflow_id timeferry-shop
  psql service=source                   also: service=target, service=app

Ctrl-C takes everything down.
`, world.Instance, world.Host, p.Source, world.SourceDatabase, world.SourceUser, world.Host, p.AWS,
		world.Host, p.Target, world.TargetDatabase, world.TargetUser, world.Host, p.Temporal, world.Host, p.UI, w.Path("logs"),
		w.Path("env"), w.Path("shop.yaml"), w.Path("shop.yaml"), w.Path("shop.json"), w.Path("shop.json"))
}
