package apply

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// unchanged is the value of a column that an update left out.
const unchanged = "\x00unchanged"

// null is SQL's NULL in a row.
const null = "\x00null"

func row1(values ...string) []change.Datum {
	datums := make([]change.Datum, len(values))
	for i, v := range values {
		switch v {
		case unchanged:
			datums[i] = change.Datum{State: change.Unchanged}
		case null:
			datums[i] = change.Datum{State: change.Null}
		default:
			datums[i] = change.Datum{State: change.Text, Bytes: []byte(v)}
		}
	}
	return datums
}

// relation describes a table of schema public; a column whose name ends in * is part of the identity.
func relation(name string, identity byte, columns ...string) *change.Relation {
	rel := &change.Relation{OID: 1, Schema: "public", Name: name, Identity: identity}
	for _, c := range columns {
		plain, key := strings.CutSuffix(c, "*")
		rel.Columns = append(rel.Columns, change.Column{Name: plain, Key: key || identity == 'f', TypeOID: 25, Modifier: -1})
	}
	return rel
}

func ins(rel *change.Relation, values ...string) change.Event {
	return change.Event{Kind: change.Insert, Relation: rel, New: row1(values...)}
}

func upd(rel *change.Relation, values ...string) change.Event {
	return change.Event{Kind: change.Update, Relation: rel, New: row1(values...)}
}

// updFrom is an update with its old row: the whole one under FULL, else the key.
func updFrom(rel *change.Relation, old []change.Datum, values ...string) change.Event {
	return change.Event{Kind: change.Update, Relation: rel, Old: old, OldIsKey: rel.Identity != 'f', New: row1(values...)}
}

func del(rel *change.Relation, values ...string) change.Event {
	return change.Event{Kind: change.Delete, Relation: rel, Old: row1(values...), OldIsKey: rel.Identity != 'f'}
}

// lsnOf is the FinalLSN of the nth transaction of a script, from 1; its EndLSN is 10 more.
func lsnOf(n int) change.LSN { return change.LSN(n * 100) }

// transactions numbers the given transactions from first on.
func transactions(first int, txs ...[]change.Event) []change.Event {
	var events []change.Event
	for i, tx := range txs {
		final := lsnOf(first + i)
		at := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC).Add(time.Duration(first+i) * time.Second)
		events = append(events, change.Event{Kind: change.Begin, FinalLSN: final, CommitTime: at, XID: uint32(first + i)})
		events = append(events, tx...)
		events = append(events, change.Event{Kind: change.Commit, FinalLSN: final, EndLSN: final + 10, CommitTime: at})
	}
	return events
}

func tx(events ...change.Event) []change.Event { return events }

// script is a feed from memory. After its events it waits for more. Like a real feed it reuses the memory of its values.
type script struct {
	*story
	next int
	last [][]byte
}

// story is what several scripts read, each from its start.
type story struct {
	mu     sync.Mutex
	events []change.Event
	more   chan struct{} // closed when there are more
	err    error         // returned once the events are used up, if set
}

func newScript(events []change.Event) *script {
	return &script{story: &story{events: events, more: make(chan struct{})}}
}

func (s *story) add(events ...change.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, events...)
	close(s.more)
	s.more = make(chan struct{})
}

// rewound reads the same story from its start.
func (s *script) rewound() *script { return &script{story: s.story} }

func (s *script) Next(ctx context.Context) (change.Event, error) {
	for _, b := range s.last {
		for i := range b {
			b[i] = 0xAA
		}
	}
	s.last = s.last[:0]
	for {
		s.mu.Lock()
		more, failed := s.more, s.err
		if s.next < len(s.events) {
			ev := s.events[s.next]
			s.next++
			s.mu.Unlock()
			ev.Old, ev.New = s.lend(ev.Old), s.lend(ev.New)
			return ev, nil
		}
		s.mu.Unlock()
		if failed != nil {
			return change.Event{}, failed
		}
		select {
		case <-ctx.Done():
			return change.Event{}, ctx.Err()
		case <-more:
		}
	}
}

func (s *script) lend(values []change.Datum) []change.Datum {
	if values == nil {
		return nil
	}
	lent := make([]change.Datum, len(values))
	for i, d := range values {
		lent[i] = change.Datum{State: d.State}
		if d.State == change.Text {
			lent[i].Bytes = append([]byte{}, d.Bytes...)
			s.last = append(s.last, lent[i].Bytes)
		}
	}
	return lent
}

func (s *script) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next < len(s.events)
}

// fixture is a target with a ledger.
type fixture struct {
	db      *pgtest.Database
	options Options
	mu      sync.Mutex
	seen    []Progress
}

func newFixture(t testing.TB, schema string, tables ...string) *fixture {
	t.Helper()
	f := &fixture{db: pgtest.Target(t)}
	require.NoError(t, ledger.Create(t.Context(), f.db.Conn(t), "apply"))
	f.db.Exec(t, schema)
	f.options = Options{Target: f.db.Endpoint, Starts: map[ident.Table]change.LSN{}, ReplicaRole: true}
	for _, name := range tables {
		f.options.Starts[ident.Table{Schema: "public", Name: name}] = 0
	}
	return f
}

func (f *fixture) record(p Progress) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen = append(f.seen, p)
}

func (f *fixture) last() Progress {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.seen) == 0 {
		return Progress{}
	}
	return f.seen[len(f.seen)-1]
}

// tables are the counts that were reported last.
func (f *fixture) tables() (counts []TableCount) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.seen {
		if len(p.Tables) > 0 {
			counts = p.Tables
		}
	}
	return counts
}

// apply runs events from memory until the last commit of theirs is applied, or Run fails.
func (f *fixture) apply(t testing.TB, events []change.Event) error {
	t.Helper()
	var end change.LSN
	for _, ev := range events {
		end = max(end, ev.EndLSN)
	}
	s := newScript(events)
	return f.runUntil(t, func(change.LSN) (Feed, error) { return s.rewound(), nil }, end)
}

func (f *fixture) runUntil(t testing.TB, open func(change.LSN) (Feed, error), end change.LSN) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := Run(ctx, f.options, open, func(p Progress) {
		f.record(p)
		if p.AppliedLSN >= end {
			cancel()
		}
	})
	if f.last().AppliedLSN >= end && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (f *fixture) mustApply(t testing.TB, events []change.Event) {
	t.Helper()
	require.NoError(t, f.apply(t, events))
}

func requireFault(t testing.TB, err error, class fault.Class, code string) *fault.Error {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, code, f.Code, "%v", err)
	require.Equal(t, class, f.Class, "%v", err)
	return f
}
