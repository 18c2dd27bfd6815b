package activities

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/obs"
	"timeferry/internal/pgkit"
	"timeferry/internal/sealed"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/ledger"
	"timeferry/internal/verify"
)

// CompareAtBarrier holds tables of both sides against each other while both go on, see verify.Run.
//
//	Does: waits until the stream is close, takes a snapshot of both sides in the same place of it, and compares.
//	Safe to repeat because: it only reads; what was compared is in the ledger, and a second attempt of the same run leaves it out.
//	Heartbeats: how far it is, or what it waits for.
//	Undone by: nothing to undo; a barrier that nobody renews ends by itself.
func (a *Activities) CompareAtBarrier(ctx context.Context, input contract.BarrierInput) (out contract.Verification, err error) {
	began := time.Now()
	err = a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		if err := a.awaitClose(ctx, input, report); err != nil {
			return err
		}
		c, err := a.newTableComparison(ctx, input.Spec, input.Run, input.Method, report)
		if err != nil {
			return err
		}
		defer c.close(ctx)
		c.options.Slot, c.options.Plugin = contract.SlotName(input.Name), input.Replication.Plugin
		c.options.Full, c.options.KeepValues, c.options.Only = input.Full, input.KeepValues, input.Wants
		out, err = c.run(ctx)
		return err
	})
	out.Seconds = time.Since(began).Seconds()
	return out, err
}

// CompareTouched holds both sides against each other behind the fence, with everything applied: what was touched since it was
// found equal at a barrier, and what never was.
//
//	Does: reads both sides; keeps each table's result in the ledger.
//	Safe to repeat because: results of the same run replace each other.
//	Heartbeats: how far it is.
//	Undone by: nothing to undo.
func (a *Activities) CompareTouched(ctx context.Context, input contract.CompareInput) (out contract.Verification, err error) {
	began := time.Now()
	err = a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		c, err := a.newTableComparison(ctx, input.Spec, input.Run, input.Method, report)
		if err != nil {
			return err
		}
		defer c.close(ctx)
		c.options.Fenced = true
		c.options.BytesPerSecond, c.options.Busy = 0, nil // the application waits
		out, err = c.run(ctx)
		return err
	})
	out.Seconds = time.Since(began).Seconds()
	return out, err
}

// awaitClose waits until the stream is as close as a cutover asks for: while it is far behind, the source would have to keep
// the barrier's snapshot for long.
func (a *Activities) awaitClose(ctx context.Context, input contract.BarrierInput, report func(contract.Beat)) error {
	return a.withBoth(ctx, input.Spec, "verify lag", func(source, target *pgx.Conn) error {
		if err := ledger.UpgradeCounters(ctx, target); err != nil {
			return err
		}
		for meter := (lagMeter{}); ; {
			lag, err := meter.measure(ctx, source, target, input.Spec)
			if err != nil || lag.InSync {
				return err
			}
			report(contract.Beat{Verify: &contract.VerifyProgress{Run: input.Run, Message: fmt.Sprintf("waits for the stream, which is %d bytes behind", lag.LagBytes)}})
			if err := pgkit.Sleep(ctx, lagPoll); err != nil {
				return err
			}
		}
	})
}

// tableComparison is what an activity does around verify.Run.
type tableComparison struct {
	options   verify.RunOptions
	migration string
	metrics   *obs.Metrics
	source    pgkit.Endpoint
	limits    contract.BackOff

	mu     sync.Mutex
	scout  *pgx.Conn // on the source, nil until needed
	asked  time.Time
	answer string
}

