package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/test/bench/report"
	"timeferry/test/bench/rig"
)

const (
	// lagGoal is how far behind the target may be while the source is written to.
	lagGoal = time.Second
	// steadySeconds is how long the source is written to, and warmUp how much of it is not looked at.
	steadySeconds = 20
	warmUp        = 3 * time.Second
	// slower is what part of a rate that could not be followed is tried next.
	slower = 0.8
	// hugeRows is the size of the one great transaction.
	hugeRows = 5_000_000
)

// steadyResult is what is written as JSON.
type steadyResult struct {
	facts
	Method map[string]string `json:"method"`
	Rates  []rateResult      `json:"rates"`
	Huge   hugeResult        `json:"huge"`
}

// rateResult is one rate at which the source was written to.
type rateResult struct {
	RowsPerTransaction    int     `json:"rowsPerTransaction"`
	Throttled             bool    `json:"throttled"` // false: as fast as the source can
	RowsPerSecond         float64 `json:"rowsPerSecond"`
	TransactionsPerSecond float64 `json:"transactionsPerSecond"`
	MedianLag             float64 `json:"medianLag"` // seconds
	MostLag               float64 `json:"mostLag"`
	Drained               float64 `json:"drained"` // seconds from the last commit on the source until the target had it
	Followed              bool    `json:"followed"`
	MemoryBytes           int64   `json:"memoryBytes"`
}

// hugeResult is the one great transaction.
type hugeResult struct {
	Rows        int     `json:"rows"`
	Written     float64 `json:"written"` // seconds that the source took
	Seconds     float64 `json:"seconds"` // from its commit on the source until it was on the target
	MemoryBytes int64   `json:"memoryBytes"`
}

var steadyMethod = map[string]string{
	"rates": fmt.Sprintf("%d sessions insert for %d seconds while one process receives and applies; lag: the clock minus the commit time of the last applied transaction, every 20 ms, without the first %s; "+
		"followed: never a lag above %s, and drained within it; a rate that could not be followed is tried again at %.0f %% of it", writers, steadySeconds, warmUp, lagGoal, slower*100),
	"huge": "one INSERT … SELECT; memoryBytes: the most that the following process had resident",
}

// benchSteady finds the highest rates that can be followed, and then lets one great transaction come.
func (w *world) benchSteady(ctx context.Context) error {
	r := &steadyResult{Method: steadyMethod}
	var err error
	if r.facts, err = w.facts(ctx); err != nil {
		return err
	}
	for _, rows := range []int{1, 100} {
		rates, err := w.findRate(ctx, rows)
		if err != nil {
			return err
		}
		r.Rates = append(r.Rates, rates...)
	}
	if r.Huge, err = w.huge(ctx); err != nil {
		return err
	}
	fmt.Print(r.table())
	plot, err := r.plot()
	if err != nil {
		return err
	}
	return report.Write(w.out, r, plot)
}

// findRate writes as fast as the source can, and then slower until the target follows.
func (w *world) findRate(ctx context.Context, rows int) (tried []rateResult, err error) {
	apart := 0.0
	for range 8 {
		rate, err := w.rate(ctx, rows, apart)
		if err != nil {
			return nil, err
		}
		rate.Throttled = apart > 0
		tried = append(tried, rate)
		w.Say("%s", rate)
		if rate.Followed {
			return tried, nil
		}
		apart = writers * float64(rows) / (slower * rate.RowsPerSecond)
	}
	return tried, nil
}

// follower starts the process on a slot of its own, and waits until the target is as the source is.
func (w *world) follower(ctx context.Context, slot string) (*following, error) {
	err := w.Super(ctx, w.Source, rig.Database, func(conn *pgx.Conn) error {
		return rig.ExecAll(ctx, conn, "TRUNCATE ticks, huge", "CHECKPOINT")
	})
	if err == nil {
		err = w.pgoutputSlot(ctx, slot)
	}
	if err == nil {
		err = w.reset(ctx)
	}
	if err == nil {
		err = w.ledger(ctx, slot)
	}
	if err != nil {
		return nil, err
	}
	run, err := w.startFollowing(ctx, slot, order{Receive: true, Apply: true})
	if err != nil {
		return nil, err
	}
	return run.(*following), nil
}

func (w *world) unfollow(ctx context.Context, f *following, slot string) error {
	return errors.Join(f.stop(ctx), w.dropSlot(ctx, slot))
}

// rate writes a transaction every so many seconds by each writer, or as fast as they can, and watches the lag.
func (w *world) rate(ctx context.Context, rows int, apart float64) (r rateResult, err error) {
	const slot = "timeferry_rate"
	f, err := w.follower(ctx, slot)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, w.unfollow(context.WithoutCancel(ctx), f, slot)) }()
	began := time.Now()
	watching, cancel := context.WithCancel(ctx)
	lags := make(chan []float64, 1)
	go func() { lags <- f.watch(watching) }()
	written, err := w.tick(ctx, rows, apart)
	took := time.Since(began)
	cancel()
	seen := <-lags
	if err != nil {
		return r, err
	}
	if err := w.awaitRows(ctx, f, "ticks", written); err != nil {
		return r, err
	}
	r = rateResult{RowsPerTransaction: rows, RowsPerSecond: report.Rounded(float64(written) / took.Seconds()), Drained: report.Rounded((time.Since(began) - took).Seconds())}
	r.TransactionsPerSecond = report.Rounded(r.RowsPerSecond / float64(rows))
	if len(seen) == 0 {
		return r, errors.New("no lag was seen")
	}
	r.MedianLag, r.MostLag = report.Middle(seen), report.Rounded(slices.Max(seen))
	r.Followed = r.MostLag < lagGoal.Seconds() && r.Drained < lagGoal.Seconds()
	_, r.MemoryBytes, err = f.usage()
	return r, err
}

