package workflows

import (
	"errors"
	"fmt"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"timeferry/internal/contract"
)

// codeTableRewritten is the copy's word for a table whose rows moved to other blocks between two of its parts (VACUUM FULL,
// CLUSTER): only a new snapshot helps.
const codeTableRewritten = "table-rewritten"

// createSlot fixes the replica identities, publishes the tables, and takes the slot with its snapshot. The order is a
// promise: a table in the publication without an identity makes the application's UPDATE fail.
func (m *migration) createSlot(ctx workflow.Context) error {
	m.enter(ctx, contract.PhaseCreatingSlot, "choosing the worker that keeps the spool")
	err := m.persist(ctx, func(ctx workflow.Context) error {
		var claim contract.HostClaim
		if err := workflow.ExecuteActivity(on(ctx, quick, "which worker keeps the spool"), acts.ClaimHost, m.spec).Get(ctx, &claim); err != nil {
			return err
		}
		m.hostID = claim.HostID
		return workflow.ExecuteActivity(on(ctx, quick, "tables and parts"), acts.PlanCopy, m.spec).Get(ctx, &m.status.Copy)
	})
	if err != nil {
		return err
	}
	err = m.persist(ctx, func(ctx workflow.Context) error {
		m.say(ctx, "setting replica identities")
		if err := workflow.ExecuteActivity(on(ctx, quick, "replica identities"), acts.FixIdentities, m.spec).Get(ctx, &m.report.Identities); err != nil {
			return err
		}
		m.say(ctx, "publishing the tables")
		return workflow.ExecuteActivity(on(ctx, quick, contract.PublicationName(m.spec.Name)), acts.CreatePublication, m.spec).Get(ctx, nil)
	})
	if err != nil {
		return err
	}
	m.status.Source.Publication = contract.PublicationName(m.spec.Name)
	m.status.Source.Slot = contract.SlotName(m.spec.Name)
	m.listenForSnapshots(ctx)
	m.say(ctx, "creating slot %s; it waits for transactions that are older", m.status.Source.Slot)
	m.holdSnapshot(ctx, 0)
	if err := workflow.Await(ctx, func() bool { return m.held.Epoch > 0 }); err != nil {
		return err
	}
	m.receive(ctx)
	m.watchSlot(ctx, m.spec)
	return nil
}

// migrateSchema brings roles and everything that must stand before the data.
func (m *migration) migrateSchema(ctx workflow.Context) error {
	m.enter(ctx, contract.PhaseMigratingSchema, "migrating roles and schema")
	if m.spec.Roles == "migrate" {
		var roles contract.RolesResult
		err := m.persist(ctx, func(ctx workflow.Context) error {
			return workflow.ExecuteActivity(on(ctx, quick, "roles"), acts.MigrateRoles, m.spec).Get(ctx, &roles)
		})
		if err != nil {
			return err
		}
		m.report.RolesCreated, m.report.RolesWithoutPassword = roles.Created, roles.WithoutPassword
		m.status.Problems = append(m.status.Problems, roles.Problems...)
	}
	return m.persist(ctx, func(ctx workflow.Context) error {
		m.say(ctx, "dumping the schema")
		if err := m.restoring(ctx, quick, "dump the schema", acts.DumpSchema); err != nil {
			return err
		}
		m.say(ctx, "restoring types, functions and tables")
		return workflow.ExecuteActivity(on(ctx, quick, "types, functions, tables, views"), acts.RestorePreData, m.spec).Get(ctx, nil)
	})
}

// makeHypertables turns the tables named in the spec into hypertables while they are empty, and passes the gate
// approve-hypertables if there is one.
func (m *migration) makeHypertables(ctx workflow.Context) error {
	err := m.persist(ctx, func(ctx workflow.Context) error {
		return workflow.ExecuteActivity(on(ctx, quick, fmt.Sprintf("%d hypertables", len(m.spec.Hypertables))), acts.MakeHypertables, m.spec).Get(ctx, &m.report.Hypertables)
	})
	if err != nil || !m.spec.HypertableGate {
		return err
	}
	m.enter(ctx, contract.PhaseAwaitingHypertables, "the schema is on the target")
	return m.await(ctx, func() bool { return m.hypertablesApproved },
		"the schema is on the target: make further hypertables by hand now, if you wish", contract.SignalApproveHypertables)
}

