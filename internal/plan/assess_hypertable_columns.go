package plan

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// integerTimes are the integer types by which a hypertable can be cut, with their greatest values.
var integerTimes = map[uint32]int64{20: math.MaxInt64, 21: math.MaxInt16, 23: math.MaxInt32}

// dateOID is the type whose chunks are cut by whole days.
const dateOID = 1082

// calendarTimes are the other ones: https://docs.tigerdata.com/api/latest/hypertable/create_hypertable/.
var calendarTimes = map[uint32]bool{dateOID: true, 1114: true, 1184: true}

func (f facts) assessTimeColumn(t shape.Table, h contract.Hypertable) []contract.Problem {
	object := t.Table.String()
	c, ok := column(t, h.TimeColumn)
	if !ok {
		return []contract.Problem{noColumn(t, "timeColumn", h.TimeColumn)}
	}
	if _, integer := integerTimes[c.TypeOID]; !integer && !calendarTimes[c.TypeOID] {
		return []contract.Problem{fatal(CodeHypertableTimeType, object, fmt.Sprintf("the time column %s is of type %s", c.Name, c.Type),
			"choose a column of type timestamp, timestamptz, date, smallint, integer or bigint (not of a domain over one)")}
	}
	var found []contract.Problem
	if c.Generated {
		found = append(found, generatedColumn(t, "time", c))
	}
	if !c.NotNull {
		found = append(found, f.nullableTime(t, c))
	}
	switch f.src.ForHypertables[t.Table].OutOfRange {
	case FoundSome:
		found = append(found, fatal(CodeHypertableTimeRange, object, fmt.Sprintf("the time column %s has times that no chunk can hold: -infinity, or years beyond 294246", c.Name),
			fmt.Sprintf("give those rows another time, or delete them: SELECT * FROM %s WHERE %[2]s = '-infinity' OR %[2]s > '294246-12-31' AND %[2]s < 'infinity'", t.Table.Quote(), ident.Quote(c.Name))))
	case NotKnown, NotAllowed:
		found = append(found, info(CodeHypertableTimeRange, object,
			fmt.Sprintf("whether the time column %s has times that no chunk can hold (-infinity, years beyond 294246) was not looked at: it would take long, or may not be read", c.Name),
			"look yourself if that may be: such a row would stop the copy"))
	}
	return found
}

func generatedColumn(t shape.Table, kind string, c shape.Column) contract.Problem {
	return fatal(CodeHypertableGenerated, t.Table.String(), fmt.Sprintf("the %s column %s is generated, by which a hypertable cannot be cut", kind, c.Name),
		fmt.Sprintf("choose another column, or make it an ordinary one on the source: ALTER TABLE %s ALTER COLUMN %s DROP EXPRESSION (from PostgreSQL 13)", t.Table.Quote(), ident.Quote(c.Name)))
}

// nullableTime is an error only where rows without a time are known: the target makes the column NOT NULL.
func (f facts) nullableTime(t shape.Table, c shape.Column) contract.Problem {
	notNull := fmt.Sprintf("run: ALTER TABLE %s ALTER COLUMN %s SET NOT NULL", t.Table.Quote(), ident.Quote(c.Name))
	switch f.src.ForHypertables[t.Table].Nulls {
	case FoundSome:
		return fatal(CodeHypertableNullable, t.Table.String(), fmt.Sprintf("the time column %s has rows with NULL, which a hypertable does not take", c.Name),
			"give those rows a time, or delete them; then "+notNull)
	case FoundNone:
		return warning(CodeHypertableNullable, t.Table.String(),
			fmt.Sprintf("the time column %s may be NULL, which a hypertable does not allow: no row has NULL now, but one written later would stop the migration", c.Name), notNull)
	}
	return warning(CodeHypertableNullable, t.Table.String(),
		fmt.Sprintf("the time column %s may be NULL, which a hypertable does not allow, and whether rows have it could not be seen quickly: such a row would stop the copy", c.Name), notNull)
}

