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
)

// since says whether this migration runs with the change.
func (m *migration) since(ctx workflow.Context, change string) bool {
	return workflow.GetVersion(ctx, change, workflow.DefaultVersion, 1) >= 1
}
