package activities

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/sdk/activity"

	"timeferry/internal/bulk"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/slot"
	"timeferry/internal/target/ledger"
)

// HoldSnapshot owns the exported snapshot for as long as the copy needs it.
//
//	Does: takes over the current epoch's snapshot where another session still holds it. Otherwise it makes the slot (or,
//	when it is there, a temporary one beside it) and begins an epoch in the ledger. It tells the workflow, and keeps the
//	snapshot alive until it is cancelled.
//	Safe to repeat because: complete tables stay whatever epoch begins, the others are copied again. The slot's name is
//	recorded before the slot is made.
//	Heartbeats: who keeps the slot from being made, or the epoch held.
//	Undone by: CleanSource.
func (a *Activities) HoldSnapshot(ctx context.Context, input contract.HoldInput) error {
	return a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		h, err := a.newHolding(ctx, input.Spec, ledger.RoleHolder, report)
		if err != nil {
			return err
		}
		var shared ledger.Shared
		resynced := 0
		err = a.withTarget(ctx, input.Spec, "epoch", func(target *pgx.Conn) error {
			if err := ledger.Upgrade(ctx, target); err != nil {
				return err
			}
			if err := ledger.UpgradeCounters(ctx, target); err != nil {
				return err
			}
			if err := ledger.RecordSourceObject(ctx, target, "slot", contract.SlotName(input.Name), ""); err != nil {
				return err
			}
			if resynced, err = ledger.ResyncedEpoch(ctx, target); err != nil {
				return err
			}
			shared, err = ledger.SharedSnapshot(ctx, target)
			return err
		})
		if err != nil {
			return err
		}
		if shared.Epoch > max(input.After, resynced) && shared.Visible != "" {
			if err := h.share(ctx, shared); h.epoch > 0 || !snapshotLost(err) {
				return err
			}
		}
		return h.begin(ctx, shared.Epoch <= resynced)
	})
}

// HoldSnapshotCopy holds the same snapshot on another worker than HoldSnapshot, so that losing one of them loses nothing.
//
//	Does: imports the current epoch's snapshot, exports it under a second name, records that, and keeps it alive until it is
//	cancelled. On the worker that holds the snapshot it refuses, since another attempt may come to another worker.
//	Safe to repeat because: the ledger knows one copy, the last.
//	Heartbeats: the epoch held.
//	Undone by: nothing to undo: what it holds ends with it.
func (a *Activities) HoldSnapshotCopy(ctx context.Context, spec contract.Spec) error {
	return a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		h, err := a.newHolding(ctx, spec, ledger.RoleCopy, report)
		if err != nil {
			return err
		}
		shared, err := h.read(ctx)
		if err != nil {
			return err
		}
		if err := h.refuse(shared); err != nil {
			return err
		}
		return h.share(ctx, shared)
	})
}

func snapshotLost(err error) bool {
	var f *fault.Error
	return errors.As(err, &f) && f.Code == slot.CodeSnapshotLost
}

// holding is one session's part in holding a snapshot.
type holding struct {
	a      *Activities
	spec   contract.Spec
	role   string // of the ledger's
	source pgkit.Endpoint
	report func(contract.Beat)
	epoch  int // that is held; 0: none yet
	held   ledger.Held
	begun  chan int // the epoch, once it is held
}

func (a *Activities) newHolding(ctx context.Context, spec contract.Spec, role string, report func(contract.Beat)) (*holding, error) {
	source, err := a.source(ctx, spec)
	return &holding{a: a, spec: spec, role: role, source: source, report: report, begun: make(chan int, 1)}, err
}

func (h *holding) read(ctx context.Context) (shared ledger.Shared, err error) {
	err = h.a.withTarget(ctx, h.spec, "epoch", func(target *pgx.Conn) error {
		shared, err = ledger.SharedSnapshot(ctx, target)
		return err
	})
	return shared, err
}

