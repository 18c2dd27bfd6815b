package apply

import (
	"slices"
	"strings"

	"timeferry/internal/ident"
)

// TableCount is how many changes of a table this Run has committed.
type TableCount struct {
	Table   ident.Table
	Changes int64
}

// tally counts a batch's changes per table. Counting on the mapping costs a change nothing.
type tally struct{ counted []*mapping }

func (t *tally) add(m *mapping) {
	if m.counted == 0 {
		t.counted = append(t.counted, m)
	}
	m.counted++
}

// take gives the counts since it was called last.
func (t *tally) take() map[ident.Table]int64 {
	if len(t.counted) == 0 {
		return nil
	}
	counts := make(map[ident.Table]int64, len(t.counted))
	for _, m := range t.counted {
		counts[m.table.name] += m.counted
		m.counted = 0
	}
	t.counted = t.counted[:0]
	return counts
}

// count adds what was committed to the totals, and returns the totals of those tables.
func (r *runner) count(committed map[ident.Table]int64) []TableCount {
	if len(committed) == 0 {
		return nil
	}
	if r.totals == nil {
		r.totals = map[ident.Table]int64{}
	}
	counts := make([]TableCount, 0, len(committed))
	for t, n := range committed {
		r.totals[t] += n
		counts = append(counts, TableCount{Table: t, Changes: r.totals[t]})
	}
	slices.SortFunc(counts, func(a, b TableCount) int { return strings.Compare(a.Table.String(), b.Table.String()) })
	return counts
}
