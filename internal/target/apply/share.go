package apply

import (
	"context"
	"encoding/json"
	"hash/crc32"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// passes is true for the first transaction that lanes which are ahead have nothing of.
func (g *gatherer) passes(final change.LSN) bool {
	return g.ahead != nil && (final >= g.ahead.End || g.levelBefore != 0 && final >= g.levelBefore)
}

// goOn begins with lanes that are ahead: what they have their share of makes the first batch, exactly, without that share.
func (g *gatherer) goOn(ctx context.Context, a ledger.Ahead) {
	if len(a.Lanes) == 0 {
		return
	}
	g.ahead = &a
	g.batch = g.newBatch()
	g.Log.InfoContext(ctx, "some connections were ahead of the position", "lsn", g.position.String(), "end", a.End.String(), "lanes", len(a.Lanes))
}

// newBatch makes a batch that may be shared.
func (g *gatherer) newBatch() *batch {
	lanes := g.Lanes
	if g.ahead != nil {
		lanes = g.ahead.Of
	}
	b := &batch{}
	if lanes > 1 {
		b.lanes = make([][]step, lanes-1)
	}
	return b
}

// level hands over what brings all lanes to the same position.
func (g *gatherer) level(ctx context.Context) error {
	g.batch.end = max(g.batch.end, g.ahead.End)
	g.batch.urgent = true // the position must move before any lane does
	if err := g.hand(ctx, false); err != nil {
		return err
	}
	g.ahead = nil
	reached := g.batch.reached
	g.batch = g.newBatch()
	g.batch.reached = reached
	return nil
}

// leaveOut drops what the lanes that are ahead have applied, and leaves the rest to the session.
func (g *gatherer) leaveOut(b *batch) error {
	if len(b.lanes) != g.ahead.Of-1 {
		return fault.New(fault.Bug, opApply, "the target", "resync",
			"the changes from %s to %s were shared among %d connections, and cannot be any more", g.position, g.ahead.End, g.ahead.Of)
	}
	for lane := range g.ahead.Lanes {
		*b.list(lane) = nil
	}
	b.join()
	return nil
}

// splits is true when the rows of a table may be shared by their keys: nothing but one unique index, over the key that the stream names
// them by, tells which may be there together. The stream alone decides what the key is, so that it is the same when it comes again.
func (g *gatherer) splits(m *mapping) bool {
	if g.ahead != nil {
		return g.ahead.Split[m.table.name]
	}
	return m.relation.Identity != 'f' && len(m.key) > 0 && m.unique && !m.table.together
}

// parts shares the fold among the batch's lanes, and gives each part with its lane to do.
func (g *gatherer) parts(f *fold, do func(lane int, part *fold)) {
	m, lanes := f.mapping, len(g.batch.lanes)+1
	switch {
	case lanes == 1:
		do(0, f)
		return
	case !g.splits(m):
		do(laneOf(m.table.name, nil, lanes), f)
		return
	}
	g.batch.split(m.table.name)
	parts := make([]fold, lanes)
	part := func(key []byte) *fold { return &parts[laneOf(m.table.name, key, lanes)] }
	for _, key := range f.dead {
		p := part(keyBytes(key))
		p.dead = append(p.dead, key)
	}
	for _, r := range f.rows {
		if r.gone {
			continue
		}
		f.scratch = f.scratch[:0]
		if r.orig == nil {
			f.scratch = m.appendKey(f.scratch, r.values, nil)
		} else {
			for _, d := range r.orig {
				f.scratch = appendDatum(f.scratch, d)
			}
		}
		p := part(f.scratch)
		p.rows = append(p.rows, r)
	}
	for lane := range parts {
		parts[lane].mapping = m
		do(lane, &parts[lane])
	}
}

// laneOfChange is the lane of a change on its own.
func (g *gatherer) laneOfChange(m *mapping, ev *change.Event) int {
	lanes := len(g.batch.lanes) + 1
	switch {
	case lanes == 1:
		return 0
	case !g.splits(m):
		return laneOf(m.table.name, nil, lanes)
	case ev.Kind == change.Delete:
		return laneOf(m.table.name, m.appendKey(nil, ev.Old, nil), lanes)
	}
	return laneOf(m.table.name, m.appendKey(nil, ev.New, ev.Old), lanes)
}

// laneOf is the lane of a key of a table; it must never change, since two versions may share one batch.
func laneOf(t ident.Table, key []byte, lanes int) int {
	sum := crc32.ChecksumIEEE([]byte(t.Schema + "\x00" + t.Name))
	return int(crc32.Update(sum, crc32.IEEETable, key) % uint32(lanes))
}

// split notes that the batch has the table's rows in several lanes.
func (b *batch) split(t ident.Table) {
	if b.splits == nil {
		b.splits = map[ident.Table]bool{}
	}
	b.splits[t] = true
}

// splitText is what the ledger keeps of that.
func (b *batch) splitText() []byte {
	names := make([][2]string, 0, len(b.splits))
	for t := range b.splits {
		names = append(names, [2]string{t.Schema, t.Name})
	}
	text, err := json.Marshal(names)
	if err != nil {
		panic(err) // two strings can always be written
	}
	return text
}
