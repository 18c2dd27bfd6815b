package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/slot"
	"timeferry/internal/target/ledger"
)

// Codes of faults.
const (
	// CodeBarrierMissed: both sides could not be looked at in the same place of the stream.
	CodeBarrierMissed = "barrier-missed"
	// CodeApplyStands: the apply does not come to the barrier.
	CodeApplyStands = "apply-stands"
)

// barrier is where both sides were looked at.
type barrier struct {
	serial int
	lsn    change.LSN
	at     time.Time
	// held is how long the apply could have stood at it.
	held time.Duration
}

const (
	// barrierPoll is short: the apply stands while it is waited for.
	barrierPoll = 5 * time.Millisecond
	// renewEvery is well within the ledger's lease.
	renewEvery = time.Second
	// reachWithin is how long the apply may take to come to the barrier.
	reachWithin = 15 * time.Minute
)

// holds are for how long the apply is held while the source makes the temporary slot, which waits for all older transactions:
// longer with each attempt, so that a long transaction costs the stream little where the next attempt will do without it.
var holds = []time.Duration{3 * time.Second, 6 * time.Second, 12 * time.Second, 24 * time.Second, 48 * time.Second}

// errMissed is an attempt that came to nothing because the apply went on before the source had its snapshot.
var errMissed = errors.New("the apply could not be held long enough")

// takeBarrier opens n sessions on each side that see the same transactions.
func (r *run) takeBarrier(ctx context.Context, n int) ([]*worker, barrier, error) {
	for _, hold := range holds {
		workers, b, err := r.tryBarrier(ctx, n, hold)
		if !errors.Is(err, errMissed) {
			return workers, b, err
		}
	}
	message := "no slot could be made on the source within " + holds[len(holds)-1].String()
	if r.waiting != "" {
		message += ": " + r.waiting
	}
	return nil, barrier{}, fault.New(fault.Operator, "take a barrier for", r.Slot, "let the longest writing transactions on the source end, or verify when there are none", "%s", message).
		WithCode(CodeBarrierMissed)
}

// errTaken ends the holding of the source's snapshot: all sessions have it.
var errTaken = errors.New("all sessions have the snapshot")

func (r *run) tryBarrier(ctx context.Context, n int, hold time.Duration) (workers []*worker, b barrier, err error) {
	o := &order{run: r, placed: make(chan struct{}), kept: make(chan struct{})}
	defer func() {
		o.stop()
		if err != nil {
			err = o.callOff(ctx, err)
			closeAll(ctx, workers)
			r.letGo(ctx)
			workers = nil
		}
	}()
	r.tell("waiting for a snapshot of the source")
	options := slot.HoldOptions{Source: r.Source, Slot: r.Slot, Plugin: r.Plugin, BeforeCreate: func() error { return o.give(ctx, hold) }, OnWaiting: r.blocked}
	err = slot.Hold(ctx, options, func(held slot.Held) error {
		ok, err := ledger.PlaceBarrier(ctx, r.target, o.serial, held.ConsistentPoint)
		if err == nil && !ok {
			err = errMissed
		}
		if err != nil {
			return err
		}
		close(o.placed)
		b = barrier{serial: o.serial, lsn: held.ConsistentPoint, at: time.Now()}
		workers, err = r.lookAt(ctx, n, b, held.Snapshot)
		if err == nil {
			b.held = time.Since(o.given)
			err = errTaken
		}
		return err
	}, nil)
	switch {
	case errors.Is(err, errTaken):
		return workers, b, nil
	case err == nil:
		err = ctx.Err()
	}
	return workers, b, err
}

// blocked tells who keeps the source's snapshot from being made.
func (r *run) blocked(who []slot.Blocker) {
	r.waiting = fmt.Sprintf("it waits for %d older transactions, the oldest: pid %d of user %s, open for %s", len(who), who[0].PID, who[0].User, who[0].Age.Round(time.Second))
	r.tell("the snapshot of the source: " + r.waiting)
}

// order is one order to hold the apply.
type order struct {
	run    *run
	serial int // 0: not given yet
	given  time.Time
	cancel func() // of the goroutine that keeps it
	placed chan struct{}
	kept   chan struct{}
}

// give holds the apply for what is committed on the source from now on, for so long as the slot may take.
func (o *order) give(ctx context.Context, hold time.Duration) error {
	r := o.run
	// Before the order is written: what was committed on the source up to here may be applied meanwhile.
	from, err := pgkit.CurrentLSN(ctx, r.source)
	if err != nil {
		return fmt.Errorf("read the end of the source's WAL: %w", err)
	}
	if o.serial, err = ledger.AskBarrier(ctx, r.target, from); err != nil {
		return err
	}
	o.given = time.Now()
	keeping, cancel := context.WithCancel(ctx)
	o.cancel = cancel
	go func() {
		defer close(o.kept)
		r.keepBarrier(keeping, o.serial, hold, o.placed)
	}()
	return nil
}

// stop ends the keeping of the order.
func (o *order) stop() {
	if o.cancel != nil {
		o.cancel()
		<-o.kept
	}
}

