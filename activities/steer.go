package activities

import (
	"context"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/target/ledger"
)

// Steer puts into force what a person ordered: pause, resume, or other numbers.
//
//	Does: writes one row of the ledger, where the streams of the copy and the building of indexes look between two pieces of work.
//	Safe to repeat because: an order that is older than the one in force changes nothing.
//	Heartbeats: nothing of its own.
//	Undone by: CleanTarget.
func (a *Activities) Steer(ctx context.Context, input contract.SteerInput) error {
	return a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withTarget(ctx, input.Spec, "steering", func(conn *pgx.Conn) error {
			s := input.Steering
			return ledger.Steer(ctx, conn, ledger.Steering{Serial: s.Serial, Paused: s.Paused, Concurrency: s.Concurrency, IndexJobs: s.IndexJobs})
		})
	})
}
