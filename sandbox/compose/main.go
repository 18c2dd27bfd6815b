// Command compose is the shop of docker-compose.yml, where it is called shop: it makes the database that is migrated, and
// is the application that writes to it.
//
//	shop seed --scale 0.25    makes schema and data, unless they are there
//	shop load --rate 300      writes until it is stopped
//
// It logs in by PGHOST, PGPORT, PGDATABASE, PGUSER and PGPASSWORD as the database's owner; the application's own role
// has APP_PASSWORD.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
	"timeferry/sandbox/load"
	"timeferry/sandbox/shop"
)

// reportInterval is how often load says how far it is.
const reportInterval = 10 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("say seed or load")
	}
	owner, err := ownerFromEnv()
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("shop "+args[0], flag.ContinueOnError)
	scale := flags.Float64("scale", 0.25, "how much data seed makes; 1 is two million rows in metrics")
	rate := flags.Int("rate", 300, "transactions a second of load")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "seed":
		return seed(ctx, owner, *scale, out)
	case "load":
		return write(ctx, owner, *rate, out)
	}
	return fmt.Errorf("unknown command %q; say seed or load", args[0])
}

func ownerFromEnv() (pgkit.Endpoint, error) {
	port, err := strconv.Atoi(os.Getenv("PGPORT"))
	if err != nil {
		return pgkit.Endpoint{}, fmt.Errorf("read PGPORT: %w", err)
	}
	return pgkit.Endpoint{Host: os.Getenv("PGHOST"), Port: port, Database: os.Getenv("PGDATABASE"), User: os.Getenv("PGUSER"),
		Password: os.Getenv("PGPASSWORD"), SSLMode: "disable"}, nil
}

// seed fills an empty database. One that is filled stays as it is, so that the containers may be started again.
func seed(ctx context.Context, owner pgkit.Endpoint, scale float64, out io.Writer) error {
	conn, err := pgkit.Dial(ctx, owner, "sandbox")
	if err != nil {
		return err
	}
	filled, err := isFilled(ctx, conn)
	if err == nil && !filled {
		err = shop.CreateRoles(ctx, conn, os.Getenv("APP_PASSWORD"))
	}
	if err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	if filled {
		fmt.Fprintln(out, "the shop is there already")
		return nil
	}
	began := time.Now()
	fmt.Fprintf(out, "filling the shop (scale %g)\n", scale)
	if err := shop.Create(ctx, owner, scale); err != nil {
		return err
	}
	fmt.Fprintf(out, "filled the shop in %.1f s\n", time.Since(began).Seconds())
	return nil
}

// isFilled looks at the largest table. One without rows is what a seed that was killed has left behind.
func isFilled(ctx context.Context, conn *pgx.Conn) (filled bool, err error) {
	var exists bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass('public.metrics') IS NOT NULL").Scan(&exists); err != nil || !exists {
		return false, err
	}
	if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM public.metrics)").Scan(&filled); err != nil {
		return false, err
	}
	if !filled {
		return false, errors.New("the shop was not filled to its end; begin anew with `docker compose down --volumes`")
	}
	return true, nil
}

// write is the application, until ctx ends.
func write(ctx context.Context, owner pgkit.Endpoint, rate int, out io.Writer) error {
	app := owner
	app.User, app.Password = shop.AppRole, os.Getenv("APP_PASSWORD")
	// Stop ends it in order: the transactions at hand are finished.
	g := load.Start(context.WithoutCancel(ctx), load.Options{Endpoint: app, Rate: rate, Seed: 1})
	ticker := time.NewTicker(reportInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			report(out, g.Stats())
		case <-ctx.Done():
			s := g.Stop()
			report(out, s.Stats)
			if len(s.Failures) > 0 {
				return fmt.Errorf("errors that an application does not expect, the first: %s", s.Failures[0])
			}
			return nil
		}
	}
}

func report(out io.Writer, s load.Stats) {
	line := fmt.Sprintf("%d transactions committed, %d rolled back, %d connections made anew", s.Committed, s.RolledBack, s.Reconnects)
	if !s.FencedAt.IsZero() {
		line += ", writes refused since " + s.FencedAt.UTC().Format(time.TimeOnly)
	}
	fmt.Fprintln(out, line)
}
