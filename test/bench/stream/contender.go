package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/test/bench/report"
	"timeferry/test/bench/rig"
)

// The contenders' names.
const (
	timeferry      = "timeferry"
	timeferryLanes = "timeferry-2-lanes"
	native         = "native"
	nativeParallel = "native-parallel"
	pgcopydb       = "pgcopydb"
)

// parallelFrom is the first version whose logical replication applies in parallel.
const parallelFrom = 16

// contender is one way to bring the backlog over.
type contender struct {
	name string
	// slot makes a slot for one run, before the backlog is written.
	slot func(ctx context.Context, slot string) error
	// before is done with the target as runs begin, and not counted.
	before func(ctx context.Context, slot string) error
	// start begins to bring the backlog over, and returns at once.
	start func(ctx context.Context, slot string) (running, error)
}

// running is a contender at work.
type running interface {
	// Err says why it does not work any more, nil if it does.
	Err() error
	// usage is what its programs have taken so far; nothing for what runs inside of the servers.
	usage() (cpu map[string]float64, memoryBytes int64, err error)
	// stop ends it. What it made on both sides is gone afterwards.
	stop(ctx context.Context) error
}

// contenders are the field.
func (w *world) contenders() []contender {
	field := []contender{
		{name: timeferry, slot: w.pgoutputSlot, before: w.ledger, start: func(ctx context.Context, slot string) (running, error) {
			return w.startFollowing(ctx, slot, order{Receive: true, Apply: true})
		}},
		{name: timeferryLanes, slot: w.pgoutputSlot, before: w.ledger, start: func(ctx context.Context, slot string) (running, error) {
			return w.startFollowing(ctx, slot, order{Receive: true, Apply: true, Lanes: 2})
		}},
		{name: native, slot: w.pgoutputSlot, before: func(ctx context.Context, slot string) error { return w.subscribe(ctx, slot, "off") }, start: w.startSubscription},
		{name: pgcopydb, slot: w.pgcopydbSlot, before: nothing, start: w.startPgcopydb},
	}
	if w.source >= parallelFrom {
		parallel := contender{name: nativeParallel, slot: w.pgoutputSlot, start: w.startSubscription}
		parallel.before = func(ctx context.Context, slot string) error { return w.subscribe(ctx, slot, "parallel") }
		field = slices.Insert(field, 3, parallel)
	}
	return slices.DeleteFunc(field, func(c contender) bool { return !w.has(c.name) })
}

// has says whether a contender is to run.
func (w *world) has(name string) bool {
	return w.only == "" || slices.Contains(strings.Split(w.only, ","), name)
}

func slotOf(contender string, round int) string {
	return fmt.Sprintf("%s_%d", strings.ReplaceAll(contender, "-", "_"), round)
}

// The slots for runs of Timeferry that are not counted.
const (
	apartSlot = "timeferry_apart"
	whereSlot = "timeferry_where"
)

// makeSlots makes a slot for every run that will be.
func (w *world) makeSlots(ctx context.Context, field []contender) error {
	if err := w.reset(ctx); err != nil { // pgcopydb wants to see the target
		return err
	}
	for _, c := range field {
		names := []string{}
		for round := range w.rounds {
			names = append(names, slotOf(c.name, round+1))
		}
		if c.name == timeferry {
			names = append(names, apartSlot, whereSlot)
		}
		for _, name := range names {
			if err := c.slot(ctx, name); err != nil {
				return fmt.Errorf("make the slot %s: %w", name, err)
			}
		}
	}
	return nil
}

func (w *world) pgoutputSlot(ctx context.Context, slot string) error {
	return w.Super(ctx, w.Source, rig.Database, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, "SELECT pg_create_logical_replication_slot($1, 'pgoutput')", slot)
		return err
	})
}

func nothing(context.Context, string) error { return nil }

// dropSlot drops a slot, and what Timeferry has spooled from it.
func (w *world) dropSlot(ctx context.Context, name string) error {
	if err := os.RemoveAll(w.spoolOf(name)); err != nil {
		return err
	}
	return w.Super(ctx, w.Source, rig.Database, func(conn *pgx.Conn) error {
		// A walsender may be about to end yet.
		const sql = `DO $$ BEGIN WHILE EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = %[1]s AND active) LOOP PERFORM pg_sleep(0.05); END LOOP; END $$;
			SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %[1]s`
		_, err := conn.PgConn().Exec(ctx, fmt.Sprintf(sql, ident.Literal(name))).ReadAll()
		return err
	})
}

// measure runs one contender once.
func (w *world) measure(ctx context.Context, c contender, round int) (r runResult, err error) {
	slot := slotOf(c.name, round)
	if r, err = w.once(ctx, c, slot); err != nil {
		return r, err
	}
	r.Round = round
	w.Say("round %d: %-16s %6.2f s   processor: %s%s%s", round, c.name, r.Seconds, report.FormatSeconds(r.CPU), formatMemory(r.MemoryBytes), formatWrong(r.Differs))
	return r, w.dropSlot(ctx, slot)
}

// once brings the backlog over from one slot.
func (w *world) once(ctx context.Context, c contender, slot string) (r runResult, err error) {
	r.Contender = c.name
	if err := w.reset(ctx); err != nil {
		return r, err
	}
	if err := c.before(ctx, slot); err != nil {
		return r, err
	}
	meter, err := w.StartMeter()
	if err != nil {
		return r, err
	}
	run, err := c.start(ctx, slot)
	if err != nil {
		return r, err
	}
	err = w.awaitEnd(ctx, run)
	if err == nil {
		r.Seconds, r.CPU, err = meter.Stop()
	}
	if err == nil {
		var own map[string]float64
		own, r.MemoryBytes, err = run.usage()
		for name, seconds := range own {
			r.CPU[name] = report.Rounded(seconds)
		}
	}
	r.Seconds = report.Rounded(r.Seconds)
	if err = errors.Join(err, run.stop(context.WithoutCancel(ctx))); err != nil {
		return r, err
	}
	if r.Differs, err = w.check(ctx); err != nil {
		return r, err
	}
	if (c.name == timeferry || c.name == timeferryLanes) && r.Differs != "" {
		return r, fmt.Errorf("the target is not what the source is: %s", r.Differs)
	}
	return r, nil
}

// lookEvery is how often the target is asked whether it has the end.
const lookEvery = 10 * time.Millisecond

// awaitEnd waits until the last transaction of the backlog can be seen on the target.
func (w *world) awaitEnd(ctx context.Context, run running) error {
	return w.Super(ctx, w.Target, rig.Database, func(conn *pgx.Conn) error {
		var ended error
		for {
			var there bool
			if err := conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM "+endTable+")").Scan(&there); err != nil || there {
				return err
			}
			if ended != nil { // before we looked
				return ended
			}
			if ended = run.Err(); ended != nil {
				continue
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(lookEvery):
			}
		}
	})
}
