package slot

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
)

// Blocker is a transaction that must end before a slot can be made.
type Blocker struct {
	PID         int // 0 for a prepared transaction
	User        string
	Application string // a prepared transaction's identifier
	State       string // as in pg_stat_activity; "prepared" for a prepared transaction
	Age         time.Duration
}

// String is for people: "pid 4711, user bob, psql idle in transaction, open for 3m0s".
func (b Blocker) String() string {
	who := fmt.Sprintf("pid %d", b.PID)
	if b.PID == 0 {
		who = "prepared transaction"
	}
	return fmt.Sprintf("%s, user %s, %s %s, open for %s", who, b.User, b.Application, b.State, b.Age.Round(time.Second))
}

// blockersSQL: a slot waits for all transactions with an ID, in any database, that were running when it got to see the
// running ones. $1 is the session that makes the slot; nobody is reported unless it waits. The start of other users'
// transactions is NULL for a role without pg_read_all_stats.
const blockersSQL = `
WITH waiting AS (SELECT pg_blocking_pids($1) AS pids)
SELECT a.pid, coalesce(a.usename, ''), coalesce(a.application_name, ''), coalesce(a.state, ''),
	coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8
FROM pg_stat_activity a, waiting w
WHERE cardinality(w.pids) > 0 AND a.pid <> $1 AND (a.pid = ANY (w.pids) OR a.backend_xid IS NOT NULL
	AND coalesce(a.xact_start < (SELECT m.backend_start FROM pg_stat_activity m WHERE m.pid = $1), true))
UNION ALL
SELECT 0, p.owner, p.gid, 'prepared', extract(epoch FROM clock_timestamp() - p.prepared)::float8
FROM pg_prepared_xacts p, waiting w WHERE cardinality(w.pids) > 0
ORDER BY 5 DESC`

func blockers(ctx context.Context, q pgkit.Querier, pid int) ([]Blocker, error) {
	rows, err := q.Query(ctx, blockersSQL, pid)
	if err != nil {
		return nil, fmt.Errorf("read who keeps the slot waiting: %w", err)
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (Blocker, error) {
		var b Blocker
		var seconds float64
		err := row.Scan(&b.PID, &b.User, &b.Application, &b.State, &seconds)
		b.Age = time.Duration(seconds * float64(time.Second))
		return b, err
	})
	if err != nil {
		return nil, fmt.Errorf("read who keeps the slot waiting: %w", err)
	}
	return found, nil
}

// reportBlockers tells onWaiting, if there is anything to tell.
func reportBlockers(ctx context.Context, q pgkit.Querier, pid int, onWaiting func([]Blocker)) error {
	if onWaiting == nil {
		return nil
	}
	found, err := blockers(ctx, q, pid)
	if err == nil && len(found) > 0 {
		onWaiting(found)
	}
	return err
}
