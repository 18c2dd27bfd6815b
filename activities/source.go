package activities

import (
	"context"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/source/prepare"
)

// VerifySource reads from the server itself that the parameters are in force, and tries a temporary slot.
//
//	Does: reads the settings, then a temporary slot whose snapshot is imported; nothing stays.
//	Safe to repeat because: a temporary slot ends with its connection.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) VerifySource(ctx context.Context, input contract.VerifyInput) error {
	return a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		err := a.withSource(ctx, input.Spec, "verify", func(conn *pgx.Conn) error {
			wanted := map[string]string{}
			for _, c := range input.Changes {
				wanted[c.Name] = c.New
			}
			return prepare.VerifySettings(ctx, conn, wanted)
		})
		if err != nil {
			return err
		}
		e, err := a.source(ctx, input.Spec)
		if err != nil {
			return err
		}
		return prepare.ProbeSlot(ctx, e, input.Spec.Replication.Plugin)
	})
}
