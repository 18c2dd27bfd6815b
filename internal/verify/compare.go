package verify

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// Methods of comparing.
const (
	MethodChecksum = "checksum" // rows and digest
	MethodCount    = "count"    // rows only: finds what is missing, not what is different
)

// Table is one table to compare. Its names may differ on the two sides.
type Table struct {
	Source, Target ident.Table
	// Columns are compared by name, in this order on both sides, whatever their order in the tables. With none, the
	// checksum says no more than the count.
	Columns []string
	// Root is true when all tables below belong to it: a partition root, or a table that is a hypertable on the other
	// side. Partition roots and hypertables themselves are recognised without it. Other tables are read with ONLY, so
	// that a parent by old-style inheritance does not count its children's rows as its own.
	Root bool
	// Bytes of the table on the source, about; Run cuts it and paces itself by it.
	Bytes int64

	key []string // unique, of NOT NULL columns; Run reads it
}

// Options of a comparison.
type Options struct {
	Source, Target pgkit.Endpoint
	// SourceSnapshot and TargetSnapshot are exported snapshots to look through. They must stay exported until the first
	// Result. Empty means the present: then nobody may write while Compare runs.
	SourceSnapshot, TargetSnapshot string
	Method                         string // MethodChecksum or MethodCount
	Parallel                       int    // tables at once, each with a session on both sides; less than 1 is 1
}

// Result is the verdict on one table. The digests are empty with MethodCount.
type Result struct {
	Table                      ident.Table // its name on the source
	SourceRows, TargetRows     int64
	SourceDigest, TargetDigest string
	Equal                      bool
}

// Compare compares the tables, in the given order as far as Parallel allows: put the largest first. Both sides of a
// table are read at the same time. onResult gets each table's Result, one call at a time. A difference is a Result, not
// an error; the first error ends the comparison and names its table.
func Compare(ctx context.Context, o Options, tables []Table, onResult func(Result) error) error {
	if o.Method != MethodChecksum && o.Method != MethodCount {
		return fault.New(fault.Bug, "compare by method", o.Method, "", "there are only %s and %s", MethodChecksum, MethodCount)
	}
	if len(tables) == 0 {
		return nil
	}
	workers, err := openWorkers(ctx, o, min(max(o.Parallel, 1), len(tables)))
	if err != nil {
		return err
	}
	queue := make(chan Table, len(tables))
	for _, t := range tables {
		queue <- t
	}
	close(queue)
	var reporting sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for _, w := range workers {
		group.Go(func() error {
			defer w.close(ctx)
			for t := range queue {
				result, err := w.compare(ctx, o.Method, t)
				if err != nil {
					return err
				}
				reporting.Lock()
				err = onResult(result)
				reporting.Unlock()
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// worker has one session on each side, in a transaction that keeps its snapshot.
type worker struct {
	source, target *session
}

// openWorkers opens all sessions before the first table is read, so that the exporters of the snapshots are needed for
// a moment only.
func openWorkers(ctx context.Context, o Options, n int) ([]*worker, error) {
	workers := make([]*worker, n)
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range workers {
		w := &worker{}
		workers[i] = w
		group.Go(func() (err error) {
			w.source, err = openSession(groupCtx, "source", o.Source, o.SourceSnapshot)
			return err
		})
		group.Go(func() (err error) {
			w.target, err = openSession(groupCtx, "target", o.Target, o.TargetSnapshot)
			return err
		})
	}
	err := group.Wait()
	if err == nil {
		err = agreeOnEncoding(workers)
	}
	if err != nil {
		for _, w := range workers {
			w.close(ctx)
		}
		return nil, err
	}
	return workers, nil
}

// agreeOnEncoding makes both sides hash the same bytes when their databases have different encodings.
func agreeOnEncoding(workers []*worker) error {
	source, target := workers[0].source.encoding, workers[0].target.encoding
	if source == target {
		return nil
	}
	for _, encoding := range []string{source, target} {
		if encoding == "SQL_ASCII" {
			return fault.New(fault.Operator, "compare", "databases", "compare by count, or give both databases the same encoding",
				"one has encoding %s and the other %s, and SQL_ASCII cannot be converted", source, target).WithCode("encoding")
		}
	}
	for _, w := range workers {
		w.source.convert, w.target.convert = true, true
	}
	return nil
}

func (w *worker) close(ctx context.Context) {
	for _, s := range []*session{w.source, w.target} {
		if s != nil {
			s.close(ctx)
		}
	}
}

func (w *worker) compare(ctx context.Context, method string, t Table) (Result, error) {
	result := Result{Table: t.Source}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		result.SourceRows, result.SourceDigest, err = w.source.read(ctx, method, t.Source, t)
		return err
	})
	group.Go(func() (err error) {
		result.TargetRows, result.TargetDigest, err = w.target.read(ctx, method, t.Target, t)
		return err
	})
	if err := group.Wait(); err != nil {
		return Result{}, err
	}
	result.Equal = result.SourceRows == result.TargetRows && result.SourceDigest == result.TargetDigest
	return result, nil
}
