package prepare

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
)

// hasty gives up after two short waits, so that tests of a busy lock are quick.
var hasty = patience{waits: []time.Duration{20 * time.Millisecond, 20 * time.Millisecond}, pause: time.Millisecond}

func FixIdentitiesHastily(ctx context.Context, conn *pgx.Conn, ids []plan.Identity, record func(plan.Identity, shape.Identity) error) error {
	return hasty.fixIdentities(ctx, conn, ids, record)
}

func CreatePublicationHastily(ctx context.Context, conn *pgx.Conn, name string, p plan.Publication) error {
	return hasty.createPublication(ctx, conn, name, p)
}

func ProbeSnapshotFor(ctx context.Context, ep pgkit.Endpoint, wait time.Duration) error {
	return probeSnapshot(ctx, ep, "pgoutput", wait)
}

// ReadTransactions reads all that are open, however young.
func ReadTransactions(ctx context.Context, conn *pgx.Conn) (f plan.SourceFacts, err error) {
	return f, readTransactions(ctx, conn, 0, &f)
}
