package activities

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/source/slot"
)

const (
	// slotPoll is how often WatchSlot looks.
	slotPoll = 5 * time.Second
	// alarmCalm is how long alarms stay as they are at least: each change is kept in the workflow's history.
	alarmCalm = time.Minute
)

// WatchSlot looks after the slot: what the source keeps for it, and who keeps the source from letting go.
//
//	Does: a few small queries on the source, again and again until there are other alarms than the input knows.
//	Safe to repeat because: it only reads.
//	Heartbeats: the slot's state and the longest open transaction.
//	Undone by: nothing to undo.
func (a *Activities) WatchSlot(ctx context.Context, input contract.SlotWatch) (out contract.SlotAlarms, err error) {
	err = a.live(ctx, func(ctx context.Context, report func(contract.Beat)) error {
		return a.withSource(ctx, input.Spec, "slot watch", func(conn *pgx.Conn) error {
			out.Problems, err = watchSlot(ctx, conn, input, report)
			return err
		})
	})
	return out, err
}

func watchSlot(ctx context.Context, conn *pgx.Conn, input contract.SlotWatch, report func(contract.Beat)) ([]contract.Problem, error) {
	name := contract.SlotName(input.Name)
	object := contract.SlotObject(input.Name)
	for begun := time.Now(); ; {
		p, err := slot.Look(ctx, conn, name)
		if err != nil {
			return nil, err
		}
		status := slotStatus(p)
		report(contract.Beat{Replication: &contract.ReplicationStatus{StreamStatus: contract.StreamStatus{Slot: &status}}})
		alarms := plan.SlotAlarms(plan.SlotPressure{Slot: object, Exists: p.Exists, WALStatus: p.WALStatus, Invalidation: p.Invalidation, SafeWALBytes: p.SafeWALBytes,
			RetainedBytes: p.RetainedBytes, KeepBytes: p.KeepBytes, Longest: status.Longest, Waits: input.Replication.Buffer == contract.BufferSource}, input.Known)
		settled := len(input.Known) == 0 || plan.HasFatal(alarms) || time.Since(begun) >= alarmCalm
		if settled && !plan.SameAlarms(alarms, input.Known) {
			return alarms, nil
		}
		if err := pgkit.Sleep(ctx, slotPoll); err != nil {
			return nil, err
		}
	}
}

func slotStatus(p slot.Pressure) contract.SlotStatus {
	s := contract.SlotStatus{WALStatus: p.WALStatus, SafeWALBytes: p.SafeWALBytes, RetainedBytes: p.RetainedBytes}
	if !p.Exists || p.Invalidation != "" {
		s.WALStatus = "lost"
	}
	if b := p.Longest; b != nil {
		s.Longest = &contract.OpenTransaction{PID: b.PID, User: b.User, Application: b.Application, State: b.State, Seconds: b.Age.Round(time.Second).Seconds()}
	}
	return s
}
