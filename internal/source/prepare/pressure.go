package prepare

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/plan"
)

// pressureSQL: walsenders that serve logical slots are subscribers, ours among them, and no standbys. What a user may not see
// of others' sessions and senders is NULL; of a sender that is seen, replay_lag is NULL while there is nothing to wait for.
const pressureSQL = `
SELECT coalesce((SELECT extract(epoch FROM max(r.replay_lag)) FROM pg_stat_replication r
		WHERE NOT EXISTS (SELECT FROM pg_replication_slots s WHERE s.active_pid = r.pid AND s.slot_type = 'logical')), 0)::float8,
	(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND state IN ('active', 'fastpath function call')
		AND pid <> pg_backend_pid() AND application_name NOT LIKE 'timeferry%')`

// ReadPressure tells how busy the source is. It changes nothing.
func ReadPressure(ctx context.Context, conn *pgx.Conn) (plan.Pressure, error) {
	var p plan.Pressure
	var seconds float64
	if err := conn.QueryRow(ctx, pressureSQL).Scan(&seconds, &p.ActiveSessions); err != nil {
		return plan.Pressure{}, fmt.Errorf("read how busy the source is: %w", err)
	}
	p.ReplicaLag = time.Duration(seconds * float64(time.Second))
	return p, nil
}
