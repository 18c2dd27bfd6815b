package verify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// RunOptions say what to compare, and how.
type RunOptions struct {
	Source, Target pgkit.Endpoint
	Name           string // of this run in the ledger: a second call with the same name takes up the first
	Method         string // MethodChecksum or MethodCount
	// Slot and Plugin are the migration's: a barrier needs a temporary slot beside it.
	Slot, Plugin string
	// Fenced is true when nobody writes to the source and everything is applied: then no barrier is needed.
	Fenced bool
	// Full compares every chunk; otherwise those that were found equal at a barrier are compared again only where something
	// was touched since.
	Full bool
	// Tables are all in scope. Only says which are to be compared; nil: all.
	Tables []Table
	Only   func(ident.Table) bool
	// Parallel is how many sessions compare on each side (less than 1 is 1). ChunkBytes is about what one query reads of the
	// source, BytesPerSecond what all read together, about; 0 sets no limit.
	Parallel                   int
	ChunkBytes, BytesPerSecond int64
	// Busy says why the next chunk has to wait, "" when it need not; nil: it never need.
	Busy func(context.Context) (string, error)
	// KeepValues writes differing rows into the ledger, not only the hashes of their keys.
	KeepValues bool
	Log        *slog.Logger
	OnProgress func(Progress) // from any goroutine, one call at a time
}

// Progress is how far a Run is. Bytes are of the source, about.
type Progress struct {
	Message            string // what is waited for
	Barrier            change.LSN
	Tables, TablesDone int
	Bytes, BytesDone   int64
	Rows               int64 // on the source, of this run
}

// TableResult is the verdict on one table.
type TableResult struct {
	Table                  ident.Table // its name on the source
	SourceRows, TargetRows int64       // of what was read in this run
	Bytes                  int64       // about, of what was read
	Chunks, Read           int         // of the table, and those of them that were read at least in part
	// Compared is true when something was read, Whole when every row was: otherwise the rest was found equal at an earlier
	// barrier, and nothing was applied to it since.
	Compared, Whole bool
	Equal           bool // what was read
	// Reliance is the oldest barrier at which a part of the table was compared that was not read now; 0: none.
	Reliance change.LSN
	// Unverified is true when a part of it was never found equal, or not since it differed; Unequal when a part differed when it
	// was compared last, now or before.
	Unverified, Unequal bool
	Skipped             bool // by Only
	Differences         []RowDifference
	// Differing is how many rows differ; at least so many when More.
	Differing int
	More      bool
}

// Outcome of a Run.
type Outcome struct {
	Barrier change.LSN // 0 when Fenced
	At      time.Time  // when both sides were looked at
	Held    time.Duration
	Tables  []TableResult // all in scope, as given
}

// run is one call of Run.
type run struct {
	RunOptions
	source, target *pgx.Conn // for catalogues and the ledger
	keeper         *pgx.Conn // renews the barrier; nil when fenced
	holders        worker    // keep the snapshots of both sides; none when fenced
	barrier        barrier
	waiting        string // why the source's snapshot took so long
	tables         []*tableRun
	pace           *pace

	mu       sync.Mutex
	progress Progress
	narrowed int // tables whose differences were looked for
}

