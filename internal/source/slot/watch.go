package slot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
)

// Pressure is what the source keeps for a slot, and what keeps it from letting go.
type Pressure struct {
	State
	// KeepBytes is max_slot_wal_keep_size; -1: no limit, or a server before 13.
	KeepBytes int64
	// Longest is the longest open transaction; nil when there is none, or none that we may see.
	Longest *Blocker
}

// keepSQL: the setting's unit is MB.
const keepSQL = `SELECT coalesce((SELECT CASE WHEN setting = '-1' THEN -1 ELSE setting::bigint * 1048576 END FROM pg_settings WHERE name = 'max_slot_wal_keep_size'), -1)`

// longestSQL looks at transactions that have an ID, and so hold back every slot of the server, or a snapshot, and so hold back its
// cleaning up. Our own sessions are not meant.
const longestSQL = `
SELECT a.pid, coalesce(a.usename, ''), coalesce(a.application_name, ''), coalesce(a.state, ''), extract(epoch FROM clock_timestamp() - a.xact_start)::float8
FROM pg_stat_activity a
WHERE a.backend_type = 'client backend' AND a.xact_start IS NOT NULL AND (a.backend_xid IS NOT NULL OR a.backend_xmin IS NOT NULL)
	AND a.pid <> pg_backend_pid() AND a.application_name NOT LIKE 'timeferry%'
UNION ALL
SELECT 0, p.owner, p.gid, 'prepared', extract(epoch FROM clock_timestamp() - p.prepared)::float8 FROM pg_prepared_xacts p
ORDER BY 5 DESC LIMIT 1`

// Look reads how much the source keeps for the slot.
func Look(ctx context.Context, q pgkit.Querier, name string) (p Pressure, err error) {
	if p.State, err = Inspect(ctx, q, name); err != nil {
		return p, err
	}
	if err := q.QueryRow(ctx, keepSQL).Scan(&p.KeepBytes); err != nil {
		return p, fmt.Errorf("read max_slot_wal_keep_size: %w", err)
	}
	var b Blocker
	var seconds float64
	err = q.QueryRow(ctx, longestSQL).Scan(&b.PID, &b.User, &b.Application, &b.State, &seconds)
	if errors.Is(err, pgx.ErrNoRows) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("read the longest transaction: %w", err)
	}
	b.Age = time.Duration(seconds * float64(time.Second))
	p.Longest = &b
	return p, nil
}
