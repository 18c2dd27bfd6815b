package apply

import (
	"slices"

	"timeferry/internal/change"
)

const (
	// singleMax is up to how many rows statements for one row are used: they are prepared once, while a set-wise statement
	// is parsed and planned each time, for about the price of five of them.
	singleMax = 4
	// copyMin is from how many rows COPY is worth its additional round trip.
	copyMin = 256
)

// steps turns the net change into steps: delete, update, insert. Their parameters are copies.
func (f *fold) steps(into []step) []step {
	into = f.mapping.deleteSteps(into, f.dead)
	into = f.updateSteps(into)
	return f.insertSteps(into)
}

func (m *mapping) deleteSteps(into []step, keys [][]change.Datum) []step {
	if len(keys) == 0 {
		return into
	}
	if len(keys) <= singleMax {
		for _, key := range keys {
			into = append(into, m.deleteOne(key))
		}
		return into
	}
	params, formats := m.arrayParams(len(keys), func(r int) []change.Datum { return keys[r] }, nil, nil)
	params, formats, bounds := m.appendBounds(params, formats, len(keys), func(r int) []change.Datum { return keys[r] })
	return append(into, step{kind: stepQuery, sql: m.deleteSetSQL(bounds), params: params, formats: formats,
		rows: int64(len(keys)), counted: !m.unique, table: m.table, verb: "delete"})
}

func (m *mapping) deleteOne(key []change.Datum) step {
	return step{kind: stepPrepared, sql: m.deleteOneSQL(), params: oneRow(key), rows: 1, table: m.table, verb: "delete", key: keyBytes(key)}
}

func keyBytes(key []change.Datum) []byte {
	var b []byte
	for _, d := range key {
		b = appendDatum(b, d)
	}
	return b
}

// group is the updated rows that set the same columns in the same way.
type group struct {
	rows []*row
	mask string
}

func (f *fold) updateSteps(into []step) []step {
	groups := map[string]*group{}
	var order []*group
	var mask []byte
	for _, r := range f.rows {
		if r.gone || r.orig == nil {
			continue
		}
		mask = appendMask(mask[:0], r)
		g := groups[string(mask)]
		if g == nil {
			g = &group{mask: string(mask)}
			groups[g.mask] = g
			order = append(order, g)
		}
		g.rows = append(g.rows, r)
	}
	for _, g := range order {
		into = f.mapping.groupSteps(into, g)
	}
	return into
}

// appendMask says which columns a row sets, and whether its key changes.
func appendMask(b []byte, r *row) []byte {
	b = append(b, ' ')
	if r.moved {
		b = append(b, 'k')
	}
	for _, d := range r.values {
		if d.State == change.Unchanged {
			b = append(b, '0')
		} else {
			b = append(b, '1')
		}
	}
	return b
}

// settable lists the columns that rows of values' shape set: with the key or without, with pinned columns or without.
func (m *mapping) settable(values []change.Datum, key, pinned bool) []int {
	var set []int
	for i, d := range values {
		if d.State == change.Unchanged || !key && slices.Contains(m.key, i) || !pinned && slices.Contains(m.pinned, i) {
			continue
		}
		set = append(set, i)
	}
	return set
}

func (m *mapping) groupSteps(into []step, g *group) []step {
	first := g.rows[0]
	switch {
	case first.moved && len(m.pinned) > 0:
		return append(into, m.moveStep(g, m.settable(first.values, true, true), false))
	case first.moved:
		return m.updateGroup(into, g, m.settable(first.values, true, true))
	case m.free:
		// Rows in which a pinned column changes are moved; then all are updated, for which the moved ones are there already.
		if set := m.settable(first.values, false, true); setsPinned(m, set) {
			into = append(into, m.moveStep(g, set, true))
		}
	}
	return m.updateGroup(into, g, m.settable(first.values, false, false))
}

func setsPinned(m *mapping, set []int) bool {
	return slices.ContainsFunc(m.pinned, func(p int) bool { return slices.Contains(set, p) })
}

func (m *mapping) updateGroup(into []step, g *group, set []int) []step {
	if len(g.rows) <= singleMax {
		for _, r := range g.rows {
			into = append(into, m.updateOne(r, set, g.mask))
		}
		return into
	}
	params, formats, bounds := m.groupParams(g, set)
	return append(into, step{kind: stepQuery, sql: m.updateSetSQL(set, g.mask, bounds), params: params, formats: formats,
		rows: int64(len(g.rows)), counted: !m.unique || len(set) == 0, table: m.table, verb: "update"})
}

func (m *mapping) updateOne(r *row, set []int, mask string) step {
	return step{kind: stepPrepared, sql: m.updateOneSQL(set, mask), params: oneRow(pick(r.values, set), r.orig), rows: 1,
		table: m.table, verb: "update", key: keyBytes(r.orig)}
}

func pick(values []change.Datum, set []int) []change.Datum {
	picked := make([]change.Datum, len(set))
	for i, s := range set {
		picked[i] = values[s]
	}
	return picked
}

func (m *mapping) moveStep(g *group, set []int, onlyPinned bool) step {
	params, formats, bounds := m.groupParams(g, set)
	s := step{kind: stepQuery, sql: m.moveSetSQL(set, g.mask, onlyPinned, bounds), params: params, formats: formats,
		rows: int64(len(g.rows)), counted: true, table: m.table, verb: "update"}
	if onlyPinned {
		s.rows = anyRows
	}
	if len(g.rows) == 1 {
		s.key = keyBytes(g.rows[0].orig)
	}
	return s
}

