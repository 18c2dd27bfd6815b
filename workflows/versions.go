package workflows

import "go.temporal.io/sdk/workflow"

// Changes of the story that histories under way must not see. Each is asked for only where it matters, so that the
// histories of most migrations hold no mark of it.
const (
	// oneOrderOneSwitch: an order to cut over that comes while another one's switch begins is refused or forgotten.
	oneOrderOneSwitch = "one-order-one-switch"
	// autoAfterProblem: mode auto switches also when a problem was open as the stream came into sync.
	autoAfterProblem = "auto-after-problem"
	// watchedGate: while approve-reboot is awaited, an activity tells what goes on at the source.
	watchedGate = "watched-gate"
	// changesAttachedGroup: values that are missing in our own group are set there although it is attached already.
	changesAttachedGroup = "changes-attached-group"
	// schemaCompared: the schemas are compared before the migration is in sync.
	schemaCompared = "schema-compared"
	// newTablesSought: tables that come into being on the source meanwhile are looked for.
	newTablesSought = "new-tables-sought"
	// schemaWatched: the source's schema is compared with what was carried over, in place of looking for new tables only.
	schemaWatched = "schema-watched"
	// steered: the signals pause and set-concurrency are obeyed.
	steered = "steered"
	// indexesBesideCopy: each table's indexes are built as soon as it is complete, while others are still copied.
	indexesBesideCopy = "indexes-beside-copy"
	// slotWatched: an activity looks after the slot and raises alarms before it is lost.
	slotWatched = "slot-watched"
	// resyncable: the signal resync is obeyed.
	resyncable = "resyncable"
	// barrierVerified: both sides are compared at barriers in the stream, when it is ordered and before the fence.
	barrierVerified = "barrier-verified"
	// tablesJoin: with replication.ddl: follow, new tables are carried over.
	tablesJoin = "tables-join"
	// guardedFence: the switch is few activities, its fence has a time limit and is sealed before the application is led away.
	guardedFence = "guarded-fence"
	// releasedBeside: what follows the copy does not wait until the snapshot is let go.
	releasedBeside = "released-beside"
	// leftoversSought: after everything was undone it is looked for, and the migration does not end while something is there.
	leftoversSought = "leftovers-sought"
	// newEpochNewStreams: streams of the copy that found no free part are begun again when a new epoch makes parts free.
	newEpochNewStreams = "new-epoch-new-streams"
)

// since says whether this migration runs with the change.
func (m *migration) since(ctx workflow.Context, change string) bool {
	return workflow.GetVersion(ctx, change, workflow.DefaultVersion, 1) >= 1
}
