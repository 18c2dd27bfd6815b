package workflows

import (
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// Tables that come into being on the source while changes are applied are carried over with replication.ddl: follow. It is the
// story of the first copy in small: published, a snapshot with its point in the stream, the definition, rows, indexes. What is
// special is that the stream is under way, and may have changes of a table from before its copy: so nothing is applied from
// before the table is published until its rows are there with their start. Changes are received all the while.

// joinTables begins to carry new tables over, beside the story.
func (m *migration) joinTables(ctx workflow.Context, names []string) {
	if len(names) == 0 {
		return
	}
	if !m.since(ctx, tablesJoin) {
		m.nameNewTables(names)
		return
	}
	for _, name := range names {
		m.addProblem(contract.Problem{Severity: contract.Info, Code: contract.CodeTableJoins, Object: name,
			Message: "it was created on the source, and is being carried over; other changes are applied once its rows are there"})
	}
	if m.joining {
		return
	}
	m.joining = true
	m.begin(m.leg, "new-tables", m.carryNewTables)
}

// carryNewTables copies the tables, and finishes their schema once the stream has come past their copy. After a problem the copy
// begins from the start.
func (m *migration) carryNewTables(ctx workflow.Context) error {
	m.applyHeld = true
	if err := m.persist(ctx, m.copyNewTables); err != nil {
		return err
	}
	m.applyHeld = false
	m.forgetProblems([]string{contract.CodeTableJoins})
	m.noteSchemaChanges(ctx)
	for inSync := false; !inSync; {
		lag, err := m.watchLag(ctx, contract.LagInput{Spec: m.spec, UntilInSync: true, Seconds: 600})
		if err != nil {
			return err
		}
		inSync = lag.InSync
	}
	if err := m.finishSchema(ctx); err != nil {
		return err
	}
	m.joining = false
	return nil
}

// mostTries is how often new tables are begun with until a person looks why they never keep still.
const mostTries = 5

// copyNewTables begins again when a table was altered in between: each attempt takes what is there by then.
func (m *migration) copyNewTables(ctx workflow.Context) error {
	for try := 1; ; try++ {
		err := m.tryNewTables(ctx)
		if err == nil || ctx.Err() != nil || problemOf(err).Code != contract.CodeJoinAgain || try == mostTries {
			return err
		}
	}
}

func (m *migration) tryNewTables(ctx workflow.Context) error {
	if err := workflow.Await(ctx, func() bool { return m.applying == 0 }); err != nil {
		return err
	}
	joined, err := m.publishNewTables(ctx)
	if err != nil || joined.Tables == 0 { // dropped again
		return err
	}
	joined.Copy.Epoch = m.held.Epoch
	m.status.Copy = joined.Copy
	seen := m.held.Epoch
	m.holdSnapshot(ctx, seen)
	if err := workflow.Await(ctx, func() bool { return m.held.Epoch > seen }); err != nil {
		return err
	}
	err = m.copyUnderSnapshot(ctx)
	if stopped := m.holder.stop(ctx); stopped != nil {
		return stopped
	}
	if err != nil {
		return err
	}
	if err := workflow.ExecuteActivity(on(ctx, bulk, "indexes, keys, triggers of new tables"), acts.RestorePostData, m.spec).Get(ctx, nil); err != nil {
		return err
	}
	return workflow.ExecuteActivity(on(ctx, quick, "new tables"), acts.SettleTables, m.spec).Get(ctx, nil)
}

// publishNewTables has the receiver begin anew afterwards: with wal2json it keeps for a moment what it has found out of scope.
func (m *migration) publishNewTables(ctx workflow.Context) (joined contract.JoinResult, err error) {
	restart := m.receiver != nil && m.spec.Replication.Plugin != "pgoutput"
	if restart {
		if err := m.receiver.stop(ctx); err != nil {
			return joined, err
		}
	}
	err = workflow.ExecuteActivity(on(ctx, quick, "plan, replica identities, publication of new tables"), acts.JoinTables, m.spec).Get(ctx, &joined)
	if restart && ctx.Err() == nil {
		m.receive(m.leg)
	}
	return joined, err
}

func (m *migration) copyUnderSnapshot(ctx workflow.Context) error {
	if err := workflow.ExecuteActivity(on(ctx, quick, "definitions of new tables"), acts.DumpJoining, m.spec).Get(ctx, nil); err != nil {
		return err
	}
	if err := workflow.ExecuteActivity(on(ctx, quick, "new tables"), acts.RestorePreData, m.spec).Get(ctx, nil); err != nil {
		return err
	}
	for {
		if err := m.copyStreams(ctx); err != nil || m.status.Copy.PartsDone == m.status.Copy.Parts {
			return err
		}
	}
}

// untilJoined holds a switch until new tables are carried over.
func (m *migration) untilJoined(ctx workflow.Context) error {
	if !m.joining {
		return nil
	}
	m.say(ctx, "the cutover waits until new tables of the source are carried over")
	return workflow.Await(ctx, func() bool { return !m.joining })
}
