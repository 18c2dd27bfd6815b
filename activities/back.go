package activities

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/activity"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/cutover"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/source/prepare"
	"timeferry/internal/source/slot"
	"timeferry/internal/target/ledger"
	"timeferry/internal/target/survey"
)

// backSlotPatience is how long the way back's slot may wait for transactions on the target. Nothing is fenced meanwhile, but a
// person waits for the switch.
const backSlotPatience = 30 * time.Second

// PrepareBack makes on the target what the changes are read by that go back to the source after the switch, and on the source
// the bookkeeping of that stream.
//
//	Does: ledger on the source; replica identities, publication and slot on the target.
//	Safe to repeat because: each is recorded before it is made, and found again by its name.
//	Heartbeats: nothing of its own.
//	Undone by: CleanSource and CleanTarget of the order for the way back.
func (a *Activities) PrepareBack(ctx context.Context, spec contract.Spec) (out contract.BackPlan, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "way back", func(source, target *pgx.Conn) error {
			tables, err := ledger.TablesInScope(ctx, target)
			if err != nil {
				return err
			}
			hypertables, err := readableHypertables(ctx, target, tables)
			if err != nil {
				return err
			}
			back := spec.Back(plan.BackPlugin(hypertables))
			out = contract.BackPlan{Plugin: back.Replication.Plugin, Slot: contract.SlotName(back.Name)}
			if err := ledger.Create(ctx, source, back.Name); err != nil {
				return err
			}
			for i := range tables { // on the source they are none
				tables[i].Hypertable = false
			}
			if err := ledger.PlanTables(ctx, source, tables); err != nil {
				return err
			}
			if err := publishBack(ctx, back, source, target); err != nil {
				return err
			}
			return a.makeBackSlot(ctx, back, source, target)
		})
	})
	return out, err
}

// readableHypertables says whether there are hypertables among the tables. One that changes by itself is refused: such changes
// are not in the stream, or cannot be told from the application's.
func readableHypertables(ctx context.Context, target *pgx.Conn, tables []ledger.Table) (some bool, err error) {
	all, err := survey.Hypertables(ctx, target)
	if err != nil {
		return false, err
	}
	for _, t := range tables {
		changesItself, is := all[t.Table]
		if changesItself {
			return false, fault.New(fault.Operator, "prepare the way back of", t.Table.String(),
				"remove the policies and the compression setting from the hypertable until complete, or abort and start again without cutover.reverse",
				"its columnstore or retention would move or remove rows behind the change stream's back").WithCode(plan.CodeBackHypertable)
		}
		some = some || is
	}
	return some, nil
}

// publishBack gives the target's tables identities by which their rows are found on the source, recorded in the source's
// ledger, and publishes them: also for a plugin that does not go by publications, since the scope is read from them.
func publishBack(ctx context.Context, back contract.Spec, source, target *pgx.Conn) error {
	facts, err := plannedFacts(ctx, target, source, back)
	if err != nil {
		return err
	}
	ids := plan.IdentitiesOf(facts.Tables, back.ReplicaIdentity.Fallback, nil)
	if err := fixIdentities(ctx, target, source, ids); err != nil {
		return err
	}
	name := contract.PublicationName(back.Name)
	if err := ledger.RecordSourceObject(ctx, source, "publication", name, ""); err != nil {
		return err
	}
	return prepare.CreatePublication(ctx, target, name, plan.PublicationPlan(facts.Tables, ids, facts.Version))
}

func (a *Activities) makeBackSlot(ctx context.Context, back contract.Spec, source, target *pgx.Conn) error {
	name := contract.SlotName(back.Name)
	if err := ledger.RecordSourceObject(ctx, source, "slot", name, ""); err != nil {
		return err
	}
	e, err := a.source(ctx, back)
	if err != nil {
		return err
	}
	return slot.Ensure(ctx, target, slot.HoldOptions{Source: e, Slot: name, Plugin: back.Replication.Plugin}, backSlotPatience)
}

// BeginBack notes where the way back begins: at the end of the target's WAL, once everything from the source is applied and
// before the application writes there.
//
//	Does: writes the position into the source's ledger.
//	Safe to repeat because: only the first position counts.
//	Heartbeats: nothing of its own.
//	Undone by: CleanTarget of the order for the way back.
func (a *Activities) BeginBack(ctx context.Context, spec contract.Spec) (since change.LSN, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "way back", func(source, target *pgx.Conn) error {
			end, err := pgkit.InsertLSN(ctx, target)
			if err != nil {
				return fmt.Errorf("read the end of the target's WAL: %w", err)
			}
			since, err = ledger.BeginBack(ctx, source, end)
			return err
		})
	})
	return since, err
}

// HandBack lets the application write to the source again, for good. Its input is the order for the way back, in which the target
// is the source.
//
//	Does: seals the target's fence, by which it is certain that it was up all the time and will stay; opens the source; then does
//	cutover.switch.
//	Safe to repeat because: sealing twice is sealing once, and so are opening and switching.
//	Heartbeats: nothing of its own.
//	Undone by: TakeBack, until the fence is sealed; after that the source is opened, whatever happens.
func (a *Activities) HandBack(ctx context.Context, input contract.HandOverInput) (out contract.HandOverResult, err error) {
	back, watch := input.Spec, newStopwatch()
	info := activity.GetInfo(ctx)
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		err := a.withBoth(ctx, back, purposeHandOver+back.Name, func(target, source *pgx.Conn) error {
			if err := dismissCutOff(ctx, source, back); err != nil {
				return err
			}
			err := watch.time("seal", func() error { return cutover.Seal(ctx, target, attemptOf(back, input.Attempt), input.Token) })
			if err != nil {
				return err
			}
			return watch.time("open", func() error { return cutover.Unfence(ctx, source, back.Target.Database) })
		})
		if err != nil || back.Cutover.Switch == nil {
			return err
		}
		switching, cancel := context.WithDeadline(ctx, info.Deadline.Add(-answerMargin))
		defer cancel()
		return watch.time("switch", func() error { a.switchBack(switching, input, info.Attempt > 1, &out); return nil })
	})
	out.Steps = watch.steps()
	return out, err
}

// switchBack leads the application to the source. The source is open already, so that a switch that fails is no more than a problem.
func (a *Activities) switchBack(ctx context.Context, input contract.HandOverInput, again bool, out *contract.HandOverResult) {
	r := a.redirector(input.Spec, input.Attempt)
	done, err := r.Switch(ctx, again)
	if err == nil {
		out.Switch, out.Previous = done.Words, done.Previous
		return
	}
	out.Problems = append(release(context.WithoutCancel(ctx), r), contract.Problem{Severity: contract.Warning, Code: contract.CodeSwitchUnknown, Object: "rollback",
		Message: "the source has everything and is open, the target stays fenced, but the application was not led back, or it is not known: " + err.Error(),
		Remedy:  "look where the application is; if it is not on the source, lead it there by hand"})
}

// backFindings are preflight's about the way back; none where none is ordered.
func (a *Activities) backFindings(ctx context.Context, spec contract.Spec, source *pgx.Conn) ([]contract.Problem, error) {
	if !spec.Cutover.Reverse {
		return nil, nil
	}
	var f plan.BackFacts
	if err := prepare.ReadBack(ctx, source, spec.Tables.Includes, &f); err != nil {
		return nil, err
	}
	plugin := plan.BackPlugin(len(spec.Hypertables) > 0 || spec.HypertableGate)
	err := a.withTarget(ctx, spec, "way back", func(target *pgx.Conn) error { return survey.ReadBack(ctx, target, plugin, &f) })
	return plan.AssessBack(spec, f), err
}
