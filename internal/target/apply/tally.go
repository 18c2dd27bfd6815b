package apply

import (
	"slices"
	"strings"

	"timeferry/internal/change"
	"timeferry/internal/ident"
)

// TableCount is how much of a table this Run has committed: its changes, and the source's transactions they came in.
type TableCount struct {
	Table                 ident.Table
	Changes, Transactions int64
}

// done is what was done to a table.
type done struct{ changes, transactions int64 }

func (d done) plus(more done) done {
	return done{d.changes + more.changes, d.transactions + more.transactions}
}

// counts is what was done by table.
type counts map[ident.Table]done

// add adds the others, which nobody else uses from then on.
func (c *counts) add(others counts) {
	if *c == nil {
		*c = others
		return
	}
	for t, n := range others {
		(*c)[t] = (*c)[t].plus(n)
	}
}

// tally counts a batch's changes per table. Counting on the table costs a change nothing.
type tally struct{ counted []*table }

// add counts a change of the transaction that commits at final.
func (t *tally) add(to *table, final change.LSN) {
	if to.done.changes == 0 {
		t.counted = append(t.counted, to)
	}
	to.done.changes++
	if to.lastCommit != final {
		to.lastCommit = final
		to.done.transactions++
	}
}

// take gives the counts since it was called last.
func (t *tally) take() counts {
	if len(t.counted) == 0 {
		return nil
	}
	taken := make(counts, len(t.counted))
	for _, counted := range t.counted {
		taken[counted.name] = taken[counted.name].plus(counted.done)
		counted.done = done{}
	}
	t.counted = t.counted[:0]
	return taken
}

// count adds what was committed to the totals, and returns the totals of those tables.
func (r *runner) count(committed counts) []TableCount {
	if len(committed) == 0 {
		return nil
	}
	r.totals.add(committed)
	totals := make([]TableCount, 0, len(committed))
	for t := range committed {
		totals = append(totals, TableCount{Table: t, Changes: r.totals[t].changes, Transactions: r.totals[t].transactions})
	}
	slices.SortFunc(totals, func(a, b TableCount) int { return strings.Compare(a.Table.String(), b.Table.String()) })
	return totals
}