func (m *mapping) groupParams(g *group, set []int) (params [][]byte, formats []int16, bounds bool) {
	orig := func(r int) []change.Datum { return g.rows[r].orig }
	params, formats = m.arrayParams(len(g.rows), orig, set, func(r int) []change.Datum { return g.rows[r].values })
	return m.appendBounds(params, formats, len(g.rows), orig)
}

// arrayParams encodes n rows column by column: the key's columns if there are keys, then the columns in set.
func (m *mapping) arrayParams(n int, keys func(r int) []change.Datum, set []int, values func(r int) []change.Datum) (params [][]byte, formats []int16) {
	if keys != nil {
		for k := range m.key {
			params = append(params, textArray(n, func(r int) change.Datum { return keys(r)[k] }))
			formats = append(formats, 1)
		}
	}
	for _, s := range set {
		params = append(params, textArray(n, func(r int) change.Datum { return values(r)[s] }))
		formats = append(formats, 1)
	}
	return params, formats
}

// appendBounds adds the least and the greatest value of each bounded column, if they can be told for all of them.
func (m *mapping) appendBounds(params [][]byte, formats []int16, n int, keys func(r int) []change.Datum) ([][]byte, []int16, bool) {
	if len(m.bounded) == 0 {
		return params, formats, false
	}
	with, textFormats := params, formats
	for _, b := range m.bounded {
		k := slices.Index(m.key, b)
		least, greatest, ok := leastAndGreatest(m.columns[b].typeOID, n, func(r int) []byte { return keys(r)[k].Bytes })
		if !ok {
			return params, formats, false
		}
		with = append(with, slices.Clone(least), slices.Clone(greatest))
		textFormats = append(textFormats, 0, 0)
	}
	return with, textFormats, true
}

func (f *fold) insertSteps(into []step) []step {
	m := f.mapping
	var rows []*row
	size := 0
	for _, r := range f.rows {
		if r.gone || r.orig != nil {
			continue
		}
		rows = append(rows, r)
		for _, d := range r.values {
			size += len(d.Bytes) + 2
		}
	}
	switch {
	case len(rows) <= singleMax || len(m.columns) == 0:
		for _, r := range rows {
			into = append(into, m.insertOne(r.values))
		}
		return into
	case len(rows) < copyMin:
		all := make([]int, len(m.columns))
		for i := range all {
			all[i] = i
		}
		params, formats := m.arrayParams(len(rows), nil, all, func(r int) []change.Datum { return rows[r].values })
		return append(into, step{kind: stepQuery, sql: m.insertSetSQL(), params: params, formats: formats, rows: int64(len(rows)), table: m.table, verb: "insert"})
	}
	data := make([]byte, 0, size+size/16)
	for _, r := range rows {
		data = appendCopyRow(data, r.values)
	}
	return append(into, step{kind: stepCopy, sql: m.copySQL(), data: data, rows: int64(len(rows)), table: m.table, verb: "insert"})
}

func (m *mapping) insertOne(values []change.Datum) step {
	var key []byte
	if len(m.key) > 0 {
		key = m.appendKey(nil, values, nil)
	}
	return step{kind: stepPrepared, sql: m.insertOneSQL(), params: oneRow(values), rows: 1, table: m.table, verb: "insert", key: key}
}

// single appends the steps of one update or delete on its own, in strict batches and for tables without a key. old is nil
// for updates that left the key alone; values is nil for deletes.
func (m *mapping) single(into []step, old, values []change.Datum) []step {
	switch {
	case len(m.key) > 0 && values == nil:
		return append(into, m.deleteOne(pick(old, m.key)))
	case len(m.key) > 0:
		r := &row{values: values, orig: pick(values, m.key)}
		if old != nil {
			r.orig = pick(old, m.key)
			r.moved = !m.sameKey(r.orig, values)
		}
		return m.groupSteps(into, &group{rows: []*row{r}, mask: string(appendMask(nil, r))})
	}
	return append(into, m.victimStep(old, values))
}

// victimStep changes one row that is found by all its columns.
func (m *mapping) victimStep(old, values []change.Datum) step {
	s := step{kind: stepPrepared, rows: 1, table: m.table, key: keyBytes(old)}
	if values == nil {
		sql, params := m.deleteVictimSQL(old)
		s.sql, s.params, s.verb = sql, oneRow(params), "delete"
		return s
	}
	s.verb = "update"
	movedPinned := slices.ContainsFunc(m.pinned, func(p int) bool {
		return values[p].State != change.Unchanged && (values[p].State != old[p].State || string(values[p].Bytes) != string(old[p].Bytes))
	})
	set := m.settable(values, true, movedPinned)
	if len(set) == 0 { // nothing that could change: set one column to what it is, to see that the row is there
		sql, params := m.victim(old, 1)
		s.sql, s.params = sql+" SELECT 1 FROM victim", oneRow(params)
		return s
	}
	build := m.updateVictimSQL
	if movedPinned {
		build = m.moveVictimSQL
	}
	sql, params := build(set, old)
	s.sql, s.params = sql, oneRow(pick(values, set), params)
	return s
}
