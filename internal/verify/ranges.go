package verify

import (
	"context"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/compare"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// stretch is what is read of a table: ranges of a column's values, or single values; with none, all of it.
type stretch struct {
	tracked ledger.Tracked
	ranges  []compare.Range
	values  []string
}

// reading is what one side has in a stretch. Both add up over stretches that do not overlap.
type reading struct {
	rows   int64
	digest *big.Int // zero with MethodCount
}

func (r reading) equal(o reading) bool { return r.rows == o.rows && r.digest.Cmp(o.digest) == 0 }

// readRanges counts and digests the rows of table, the name of t on this side, that lie in the stretch; nil: all of them.
func (s *session) readRanges(ctx context.Context, method string, table ident.Table, t Table, in *stretch) (reading, error) {
	from, err := s.from(ctx, table, t)
	if err != nil {
		return reading{}, err
	}
	what := "SELECT count(*), '0'"
	if method == MethodChecksum {
		what = "SELECT count(*), " + digestSQL(t.Columns, s.convert)
	}
	var sql strings.Builder
	for _, where := range in.conditions() {
		sql.WriteString(what + " FROM " + from + where + ";\n")
	}
	results, err := s.conn.PgConn().Exec(ctx, sql.String()).ReadAll()
	if err != nil {
		return reading{}, s.explain(table, err)
	}
	total := reading{digest: new(big.Int)}
	for _, r := range results {
		if err := total.add(r); err != nil {
			return reading{}, s.explain(table, err)
		}
	}
	return total, nil
}

func (r *reading) add(result *pgconn.Result) error {
	if result.Err != nil {
		return result.Err
	}
	if len(result.Rows) != 1 || len(result.Rows[0]) != 2 {
		return fmt.Errorf("the server answered with %d rows instead of one", len(result.Rows))
	}
	rows, err := strconv.ParseInt(string(result.Rows[0][0]), 10, 64)
	if err != nil {
		return err
	}
	part, ok := new(big.Int).SetString(string(result.Rows[0][1]), 10)
	if !ok {
		return fmt.Errorf("the server's digest is no number")
	}
	r.rows += rows
	r.digest.Add(r.digest, part)
	return nil
}

// conditions are the WHERE clauses of the stretch, one for each range.
func (in *stretch) conditions() []string {
	if in != nil && len(in.values) > 0 {
		literals := make([]string, len(in.values))
		for i, v := range in.values {
			literals[i] = ident.Literal(v)
		}
		return []string{" WHERE " + ident.Quote(in.tracked.Column) + " IN (" + strings.Join(literals, ", ") + ")"}
	}
	if in == nil || len(in.ranges) == 0 || in.tracked.Kind == compare.None {
		return []string{""}
	}
	all := make([]string, len(in.ranges))
	for i, r := range in.ranges {
		all[i] = in.condition(r)
	}
	return all
}

// condition compares with constants, which let the planner leave out partitions and chunks.
func (in *stretch) condition(r compare.Range) string {
	column, kind := ident.Quote(in.tracked.Column), in.tracked.Kind
	value := func(ordinal int64) string {
		if kind == compare.Int {
			return "'" + kind.Text(ordinal) + "'::bigint"
		}
		return "'" + kind.Text(ordinal) + "'"
	}
	var bounds []string
	if !r.NoLow && r.Low > kind.Least() {
		bounds = append(bounds, column+" >= "+value(r.Low))
	}
	if !r.NoHigh && r.High < kind.Greatest() {
		bounds = append(bounds, column+" < "+value(r.High+1))
	}
	if len(bounds) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(bounds, " AND ")
}