// Run compares the tables at a barrier, or as they are when Fenced, and keeps in the ledger what was found. A difference is a
// result, not an error. An error leaves what was compared so far in the ledger: a Run of the same Name need not compare it again.
func Run(ctx context.Context, o RunOptions) (Outcome, error) {
	if o.Method != MethodChecksum && o.Method != MethodCount {
		return Outcome{}, fault.New(fault.Bug, "compare by method", o.Method, "", "there are only %s and %s", MethodChecksum, MethodCount)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OnProgress == nil {
		o.OnProgress = func(Progress) {}
	}
	o.Tables = slices.Clone(o.Tables)
	r := &run{RunOptions: o, pace: newPace(o.BytesPerSecond)}
	defer r.close(ctx)
	if err := r.open(ctx); err != nil {
		return Outcome{}, err
	}
	r.tell("planning")
	if err := readKeys(ctx, r.source, o.Tables); err != nil {
		return Outcome{}, err
	}
	if err := planTables(ctx, r.source, r.target, o.Tables, o.ChunkBytes); err != nil {
		return Outcome{}, err
	}
	workers, err := r.look(ctx, max(o.Parallel, 1))
	if err != nil {
		return Outcome{}, err
	}
	defer closeAll(ctx, workers)
	if err := agreeOnEncoding(workers); err != nil && o.Method == MethodChecksum {
		return Outcome{}, err
	}
	if err := r.compareAll(ctx, workers); err != nil {
		return Outcome{}, err
	}
	return r.finish(ctx)
}

func (r *run) open(ctx context.Context) (err error) {
	if r.source, err = pgkit.Dial(ctx, r.Source, "verify plan"); err != nil {
		return err
	}
	if r.target, err = pgkit.Dial(ctx, r.Target, "verify ledger"); err != nil {
		return err
	}
	if !r.Fenced {
		if r.keeper, err = pgkit.Dial(ctx, r.Target, "verify barrier"); err != nil {
			return err
		}
	}
	return ledger.EnsureVerification(ctx, r.target)
}

func (r *run) close(ctx context.Context) {
	r.letGo(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	for _, conn := range []*pgx.Conn{r.source, r.target, r.keeper} {
		if conn != nil {
			_ = conn.Close(ctx) // its work is done or lost
		}
	}
}

// look opens the sessions that compare.
func (r *run) look(ctx context.Context, n int) (workers []*worker, err error) {
	if r.Fenced {
		r.barrier.at = time.Now()
		return openWorkers(ctx, Options{Source: r.Source, Target: r.Target}, n)
	}
	workers, r.barrier, err = r.takeBarrier(ctx, n)
	return workers, err
}

// compareAll reads what has to be read, with all workers, and notes each chunk as it is done.
func (r *run) compareAll(ctx context.Context, workers []*worker) error {
	pieces, err := r.pieces(ctx)
	if err != nil {
		return err
	}
	if err := ledger.BeginRun(ctx, r.target, r.Name, r.Method, r.barrier.lsn); err != nil {
		return err
	}
	r.begin(pieces)
	queue := make(chan *piece, len(pieces))
	for _, p := range pieces {
		queue <- p
	}
	close(queue)
	group, groupCtx := errgroup.WithContext(ctx)
	for _, w := range workers {
		group.Go(func() error {
			for p := range queue {
				if err := r.await(groupCtx, p); err != nil {
					return err
				}
				if err := r.comparePiece(groupCtx, w, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// await holds a worker between two pieces: by the rate, and while the source is too busy.
func (r *run) await(ctx context.Context, p *piece) error {
	if err := r.pace.wait(ctx, p.bytes); err != nil || r.Busy == nil {
		return err
	}
	const lookAgain = 2 * time.Second
	for {
		why, err := r.Busy(ctx)
		if err != nil || why == "" {
			return err
		}
		r.tell("waits: " + why)
		if err := pgkit.Sleep(ctx, lookAgain); err != nil {
			return err
		}
	}
}

func (r *run) comparePiece(ctx context.Context, w *worker, p *piece) error {
	if err := errors.Join(w.source.open(ctx), w.target.open(ctx)); err != nil {
		return err
	}
	if err := r.compareOpen(ctx, w, p); err != nil {
		return err
	}
	return errors.Join(w.source.release(ctx), w.target.release(ctx))
}

// compareOpen compares a piece in the transactions that are open.
func (r *run) compareOpen(ctx context.Context, w *worker, p *piece) error {
	t := p.table
	var source, target reading
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		source, err = w.source.readRanges(groupCtx, r.Method, t.Source, t.Table, &p.stretch)
		return err
	})
	group.Go(func() (err error) {
		target, err = w.target.readRanges(groupCtx, r.Method, t.Target, t.Table, &p.stretch)
		return err
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if !r.Fenced { // behind the fence there is no snapshot that could show less than there was
		emptied, err := w.emptied(ctx, t)
		if err != nil {
			return err
		}
		if emptied {
			p.chunk.setEmptied(r)
			source, target = reading{}, reading{} // neither equal nor different: it says nothing
		}
	}
	equal := source.equal(target)
	var found narrowed
	if !equal && r.mayNarrow(t) {
		var err error
		if found, err = r.narrow(ctx, w, p, max(source.rows, target.rows)); err != nil {
			return fmt.Errorf("look for the rows that differ: %w", err)
		}
	}
	return r.done(ctx, p, source, target, found)
}

// done takes the result of a piece, and notes its chunk when it was the last of it.
func (r *run) done(ctx context.Context, p *piece, source, target reading, found narrowed) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, t := p.chunk, p.table
	equal := source.equal(target)
	c.pending--
	c.rows += source.rows
	c.equal = c.equal && equal
	t.pending--
	t.result.add(p, source, target, equal, found)
	if c.pending == 0 {
		if err := ledger.RecordChunk(ctx, r.target, r.record(c)); err != nil {
			return err
		}
	}
	if err := r.keep(ctx, t, found); err != nil {
		return err
	}
	if t.pending == 0 {
		r.progress.TablesDone++
		if err := ledger.RecordVerification(ctx, r.target, ledger.Verification{Run: r.Name, Table: t.Target, Method: r.Method,
			SourceRows: t.result.SourceRows, TargetRows: t.result.TargetRows, Equal: t.result.Equal}); err != nil {
			return err
		}
	}
	r.progress.Message = ""
	r.progress.BytesDone += p.bytes
	r.progress.Rows += source.rows
	r.OnProgress(r.progress)
	return nil
}

// record is what the ledger keeps of a chunk. Fenced, its generation stays when it is equal: what was compared then does not
// count for a later barrier, since the fence may be lifted again.
func (r *run) record(c *chunkRun) ledger.Chunk {
	kept := c.Chunk
	switch {
	case !c.equal, c.emptied:
		kept.Generation, kept.Method, kept.Run = 0, "", ""
		kept.Rows = -1
		return kept
	case r.Fenced:
		kept.Rows = -1
		return kept
	}
	kept.Method, kept.Generation, kept.Run, kept.Rows = r.Method, r.barrier.serial, r.Name, -1
	if c.whole { // else the barrier stays at which the rest of it was read
		kept.Rows, kept.Barrier = c.rows, r.barrier.lsn
	}
	return kept
}

// tell says what is waited for.
func (r *run) tell(message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress.Message = message
	r.OnProgress(r.progress)
}

func (r *run) finish(ctx context.Context) (Outcome, error) {
	o := Outcome{Barrier: r.barrier.lsn, At: r.barrier.at, Held: r.barrier.held}
	summary := ledger.RunSummary{Run: r.Name, Equal: true}
	var untouched []ledger.Chunk
	for _, t := range r.tables {
		result := t.conclude()
		o.Tables = append(o.Tables, result)
		summary.Equal = summary.Equal && result.Equal
		if result.Compared {
			summary.Tables++
		}
		if result.Reliance != 0 {
			summary.Relied++
		}
		if result.Unverified {
			summary.Unverified++
		}
		summary.Rows += result.SourceRows
		summary.Bytes += result.Bytes
		for _, c := range t.chunks {
			if !c.read && c.Generation > 0 && !t.skipped {
				untouched = append(untouched, c.Chunk)
			}
		}
	}
	var err error
	if !r.Fenced {
		// Nothing was applied to them between the barrier at which they were compared and this one.
		err = errors.Join(ledger.AdvanceChunks(ctx, r.target, untouched, r.barrier.serial), ledger.ForgetTouches(ctx, r.target))
	}
	return o, errors.Join(err, ledger.EndRun(ctx, r.target, summary))
}
