package apply

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
	"timeferry/internal/target/ledger"
)

// gatherer reads a feed and makes batches of it. It runs in a goroutine of its own, while the session executes the batch
// before.
type gatherer struct {
	*runner
	feed     Feed
	out      chan *batch
	taker    *taker
	position change.LSN
	tables   map[ident.Table]*table
	routes   map[*change.Relation]*route
	last     *route // of the change before: most come in runs for one table
	// leafMappings are the mappings made for leaves, by their root.
	leafMappings map[ident.Table][]*mapping
	// leaves are those of the source by their root; partitions are the target's by name, as far as asked for.
	leaves     map[ident.Table][]ledger.Leaf
	partitions map[ident.Table]*table
	// predicted are definitions on the target that are only in steps so far.
	predicted map[ident.Table]*shape.Definition
	// skips are columns of relations that the target has no place for any more.
	skips    map[ident.Table][]string
	arranged [2][]change.Datum // the memory of rows that were put into another order

	touching *touching     // nil: what is touched need not be noted
	ahead    *ledger.Ahead // nil: all lanes are at the position

	memory *memory
	folds  map[ident.Table]*fold
	order  []*fold // in order of first use in this batch
	batch  *batch
	bytes  int64
	count  int
	handed time.Time // when the session got its last batch
	tally  tally

	inTx  bool
	skip  bool // the transaction is on the target already
	final change.LSN
	xid   uint32
}

// perChangeBytes is what a change costs in memory besides its values, and per column.
const (
	perChangeBytes = 200
	perColumnBytes = 40
)

func newGatherer(r *runner, feed Feed, position change.LSN, tables map[ident.Table]*table) *gatherer {
	g := &gatherer{runner: r, feed: feed, out: make(chan *batch), taker: newTaker(), position: position, tables: tables,
		routes: map[*change.Relation]*route{}, leafMappings: map[ident.Table][]*mapping{}, leaves: map[ident.Table][]ledger.Leaf{}, partitions: map[ident.Table]*table{},
		predicted: map[ident.Table]*shape.Definition{}, skips: map[ident.Table][]string{}, memory: newMemory(), folds: map[ident.Table]*fold{}}
	g.batch = g.newBatch()
	for _, l := range r.Leaves {
		g.leaves[l.Root] = append(g.leaves[l.Root], l)
	}
	return g
}

// strictBefore is true while a transaction with this FinalLSN must be applied change by change.
func (g *gatherer) strictBefore(final change.LSN) bool {
	return !g.ReplicaRole || final <= g.strictUntil
}

func (g *gatherer) run(ctx context.Context) error {
	for {
		ev, err := g.next(ctx)
		if err != nil {
			return g.endWith(ctx, err)
		}
		if err := g.take(ctx, &ev); err != nil {
			return err
		}
	}
}

// endWith hands over what came whole before the feed failed.
func (g *gatherer) endWith(ctx context.Context, failed error) error {
	if g.inTx || g.ahead != nil || g.batch.empty() || ctx.Err() != nil {
		return failed
	}
	if err := g.hand(ctx, false); err != nil {
		return err
	}
	return failed
}

// next is the feed's next event. While the feed has none, the batch so far is given to the session as soon as that can
// take it: at once after a silence; else pace after the one before, or when the session is done with it, so that batches get
// as large as the target is slow.
func (g *gatherer) next(ctx context.Context) (change.Event, error) {
	if g.inTx || g.ahead != nil || g.batch.empty() || g.feed.Ready() {
		return g.feed.Next(ctx)
	}
	if g.taker.waits() && g.dueIn() <= 0 { // no need to listen to both
		if err := g.hand(ctx, false); err != nil {
			return change.Event{}, err
		}
		return g.feed.Next(ctx)
	}
	came := make(chan arrival, 1)
	go func() {
		ev, err := g.feed.Next(ctx)
		came <- arrival{ev, err}
	}()
	a, early := g.awaitTaker(came)
	if early {
		return a.ev, a.err
	}
	err := g.hand(ctx, false)
	a = <-came // if ctx has ended, so does Next
	if err != nil {
		return change.Event{}, err
	}
	return a.ev, a.err
}

