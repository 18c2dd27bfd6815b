package activities

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/target/apply"
)

func TestABeatTellsTheBusiestTables(t *testing.T) {
	var told contract.Beat
	b := newStreamBeat(nil, func(beat contract.Beat) { told = beat })
	now := time.Now()
	b.now = func() time.Time { return now }
	quiet, busy := ident.Table{Schema: "public", Name: "quiet"}, ident.Table{Schema: "public", Name: "busy"}
	for second := range int64(3) {
		if second == 0 { // a batch tells of the tables that it changed
			b.applied(apply.Progress{Tables: []apply.TableCount{{Table: quiet, Changes: 5000, Transactions: 7}}})
		}
		b.applied(apply.Progress{Tables: []apply.TableCount{{Table: busy, Changes: 100 * second, Transactions: 10 * second}}})
		b.tell()
		now = now.Add(time.Second)
	}
	require.Equal(t, []contract.TableChanges{
		{Table: "public.busy", Changes: 200, ChangesPerSecond: 100, Transactions: 20, TransactionsPerSecond: 10},
		{Table: "public.quiet", Changes: 5000, Transactions: 7},
	}, told.Replication.Busiest)
}