// refuse says why this worker must not hold the snapshot's copy, or nil.
func (h *holding) refuse(shared ledger.Shared) error {
	if h.role != ledger.RoleCopy || shared.Hosts[ledger.RoleHolder] != h.a.HostID {
		return nil
	}
	return fault.New(fault.NotReady, "hold a copy of the snapshot", h.spec.Name, "", "this worker holds the snapshot itself: the copy is for another").
		WithCode(contract.CodeNeedsAnotherWorker)
}

// share holds the snapshot that the ledger tells of, if anybody still holds it.
func (h *holding) share(ctx context.Context, shared ledger.Shared) error {
	options := slot.ShareOptions{Source: h.source, Subject: contract.SlotName(h.spec.Name), Names: shared.Names, Visible: shared.Visible}
	return h.during(ctx, func(ctx context.Context) error {
		return slot.Share(ctx, options, func(name string) error {
			h.held = ledger.Held{Snapshot: name, Visible: shared.Visible, Host: h.a.HostID}
			err := h.a.withTarget(ctx, h.spec, "epoch", func(target *pgx.Conn) error {
				current, err := ledger.RecordHeld(ctx, target, h.role, shared.Epoch, h.held)
				if err == nil && !current {
					err = h.over(shared.Epoch)
				}
				return err
			})
			if err != nil {
				return err
			}
			return h.tell(ctx, shared.Epoch, contract.SnapshotHeld{Epoch: shared.Epoch, Slot: contract.SlotName(h.spec.Name), ConsistentPoint: shared.Point, HostID: h.a.HostID})
		}, nil)
	})
}

// begin takes a new snapshot and begins its epoch. When there was an epoch before, a missing slot is a lost one.
func (h *holding) begin(ctx context.Context, fresh bool) error {
	options := slot.HoldOptions{Source: h.source, Slot: contract.SlotName(h.spec.Name), Plugin: h.spec.Replication.Plugin, Fresh: fresh,
		OnWaiting: func(b []slot.Blocker) { h.report(contract.Beat{Message: blockersInWords(b)}) }}
	return h.during(ctx, func(ctx context.Context) error {
		return slot.Hold(ctx, options, func(taken slot.Held) error {
			epoch, err := h.beginEpoch(ctx, taken)
			if err != nil {
				return err
			}
			return h.tell(ctx, epoch, contract.SnapshotHeld{Epoch: epoch, Slot: options.Slot, ConsistentPoint: taken.ConsistentPoint, HostID: h.a.HostID})
		}, nil)
	})
}

// beginEpoch records the epoch of a snapshot that was taken, with a plan that fits it.
func (h *holding) beginEpoch(ctx context.Context, taken slot.Held) (epoch int, err error) {
	h.held = ledger.Held{Snapshot: taken.Snapshot, Visible: taken.Visible, Host: h.a.HostID}
	renewal, err := h.readRenewal(ctx, taken.Snapshot)
	if err != nil {
		return 0, fmt.Errorf("look at the source under its snapshot: %w", err)
	}
	var renew func(pgx.Tx, []ident.Table) error
	if renewal != nil {
		renew = func(tx pgx.Tx, tables []ident.Table) error {
			return renewal.apply(ctx, tx, tables, taken.ConsistentPoint)
		}
	}
	err = h.a.withTarget(ctx, h.spec, "epoch", func(target *pgx.Conn) (err error) {
		if err = ledger.UpgradeShapes(ctx, target); err != nil {
			return err
		}
		epoch, err = bulk.BeginHeldEpoch(ctx, target, taken.ConsistentPoint, h.held, renew)
		return err
	})
	return epoch, err
}

