package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
)

func TestTimesComeFromThePhases(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	in := func(d time.Duration) time.Time { return at.Add(d) }
	o := timesOf([]contract.PhaseTime{
		{Phase: contract.PhasePreflight, Entered: at, MS: 2000},
		{Phase: contract.PhaseCreatingSlot, Entered: in(2 * time.Second), MS: 1000},
		{Phase: contract.PhaseCopying, Entered: in(3 * time.Second), MS: 5500},
		{Phase: contract.PhaseCatchingUp, Entered: in(8500 * time.Millisecond), MS: 500},
		{Phase: contract.PhaseInSync, Entered: in(9 * time.Second)},
	})
	require.Equal(t, 6.5, o.seconds)
	require.Equal(t, 9.0, o.inSync)
	require.Equal(t, map[string]float64{"preflight": 2, "creating-slot": 1, "copying": 5.5, "catching-up": 0.5}, o.phases)
}

func TestContentTellsWhatIsMissing(t *testing.T) {
	want := content{rows: map[string]int64{"a": 3, "b": 5}, indexes: 2, constraints: 1}
	require.Empty(t, want.differs(content{rows: map[string]int64{"a": 3, "b": 5}, indexes: 2, constraints: 1}))
	require.Equal(t, int64(8), want.total())
	require.Equal(t, "b has 4 rows, not 5", want.differs(content{rows: map[string]int64{"a": 3, "b": 4}, indexes: 2, constraints: 1}))
	require.Equal(t, "b has 0 rows, not 5; 1 tables, not 2; 1 indexes and 1 constraints, not 2 and 1",
		want.differs(content{rows: map[string]int64{"a": 3}, indexes: 1, constraints: 1}))
}

func TestFloorQueueGivesIndexesFirstAndWaitsForTables(t *testing.T) {
	q := &floorQueue{tables: []floorTable{{name: "large", indexes: []string{"i1", "i2"}}}}
	q.ready.L = &q.mu
	_, large, ok := q.next()
	require.True(t, ok)
	require.Equal(t, "large", large.name)

	got := make(chan string)
	go func() {
		index, _, _ := q.next() // waits: a table is on its way
		got <- index
	}()
	q.copied(large, 0, nil)
	require.Equal(t, "i1", <-got)
	index, _, ok := q.next()
	require.True(t, ok)
	require.Equal(t, "i2", index)
	_, _, ok = q.next()
	require.False(t, ok)
}