// tick writes from several sessions, and gives the number of rows.
func (w *world) tick(ctx context.Context, rows int, apart float64) (written int64, err error) {
	counts := make([]int64, writers)
	group, working := errgroup.WithContext(ctx)
	for writer := range writers {
		group.Go(func() error {
			return rig.Session(working, w.Endpoint(w.Source), func(conn *pgx.Conn) error {
				sql := fmt.Sprintf("CALL tick(%d, %d, %g, %g, 0)", writer, rows, max(5, steadySeconds*min(1, w.scale)), apart)
				return conn.QueryRow(working, sql).Scan(&counts[writer])
			})
		})
	}
	err = group.Wait()
	for _, n := range counts {
		written += n
	}
	return written, err
}

// watch notes the lag until ctx ends.
func (f *following) watch(ctx context.Context) (lags []float64) {
	began := time.Now()
	for ticker := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-ctx.Done():
			ticker.Stop()
			return lags
		case now := <-ticker.C:
			if now.Sub(began) < warmUp {
				continue
			}
			lags = append(lags, now.Sub(f.said.Load().CommitTime).Seconds())
		}
	}
}

// awaitRows waits until a table on the target has a number of rows.
func (w *world) awaitRows(ctx context.Context, f *following, table string, want int64) error {
	var end change.LSN
	err := w.Super(ctx, w.Source, rig.Database, func(conn *pgx.Conn) (err error) {
		// The writers do not wait for their commits; this one does, for all of them.
		if err := rig.ExecAll(ctx, conn, "SELECT pg_logical_emit_message(true, '"+contract.MarkerPrefix+"', 'end')"); err != nil {
			return err
		}
		end, err = pgkit.CurrentLSN(ctx, conn)
		return err
	})
	if err != nil {
		return err
	}
	if err := f.await(ctx, end, applied); err != nil {
		return err
	}
	return w.Super(ctx, w.Target, rig.Database, func(conn *pgx.Conn) error {
		var got int64
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&got); err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s has %d rows on the target, not %d", table, got, want)
		}
		return nil
	})
}

// huge lets one transaction of millions of rows come.
func (w *world) huge(ctx context.Context) (r hugeResult, err error) {
	const slot = "timeferry_huge"
	f, err := w.follower(ctx, slot)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, w.unfollow(context.WithoutCancel(ctx), f, slot)) }()
	r.Rows = int(hugeRows * w.scale)
	began := time.Now()
	err = w.Super(ctx, w.Source, rig.Database, func(conn *pgx.Conn) error {
		return rig.ExecAll(ctx, conn, fmt.Sprintf("INSERT INTO huge SELECT n, 'row number ' || n, sqrt(n) FROM generate_series(1, %d) n", r.Rows))
	})
	if err != nil {
		return r, err
	}
	r.Written = report.Rounded(time.Since(began).Seconds())
	committed := time.Now()
	if err := w.awaitRows(ctx, f, "huge", int64(r.Rows)); err != nil {
		return r, err
	}
	r.Seconds = report.Rounded(time.Since(committed).Seconds())
	_, r.MemoryBytes, err = f.usage()
	w.Say("%d rows in one transaction: %.1f s after %.1f s on the source%s", r.Rows, r.Seconds, r.Written, formatMemory(r.MemoryBytes))
	return r, err
}

func (r rateResult) String() string {
	return fmt.Sprintf("%d rows a transaction: %.0f rows/s, %.0f transactions/s, lag %.3f s, at most %.3f s, drained in %.3f s, followed: %t%s",
		r.RowsPerTransaction, r.RowsPerSecond, r.TransactionsPerSecond, r.MedianLag, r.MostLag, r.Drained, r.Followed, formatMemory(r.MemoryBytes))
}

func (r *steadyResult) table() string {
	b := &strings.Builder{}
	fmt.Fprintf(b, "\nsteady: %s\n\n", r.About)
	for _, rate := range r.Rates {
		fmt.Fprintln(b, rate)
	}
	fmt.Fprintf(b, "one transaction of %d rows: on the target %.1f s after its commit (the source took %.1f s)%s\n", r.Huge.Rows, r.Huge.Seconds, r.Huge.Written, formatMemory(r.Huge.MemoryBytes))
	return b.String()
}

// plot draws the lag at each rate.
func (r *steadyResult) plot() ([]byte, error) {
	p := report.Plot{Title: "Change stream, lag while the source is written to",
		Subtitle: fmt.Sprintf("PostgreSQL %s to %s on one machine of %d CPUs; median, and the most", major(r.Source.Version), major(r.Target.Version), r.Machine.CPUs)}
	for _, rate := range r.Rates {
		p.Bars = append(p.Bars, report.Bar{Label: fmt.Sprintf("%.0f rows/s by %d", rate.RowsPerSecond, rate.RowsPerTransaction), Value: fmt.Sprintf("%.2f s, at most %.2f", rate.MedianLag, rate.MostLag),
			Color: colors[timeferry], Length: rate.MedianLag, Least: rate.MedianLag, Most: rate.MostLag})
	}
	return p.SVG()
}
