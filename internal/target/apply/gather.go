package apply

import (
	"context"
	"errors"
	"slices"
	"strings"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
)

// gatherer reads a feed and makes batches of it. It runs in a goroutine of its own, while the session executes the batch
// before.
type gatherer struct {
	*runner
	feed     Feed
	out      chan *batch
	position change.LSN
	tables   map[ident.Table]*table
	mappings map[*change.Relation]*mapping
	current  map[ident.Table]*change.Relation

	memory *memory
	folds  map[ident.Table]*fold
	order  []*fold // in order of first use in this batch
	batch  *batch
	bytes  int64
	count  int

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
	g := &gatherer{runner: r, feed: feed, out: make(chan *batch), position: position, tables: tables,
		mappings: map[*change.Relation]*mapping{}, current: map[ident.Table]*change.Relation{}, memory: newMemory(), folds: map[ident.Table]*fold{}, batch: &batch{}}
	return g
}

// strictBefore is true while a transaction with this FinalLSN must be applied change by change.
func (g *gatherer) strictBefore(final change.LSN) bool {
	return !g.ReplicaRole || final <= g.strictUntil
}

func (g *gatherer) run(ctx context.Context) error {
	for {
		ev, err := g.feed.Next(ctx)
		if err != nil {
			return err
		}
		if err := g.take(ctx, &ev); err != nil {
			return err
		}
	}
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
		if g.full() {
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
	strict := g.strictBefore(ev.FinalLSN)
	if strict != g.batch.strict {
		if g.batch.transactions > 0 { // what is strict and what is not do not share a batch
			if err := g.hand(ctx, false); err != nil {
				return err
			}
		}
		g.batch.strict = strict
	}
	g.inTx, g.final, g.xid = true, ev.FinalLSN, ev.XID
	g.skip = ev.FinalLSN < g.position && (g.replayFrom == 0 || ev.FinalLSN < g.replayFrom)
	if !g.skip {
		g.batch.reached = ev.FinalLSN
	}
	return nil
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
	// After a partial batch the target's transaction is open: it is to end with this transaction.
	if g.full() || g.batch.continues || g.batch.urgent || !g.feed.Ready() {
		return g.hand(ctx, false)
	}
	return nil
}

func (g *gatherer) progressed(ctx context.Context, ev *change.Event) error {
	if g.inTx {
		return outOfOrder("progress inside of transaction %d", g.xid)
	}
	if ev.FinalLSN <= max(g.position, g.batch.end) {
		return nil
	}
	g.batch.end = ev.FinalLSN
	if g.feed.Ready() {
		return nil
	}
	return g.hand(ctx, false)
}

func (g *gatherer) full() bool { return g.bytes >= g.BatchBytes || g.count >= g.BatchChanges }

// hand gives the batch to the session, waiting until it takes it, and starts the next one.
func (g *gatherer) hand(ctx context.Context, partial bool) error {
	b := g.batch
	var last []step
	for _, f := range g.order {
		last = f.steps(last)
		f.reset()
		f.listed = false
	}
	// A COPY ends the pipeline: the others go first, in one. A table's steps keep their order, since its COPY is the last.
	for _, copies := range []bool{false, true} {
		for _, s := range last {
			if (s.kind == stepCopy) == copies {
				b.steps = append(b.steps, s)
			}
		}
	}
	b.partial = partial
	b.changes = int64(g.count)
	g.order = g.order[:0]
	g.memory.reset()
	g.bytes, g.count = 0, 0
	g.batch = &batch{reached: b.reached, continues: partial, strict: partial && b.strict}
	if !partial {
		g.position = max(g.position, b.end)
	}
	select {
	case g.out <- b:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g *gatherer) row(ctx context.Context, ev *change.Event) error {
	m, err := g.mapping(ctx, ev.Relation)
	if err != nil || m == nil {
		return err
	}
	if err := checkRow(m, ev); err != nil {
		return err
	}
	g.count++
	g.bytes += perChangeBytes
	for _, values := range [][]change.Datum{ev.New, ev.Old} {
		g.bytes += int64(len(values)) * perColumnBytes
		for _, d := range values {
			g.bytes += int64(len(d.Bytes))
		}
	}
	if g.batch.strict {
		g.batch.steps = m.oneByOne(g.batch.steps, ev)
		return nil
	}
	return g.fold(m, ev)
}

// checkRow refuses rows that the decoder should never have given.
func checkRow(m *mapping, ev *change.Event) error {
	for _, values := range [][]change.Datum{ev.New, ev.Old} {
		if values != nil && len(values) != len(m.columns) {
			return outOfOrder("a row of %d columns for %s, which has %d", len(values), m.table.name, len(m.columns))
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
		g.batch.steps = m.oneByOne(g.batch.steps, ev)
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
	f := g.folds[m.table.name]
	if f == nil || f.mapping != m {
		if f != nil {
			g.flush(f)
			g.order = slices.DeleteFunc(g.order, func(o *fold) bool { return o == f })
		}
		f = newFold(m, g.memory)
		g.folds[m.table.name] = f
	}
	if !f.listed {
		f.listed = true
		g.order = append(g.order, f)
	}
	return f
}

// flush turns one table's fold into steps now.
func (g *gatherer) flush(f *fold) {
	g.batch.steps = f.steps(g.batch.steps)
	f.reset()
}