// arrival is what the feed gave.
type arrival struct {
	ev  change.Event
	err error
}

// awaitTaker waits until the batch is due and the session waits for it; early is true when the feed gave something before.
func (g *gatherer) awaitTaker(came <-chan arrival) (a arrival, early bool) {
	due := time.NewTimer(g.dueIn())
	defer due.Stop()
	for {
		select {
		case a = <-came:
			return a, true
		case <-g.taker.told:
		case <-due.C:
		}
		if g.taker.waits() && g.dueIn() <= 0 {
			return a, false
		}
	}
}

// pace is the least time between two batches that are not full. Each costs the target and us about a millisecond, however
// small: a busy stream of small transactions would take the processor from those who make it.
const pace = 20 * time.Millisecond

// dueIn is how long the batch may wait for more.
func (g *gatherer) dueIn() time.Duration {
	if g.batch.urgent {
		return 0
	}
	return pace - time.Since(g.handed)
}

func (g *gatherer) take(ctx context.Context, ev *change.Event) error {
	switch ev.Kind {
	case change.Begin:
		return g.begin(ctx, ev)
	case change.Commit:
		return g.commit(ctx, ev)
	case change.Insert, change.Update, change.Delete:
		if g.skip {
			return nil
		}
		if !g.inTx {
			return outOfOrder("a change outside of a transaction")
		}
		if err := g.row(ctx, ev); err != nil {
			return err
		}
		if g.overfull() {
			return g.hand(ctx, true)
		}
		return nil
	case change.Truncate:
		if g.skip {
			return nil
		}
		return g.truncate(ctx, ev)
	case change.Message:
		if strings.HasPrefix(ev.Prefix, contract.MarkerPrefix) && !g.skip {
			g.batch.urgent = true
		}
		return nil
	case change.Progress:
		return g.progressed(ctx, ev)
	case change.Schema:
		return nil // looked at when a change of the relation comes
	}
	return outOfOrder("an event of unknown kind %q", ev.Kind)
}

func (g *gatherer) begin(ctx context.Context, ev *change.Event) error {
	if g.inTx {
		return outOfOrder("transaction %d begins inside of transaction %d", ev.XID, g.xid)
	}
	if g.passes(ev.FinalLSN) {
		if err := g.level(ctx); err != nil {
			return err
		}
	}
	if g.stopBefore != 0 && ev.FinalLSN >= g.stopBefore {
		return g.stopNow(ctx)
	}
	if err := g.strictOrNot(ctx, ev.FinalLSN); err != nil {
		return err
	}
	g.inTx, g.final, g.xid = true, ev.FinalLSN, ev.XID
	g.skip = ev.FinalLSN < g.position && (g.replayFrom == 0 || ev.FinalLSN < g.replayFrom)
	if !g.skip && g.halts(ev.FinalLSN) {
		return g.haltAtCut(ctx)
	}
	if !g.skip {
		g.batch.reached = ev.FinalLSN
	}
	return nil
}

// strictOrNot begins another batch where what is strict ends or begins: they do not share one.
func (g *gatherer) strictOrNot(ctx context.Context, final change.LSN) error {
	if g.ahead == nil && final <= g.aloneUntil {
		g.batch.join()
	}
	strict := g.strictBefore(final)
	if strict == g.batch.strict {
		return nil
	}
	if g.batch.transactions > 0 {
		if g.ahead != nil { // one batch, whatever it takes
			return nil
		}
		if err := g.hand(ctx, false); err != nil {
			return err
		}
	}
	g.batch.strict = strict
	if g.ahead == nil {
		g.batch.join()
	}
	return nil
}

// stopNow hands over what was gathered, and ends with the reason for which this stream was to stop here.
func (g *gatherer) stopNow(ctx context.Context) error {
	if g.batch.transactions > 0 && g.ahead == nil {
		if err := g.hand(ctx, false); err != nil {
			return err
		}
	}
	return g.stopCause
}

