package verify

import (
	"cmp"
	"context"
	"slices"

	"timeferry/internal/change"
	"timeferry/internal/compare"
	"timeferry/internal/target/ledger"
)

// tableRun is a table with what this run does with it.
type tableRun struct {
	Table
	tracked ledger.Tracked
	chunks  []*chunkRun
	skipped bool // not to be compared in this run
	pending int  // pieces
	result  TableResult
}

// chunkRun is a chunk with what this run does with it.
type chunkRun struct {
	ledger.Chunk
	pending int // pieces
	read    bool
	whole   bool // all of it is read
	equal   bool // so far
	emptied bool // what the snapshots show of it cannot be read any more, see emptied.go
	rows    int64
}

// piece is what one worker reads in one go.
type piece struct {
	table *tableRun
	chunk *chunkRun
	stretch
	bytes int64
}

// maxRanges and maxValues are how many touched ranges or values one piece has.
const maxRanges, maxValues = 64, 500

// leastBytes is what a range costs at least: a page of the index and one of the table.
const leastBytes = 16 << 10

// pieces decides what has to be read, the largest first.
func (r *run) pieces(ctx context.Context) ([]*piece, error) {
	tracked, err := ledger.TrackedColumns(ctx, r.target)
	if err != nil {
		return nil, err
	}
	chunks, err := ledger.Chunks(ctx, r.target)
	if err != nil {
		return nil, err
	}
	touches, err := ledger.Touches(ctx, r.target)
	if err != nil {
		return nil, err
	}
	var all []*piece
	for _, t := range r.Tables {
		run := &tableRun{Table: t, tracked: tracked[t.Target], skipped: r.Only != nil && !r.Only(t.Source)}
		run.result = TableResult{Table: t.Source, Chunks: len(chunks[t.Target]), Equal: true}
		for _, c := range chunks[t.Target] {
			if c.Generation > 0 && c.Method != r.Method && c.Method != MethodChecksum {
				c.Generation = 0 // counted only
			}
			run.chunks = append(run.chunks, &chunkRun{Chunk: c, equal: true})
		}
		r.tables = append(r.tables, run)
		if run.skipped {
			continue
		}
		for _, c := range run.chunks {
			pieces := r.piecesOf(run, c, touches[t.Target])
			c.pending, c.read = len(pieces), len(pieces) > 0
			run.pending += len(pieces)
			all = append(all, pieces...)
		}
	}
	slices.SortStableFunc(all, func(a, b *piece) int { return cmp.Compare(b.bytes, a.bytes) })
	return all, nil
}

func (r *run) piecesOf(t *tableRun, c *chunkRun, touches []ledger.Touch) []*piece {
	full := r.Full && c.Run != r.Name
	if c.Generation == 0 || full {
		c.whole = true
		return []*piece{{table: t, chunk: c, bytes: c.Bytes, stretch: stretch{tracked: t.tracked, ranges: []compare.Range{c.Range}}}}
	}
	var touched []compare.Range
	var values []string
	for _, touch := range touches {
		before := r.Fenced || touch.Generation < r.barrier.serial
		if touch.Generation < c.Generation || !before {
			continue
		}
		if touch.Bucket.Shift == compare.ByValue && t.tracked.Kind == compare.Value {
			values = append(values, touch.Bucket.Value)
		} else if part, ok := touch.Bucket.Range().Clip(c.Range); ok {
			touched = append(touched, part)
		}
	}
	touched = compare.Merge(touched)
	if len(touched) == 1 && touched[0] == c.Range {
		c.whole = true
		return []*piece{{table: t, chunk: c, bytes: c.Bytes, stretch: stretch{tracked: t.tracked, ranges: touched}}}
	}
	var pieces []*piece
	for some := range slices.Chunk(touched, maxRanges) {
		pieces = append(pieces, &piece{table: t, chunk: c, bytes: min(int64(len(some))*leastBytes, c.Bytes), stretch: stretch{tracked: t.tracked, ranges: some}})
	}
	slices.Sort(values)
	for some := range slices.Chunk(slices.Compact(values), maxValues) {
		pieces = append(pieces, &piece{table: t, chunk: c, bytes: min(int64(len(some))*leastBytes, c.Bytes), stretch: stretch{tracked: t.tracked, values: some}})
	}
	return pieces
}

// begin counts what is ahead.
func (r *run) begin(pieces []*piece) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress = Progress{Barrier: r.barrier.lsn}
	for _, p := range pieces {
		r.progress.Bytes += p.bytes
	}
	for _, t := range r.tables {
		if t.pending > 0 {
			r.progress.Tables++
		}
	}
	r.OnProgress(r.progress)
}

func (t *TableResult) add(p *piece, source, target reading, equal bool, found narrowed) {
	t.Compared = true
	t.SourceRows += source.rows
	t.TargetRows += target.rows
	t.Bytes += p.bytes
	t.Equal = t.Equal && equal
	t.Differences = append(t.Differences, found.rows[:min(len(found.rows), maxDifferences-min(len(t.Differences), maxDifferences))]...)
	t.Differing += found.count
	t.More = t.More || found.more || !equal && found.count == 0
}

// conclude says what is known of the table once all pieces are done.
func (t *tableRun) conclude() TableResult {
	result := t.result
	result.Whole, result.Skipped = result.Compared, t.skipped
	var oldest change.LSN
	for _, c := range t.chunks {
		if c.read {
			result.Read++
		}
		result.Unequal = result.Unequal || !c.equal || !c.read && c.Unequal
		if c.read && c.whole {
			result.Unverified = result.Unverified || !c.equal || c.emptied
			continue
		}
		result.Whole = false
		result.Unverified = result.Unverified || c.Generation == 0 || !c.equal || c.emptied
		if c.Generation > 0 && (oldest == 0 || c.Barrier < oldest) {
			oldest = c.Barrier
		}
	}
	result.Reliance = oldest
	result.Unverified = result.Unverified || len(t.chunks) == 0
	return result
}
