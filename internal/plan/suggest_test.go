package plan_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
)

const oneGiB = 1 << 30

// growing is a table that is a good candidate: 2 GiB with indexes in 100 days.
func growing() plan.Candidate {
	t := metrics()
	t.Table = public("events")
	t.Bytes = 3 * oneGiB / 2
	return plan.Candidate{Table: t, IndexBytes: oneGiB / 2, Inserts: 1000,
		Times: []plan.TimeColumn{{Name: "ts", Analyzed: true, Correlation: 0.99, Span: 100 * 24 * time.Hour}}}
}

func TestSuggest(t *testing.T) {
	const memory = 4 * oneGiB // a chunk may have 1 GiB: 50 days of growth
	for _, c := range []struct {
		name   string
		change func(*plan.Candidate)
		want   string // the chunk interval, "" for no proposal
	}{
		{"large and growing", func(*plan.Candidate) {}, "1 month"},
		{"grows fast", func(c *plan.Candidate) { c.Times[0].Span = 24 * time.Hour }, "12 hours"},
		{"grows faster than any interval", func(c *plan.Candidate) { c.Times[0].Span = time.Minute }, "15 minutes"},
		{"a date is cut by whole days", func(c *plan.Candidate) { c.Columns[1].TypeOID, c.Times[0].Span = 1082, time.Minute }, "1 day"},
		{"grows slowly", func(c *plan.Candidate) { c.Times[0].Span = 10000 * 24 * time.Hour }, "3 months"},
		{"without a histogram", func(c *plan.Candidate) { c.Times[0].Span = 0 }, "7 days"},
		{"backwards in time", func(c *plan.Candidate) { c.Times[0].Correlation = -0.99 }, "1 month"},
		{"in no order", func(c *plan.Candidate) { c.Times[0].Correlation = 0.3 }, ""},
		{"never analyzed", func(c *plan.Candidate) { c.Times[0] = plan.TimeColumn{Name: "ts"} }, ""},
		{"small", func(c *plan.Candidate) { c.Bytes, c.IndexBytes = 100<<20, 0 }, ""},
		{"often updated", func(c *plan.Candidate) { c.Updates = 500 }, ""},
		{"often deleted", func(c *plan.Candidate) { c.Deletes = 500 }, ""},
		{"no counters", func(c *plan.Candidate) { c.Inserts = 0 }, ""},
		{"nullable time", func(c *plan.Candidate) { c.Columns[1].NotNull = false }, ""},
		{"generated time", func(c *plan.Candidate) { c.Columns[1].Generated = true }, ""},
		{"no time", func(c *plan.Candidate) { c.Times = nil }, ""},
		{"unlogged", func(c *plan.Candidate) { c.Unlogged = true }, ""},
		{"inherits", func(c *plan.Candidate) { c.Inherits = true }, ""},
		{"in the spec", func(c *plan.Candidate) { c.Table.Table = public("metrics") }, ""},
		{"out of scope", func(c *plan.Candidate) { c.Table.Table = public("left_out") }, ""},
		{"partitioned by time, though small and changing", func(c *plan.Candidate) {
			c.Partitioned, c.RangeColumns, c.Bytes, c.Updates, c.Times[0].Correlation = true, []string{"ts"}, 100<<20, 5000, 0
		}, "3 months"},
		{"partitioned by something else", func(c *plan.Candidate) { c.Partitioned = true }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, candidate := goodWorld(t), growing()
			w.spec.Tables.Exclude = []string{"public.left_*"}
			c.change(&candidate)
			found := plan.Suggest(w.spec, []plan.Candidate{candidate}, memory)
			if c.want == "" {
				require.Empty(t, found)
				return
			}
			require.Len(t, found, 1)
			require.Equal(t, contract.Hypertable{Table: "public.events", TimeColumn: "ts", ChunkInterval: c.want}, found[0].Hypertable)
			require.NotEmpty(t, found[0].Reasons)
			require.Empty(t, found[0].Choices)
		})
	}
}

func TestSuggestTellsWhatMustBeChosen(t *testing.T) {
	w, c := goodWorld(t), growing()
	c.Indexes = []shape.Index{primary("device")}
	c.ReferredBy = []ident.Table{public("alerts")}
	found := plan.Suggest(w.spec, []plan.Candidate{c}, 0)
	require.Len(t, found, 1)
	require.Len(t, found[0].Choices, 2)
	require.Contains(t, found[0].Choices[0], "(device) does not contain ts")
	require.Contains(t, found[0].Choices[1], "public.alerts")
	require.Equal(t, "7 days", found[0].Hypertable.ChunkInterval, "the target's memory is not known")
}

func TestSuggestNamesTheLargestFirstAndTheBestColumn(t *testing.T) {
	w, small, large := goodWorld(t), growing(), growing()
	large.Table.Table, large.Bytes = public("big"), 100*oneGiB
	large.Columns = append([]shape.Column{{Name: "loose", TypeOID: 1184, NotNull: true}}, large.Columns...)
	large.Times = append([]plan.TimeColumn{{Name: "loose", Analyzed: true, Correlation: 0.85}}, large.Times...)
	found := plan.Suggest(w.spec, []plan.Candidate{small, large}, 4*oneGiB)
	require.Len(t, found, 2)
	require.Equal(t, "public.big", found[0].Hypertable.Table)
	require.Equal(t, "ts", found[0].Hypertable.TimeColumn)
}
