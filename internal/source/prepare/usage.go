package prepare

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
)

// usageSQL counts what others use. Our own sessions are not among them, and an auxiliary process of the server takes no
// worker. backend_type is NULL where the user may not see it.
const usageSQL = `
SELECT (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_stat_replication),
	count(*) FILTER (WHERE backend_type NOT IN ('client backend', 'walsender', 'autovacuum launcher', 'autovacuum worker', 'background writer',
		'checkpointer', 'startup', 'walreceiver', 'walwriter', 'archiver', 'logger', 'walsummarizer', 'slotsync worker', 'io worker')),
	count(*) FILTER (WHERE backend_type = 'client backend' AND application_name NOT LIKE $1),
	current_setting('max_replication_slots')::int, current_setting('max_wal_senders')::int, current_setting('max_worker_processes')::int,
	(SELECT coalesce(sum(pg_database_size(oid)) FILTER (WHERE has_database_privilege(oid, 'CONNECT')), 0)::int8 FROM pg_database)
FROM pg_stat_activity`

// longestSQL is the oldest transaction of others, prepared ones aside: a reboot does not end those.
const longestSQL = `
SELECT pid, coalesce(usename, ''), coalesce(application_name, ''), extract(epoch FROM clock_timestamp() - xact_start)::float8
FROM pg_stat_activity WHERE backend_type = 'client backend' AND application_name NOT LIKE $1 AND xact_start IS NOT NULL
ORDER BY xact_start LIMIT 1`

// ReadUsage reads what goes on at the source right now. It changes nothing.
func ReadUsage(ctx context.Context, conn *pgx.Conn) (plan.SourceUsage, error) {
	var u plan.SourceUsage
	ours := pgkit.ApplicationName + "%"
	err := conn.QueryRow(ctx, usageSQL, ours).Scan(&u.Slots, &u.Senders, &u.Workers, &u.Connections, &u.MaxSlots, &u.MaxSenders, &u.MaxWorkers, &u.AllBytes)
	if err != nil {
		return u, fmt.Errorf("read what the source is used for: %w", err)
	}
	var t plan.Transaction
	var seconds float64
	err = each(ctx, conn, longestSQL, []any{&t.PID, &t.User, &t.Application, &seconds}, func() {
		t.Age = time.Duration(seconds * float64(time.Second))
		u.Longest = &t
	}, ours)
	if err != nil {
		return u, fmt.Errorf("read the source's longest transaction: %w", err)
	}
	if u.WALPerSecond, err = walPerSecond(ctx, conn); err != nil {
		return u, fmt.Errorf("read how much WAL the source writes: %w", err)
	}
	return u, nil
}

// walPerSecond is the average since the server's statistics were reset; 0 where the server does not count (before 14), and
// while it has counted for too short a time to say.
func walPerSecond(ctx context.Context, conn *pgx.Conn) (rate float64, err error) {
	const counted = 140000
	version, err := pgkit.Version(ctx, conn)
	if err != nil || version < counted {
		return 0, err
	}
	err = conn.QueryRow(ctx, `SELECT CASE WHEN since < interval '10 minutes' THEN 0 ELSE (wal_bytes / extract(epoch FROM since))::float8 END
		FROM pg_stat_wal, LATERAL (SELECT now() - greatest(stats_reset, pg_postmaster_start_time()) AS since) AS s`).Scan(&rate)
	return rate, err
}