// callOff ends an order that came to nothing: the apply must not wait for the lease to end.
func (o *order) callOff(ctx context.Context, err error) error {
	if o.serial == 0 {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, missErr := ledger.MissBarrier(ctx, o.run.keeper, o.serial, false); missErr != nil && !errors.Is(err, errMissed) {
		return errors.Join(err, missErr)
	}
	return err
}

// keepBarrier renews the order while we live, and calls it off when the source's snapshot takes longer than hold.
func (r *run) keepBarrier(ctx context.Context, serial int, hold time.Duration, placed <-chan struct{}) {
	limit := time.NewTimer(hold)
	defer limit.Stop()
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		move := func(context.Context) (bool, error) { return true, nil }
		select {
		case <-ctx.Done():
			return
		case <-placed:
			limit.Stop()
			placed = nil
		case <-limit.C:
			move = func(ctx context.Context) (bool, error) { return ledger.MissBarrier(ctx, r.keeper, serial, false) }
		case <-tick.C:
			move = func(ctx context.Context) (bool, error) { return ledger.RenewBarrier(ctx, r.keeper, serial) }
		}
		// Ended in the middle of a query, the connection would be of no use to the next attempt.
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		if _, err := move(asking); err != nil { // the lease ends by itself, and the barrier with it
			r.Log.DebugContext(ctx, "keep barrier", "err", err)
		}
		cancel()
	}
}

// lookAt opens the sessions: those of the source at once, those of the target as soon as the apply stands at the barrier. On each side
// one more session holds the snapshot.
func (r *run) lookAt(ctx context.Context, n int, b barrier, snapshot string) (workers []*worker, err error) {
	workers = make([]*worker, n)
	for i := range workers {
		workers[i] = &worker{}
	}
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		if r.holders.source, err = openSession(groupCtx, "source", r.Source, snapshot); err != nil {
			return err
		}
		return r.share(groupCtx, workers, r.holders.source, r.Source, func(w *worker) **session { return &w.source })
	})
	group.Go(func() error { return mark(ctx, r.source) })
	group.Go(func() (err error) {
		if r.holders.target, err = dialSession(groupCtx, "target", r.Target); err != nil {
			return err
		}
		r.tell("waiting for the stream to come to " + b.lsn.String())
		if err := r.awaitReached(groupCtx, b); err != nil {
			return err
		}
		return r.lookAtTarget(groupCtx, workers, b)
	})
	return workers, group.Wait()
}

// share opens a session of each worker that looks through the holder's snapshot.
func (r *run) share(ctx context.Context, workers []*worker, holder *session, e pgkit.Endpoint, of func(*worker) **session) error {
	snapshot, err := holder.hold(ctx)
	if err != nil {
		return err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	for _, w := range workers {
		group.Go(func() error {
			s, err := openSession(groupCtx, holder.side, e, snapshot)
			if err != nil {
				return err
			}
			s.snapshot = snapshot
			*of(w) = s
			return nil
		})
	}
	return group.Wait()
}

// letGo gives the snapshots up.
func (r *run) letGo(ctx context.Context) {
	r.holders.close(ctx)
	r.holders = worker{}
}

// mark writes a message into the source's WAL, so that the stream comes beyond the barrier also when nobody writes.
func mark(ctx context.Context, source *pgx.Conn) error {
	return pgkit.InTx(ctx, source, func(tx pgx.Tx) error {
		// Only what is flushed is sent to the slot.
		if _, err := tx.Exec(ctx, "SET LOCAL synchronous_commit = on"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "SELECT pg_logical_emit_message(true, $1, 'barrier')", contract.MarkerPrefix); err != nil {
			return fmt.Errorf("write a message into the source's WAL: %w", err)
		}
		return nil
	})
}

func (r *run) awaitReached(ctx context.Context, b barrier) error {
	for begun := time.Now(); ; {
		now, err := ledger.CurrentBarrier(ctx, r.target)
		switch {
		case err != nil:
			return err
		case now.Serial != b.serial:
			return fault.New(fault.Transient, "take a barrier for", r.Slot, "", "another comparison has begun").WithCode(CodeBarrierMissed)
		case now.State == ledger.BarrierReached:
			return nil
		case !now.Open():
			return errMissed
		case time.Since(begun) > reachWithin:
			return fault.New(fault.Operator, "take a barrier for", r.Slot, "see what stops or slows the apply: starter status", "the stream has not come to %s within %s", b.lsn, reachWithin).
				WithCode(CodeApplyStands)
		}
		if err := pgkit.Sleep(ctx, barrierPoll); err != nil {
			return err
		}
	}
}

// lookAtTarget takes the target's snapshot while the apply stands, lets it go on, and shares the snapshot.
func (r *run) lookAtTarget(ctx context.Context, workers []*worker, b barrier) error {
	if err := r.holders.target.begin(ctx, ""); err != nil {
		return err
	}
	ok, err := ledger.TakeBarrier(ctx, r.target, b.serial)
	if err == nil && !ok {
		err = errMissed
	}
	if err != nil {
		return err
	}
	return r.share(ctx, workers, r.holders.target, r.Target, func(w *worker) **session { return &w.target })
}

func closeAll(ctx context.Context, workers []*worker) {
	for _, w := range workers {
		if w != nil {
			w.close(ctx)
		}
	}
}
