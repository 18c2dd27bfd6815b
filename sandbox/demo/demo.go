package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/sandbox/load"
	"timeferry/sandbox/world"
)

// Options of a demo.
type Options struct {
	World   world.Options
	Rate    int           // transactions a second; 0: load's default
	Timeout time.Duration // for the migration itself
	Out     io.Writer
	Fancy   bool // Out is a terminal: colours, and a line that is written over
}

// demo is one run.
type demo struct {
	Options
	world   *world.World
	load    *load.Generator
	before  []string // the source, before anything was done
	source  *pgx.Conn
	target  *pgx.Conn
	verdict verdict
}

// Run makes a world, migrates its database under load, proves the result, and takes the world down again. The error says
// what was not as it must be; all of it is printed too.
func Run(ctx context.Context, o Options) (err error) {
	o.World.Log = o.Out
	began := time.Now()
	w, err := world.Start(ctx, o.World)
	if err != nil {
		return err
	}
	defer func() {
		if stopErr := w.Stop(context.WithoutCancel(ctx)); stopErr != nil {
			err = errors.Join(err, fmt.Errorf("take the sandbox down: %w", stopErr))
		}
	}()
	d := &demo{Options: o, world: w, verdict: verdict{out: o.Out, fancy: o.Fancy}}
	ctx, cancel := context.WithTimeoutCause(ctx, o.Timeout, fmt.Errorf("the migration was not done within %s", o.Timeout))
	defer cancel()
	if err := d.run(ctx); err != nil {
		if ctx.Err() != nil {
			err = errors.Join(err, context.Cause(ctx))
		}
		return fmt.Errorf("%w\nlogs are in %s", err, w.Path("logs"))
	}
	d.say("\nthe demo took %s", time.Since(began).Round(time.Second))
	return nil
}

func (d *demo) run(ctx context.Context) error {
	if err := d.connect(ctx); err != nil {
		return err
	}
	defer d.disconnect()
	var err error
	if d.before, err = lines(ctx, d.source, footprintSQL); err != nil {
		return fmt.Errorf("look at the source: %w", err)
	}
	d.disconnect() // the reboot and the fence end every session

	d.load = load.Start(ctx, load.Options{Endpoint: d.world.SourceApp(), Rate: d.Rate, Seed: 1})
	defer d.load.Stop()
	if err := d.order(ctx, "start", "-f", d.world.Path("shop.yaml")); err != nil {
		return err
	}
	if err := d.steer(ctx); err != nil {
		return err
	}
	written := d.load.Stop()
	if err := d.connect(ctx); err != nil {
		return err
	}
	d.proveLoad(ctx, written)
	if err := d.proveData(ctx); err != nil {
		return err
	}
	d.proveApplication(ctx)
	if err := d.complete(ctx); err != nil {
		return err
	}
	d.proveSourceAsBefore(ctx)
	d.proveTargetClean(ctx)
	return d.verdict.err()
}

func (d *demo) connect(ctx context.Context) (err error) {
	if d.source, err = pgkit.Dial(ctx, d.world.Source.Superuser(world.SourceDatabase), "demo"); err != nil {
		return err
	}
	if d.target, err = pgkit.Dial(ctx, d.world.Target.Superuser(world.TargetDatabase), "demo"); err != nil {
		return err
	}
	for _, conn := range []*pgx.Conn{d.source, d.target} { // two million hashes are sorted in memory
		if _, err := conn.Exec(ctx, "SET work_mem = '256MB'"); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) disconnect() {
	for _, conn := range []*pgx.Conn{d.source, d.target} {
		if conn != nil {
			closeConn(conn)
		}
	}
}

func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // only read from; the server ends with the demo
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.Out, format+"\n", args...) }

// order runs the starter and prints what it says.
func (d *demo) order(ctx context.Context, args ...string) error {
	out, err := d.world.Starter(ctx, args...)
	if len(out) > 0 {
		fmt.Fprintf(d.Out, "%s", out)
	}
	if err != nil {
		return fmt.Errorf("starter %s: %w", args[0], err)
	}
	return nil
}

// proveLoad checks what the application was told against what arrived.
func (d *demo) proveLoad(ctx context.Context, s load.Summary) {
	d.say("\nthe application committed %d transactions (%d rolled back, %d unanswered, %d connections lost), and was fenced at %s",
		s.Committed, s.RolledBack, s.Ambiguous, s.Reconnects, s.FencedAt.Format(time.TimeOnly))
	var unexpected error
	if len(s.Failures) > 0 {
		unexpected = fmt.Errorf("%d kinds of errors, the first: %s", len(s.Failures), s.Failures[0])
	}
	if s.Committed == 0 { // then all that follows would be true of nothing
		unexpected = errors.Join(unexpected, errors.New("it committed nothing"))
	}
	d.verdict.check("no statement of the application failed because of the migration", unexpected)
	d.verdict.check(fmt.Sprintf("each of the %d acknowledged transactions is on the target exactly once", s.Committed), load.Check(ctx, d.target, s))
}

// proveApplication lets the application work on the target: with its grants, sequences and triggers. Setting its password
// is what the report asks a person to do, since passwords cannot be carried over.
func (d *demo) proveApplication(ctx context.Context) {
	const what = "the application works on the target"
	app := d.world.TargetApp()
	if err := d.asTargetMaster(ctx, "ALTER ROLE "+ident.Quote(app.User)+" PASSWORD "+ident.Literal(app.Password)); err != nil {
		d.verdict.check(what, err)
		return
	}
	g := load.Start(ctx, load.Options{Endpoint: app, Rate: d.Rate, Seed: 2, Hypertables: true})
	select {
	case <-ctx.Done():
	case <-time.After(3 * time.Second):
	}
	s := g.Stop()
	err := load.Check(ctx, d.target, s)
	switch {
	case len(s.Failures) > 0:
		err = fmt.Errorf("%s", s.Failures[0])
	case s.Committed == 0:
		err = errors.New("it committed nothing")
	}
	d.verdict.check(fmt.Sprintf("%s: %d transactions in 3 s", what, s.Committed), err)
}

func (d *demo) asTargetMaster(ctx context.Context, sql string) error {
	conn, err := pgkit.Dial(ctx, d.world.TargetMaster(), "demo")
	if err != nil {
		return err
	}
	defer closeConn(conn)
	_, err = conn.Exec(ctx, sql)
	return err
}

// complete ends the migration, and shows and keeps its report.
func (d *demo) complete(ctx context.Context) error {
	if err := d.order(ctx, "complete", world.Migration, "--by", "demo"); err != nil {
		return err
	}
	if _, err := d.awaitPhase(ctx, contract.PhaseCompleted); err != nil {
		return err
	}
	report, err := d.readReport(ctx)
	if err != nil {
		return err
	}
	if err := d.order(ctx, "report", world.Migration); err != nil {
		return err
	}
	d.say("\nthe report is in %s\n", d.world.Path("report.json"))
	d.verdict.check("the report says completed", mustBe(string(report.Outcome), string(contract.PhaseCompleted)))
	d.verdict.check("the report says what was compared, and that it was equal", mustBe(
		fmt.Sprint(report.Verification.Method, report.Verification.Equal), fmt.Sprint("checksum", true)))
	return nil
}

func mustBe(got, want string) error {
	if got != want {
		return fmt.Errorf("it is %q, not %q", got, want)
	}
	return nil
}

// writeReport keeps the report's JSON.
func (d *demo) writeReport(text []byte) error {
	return os.WriteFile(d.world.Path("report.json"), text, 0o644)
}