func (a *Activities) newTableComparison(ctx context.Context, spec contract.Spec, run, method string, report func(contract.Beat)) (*tableComparison, error) {
	source, err := a.source(ctx, spec)
	if err != nil {
		return nil, err
	}
	target, err := a.target(ctx, spec)
	if err != nil {
		return nil, err
	}
	c := &tableComparison{source: source, migration: spec.Name, metrics: a.Metrics}
	c.options = verify.RunOptions{Source: source, Target: target, Name: run, Method: method, Parallel: spec.Verify.Sessions(),
		ChunkBytes: spec.Verify.ChunkBytes(), BytesPerSecond: spec.Verify.RateBytes(), Log: a.Log, OnProgress: func(p verify.Progress) {
			report(contract.Beat{Verify: &contract.VerifyProgress{Run: run, Message: p.Message, BarrierLSN: p.Barrier, Tables: p.Tables, TablesDone: p.TablesDone,
				Bytes: p.Bytes, BytesDone: p.BytesDone, Rows: p.Rows}})
		}}
	if spec.Copy.BackOff != nil {
		c.limits, c.options.Busy = *spec.Copy.BackOff, c.busy
	}
	c.options.Tables, err = a.comparedTables(ctx, spec)
	return c, err
}

// comparedTables are those of the plan, with the columns that both sides have by now. One that was dropped on the source since the plan
// was made is not there any more; one that was added is compared as soon as the target has it, and the stream stops at the first row
// that needs it before. A table that a side lacks keeps its columns: the comparison says so.
func (a *Activities) comparedTables(ctx context.Context, spec contract.Spec) (tables []verify.Table, err error) {
	err = a.withBoth(ctx, spec, "verify plan", func(source, target *pgx.Conn) error {
		planned, err := ledger.TablesInScope(ctx, target)
		if err != nil {
			return err
		}
		names := make([]ident.Table, len(planned))
		for i, t := range planned {
			names[i] = t.Table
		}
		there, err := pgkit.Columns(ctx, source, names, false)
		if err != nil {
			return err
		}
		here, err := pgkit.Columns(ctx, target, names, true)
		if err != nil {
			return err
		}
		for _, t := range planned {
			columns := t.Columns
			if there[t.Table] != nil && here[t.Table] != nil {
				columns = slices.DeleteFunc(there[t.Table], func(name string) bool { return !slices.Contains(here[t.Table], name) })
			}
			tables = append(tables, verify.Table{Source: t.Table, Target: t.Table, Columns: columns, Bytes: t.Bytes})
		}
		return nil
	})
	return tables, err
}

func (c *tableComparison) close(ctx context.Context) {
	if c.scout != nil {
		closeQuietly(ctx, c.scout)
	}
}

// busy says what keeps the source too busy for another chunk. Thousands of small ones do not cost a question each.
func (c *tableComparison) busy(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.asked) < pressureAge {
		return c.answer, nil
	}
	if err := redial(ctx, &c.scout, c.source, "pressure"); err != nil {
		return "", err
	}
	p, err := prepare.ReadPressure(ctx, c.scout)
	if err != nil {
		return "", err
	}
	c.asked, c.answer = time.Now(), p.TooMuch(c.limits)
	return c.answer, nil
}

// verificationOf is what of an outcome goes into a history.
func verificationOf(run, method string, o verify.Outcome) contract.Verification {
	out := contract.Verification{Method: method, Equal: true}
	out.Run, out.BarrierLSN, out.HeldMS = run, o.Barrier, o.Held.Milliseconds()
	at := o.At.UTC()
	out.At = &at
	for _, t := range o.Tables {
		addTable(&out, t)
	}
	shorten(&out)
	return out
}

func addTable(v *contract.Verification, t verify.TableResult) {
	name := t.Table.String()
	if t.Unverified {
		v.Unverified = append(v.Unverified, name)
	}
	if t.Unequal {
		v.Unequal = append(v.Unequal, name)
	}
	if t.Skipped {
		return
	}
	v.Tables++
	v.Rows += t.SourceRows
	v.Bytes += t.Bytes
	v.Equal = v.Equal && t.Equal
	if t.Compared {
		v.Compared++
	}
	if t.Whole {
		v.Whole++
	}
	if t.Reliance != 0 {
		v.Relied++
		if v.ReliedLSN == 0 || t.Reliance < v.ReliedLSN {
			v.ReliedLSN = t.Reliance
		}
	}
	v.Verdicts = append(v.Verdicts, contract.TableVerdict{Table: name, Equal: !t.Unequal, Rows: t.SourceRows, Bytes: t.Bytes, Whole: t.Whole,
		ReliedLSN: t.Reliance, Unverified: t.Unverified})
	if !t.Equal {
		v.Differences = append(v.Differences, differenceOf(t))
	}
}

