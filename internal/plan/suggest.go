package plan

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// Candidate is what is known of a table that may be worth a hypertable.
type Candidate struct {
	shape.Table
	IndexBytes int64
	// Inserts is the counter of pg_stat_user_tables since the last reset, summed over leaves.
	Inserts int64
	// Times are its columns of type timestamptz, timestamp and date. RangeColumns are those by whose range it is partitioned,
	// at whatever level.
	Times        []TimeColumn
	RangeColumns []string
	// ReferredBy are the tables with foreign keys to it.
	ReferredBy []ident.Table
}

// TimeColumn with what ANALYZE found in it.
type TimeColumn struct {
	Name string
	// Analyzed is false when there are no statistics; then the rest is zero.
	Analyzed bool
	// Correlation of the values with the physical order, -1 to 1.
	Correlation float64
	// Span from the least to the greatest value of the histogram; 0 when there is none.
	Span time.Duration
}

const (
	// smallestHypertable is the size from which chunks can pay: below it a table and its indexes are in memory anyway.
	smallestHypertable = 256 << 20
	// insertsPerChange is how many rows are inserted for each one updated or deleted in a table that only grows.
	insertsPerChange = 10
	// leastCorrelation is where rows come mostly in the order of time.
	leastCorrelation = 0.8
	// memoryShare of the target is what a chunk with its indexes should fit in: a quarter, as TimescaleDB advises.
	memoryShare = 4
	day         = 24 * time.Hour
)

// chunkIntervals are lengths that people understand, the longest first.
var chunkIntervals = []struct {
	length time.Duration
	words  string
}{
	{90 * day, "3 months"}, {30 * day, "1 month"}, {14 * day, "14 days"}, {7 * day, "7 days"}, {3 * day, "3 days"}, {day, "1 day"},
	{12 * time.Hour, "12 hours"}, {6 * time.Hour, "6 hours"}, {3 * time.Hour, "3 hours"}, {time.Hour, "1 hour"}, {15 * time.Minute, "15 minutes"},
}

// usualInterval is TimescaleDB's own, for a table whose growth is not known.
const usualInterval = "7 days"

// Suggest proposes hypertables, the largest tables first: those partitioned by the range of a time, and large ones whose
// rows come in the order of a NOT NULL time and are seldom changed. Tables that the spec has already are left out.
// memoryBytes is the target's memory, 0 when it is not known.
func Suggest(spec contract.Spec, candidates []Candidate, memoryBytes int64) []contract.HypertableSuggestion {
	have := HypertablesOf(spec)
	byBytes := slices.Clone(candidates)
	slices.SortStableFunc(byBytes, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(b.Bytes+b.IndexBytes, a.Bytes+a.IndexBytes), cmp.Compare(a.Table.String(), b.Table.String()))
	})
	suggestions := []contract.HypertableSuggestion{}
	for _, c := range byBytes {
		if _, there := have[c.Table.Table]; there || c.Inherits || c.Unlogged || !spec.Tables.Moves(c.Table.Table) {
			continue
		}
		if s, ok := c.suggestion(memoryBytes); ok {
			suggestions = append(suggestions, s)
		}
	}
	return suggestions
}

func (c Candidate) suggestion(memoryBytes int64) (contract.HypertableSuggestion, bool) {
	at, reasons, ok := c.timeColumn()
	if !ok {
		return contract.HypertableSuggestion{}, false
	}
	s := contract.HypertableSuggestion{Hypertable: contract.Hypertable{Table: c.Table.String(), TimeColumn: at.Name}, Reasons: reasons}
	interval, why := c.interval(at, memoryBytes)
	s.Hypertable.ChunkInterval = interval
	s.Reasons = append(s.Reasons, why)
	s.Choices = c.choices(s.Hypertable)
	return s, true
}

// timeColumn is the one by which to cut: that of the partitions, else the one that rows come in the order of.
func (c Candidate) timeColumn() (at TimeColumn, reasons []string, ok bool) {
	size := fmt.Sprintf("%s with indexes", bytesWords(c.Bytes+c.IndexBytes))
	for _, t := range c.Times {
		if slices.Contains(c.RangeColumns, t.Name) {
			return t, []string{fmt.Sprintf("partitioned by range of %s; %s", t.Name, size)}, true
		}
	}
	changes := c.Updates + c.Deletes
	if c.Bytes+c.IndexBytes < smallestHypertable || c.Partitioned || c.Inserts == 0 || c.Inserts < insertsPerChange*changes {
		return at, nil, false
	}
	for _, t := range c.Times {
		column, known := column(c.Table, t.Name)
		if known && column.NotNull && !column.Generated && t.Analyzed && math.Abs(t.Correlation) >= leastCorrelation && (!ok || math.Abs(t.Correlation) > math.Abs(at.Correlation)) {
			at, ok = t, true
		}
	}
	return at, []string{size, fmt.Sprintf("%d rows inserted, %d updated or deleted since the statistics were reset", c.Inserts, changes),
		fmt.Sprintf("rows lie in the order of %s (correlation %.2f)", at.Name, at.Correlation)}, ok
}

// interval makes a chunk with its indexes fit in a share of the memory, by how fast the table has grown on average.
func (c Candidate) interval(at TimeColumn, memoryBytes int64) (words, why string) {
	bytes := c.Bytes + c.IndexBytes
	if at.Span <= 0 || memoryBytes <= 0 || bytes <= 0 {
		return usualInterval, "how fast it grows is not known (run ANALYZE on the source): " + usualInterval + " is TimescaleDB's own default"
	}
	perSecond := float64(bytes) / at.Span.Seconds()
	fits := float64(memoryBytes) / memoryShare / perSecond
	chosen := chunkIntervals[len(chunkIntervals)-1]
	isDate := false
	if col, ok := column(c.Table, at.Name); ok {
		isDate = col.TypeOID == dateOID
	}
	for _, i := range chunkIntervals {
		if isDate && i.length < day {
			break
		}
		chosen = i
		if i.length.Seconds() <= fits {
			break
		}
	}
	return chosen.words, fmt.Sprintf("it grows by %s a day, so a chunk of %s has about %s; a quarter of the target's memory is about %s",
		bytesWords(int64(perSecond*day.Seconds())), chosen.words, bytesWords(int64(perSecond*chosen.length.Seconds())), bytesWords(memoryBytes/memoryShare))
}

// choices say what a person must decide before the table can become a hypertable.
func (c Candidate) choices(h contract.Hypertable) []string {
	var choices []string
	for _, x := range c.Indexes {
		if x.Unique && len(h.Missing(x.Columns)) > 0 {
			choices = append(choices, fmt.Sprintf("its %s does not contain %s: extend adds it, drop leaves an index that is not unique", keyWords(x), h.TimeColumn))
		}
	}
	if len(choices) > 0 && len(c.ReferredBy) > 0 {
		names := make([]string, len(c.ReferredBy))
		for i, t := range c.ReferredBy {
			names[i] = t.String()
		}
		choices = append(choices, "foreign keys refer to it, which may need a key as it is: "+strings.Join(names, ", "))
	}
	return choices
}
