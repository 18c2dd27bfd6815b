package verify

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// What is wrong with a row.
const (
	OnlySource = "only on the source"
	OnlyTarget = "only on the target"
	Differs    = "differs"
	Duplicate  = "not as often on one side as on the other"
)

// RowDifference is a row that is not the same on both sides, without its values.
type RowDifference struct {
	KeyHash string // of the key, or of the whole row in a table without one
	What    string
	Columns []string // that differ
	Source  int64    // how often it is there
	Target  int64
}

const (
	// maxDifferences is how many rows of a table are told one by one.
	maxDifferences = 20
	// maxNarrowed is in how many tables rows are looked for.
	maxNarrowed = 50
	// bucketRows is about how many rows of a bucket are fetched, and maxBuckets of how many buckets at most.
	bucketRows, maxBuckets = 2000, 32
)

// narrowed is what was found in one piece.
type narrowed struct {
	rows  []RowDifference
	kept  []ledger.DifferingRow
	count int
	more  bool // there may be others
}

// mayNarrow is true for the first tables that differ, and for the first pieces of them.
func (r *run) mayNarrow(t *tableRun) bool {
	if r.Method != MethodChecksum || len(t.Columns) == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(t.result.Differences) >= maxDifferences || t.result.Equal && r.narrowed >= maxNarrowed {
		return false
	}
	if t.result.Equal {
		r.narrowed++
	}
	return true
}

// narrow looks for the rows that differ in a piece: by a digest for each of many buckets of keys, then row by row in those that
// differ. rows is about how many there are.
func (r *run) narrow(ctx context.Context, w *worker, p *piece, rows int64) (narrowed, error) {
	n := int64(1)
	for n < 1<<16 && n*bucketRows < rows {
		n *= 2
	}
	f := &finder{piece: p, buckets: n, key: p.table.key}
	if len(f.key) == 0 {
		f.key = p.table.Columns
	}
	var source, target map[int64]string
	err := both(ctx, w, p, func(ctx context.Context, s *session, name ident.Table) (err error) {
		found, err := f.digests(ctx, s, name)
		if s == w.source {
			source = found
		} else {
			target = found
		}
		return err
	})
	if err != nil {
		return narrowed{}, err
	}
	buckets := differing(source, target)
	if len(buckets) == 0 {
		return narrowed{more: true}, nil
	}
	out := narrowed{more: len(buckets) > maxBuckets}
	return out, r.fetch(ctx, w, p, f, buckets[:min(len(buckets), maxBuckets)], &out)
}

func both(ctx context.Context, w *worker, p *piece, do func(context.Context, *session, ident.Table) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return do(ctx, w.source, p.table.Source) })
	group.Go(func() error { return do(ctx, w.target, p.table.Target) })
	return group.Wait()
}

func differing(source, target map[int64]string) []int64 {
	var found []int64
	for b, digest := range source {
		if target[b] != digest {
			found = append(found, b)
		}
	}
	for b := range target {
		if _, known := source[b]; !known {
			found = append(found, b)
		}
	}
	slices.Sort(found)
	return found
}

// finder reads the rows of a piece by their keys.
type finder struct {
	piece   *piece
	buckets int64 // a power of two
	key     []string
}

// bucket is the SQL of a row's bucket.
func (f *finder) bucket(s *session) string {
	return fmt.Sprintf("(%s & %d)", hashSQL(textSQL(f.key, s.convert)), f.buckets-1)
}

// each runs a query over the piece. sql is what is selected, and tail what follows the conditions.
func (f *finder) each(ctx context.Context, s *session, name ident.Table, sql, and, tail string, scan []any, do func() error) error {
	from, err := s.from(ctx, name, f.piece.table.Table)
	if err != nil {
		return err
	}
	for _, where := range f.piece.conditions() {
		if and != "" {
			if where == "" {
				where = " WHERE " + and
			} else {
				where += " AND " + and
			}
		}
		rows, err := s.conn.Query(ctx, sql+" FROM "+from+where+tail, pgx.QueryExecModeSimpleProtocol)
		if err != nil {
			return s.explain(name, err)
		}
		if _, err := pgx.ForEachRow(rows, scan, do); err != nil {
			return s.explain(name, err)
		}
	}
	return nil
}

// digests are those of the buckets, each with its number of rows.
func (f *finder) digests(ctx context.Context, s *session, name ident.Table) (map[int64]string, error) {
	all := map[int64]string{}
	var bucket, rows int64
	var digest string
	sql := "SELECT " + f.bucket(s) + ", count(*), " + digestSQL(f.piece.table.Columns, s.convert)
	err := f.each(ctx, s, name, sql, "", " GROUP BY 1", []any{&bucket, &rows, &digest}, func() error {
		all[bucket] += fmt.Sprintf("%d %s;", rows, digest) // ranges come in the same order on both sides
		return nil
	})
	return all, err
}

// rowSet counts rows by their hash, under each key.
type rowSet map[string]map[int64]int64

