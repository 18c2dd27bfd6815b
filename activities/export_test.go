package activities

import (
	"context"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/source/slot"
	"timeferry/internal/target/ledger"
	"timeferry/internal/verify"
)

// CopyPartsTelling is CopyParts without Temporal, which lets few heartbeats through.
func (a *Activities) CopyPartsTelling(ctx context.Context, input contract.CopyInput, report func(contract.Beat)) error {
	_, err := a.copyParts(ctx, input, report)
	return err
}

// RecordShapes and FollowNames are recordShapes and followNames without Temporal.
func (a *Activities) RecordShapes(ctx context.Context, spec contract.Spec, target *pgx.Conn, snapshot string) error {
	return a.recordShapes(ctx, spec, target, snapshot)
}

func (a *Activities) FollowNames(ctx context.Context, source, target *pgx.Conn) error {
	return a.followNames(ctx, source, target)
}

// VerificationOf is what of an outcome goes into a history.
func VerificationOf(method string, o verify.Outcome) contract.Verification {
	return verificationOf("run", method, o)
}

// RefuseNewTables is what CutOff asks behind the fence.
func (a *Activities) RefuseNewTables(ctx context.Context, spec contract.Spec, source, target *pgx.Conn) error {
	return refuseNewTables(ctx, spec, source, target)
}

// BeginEpoch begins the epoch of a snapshot that was taken, as HoldSnapshot does.
func (a *Activities) BeginEpoch(ctx context.Context, spec contract.Spec, taken slot.Held) (int, error) {
	h, err := a.newHolding(ctx, spec, ledger.RoleHolder, func(contract.Beat) {})
	if err != nil {
		return 0, err
	}
	return h.beginEpoch(ctx, taken)
}