func (g *gatherer) commit(ctx context.Context, ev *change.Event) error {
	if !g.inTx {
		return outOfOrder("a commit outside of a transaction")
	}
	g.inTx = false
	if g.skip {
		g.skip = false
		if ev.EndLSN > g.position {
			return &againError{reason: "the position lies inside of a commit record", replayFrom: g.final}
		}
		return nil
	}
	g.batch.end, g.batch.commitTime = max(g.batch.end, ev.EndLSN), ev.CommitTime
	g.batch.transactions++
	switch {
	case g.ahead == nil:
	case ev.EndLSN > g.ahead.End:
		return &againError{reason: "the position of a lane lies inside of a commit record", levelBefore: g.final}
	case ev.EndLSN == g.ahead.End:
		return g.level(ctx)
	default:
		return nil
	}
	// After a partial batch the target's transaction is open: it is to end with this transaction.
	if g.full() || g.batch.continues || g.batch.urgent || g.count >= handChanges && g.taker.waits() {
		return g.hand(ctx, false)
	}
	return nil
}

func (g *gatherer) progressed(ctx context.Context, ev *change.Event) error {
	if g.inTx {
		return outOfOrder("progress inside of transaction %d", g.xid)
	}
	if g.ahead != nil && ev.FinalLSN >= g.ahead.End {
		if err := g.level(ctx); err != nil {
			return err
		}
	}
	if g.halts(ev.FinalLSN) {
		return g.haltAtCut(ctx)
	}
	if ev.FinalLSN <= max(g.position, g.batch.end) {
		return nil
	}
	g.batch.end, g.batch.progressed = ev.FinalLSN, ev.FinalLSN
	return nil
}

// handChanges is how many changes are worth a transaction on the target that waits for some, though there is more to gather:
// it is to begin while the rest is still decoded.
const handChanges = 5000

func (g *gatherer) full() bool {
	return g.ahead == nil && (g.bytes >= g.BatchBytes || g.count >= g.BatchChanges)
}

// overfull is true when a batch must be cut inside of a transaction. What is cut cannot be shared: with lanes a quarter more may come,
// so that most batches end with a transaction.
func (g *gatherer) overfull() bool {
	if g.Lanes <= 1 || !g.full() {
		return g.full()
	}
	return g.bytes >= g.BatchBytes+g.BatchBytes/4 || g.count >= g.BatchChanges+g.BatchChanges/4
}

