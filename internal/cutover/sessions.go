package cutover

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

// Session is someone's connection to the source.
type Session struct {
	PID         int
	User        string
	Application string
	Address     string // empty for a local socket
}

func (s Session) String() string {
	text := fmt.Sprintf("pid %d of %s", s.PID, s.User)
	if s.Application != "" {
		text += " (" + s.Application + ")"
	}
	if s.Address != "" {
		text += " from " + s.Address
	}
	return text
}

// oldSessionsSQL lists the client sessions from before the fence that are not ours. Walsenders, ours among them, do not
// write. Without pg_monitor the columns of other users' sessions are null: those count as clients from before.
const oldSessionsSQL = `SELECT a.pid, a.usename, coalesce(a.application_name, ''), coalesce(host(a.client_addr), ''), r.rolsuper
	FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
	WHERE a.datname = $1 AND a.pid <> pg_backend_pid() AND coalesce(a.backend_type, 'client backend') = 'client backend'
	AND coalesce(a.backend_start <= $2, true) AND NOT starts_with(coalesce(a.application_name, ''), $3)
	AND NOT EXISTS (SELECT 1 FROM pg_stat_replication w WHERE w.pid = a.pid) ORDER BY a.pid`

// endOldSessions ends the sessions that may not know of the fence, and waits until they are gone.
func endOldSessions(ctx context.Context, source *pgx.Conn, database string, result *FenceResult) error {
	var fenced time.Time
	if err := source.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&fenced); err != nil {
		return err
	}
	if err := awaitStarting(ctx, source, database); err != nil {
		return err
	}
	asked, spared := map[int]bool{}, map[int]bool{}
	for {
		left, err := endListed(ctx, source, database, fenced, asked, spared, result)
		if err != nil || len(left) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("still there: %s: %w", strings.Join(left, ", "), ctx.Err())
		case <-time.After(pollInterval):
		}
	}
}

// endListed asks each old session to end once more, and returns those that were still there.
func endListed(ctx context.Context, source *pgx.Conn, database string, fenced time.Time, asked, spared map[int]bool, result *FenceResult) (left []string, err error) {
	rows, err := source.Query(ctx, oldSessionsSQL, database, fenced, pgkit.ApplicationName)
	if err != nil {
		return nil, err
	}
	type listed struct {
		Session
		Super bool
	}
	sessions, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (l listed, err error) {
		return l, row.Scan(&l.PID, &l.User, &l.Application, &l.Address, &l.Super)
	})
	if err != nil {
		return nil, err
	}
	for _, s := range sessions {
		if spared[s.PID] {
			continue
		}
		var refused interface{ SQLState() string }
		_, err := source.Exec(ctx, "SELECT pg_terminate_backend($1)", s.PID)
		switch {
		case errors.As(err, &refused) && refused.SQLState() == "42501" && s.Super:
			spared[s.PID] = true
			result.Spared = append(result.Spared, s.Session)
			continue
		case errors.As(err, &refused) && refused.SQLState() == "42501":
			return nil, fault.New(fault.Operator, "end session", s.Session.String(), "GRANT pg_signal_backend to this user, or end the session by hand", "%w", err).WithCode("cannot-end-session")
		case err != nil:
			return nil, err
		}
		if !asked[s.PID] {
			asked[s.PID] = true
			result.Ended = append(result.Ended, s.Session)
		}
		left = append(left, s.Session.String())
	}
	return left, nil
}

// startingSQL lists the sessions that are just opening: until its settings are read and it is listed as a session, a
// backend holds this lock on its database.
const startingSQL = `SELECT array_agg(l.pid) FROM pg_locks l JOIN pg_database d ON d.oid = l.objid
	WHERE l.locktype = 'object' AND l.classid = 'pg_database'::regclass AND l.mode = 'RowExclusiveLock' AND l.granted
	AND d.datname = $1 AND l.pid <> pg_backend_pid() AND ($2::int[] IS NULL OR l.pid = ANY ($2))`

// awaitStarting waits for the sessions that were opening when the fence was raised: they may have read the settings
// before, and be listed only from now on.
func awaitStarting(ctx context.Context, source *pgx.Conn, database string) error {
	var starting []int32
	for {
		var still []int32
		if err := source.QueryRow(ctx, startingSQL, database, starting).Scan(&still); err != nil {
			return err
		}
		if len(still) == 0 {
			return nil
		}
		starting = still
		select {
		case <-ctx.Done():
			return fmt.Errorf("sessions are still opening, pids %v: %w", starting, ctx.Err())
		case <-time.After(pollInterval):
		}
	}
}