func (f *finder) rows(ctx context.Context, s *session, name ident.Table, buckets []int64) (rowSet, error) {
	numbers := make([]string, len(buckets))
	for i, b := range buckets {
		numbers[i] = fmt.Sprint(b)
	}
	all := rowSet{}
	var key string
	var hash int64
	sql := "SELECT " + textSQL(f.key, false) + ", " + hashSQL(textSQL(f.piece.table.Columns, s.convert))
	err := f.each(ctx, s, name, sql, f.bucket(s)+" IN ("+strings.Join(numbers, ", ")+")", "", []any{&key, &hash}, func() error {
		if all[key] == nil {
			all[key] = map[int64]int64{}
		}
		all[key][hash]++
		return nil
	})
	return all, err
}

// fetch compares the rows of some buckets one by one.
func (r *run) fetch(ctx context.Context, w *worker, p *piece, f *finder, buckets []int64, out *narrowed) error {
	var source, target rowSet
	err := both(ctx, w, p, func(ctx context.Context, s *session, name ident.Table) (err error) {
		found, err := f.rows(ctx, s, name, buckets)
		if s == w.source {
			source = found
		} else {
			target = found
		}
		return err
	})
	if err != nil {
		return err
	}
	keys := unequalKeys(source, target)
	out.count = len(keys)
	out.more = out.more || len(keys) > maxDifferences
	keys = keys[:min(len(keys), maxDifferences)]
	values := map[*session]map[string]map[string]*string{}
	if len(p.table.key) > 0 || r.KeepValues {
		if values, err = f.bothValues(ctx, w, keys); err != nil {
			return err
		}
	}
	for _, key := range keys {
		d := describe(key, source[key], target[key])
		onSource, onTarget := values[w.source][key], values[w.target][key]
		if d.What == Differs {
			d.Columns = unequalColumns(p.table.Columns, onSource, onTarget)
		}
		out.rows = append(out.rows, d)
		kept := ledger.DifferingRow{Table: p.table.Target, KeyHash: d.KeyHash, What: d.What, Columns: d.Columns}
		if r.KeepValues {
			kept.Key, kept.SourceRow, kept.TargetRow = &key, onSource, onTarget
		}
		out.kept = append(out.kept, kept)
	}
	return nil
}

func unequalKeys(source, target rowSet) []string {
	var keys []string
	for key, rows := range source {
		if !sameRows(rows, target[key]) {
			keys = append(keys, key)
		}
	}
	for key := range target {
		if _, known := source[key]; !known {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func sameRows(a, b map[int64]int64) bool {
	if len(a) != len(b) {
		return false
	}
	for hash, n := range a {
		if b[hash] != n {
			return false
		}
	}
	return true
}

func describe(key string, source, target map[int64]int64) RowDifference {
	sum := sha256.Sum256([]byte(key))
	d := RowDifference{KeyHash: hex.EncodeToString(sum[:6]), Source: total(source), Target: total(target)}
	switch {
	case d.Target == 0:
		d.What = OnlySource
	case d.Source == 0:
		d.What = OnlyTarget
	case d.Source != d.Target:
		d.What = Duplicate
	default:
		d.What = Differs
	}
	return d
}

func total(rows map[int64]int64) (n int64) {
	for _, count := range rows {
		n += count
	}
	return n
}

// bothValues reads the columns of the rows with these keys. Of several rows with one key it gives any.
func (f *finder) bothValues(ctx context.Context, w *worker, keys []string) (map[*session]map[string]map[string]*string, error) {
	onSource, onTarget := map[string]map[string]*string{}, map[string]map[string]*string{}
	err := both(ctx, w, f.piece, func(ctx context.Context, s *session, name ident.Table) error {
		into := onSource
		if s == w.target {
			into = onTarget
		}
		return f.values(ctx, s, name, keys, into)
	})
	return map[*session]map[string]map[string]*string{w.source: onSource, w.target: onTarget}, err
}

func (f *finder) values(ctx context.Context, s *session, name ident.Table, keys []string, into map[string]map[string]*string) error {
	columns := f.piece.table.Columns
	values := make([]*string, len(columns))
	var key string
	scan := []any{&key}
	sql := "SELECT " + textSQL(f.key, false)
	for i, c := range columns {
		scan = append(scan, &values[i])
		sql += ", " + ident.Quote(c) + "::text"
	}
	literals := make([]string, len(keys))
	for i, k := range keys {
		literals[i] = ident.Literal(k)
	}
	if len(literals) == 0 {
		return nil
	}
	return f.each(ctx, s, name, sql, textSQL(f.key, false)+` COLLATE "C" IN (`+strings.Join(literals, ", ")+")", "", scan, func() error {
		row := map[string]*string{}
		for i, c := range columns {
			row[c] = values[i]
		}
		into[key] = row
		return nil
	})
}

func unequalColumns(columns []string, source, target map[string]*string) []string {
	var unequal []string
	for _, c := range columns {
		a, b := source[c], target[c]
		if (a == nil) != (b == nil) || a != nil && *a != *b {
			unequal = append(unequal, c)
		}
	}
	return unequal
}

// keep notes in the ledger which rows differ.
func (r *run) keep(ctx context.Context, t *tableRun, found narrowed) error {
	for _, d := range found.kept {
		if err := ledger.KeepDifference(ctx, r.target, r.Name, d); err != nil {
			return err
		}
	}
	return nil
}
