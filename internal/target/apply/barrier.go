package apply

import (
	"context"
	"strconv"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// barrier is where the apply has to stop, for a while: another session then looks at the target while exactly the transactions
// before it are there. A cut of zero is nowhere.
type barrier struct{ cut change.LSN }

// stops is true for what must not be applied yet: a transaction by its FinalLSN, or a position.
func (b barrier) stops(at change.LSN) bool { return b.cut != 0 && at >= b.cut }

// readBarrier is asked before a stream begins. It returns by which columns what is touched is to be noted; nil while no barrier
// was ever taken, when nobody asks what was touched.
func (r *runner) readBarrier(ctx context.Context, s *session) (map[ident.Table]ledger.Tracked, error) {
	now, err := ledger.CurrentBarrier(ctx, s.conn)
	if err != nil {
		return nil, err
	}
	r.barrier = barrier{}
	if now.Open() {
		r.barrier.cut = now.Cut
	}
	s.taken = now.Taken
	if now.Taken == 0 {
		return nil, nil
	}
	return ledger.TrackedColumns(ctx, s.conn)
}

// halts is true before what lies at the barrier's cut or beyond. What lanes are ahead with is never parted: the session refuses it as long as
// the barrier is open.
func (g *gatherer) halts(at change.LSN) bool { return g.ahead == nil && g.barrier.stops(at) }

// haltAtCut ends the stream before an event that is at the barrier's cut, or beyond it.
func (g *gatherer) haltAtCut(ctx context.Context) error {
	if g.batch.transactions > 0 || g.batch.end > g.position {
		if err := g.hand(ctx, false); err != nil {
			return err
		}
	}
	return &againError{reason: "everything before the barrier is applied", barrier: true, atCut: true}
}

// checkBarrier is judged at the beginning of each target transaction, with the ledger's row locked: what is to be applied was
// gathered before, so an order that comes after this look cannot mean it.
func (s *session) checkBarrier(b *batch, values [][]byte) error {
	taken := 0
	var err error
	if values[2] != nil {
		if taken, err = strconv.Atoi(string(values[2])); err != nil {
			return err
		}
	}
	if taken != s.taken {
		return &againError{reason: "a barrier was taken", barrier: true}
	}
	if values[1] == nil {
		return nil
	}
	cut, err := change.ParseLSN(string(values[1]))
	if err != nil {
		return err
	}
	if open := (barrier{cut}); open.stops(b.reached) || open.stops(b.progressed) {
		return &againError{reason: "the batch reaches beyond the barrier", barrier: true}
	}
	return nil
}

// barrierPoll is short: the changes wait.
const barrierPoll = 5 * time.Millisecond

// stopAtBarrier ends what is under way. When all that comes before the barrier is applied, it says so and waits until the
// target was looked at. Who asked for the barrier and is not heard of any more holds nobody up.
func (r *runner) stopAtBarrier(ctx, work context.Context, s *session, atCut bool) error {
	if err := s.rollback(work); err != nil || !atCut {
		return err
	}
	begun := time.Now()
	for {
		now, err := ledger.CurrentBarrier(ctx, s.conn)
		if err != nil {
			return s.lost(err)
		}
		switch {
		case !now.Open(), now.Cut > r.barrier.cut:
			r.Log.DebugContext(ctx, "stood at a barrier", "lsn", r.barrier.cut.String(), "elapsed", time.Since(begun))
			return nil
		case now.Expired:
			_, err = ledger.MissBarrier(ctx, s.conn, now.Serial, true)
		case now.State == ledger.BarrierAt && now.Cut == r.barrier.cut:
			_, err = ledger.ReachBarrier(ctx, s.conn, now.Serial)
		default:
			err = pgkit.Sleep(ctx, barrierPoll)
		}
		if err != nil {
			return s.lost(err)
		}
	}
}
