package activities

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/capture"
	"timeferry/internal/spool"
	"timeferry/internal/target/apply"
)

// streamBeat makes the heartbeats of receiving and applying: positions as they are told, and rates by looking every second, so
// that a stream that has come to rest shows it.
type streamBeat struct {
	report func(contract.Beat)
	spool  *spool.Spool // nil: there is none
	now    func() time.Time

	mu      sync.Mutex
	message string
	status  contract.ReplicationStatus
	tables  map[ident.Table]*tableBeat

	transactions, changes, applying speed
}

// tableBeat is what was applied to a table, and how fast it grows.
type tableBeat struct {
	applied               apply.TableCount
	changes, transactions speed
}

func newStreamBeat(s *spool.Spool, report func(contract.Beat)) *streamBeat {
	return &streamBeat{report: report, spool: s, now: time.Now, tables: map[ident.Table]*tableBeat{}}
}

// run reports every second until ctx ends, and once more then. It returns what ends it.
func (b *streamBeat) run(ctx context.Context) error {
	for {
		err := pgkit.Sleep(ctx, heartbeatEvery)
		b.tell()
		if err != nil {
			return err
		}
	}
}

// beside runs do and the beats until do ends.
func (b *streamBeat) beside(ctx context.Context, do func(context.Context) error) error {
	beating, stop := context.WithCancel(ctx)
	var wait sync.WaitGroup
	wait.Go(func() { _ = b.run(beating) }) // it ends because it is stopped
	err := do(ctx)
	stop()
	wait.Wait()
	return err
}

// received takes the receiver's word.
func (b *streamBeat) received(p capture.Progress, message string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.ReceivedLSN, b.status.SpooledLSN, b.message = p.ReceivedLSN, p.DurableLSN, message
}

// applied takes the applier's word.
func (b *streamBeat) applied(p apply.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.AppliedLSN, b.status.Transactions, b.status.Changes = p.AppliedLSN, p.Transactions, p.Changes
	for _, t := range p.Tables {
		if b.tables[t.Table] == nil {
			b.tables[t.Table] = &tableBeat{}
		}
		b.tables[t.Table].applied = t
	}
}

// tell reports what there is to say now.
func (b *streamBeat) tell() {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	s := b.status
	if b.spool != nil {
		stats := b.spool.Stats()
		s.SpooledBytes, s.SpoolSegments, s.SpoolFirstLSN = stats.Bytes+stats.BesideBytes, stats.Segments, stats.FirstLSN
		if !stats.OldestSegment.IsZero() {
			s.SpoolOldestSeconds = math.Round(now.Sub(stats.OldestSegment).Seconds())
		}
	}
	s.TransactionsPerSecond = rate(&b.transactions, now, s.Transactions)
	s.ChangesPerSecond = rate(&b.changes, now, s.Changes)
	if s.AppliedLSN != 0 {
		b.applying.add(now, int64(s.AppliedLSN))
		s.AppliedPerSecond = b.applying.perSecond(now)
	}
	s.Busiest = b.busiest(now)
	b.report(contract.Beat{Message: b.message, Replication: &s})
}

// busiest are the tables with the most changes of the last seconds, then over all.
func (b *streamBeat) busiest(now time.Time) []contract.TableChanges {
	var all []contract.TableChanges
	for name, t := range b.tables {
		all = append(all, contract.TableChanges{Table: name.String(), Changes: t.applied.Changes, ChangesPerSecond: rate(&t.changes, now, t.applied.Changes),
			Transactions: t.applied.Transactions, TransactionsPerSecond: rate(&t.transactions, now, t.applied.Transactions)})
	}
	slices.SortFunc(all, func(x, y contract.TableChanges) int {
		return cmp.Or(cmp.Compare(y.ChangesPerSecond, x.ChangesPerSecond), cmp.Compare(y.Changes, x.Changes), strings.Compare(x.Table, y.Table))
	})
	return all[:min(len(all), contract.MaxBusiest)]
}

// rate is a number's present growth a second, with one decimal.
func rate(s *speed, now time.Time, value int64) float64 {
	s.add(now, value*10)
	return float64(s.perSecond(now)) / 10
}