// hand gives the batch to the session, waiting until it takes it, and starts the next one.
func (g *gatherer) hand(ctx context.Context, partial bool) error {
	b := g.batch
	if g.ahead == nil && (partial || g.count < g.LaneChanges || slices.ContainsFunc(g.order, func(f *fold) bool { return f.rekeyed })) {
		b.join()
	}
	g.unfold()
	if g.ahead != nil {
		if err := g.leaveOut(b); err != nil {
			return err
		}
	}
	b.touched = g.touching.take()
	b.partial = partial
	b.changes, b.tables = int64(g.count), g.tally.take()
	g.order = g.order[:0]
	g.memory.reset()
	g.bytes, g.count = 0, 0
	if partial {
		g.batch = &batch{reached: b.reached, continues: true, strict: b.strict}
	} else {
		g.batch = g.newBatch()
		g.batch.reached = b.reached
	}
	if !partial {
		g.position = max(g.position, b.end)
	}
	select {
	case g.out <- b:
		g.handed = time.Now()
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gatherer) row(ctx context.Context, ev *change.Event) error {
	r, err := g.route(ctx, ev.Relation)
	if err != nil || r == nil {
		return err
	}
	m := r.mapping
	if err := checkRow(m, ev); err != nil {
		return err
	}
	if r.order != nil {
		g.arranged[0], g.arranged[1] = r.arrange(ev.Old, g.arranged[0]), r.arrange(ev.New, g.arranged[1])
		ev.Old, ev.New = g.arranged[0], g.arranged[1]
	}
	g.touching.row(m, ev)
	g.count++
	g.tally.add(m.table, g.final)
	g.bytes += perChangeBytes
	for _, values := range [][]change.Datum{ev.New, ev.Old} {
		g.bytes += int64(len(values)) * perColumnBytes
		for _, d := range values {
			g.bytes += int64(len(d.Bytes))
		}
	}
	if g.batch.strict {
		g.oneByOne(m, ev)
		return nil
	}
	return g.fold(m, ev)
}

// checkRow refuses rows that the decoder should never have given.
func checkRow(m *mapping, ev *change.Event) error {
	for _, values := range [][]change.Datum{ev.New, ev.Old} {
		if values != nil && len(values) != len(ev.Relation.Columns) {
			return outOfOrder("a row of %d columns for %s, which has %d", len(values), m.table.name, len(ev.Relation.Columns))
		}
		for _, d := range values {
			if d.State == change.Binary {
				return outOfOrder("a value in binary form for %s", m.table.name)
			}
		}
	}
	switch {
	case ev.Kind == change.Insert && ev.New == nil, ev.Kind == change.Update && ev.New == nil, ev.Kind == change.Delete && ev.Old == nil:
		return outOfOrder("a change of %s without its row", m.table.name)
	case ev.Kind == change.Insert:
		return nil
	case len(m.key) == 0 && (ev.Old == nil || ev.OldIsKey):
		return fault.New(fault.Integrity, opApply, m.table.name.String(), "give the table a replica identity on the source, then abort and start again",
			"an update or delete without anything to find its row by").WithCode(CodeRowMissing)
	}
	return nil
}

// oneByOne adds the change to its lane.
func (g *gatherer) oneByOne(m *mapping, ev *change.Event) {
	list := g.batch.list(g.laneOfChange(m, ev))
	*list = m.oneByOne(*list, ev)
}

func (m *mapping) oneByOne(into []step, ev *change.Event) []step {
	switch ev.Kind {
	case change.Insert:
		return append(into, m.insertOne(ev.New))
	case change.Delete:
		return m.single(into, ev.Old, nil)
	}
	return m.single(into, ev.Old, ev.New)
}

func (g *gatherer) fold(m *mapping, ev *change.Event) error {
	f := g.foldOf(m)
	if ev.Kind != change.Insert && len(m.key) == 0 {
		g.flush(f) // what came before must be there first
		g.oneByOne(m, ev)
		return nil
	}
	err := f.take(ev)
	if errors.Is(err, errBarrier) {
		g.flush(f)
		err = f.take(ev)
	}
	return err
}

func (f *fold) take(ev *change.Event) error {
	switch ev.Kind {
	case change.Insert:
		return f.insert(ev.New)
	case change.Update:
		return f.update(ev.Old, ev.New)
	}
	f.delete(ev.Old)
	return nil
}

// foldOf finds the table's fold; one with another description of the table is applied first.
func (g *gatherer) foldOf(m *mapping) *fold {
	f := m.fold
	if f == nil {
		if other := g.folds[m.table.name]; other != nil {
			g.batch.join() // its rows may be known by other keys from here on
			g.flush(other)
			g.order = slices.DeleteFunc(g.order, func(o *fold) bool { return o == other })
			other.mapping.fold = nil
		}
		f = newFold(m, g.memory)
		g.folds[m.table.name], m.fold = f, f
	}
	if !f.listed {
		f.listed = true
		g.order = append(g.order, f)
	}
	return f
}

// flush turns one table's fold into steps now.
func (g *gatherer) flush(f *fold) {
	if f.rekeyed && g.ahead == nil {
		g.batch.join()
	}
	g.parts(f, func(lane int, part *fold) {
		list := g.batch.list(lane)
		*list = part.steps(*list)
	})
	f.reset()
}

// unfold turns all folds into steps. A COPY ends the pipeline: the others go first, in one. A table's steps keep their order, since its
// COPY is the last.
func (g *gatherer) unfold() {
	last := make([][]step, len(g.batch.lanes)+1)
	for _, f := range g.order {
		g.parts(f, func(lane int, part *fold) { last[lane] = part.steps(last[lane]) })
		f.reset()
		f.listed = false
	}
	for lane, steps := range last {
		list := g.batch.list(lane)
		for _, copies := range []bool{false, true} {
			for _, s := range steps {
				if (s.kind == stepCopy) == copies {
					*list = append(*list, s)
				}
			}
		}
	}
}
