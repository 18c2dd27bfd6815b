package e2e

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/api/enums/v1"
	"google.golang.org/protobuf/proto"

	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgtest"
)

// Limits that are far below Temporal's own (51,200 events, 50 MB, 2 MB for one value, 256 KB without a warning).
const (
	mostEvents     = 500
	mostBytes      = 2 << 20
	mostEventBytes = 256 << 10
)

// manyTables is how many small tables there are beside a table of 5,000 parts.
func manyTables() int {
	if os.Getenv("TIMEFERRY_SOAK") != "" {
		return 10_000
	}
	return 300
}

// TestManyTablesFitIntoOneHistory migrates many tables and a table of 5,000 parts: what Temporal keeps does not grow with them.
func TestManyTablesFitIntoOneHistory(t *testing.T) {
	t.Parallel()
	setup(t)
	locks := map[string]string{"max_locks_per_transaction": "512"}
	src, dst := pgtest.OwnSource(t, locks), pgtest.OwnTarget(t, locks)
	const batch = 100
	for from := 0; from < manyTables(); from += batch { // each batch its own transaction
		asMaster(t, src, fmt.Sprintf(`DO $$ BEGIN FOR n IN %d..%d LOOP
			EXECUTE format('CREATE TABLE %%1$I (id int PRIMARY KEY, v text); INSERT INTO %%1$I VALUES (1, %%1$L)', 'a_table_with_quite_a_long_name_that_is_one_of_many_' || n);
			END LOOP; END $$`, from, from+batch-1))
	}
	asMaster(t, src, `CREATE TABLE large (id int, v text); ALTER TABLE large ALTER v SET STORAGE PLAIN;
		INSERT INTO large SELECT g, repeat('x', 5000) FROM generate_series(1, 5000) g; ANALYZE large`) // a row fills a block
	w := newWorld(t)
	m := w.newMigration("many", src, dst, func(spec map[string]any) {
		spec["copy"] = map[string]any{"partSize": "8KiB", "concurrency": 2}
	})
	m.start()
	s := m.awaitPatiently(contract.PhaseInSync)
	require.Equal(t, manyTables()+1, s.Copy.TablesDone)
	require.GreaterOrEqual(t, s.Copy.PartsDone, 5000+manyTables())
	m.order(contract.SignalAbort)
	m.awaitPatiently(contract.PhaseAborted)
	require.Equal(t, contract.PhaseAborted, m.report().Outcome)
	m.requireSmallHistory()
	m.requireNothingLeft()
}

// awaitPatiently is await for what takes long.
func (m *migration) awaitPatiently(phase contract.Phase) (s contract.Status) {
	m.t.Helper()
	require.Eventually(m.t, func() bool {
		var err error
		s, err = m.status()
		for _, p := range s.Problems {
			require.NotEqual(m.t, contract.Fatal, p.Severity, "%+v", p)
		}
		return err == nil && s.Phase == phase
	}, 20*time.Minute, time.Second, "waiting for phase %s", phase)
	return s
}

func (m *migration) requireSmallHistory() {
	m.t.Helper()
	ctx := context.Background()
	described, err := m.client.DescribeWorkflowExecution(ctx, contract.WorkflowID(m.name), "")
	require.NoError(m.t, err)
	info := described.GetWorkflowExecutionInfo()
	m.t.Logf("%d events, %d bytes", info.GetHistoryLength(), info.GetHistorySizeBytes())
	require.Less(m.t, info.GetHistoryLength(), int64(mostEvents))
	require.Less(m.t, info.GetHistorySizeBytes(), int64(mostBytes))
	events := m.client.GetWorkflowHistory(ctx, contract.WorkflowID(m.name), "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for events.HasNext() {
		event, err := events.Next()
		require.NoError(m.t, err)
		require.Less(m.t, proto.Size(event), mostEventBytes, "%s", event.GetEventType())
	}
}
