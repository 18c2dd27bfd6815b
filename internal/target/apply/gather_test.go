package apply

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// gathering is a gatherer at work on a story, with the session played by the test.
type gathering struct {
	*gatherer
	story *script
	done  chan error
}

func newGathering(t *testing.T, events []change.Event) *gathering {
	t.Helper()
	name := ident.Table{Schema: "public", Name: "t"}
	tables := map[ident.Table]*table{name: {name: name, columns: []column{{name: "id", cast: "text", equal: "="}}, uniques: [][]string{{"id"}}}}
	r := &runner{Options: Options{Starts: map[ident.Table]change.LSN{name: 0}, ReplicaRole: true, BatchBytes: defaultBatchBytes, BatchChanges: 6}, known: map[ident.Table]*shape.Definition{}}
	g := &gathering{story: newScript(events), done: make(chan error, 1)}
	g.gatherer = newGatherer(r, g.story, 0, tables)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		g.done <- g.run(ctx)
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return g
}

func (g *gathering) requireNoBatch(t *testing.T) {
	t.Helper()
	select {
	case b := <-g.out:
		require.Fail(t, "a batch for a session that is busy", "%d transactions", b.transactions)
	case <-time.After(50 * time.Millisecond):
	}
}

// take waits for a batch as the session does.
func (g *gathering) take(t *testing.T) *batch {
	t.Helper()
	g.taker.begin()
	defer g.taker.end()
	select {
	case b := <-g.out:
		return b
	case <-time.After(10 * time.Second):
		require.Fail(t, "no batch")
	}
	return nil
}

func lone(rel *change.Relation, n int) []change.Event {
	return transactions(n, tx(ins(rel, sprint(n))))
}

// What comes while the target is busy goes into one batch, which is given away as soon as the target is free, though nothing
// more comes.
func TestBatchesGrowWhileTheTargetIsBusy(t *testing.T) {
	rel := relation("t", 'd', "id*")
	g := newGathering(t, lone(rel, 1))
	g.requireNoBatch(t)
	g.story.add(lone(rel, 2)...)
	g.story.add(change.Event{Kind: change.Progress, FinalLSN: lsnOf(3)})
	g.requireNoBatch(t)
	b := g.take(t)
	require.EqualValues(t, 2, b.transactions)
	require.Equal(t, lsnOf(3), b.end)

	g.taker.begin() // it waits before there is anything
	g.story.add(lone(rel, 4)...)
	require.EqualValues(t, 1, g.take(t).transactions, "nothing waits for more to come")
}

func TestABusyTargetDoesNotMakeBatchesGrowBeyondTheirBounds(t *testing.T) {
	rel := relation("t", 'd', "id*")
	var events []change.Event
	for n := range 20 {
		events = append(events, lone(rel, n+1)...)
	}
	g := newGathering(t, events)
	time.Sleep(20 * time.Millisecond)
	var transactions int64
	for transactions < 20 {
		b := g.take(t)
		require.LessOrEqual(t, b.changes, int64(g.BatchChanges))
		transactions += b.transactions
	}
	g.requireNoBatch(t)
}

// What came whole before the feed failed is given away before the failure is told.
func TestAFailingFeedKeepsNothingBack(t *testing.T) {
	rel := relation("t", 'd', "id*")
	g := newGathering(t, lone(rel, 1))
	g.requireNoBatch(t)
	g.story.mu.Lock()
	g.story.err = context.DeadlineExceeded
	g.story.mu.Unlock()
	g.story.add()
	require.EqualValues(t, 1, g.take(t).transactions)
	require.ErrorIs(t, <-g.done, context.DeadlineExceeded)
}

// Changes of which nothing is left still happened.
func TestAbsorbedBatchesAreCounted(t *testing.T) {
	tables := func(n int64) counts { return counts{{Schema: "public", Name: "t"}: {changes: n, transactions: n}} }
	for own := range int64(2) {
		later := &batch{changes: own}
		if own > 0 {
			later.tables = tables(own)
		}
		later.absorb(&batch{transactions: 2, changes: 4, tables: tables(4)})
		require.EqualValues(t, 2, later.transactions)
		require.Equal(t, 4+own, later.changes)
		require.Equal(t, tables(4+own), later.tables)
	}
}

// A table's transactions are counted once each, however many of its rows they change and whatever else they hold.
func TestTransactionsAreCountedByTable(t *testing.T) {
	var c tally
	a, b := &table{name: ident.Table{Schema: "public", Name: "a"}}, &table{name: ident.Table{Schema: "public", Name: "b"}}
	c.add(a, 10)
	c.add(b, 10)
	c.add(a, 10)
	first := c.take()
	require.Equal(t, counts{a.name: {changes: 2, transactions: 1}, b.name: {changes: 1, transactions: 1}}, first)
	c.add(a, 10) // goes on in the next batch
	c.add(a, 20)
	second := c.take()
	require.Equal(t, counts{a.name: {changes: 2, transactions: 1}}, second)
	require.Nil(t, c.take())
	r := &runner{}
	r.count(first)
	require.Equal(t, []TableCount{{Table: a.name, Changes: 4, Transactions: 2}}, r.count(second))
}