// copyData copies the existing rows under the snapshot with as many streams as the spec says; each takes part after part.
// Beside it, indexes are built on the tables that are complete.
func (m *migration) copyData(ctx workflow.Context) error {
	m.enter(ctx, contract.PhaseCopying, "copying the existing rows")
	started := workflow.Now(ctx)
	if m.since(ctx, indexesBesideCopy) {
		m.indexes = m.begin(ctx, "indexes", func(ctx workflow.Context) error {
			return workflow.ExecuteActivity(on(ctx, bulk, "indexes and keys of complete tables"), acts.BuildIndexes, m.spec).Get(ctx, &m.built)
		})
	}
	for {
		err := m.persist(ctx, m.copyStreams)
		if err != nil {
			return err
		}
		if m.status.Copy.PartsDone == m.status.Copy.Parts {
			break
		}
	}
	m.report.CopySeconds = workflow.Now(ctx).Sub(started).Seconds()
	// The snapshot has done its work: holding it longer would keep the source from cleaning up dead rows. It is not waited for,
	// since an activity learns with its next heartbeat, up to two seconds later, that it is to end.
	if m.since(ctx, releasedBeside) {
		m.snapshotReleased = true
		m.begin(ctx, "release-snapshot", m.releaseSnapshot)
		return nil
	}
	return m.releaseSnapshot(ctx)
}

// buildIndexes makes indexes, keys and whatever else must stand before changes are applied: what has been begun beside the
// copy is waited for, and the rest comes after it.
func (m *migration) buildIndexes(ctx workflow.Context) error {
	m.enter(ctx, contract.PhaseIndexing, "building indexes and constraints")
	if m.indexes != nil {
		if err := workflow.Await(ctx, func() bool { return m.indexes.done }); err != nil {
			return err
		}
	}
	err := m.persist(ctx, func(ctx workflow.Context) error {
		return workflow.ExecuteActivity(on(ctx, bulk, "indexes, keys, triggers"), acts.RestorePostData, m.spec).Get(ctx, nil)
	})
	if err == nil {
		m.status.Copy.Indexes, m.status.Copy.IndexesDone = m.built.Indexes, m.built.Indexes
	}
	return err
}

// catchUp applies the changes until the target is in sync, and then finishes the schema: foreign keys can be validated
// only after every table has passed its start LSN.
func (m *migration) catchUp(ctx workflow.Context) error {
	m.enter(ctx, contract.PhaseCatchingUp, "applying the changes that came in meanwhile")
	m.begin(ctx, "apply", func(ctx workflow.Context) error {
		return m.whileNotPaused(ctx, func(ctx workflow.Context) workflow.Future {
			return m.apply(ctx)
		})
	})
	if err := m.awaitSync(ctx); err != nil {
		return err
	}
	m.say(ctx, "validating foreign keys, refreshing materialized views")
	if err := m.finishSchema(ctx); err != nil {
		return err
	}
	if err := m.compareSchema(ctx); err != nil {
		return err
	}
	return m.awaitSync(ctx)
}

func (m *migration) finishSchema(ctx workflow.Context) error {
	return m.persist(ctx, func(ctx workflow.Context) error {
		return m.restoring(ctx, bulk, "foreign keys, materialized views", acts.FinishSchema)
	})
}

// restoring runs an activity that restores a section of the schema, and keeps what it found.
func (m *migration) restoring(ctx workflow.Context, k kind, summary string, activity any) error {
	var found []contract.Problem
	err := workflow.ExecuteActivity(on(ctx, k, summary), activity, m.spec).Get(ctx, &found)
	for _, p := range found {
		m.addProblem(p)
	}
	return err
}

func (m *migration) awaitSync(ctx workflow.Context) error {
	for {
		lag, err := m.watchLag(ctx, m.untilNewTables(contract.LagInput{Spec: m.spec, UntilInSync: true, Seconds: 600}))
		if err != nil || lag.InSync {
			return err
		}
		if m.since(ctx, schemaWatched) {
			m.watchSchema(ctx)
		}
	}
}

// watchLag follows the stream for a while; what it saw last goes into the status.
func (m *migration) watchLag(ctx workflow.Context, input contract.LagInput) (contract.ReplicationStatus, error) {
	err := m.persist(ctx, func(ctx workflow.Context) error {
		var seen contract.LagWatch // a new one: what is zero is not in its JSON
		err := workflow.ExecuteActivity(on(ctx, poll, "lag"), acts.WatchLag, input).Get(ctx, &seen)
		if err == nil {
			m.status.Replication = seen.ReplicationStatus
			if seen.NewTables {
				m.earlyLooks++
			}
		} else {
			seen = handedBack(err)
		}
		m.report.Lag = contract.AddLag(m.report.Lag, seen.Samples, contract.MaxLagSamples)
		return err
	})
	m.refresh(ctx)
	return m.status.Replication, err
}

// handedBack is what a look at the stream had seen when it was cancelled.
func handedBack(err error) (seen contract.LagWatch) {
	var cancelled *temporal.CanceledError
	if errors.As(err, &cancelled) && cancelled.HasDetails() {
		_ = cancelled.Details(&seen) // an earlier version hands nothing back
	}
	return seen
}

// measureLag looks at the stream once, for an order.
func (m *migration) measureLag(ctx workflow.Context) (contract.ReplicationStatus, error) {
	var seen contract.LagWatch
	err := workflow.ExecuteActivity(on(ctx, asked, "lag"), acts.WatchLag, contract.LagInput{Spec: m.spec}).Get(ctx, &seen)
	return seen.ReplicationStatus, err
}
