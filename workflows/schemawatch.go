package workflows

import (
	"slices"

	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// watchedCodes are those of problems that each look at the source's schema finds anew.
var watchedCodes = []string{contract.CodeNewTable, contract.CodeSchemaAhead, contract.CodeTableDropped, contract.CodeTableRenamed, contract.CodePartitionGone,
	contract.CodeIdentityLost, contract.CodeEnumAhead}

// watchSchema warns of what has changed in the source's schema, before the stream comes to it: while changes are applied, and once
// more before a switch. What was carried over goes into status and report.
func (m *migration) watchSchema(ctx workflow.Context) {
	var seen contract.SchemaWatch
	input := m.watchInput()
	if err := workflow.ExecuteActivity(on(ctx, asked, "the source's schema"), acts.WatchSchema, input).Get(ctx, &seen); err != nil {
		return // the source or the target does not answer for the moment: the next look tells
	}
	m.forgetProblems(watchedCodes)
	m.nameNewTables(seen.NewTables)
	m.schemaSeen = true
	if !m.joining || len(seen.Joining) == 0 { // else they are for the next look, when those before them are there
		m.seenTables = seen.Fingerprint
	}
	m.joinTables(ctx, seen.Joining)
	for _, p := range seen.Problems {
		m.addProblem(p)
	}
	m.addSchemaChanges(input, seen.Followed)
}

const (
	// newTablesEvery is how soon, in seconds, a new table is noticed; joiningEvery while others are being carried over.
	newTablesEvery, joiningEvery = 15, 60
	// maxEarlyLooks bounds the history where an application makes tables all the time: after so many they are found when a look
	// at the stream ends by itself.
	maxEarlyLooks = 500
)

// untilNewTables lets a look at the stream end when the source has tables that are not known.
func (m *migration) untilNewTables(input contract.LagInput) contract.LagInput {
	if !m.schemaSeen || m.earlyLooks >= maxEarlyLooks {
		return input
	}
	input.NewTables, input.NewTablesEvery = m.seenTables, newTablesEvery
	if m.joining {
		input.NewTablesEvery = joiningEvery
	}
	return input
}

// addSchemaChanges leaves them to the next look where somebody else has added some since this one was begun.
func (m *migration) addSchemaChanges(asked contract.SchemaWatchInput, more []contract.SchemaChange) {
	if asked.Followed == len(m.status.SchemaChanges) {
		m.status.SchemaChanges = append(m.status.SchemaChanges, more...)
	}
}

func (m *migration) watchInput() contract.SchemaWatchInput {
	return contract.SchemaWatchInput{Spec: m.spec, Followed: len(m.status.SchemaChanges)}
}

// noteSchemaChanges notes what was carried over up to the last change of the source.
func (m *migration) noteSchemaChanges(ctx workflow.Context) {
	if m.spec.Replication.DDL != contract.DDLFollow {
		return
	}
	var changes []contract.SchemaChange
	input := m.watchInput()
	if err := workflow.ExecuteActivity(on(ctx, asked, "what was carried over of the schema"), acts.ListSchemaChanges, input).Get(ctx, &changes); err == nil {
		m.addSchemaChanges(input, changes)
	}
}

func (m *migration) forgetProblems(codes []string) {
	m.status.Problems = slices.DeleteFunc(slices.Clone(m.status.Problems), func(p contract.Problem) bool { return slices.Contains(codes, p.Code) })
	if m.status.Problems == nil {
		m.status.Problems = []contract.Problem{}
	}
}