// tell notes that the epoch is held, and lets the workflow and people know.
func (h *holding) tell(ctx context.Context, epoch int, held contract.SnapshotHeld) error {
	h.epoch = epoch
	h.begun <- epoch
	what := "snapshot"
	if h.role == ledger.RoleCopy {
		what = "a copy of the snapshot"
	}
	h.report(contract.Beat{Message: fmt.Sprintf("holding %s of epoch %d", what, epoch)})
	if h.role == ledger.RoleCopy {
		return nil
	}
	execution := activity.GetInfo(ctx).WorkflowExecution
	return h.a.Client.SignalWorkflow(ctx, execution.ID, execution.RunID, contract.SignalSnapshot, held)
}

// epochEvery is how often a holder looks whether what it holds is still of use.
const epochEvery = 5 * time.Second

// during holds until ctx ends, the snapshot is lost, or it is of no more use.
func (h *holding) during(ctx context.Context, hold func(context.Context) error) error {
	holding, end := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		h.watch(holding, end)
	}()
	err := hold(holding)
	cause := context.Cause(holding)
	end(nil)
	<-watched
	h.forget(ctx)
	if ctx.Err() == nil && cause != nil {
		return cause
	}
	if err == nil {
		// To hold is never done: only the workflow knows whether this end was in order. A worker that stops, or whose heartbeats do not come
		// through, must not say so, or nobody would hold the snapshot any more.
		err = ctx.Err()
	}
	return err
}

// watch ends the holding when it is of no more use: another epoch has begun, or the snapshot has moved to this worker and the
// copy belongs on another. That the ledger cannot be read says nothing about it.
func (h *holding) watch(ctx context.Context, end context.CancelCauseFunc) {
	var epoch int
	select {
	case <-ctx.Done():
		return
	case epoch = <-h.begun:
	}
	for pgkit.Sleep(ctx, epochEvery) == nil {
		shared, err := h.read(ctx)
		if err != nil {
			h.a.Log.DebugContext(ctx, "look whether the epoch lasts", "epoch", epoch, "err", err)
			continue
		}
		err = h.refuse(shared)
		if shared.Epoch != epoch {
			err = h.over(epoch)
		}
		if err != nil {
			end(err)
			return
		}
	}
}

func (h *holding) over(epoch int) error {
	return fault.New(fault.Transient, "hold snapshot of", contract.SlotName(h.spec.Name), "", "another epoch than %d has begun", epoch).WithCode(slot.CodeSnapshotLost)
}

// forget takes the name of an ended session out of the ledger. If that fails, whoever tries the name finds it gone.
func (h *holding) forget(ctx context.Context) {
	if h.held.Snapshot == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err := h.a.withTarget(ctx, h.spec, "epoch", func(target *pgx.Conn) error { return ledger.ForgetHeld(ctx, target, h.role, h.held) })
	if err != nil {
		h.a.Log.DebugContext(ctx, "forget snapshot", "err", err)
	}
}

func blockersInWords(blockers []slot.Blocker) string {
	b, plural := blockers[0], "s"
	if len(blockers) == 1 {
		plural = ""
	}
	return fmt.Sprintf("the slot waits for %d older transaction%s, the oldest: %s", len(blockers), plural, b)
}

// offerSecondHolder lets the workflow know that this worker can hold a copy of the snapshot, unless two workers hold it already
// or this is the one that does. A stream of the copy calls it; without an answer the copy goes on all the same.
func (a *Activities) offerSecondHolder(ctx context.Context, target *pgx.Conn) {
	shared, err := ledger.SharedSnapshot(ctx, target)
	if err == nil {
		holder, known := shared.Hosts[ledger.RoleHolder]
		if _, held := shared.Hosts[ledger.RoleCopy]; held || !known || holder == a.HostID {
			return
		}
		execution := activity.GetInfo(ctx).WorkflowExecution
		err = a.Client.SignalWorkflow(ctx, execution.ID, execution.RunID, contract.SignalSecondWorker, contract.SecondWorker{HostID: a.HostID})
	}
	if err != nil {
		a.Log.WarnContext(ctx, "offer to hold a copy of the snapshot", "err", err)
	}
}
