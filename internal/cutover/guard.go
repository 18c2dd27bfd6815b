package cutover

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// guard is a session on the source that sleeps, and then lowers the fence if it still is the one with its token and not
// sealed. It is one statement: while a backend executes, it does not notice that its client is gone, so that the guard
// outlives our process, its machine and the network. It dies with the server.
type guard struct{ conn net.Conn }

// leave lets the guard go on by itself.
func (g guard) leave() { _ = g.conn.Close() } // nothing is to be read, or sent, any more

// postGuard posts a guard and makes sure that it sleeps. Earlier guards stay: their tokens are void.
func postGuard(ctx context.Context, source *pgx.Conn, server pgkit.Endpoint, a Attempt, token, previous string) (guard, error) {
	server.Database = a.Database
	conn, err := pgkit.Dial(ctx, server, purposeGuard+a.Migration)
	if err != nil {
		return guard{}, fmt.Errorf("post a guard for the fence: %w", err)
	}
	// From PostgreSQL 14 on a server may be told to look whether clients are there while it works for them.
	_, err = conn.Exec(ctx, "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'client_connection_check_interval'")
	if err != nil {
		_ = conn.Close(ctx) // the first error is the one that matters
		return guard{}, fmt.Errorf("post a guard for the fence: %w", err)
	}
	// Taken out of the driver's hands, which would cancel the statement as it closes the connection.
	raw, err := conn.PgConn().Hijack()
	if err != nil {
		return guard{}, fmt.Errorf("post a guard for the fence: %w", err)
	}
	g := guard{conn: raw.Conn}
	raw.Frontend.Send(&pgproto3.Query{String: a.guardSQL(token, previous)})
	if err := raw.Frontend.Flush(); err != nil {
		g.leave()
		return guard{}, &fault.Error{Class: fault.Transient, Op: "post a guard for the fence of database", Subject: a.Database, Err: err}
	}
	if err := awaitSleep(ctx, source, raw.PID); err != nil {
		g.leave()
		return guard{}, fmt.Errorf("post a guard for the fence: %w", err)
	}
	return g, nil
}

// guardSQL sleeps, then does what TakeBack does without force. With a publication that is gone, nothing is lowered.
func (a Attempt) guardSQL(token, previous string) string {
	lower := "RESET default_transaction_read_only"
	if previous != "" {
		lower = "SET default_transaction_read_only = " + ident.Literal(previous)
	}
	return "DO " + ident.Literal(`BEGIN
	PERFORM pg_catalog.pg_sleep(`+strconv.FormatFloat(a.Limit.Seconds(), 'f', 3, 64)+`);
	PERFORM pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext(`+ident.Literal(lockNamespace)+`), pg_catalog.hashtext(`+ident.Literal(a.Publication)+`));
	IF pg_catalog.obj_description((SELECT oid FROM pg_catalog.pg_publication WHERE pubname = `+ident.Literal(a.Publication)+`), 'pg_publication') = `+ident.Literal(stateFenced+token)+` THEN
		ALTER DATABASE `+ident.Quote(a.Database)+` `+lower+`;
		COMMENT ON PUBLICATION `+ident.Quote(a.Publication)+` IS NULL;
	END IF;
END`)
}

// awaitSleep waits until the backend sleeps.
func awaitSleep(ctx context.Context, source *pgx.Conn, pid uint32) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Second, fault.New(fault.Transient, "wait for", "the guard's session", "", "it did not begin within 10 s"))
	defer cancel()
	for {
		var sleeps bool
		err := source.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep')", pid).Scan(&sleeps)
		if err != nil || sleeps {
			return err
		}
		if err := pgkit.Sleep(ctx, time.Millisecond); err != nil {
			return context.Cause(ctx)
		}
	}
}