func differenceOf(t verify.TableResult) contract.TableDifference {
	d := contract.TableDifference{Table: t.Table.String(), SourceRows: t.SourceRows, TargetRows: t.TargetRows}
	var words []string
	if t.SourceRows != t.TargetRows {
		words = append(words, fmt.Sprintf("%d rows on the source, %d on the target", t.SourceRows, t.TargetRows))
	}
	switch {
	case t.Differing == 0:
		words = append(words, "the contents differ")
	case t.More:
		words = append(words, fmt.Sprintf("at least %d rows differ", t.Differing))
	default:
		words = append(words, fmt.Sprintf("%d rows differ", t.Differing))
	}
	for _, r := range t.Differences {
		d.Rows = append(d.Rows, contract.RowDifference{KeyHash: r.KeyHash, What: r.What, Columns: r.Columns})
	}
	if len(d.Rows) > 0 {
		first := d.Rows[0]
		text := fmt.Sprintf("first the one with key hash %s: %s", first.KeyHash, first.What)
		if len(first.Columns) > 0 {
			text += " in " + strings.Join(first.Columns, ", ")
		}
		words = append(words, text)
	}
	d.Message = strings.Join(words, "; ")
	return d
}

// These bound what goes into a history: a report has ten comparisons.
const (
	maxVerdicts = 100
	maxNamed    = 100
	maxRows     = 200 // that differ, of all tables
)

func shorten(v *contract.Verification) {
	v.UnverifiedCount, v.UnequalCount = len(v.Unverified), len(v.Unequal)
	v.Unverified, v.Unequal = v.Unverified[:min(len(v.Unverified), maxNamed)], v.Unequal[:min(len(v.Unequal), maxNamed)]
	slices.SortStableFunc(v.Verdicts, func(x, y contract.TableVerdict) int {
		if x.Equal != y.Equal {
			if y.Equal {
				return -1
			}
			return 1
		}
		return cmp.Compare(y.Bytes, x.Bytes)
	})
	v.Verdicts = v.Verdicts[:min(len(v.Verdicts), maxVerdicts)]
	slices.SortFunc(v.Differences, func(x, y contract.TableDifference) int { return cmp.Compare(x.Table, y.Table) })
	v.Differences = v.Differences[:min(len(v.Differences), maxNamed)]
	room := maxRows
	for i := range v.Differences {
		d := &v.Differences[i]
		d.Rows = d.Rows[:min(len(d.Rows), room)]
		room -= len(d.Rows)
	}
}

// maxShown is how many differing rows are shown with their values.
const maxShown = 200

// ReadDifferences reads the rows that a run found to differ, with the values that it was asked to keep, and seals them for who
// asked: its result is in a history.
//
//	Does: reads the ledger.
//	Safe to repeat because: it only reads.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) ReadDifferences(ctx context.Context, input contract.DifferencesInput) (out contract.SealedRows, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withTarget(ctx, input.Spec, "differences", func(conn *pgx.Conn) error {
			rows, err := ledger.Differences(ctx, conn, input.Run, maxShown)
			if err != nil {
				return err
			}
			shown := []contract.DifferingRow{}
			for _, r := range rows {
				shown = append(shown, contract.DifferingRow{Table: r.Table.String(), KeyHash: r.KeyHash, What: r.What, Columns: r.Columns, Key: r.Key,
					Source: shortRow(r.SourceRow), Target: shortRow(r.TargetRow)})
			}
			out.Sealed, err = sealed.Seal(input.PublicKey, shown)
			return err
		})
	})
	return out, err
}

// maxValue keeps a page of long values within what Temporal carries.
const maxValue = 500

func shortRow(row map[string]*string) map[string]*string {
	for column, v := range row {
		if v != nil && len(*v) > maxValue {
			short := strings.ToValidUTF8((*v)[:maxValue], "") + "…"
			row[column] = &short
		}
	}
	return row
}
