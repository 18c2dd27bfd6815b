package activities_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/testsuite"

	"timeferry/activities"
	"timeferry/internal/contract"
	"timeferry/internal/testkit/pgtest"
)

// slotWorld is a source of its own, whose WAL a test may let grow, and the activity that looks after a slot there.
type slotWorld struct {
	src  *pgtest.Database
	spec contract.Spec
	env  *testsuite.TestActivityEnvironment
	a    *activities.Activities
}

func newSlotWorld(t *testing.T) *slotWorld {
	t.Helper()
	w := &slotWorld{src: pgtest.OwnSource(t, map[string]string{"max_slot_wal_keep_size": "64MB", "max_wal_size": "64MB", "min_wal_size": "32MB", "max_prepared_transactions": "2"})}
	w.spec = hypertableSpec(t, w.src, w.src)
	w.src.Exec(t, `SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, contract.SlotName(w.spec.Name))
	w.src.Exec(t, `CREATE TABLE load (v text)`)
	var suite testsuite.WorkflowTestSuite
	w.env = suite.NewTestActivityEnvironment()
	w.env.SetTestTimeout(time.Minute)
	w.a = &activities.Activities{}
	w.env.RegisterActivity(w.a)
	return w
}

// writeUntil writes WAL, so many MB at a time, and lets the source look after its slots, until the slot is as the condition says.
func (w *slotWorld) writeUntil(t *testing.T, megabytes int, condition string) {
	t.Helper()
	for range 100 {
		if w.src.QueryValue(t, `SELECT coalesce(`+condition+`, false) FROM pg_replication_slots WHERE slot_name = '`+contract.SlotName(w.spec.Name)+`'`) == "t" {
			return
		}
		w.src.Exec(t, `SELECT pg_logical_emit_message(false, 'load', repeat('x', `+strconv.Itoa(megabytes*1_000_000)+`))`)
		w.src.Exec(t, `CHECKPOINT`)
	}
	require.FailNow(t, "the slot never came to be so", condition)
}

func (w *slotWorld) watch(t *testing.T, known ...string) []contract.Problem {
	t.Helper()
	value, err := w.env.ExecuteActivity(w.a.WatchSlot, contract.SlotWatch{Spec: w.spec, Known: known})
	require.NoError(t, err)
	var alarms contract.SlotAlarms
	require.NoError(t, value.Get(&alarms))
	return alarms.Problems
}

// What the server says on its way from a healthy slot to a lost one.
func TestWatchSlotSeesTheDangerBeforeTheSlotIsLost(t *testing.T) {
	w := newSlotWorld(t)
	w.writeUntil(t, 2, "safe_wal_size < 12000000")
	found := w.watch(t)
	require.Len(t, found, 1)
	require.Equal(t, contract.CodeSlotEndangered, found[0].Code)
	require.Equal(t, contract.Warning, found[0].Severity)
	require.Contains(t, found[0].Message, "of WAL are kept for the slot")
	require.NotEmpty(t, found[0].Remedy)
	w.writeUntil(t, 20, "wal_status = 'lost'")
	found = w.watch(t, contract.CodeSlotEndangered)
	require.Len(t, found, 1)
	require.Equal(t, contract.CodeSlotLost, found[0].Code)
	require.Equal(t, contract.Fatal, found[0].Severity)
	require.Contains(t, found[0].Remedy, "resync")
}

func TestWatchSlotSeesASlotThatIsGone(t *testing.T) {
	w := newSlotWorld(t)
	w.src.Exec(t, `SELECT pg_drop_replication_slot($1)`, contract.SlotName(w.spec.Name))
	found := w.watch(t)
	require.Len(t, found, 1)
	require.Equal(t, contract.CodeSlotLost, found[0].Code)
	require.Contains(t, found[0].Message, "does not exist")
}