// assessIntervals checks the words that only a server can read.
func (f facts) assessIntervals(t shape.Table, h contract.Hypertable) []contract.Problem {
	c, ok := column(t, h.TimeColumn)
	if !ok {
		return nil
	}
	greatest, integer := integerTimes[c.TypeOID]
	var found []contract.Problem
	if integer {
		if n, err := strconv.ParseInt(strings.TrimSpace(h.ChunkInterval), 10, 64); err != nil || n <= 0 || n > greatest {
			found = append(found, badInterval(t, "chunkInterval", h.ChunkInterval, "the time column "+c.Name+" is of type "+c.Type,
				fmt.Sprintf("give chunkInterval as a whole number from 1 to %d, in the column's own unit", greatest)))
		}
	} else if problem, bad := f.assessChunkInterval(t, h, c); bad {
		found = append(found, problem)
	}
	ages := []struct{ key, words string }{{"retention", h.Retention}}
	if h.Columnstore != nil {
		ages = append(ages, struct{ key, words string }{"columnstore.after", h.Columnstore.After})
	}
	for _, a := range ages {
		switch {
		case a.words == "":
		case integer:
			found = append(found, badInterval(t, a.key, a.words, "the time column "+c.Name+" is of type "+c.Type+", whose age TimescaleDB cannot tell without a function of yours",
				"leave it out, and set the policy after the migration (set_integer_now_func)"))
		case f.badLength(a.words):
			found = append(found, badInterval(t, a.key, a.words, "it is no length of time", "write it like: 7 days"))
		}
	}
	return found
}

func badInterval(t shape.Table, key, words, why, remedy string) contract.Problem {
	return fatal(CodeHypertableInterval, t.Table.String(), fmt.Sprintf("%s is %q, but %s", key, words, why), remedy)
}

// longestChunk keeps the end of a chunk within the range of timestamps.
const longestChunk = 1000 * 365.25 * 86400

func (f facts) assessChunkInterval(t shape.Table, h contract.Hypertable, c shape.Column) (contract.Problem, bool) {
	seconds, asked := f.dst.Intervals[h.ChunkInterval]
	switch {
	case !asked:
		return contract.Problem{}, false
	case f.badLength(h.ChunkInterval):
		return badInterval(t, "chunkInterval", h.ChunkInterval, "it is no length of time", "write it like: 7 days"), true
	case seconds > longestChunk:
		return badInterval(t, "chunkInterval", h.ChunkInterval, "a chunk cannot be that long", "choose less than a thousand years"), true
	case c.TypeOID == dateOID && math.Mod(seconds, 86400) != 0:
		return badInterval(t, "chunkInterval", h.ChunkInterval, "the time column "+c.Name+" is a date", "choose whole days"), true
	}
	return contract.Problem{}, false
}

// badLength is true for words that the target does not read as a length of time above zero.
func (f facts) badLength(words string) bool {
	seconds, asked := f.dst.Intervals[words]
	return asked && !(seconds > 0)
}

// Intervals are the spec's words for lengths of time, for TargetFacts.Intervals.
func Intervals(spec contract.Spec) []string {
	var words []string
	for _, h := range spec.Hypertables {
		words = append(words, h.ChunkInterval)
		if h.Retention != "" {
			words = append(words, h.Retention)
		}
		if h.Columnstore != nil && h.Columnstore.After != "" {
			words = append(words, h.Columnstore.After)
		}
	}
	return words
}

func (f facts) assessHypertableColumns(t shape.Table, h contract.Hypertable) []contract.Problem {
	var found []contract.Problem
	if h.SpaceColumn != "" {
		c, ok := column(t, h.SpaceColumn)
		switch {
		case !ok:
			found = append(found, noColumn(t, "spaceColumn", h.SpaceColumn))
		case c.Generated:
			found = append(found, generatedColumn(t, "space", c))
		case f.src.ForHypertables[t.Table].NotHashable:
			found = append(found, fatal(CodeHypertableSpaceType, t.Table.String(), fmt.Sprintf("the space column %s is of type %s, which has no hash function", c.Name, c.Type),
				"choose another column, or leave spaceColumn out"))
		}
	}
	if h.Columnstore != nil {
		for _, name := range h.Columnstore.SegmentBy {
			if _, ok := column(t, name); !ok {
				found = append(found, noColumn(t, "columnstore.segmentBy", name))
			}
		}
	}
	return found
}
