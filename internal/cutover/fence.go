package cutover

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// FenceResult is what Fence found and did.
type FenceResult struct {
	// Ended are the sessions that this call ended.
	Ended []Session
	// Spared are superusers' sessions, which only a superuser may end (on RDS: those of rdsadmin). They are not stopped
	// from writing.
	Spared []Session
	// Previous is the database's own default_transaction_read_only before the first Fence: "on", "off", or "" when it had
	// none. Unfence restores it without being told.
	Previous string
}

// pollInterval is how often Fence looks whether sessions are gone; it is part of the downtime.
const pollInterval = 20 * time.Millisecond

// Fence stops all writing to the source's database by others: it makes sessions there read-only by default, and ends
// those that began before. It returns when all of them are gone. Our own sessions (pkgit.ApplicationName) go on, and can
// write. It is a default, not a lock: a client that asks for READ WRITE on its own still gets it.
//
// Nothing is changed when there is a prepared transaction, which could be committed later, or a role with a setting of
// its own that overrides the fence: both are errors that say what to do. An error after that leaves the fence up: call
// again, or Unfence. Called again it ends the read-only sessions that have begun since, too. source may be on any
// database of the server, and not inside a transaction.
func Fence(ctx context.Context, source *pgx.Conn, database string) (FenceResult, error) {
	if err := refusePrepared(ctx, source, database); err != nil {
		return FenceResult{}, err
	}
	if err := refuseExemptRoles(ctx, source, database); err != nil {
		return FenceResult{}, err
	}
	previous, err := raiseFence(ctx, source, database)
	if err != nil {
		return FenceResult{}, err
	}
	result := FenceResult{Previous: previous}
	if err := endOldSessions(ctx, source, database, &result); err != nil {
		return result, fmt.Errorf("end sessions on database %s: %w", database, err)
	}
	// A session may have prepared its transaction between the first look and its end.
	return result, refusePrepared(ctx, source, database)
}

// Unfence lets the source's database be written to again, and restores the setting that Fence found. It does nothing
// when there is no fence of ours.
func Unfence(ctx context.Context, source *pgx.Conn, database string) error {
	value, err := readSetting(ctx, source, database)
	if err != nil {
		return err
	}
	return lower(ctx, source, database, value)
}

// IsFenced says whether a fence of ours is up.
func IsFenced(ctx context.Context, q pgkit.Querier, database string) (bool, error) {
	value, err := readSetting(ctx, q, database)
	if err != nil {
		return false, err
	}
	_, ours := previousOf(value)
	return ours, nil
}

// lower restores what a fence of ours was put over; value is what the database has now.
func lower(ctx context.Context, source pgkit.Querier, database string, value *string) error {
	previous, ours := previousOf(value)
	if !ours {
		return nil
	}
	sql := "ALTER DATABASE " + ident.Quote(database) + " RESET default_transaction_read_only"
	if previous != "" {
		sql = "ALTER DATABASE " + ident.Quote(database) + " SET default_transaction_read_only = " + ident.Literal(previous)
	}
	if _, err := source.Exec(ctx, sql); err != nil {
		return explainAlter(database, "take down the fence of database", err)
	}
	return nil
}

// raiseFence sets the fence unless it is there, and returns what was set before the first time.
func raiseFence(ctx context.Context, source *pgx.Conn, database string) (previous string, err error) {
	value, err := readSetting(ctx, source, database)
	if err != nil {
		return "", err
	}
	if previous, ours := previousOf(value); ours {
		return previous, nil
	}
	previous, spelling := fenceOver(value)
	_, err = source.Exec(ctx, "ALTER DATABASE "+ident.Quote(database)+" SET default_transaction_read_only = "+ident.Literal(spelling))
	if err != nil {
		return "", explainAlter(database, "fence database", err)
	}
	return previous, nil
}

// The fence's value is "true" in a spelling that nobody uses, and PostgreSQL keeps it as it is written. So the fence is
// told from a setting of someone else's, and holds what was there before; a process that dies right after raising it
// loses nothing. A setting with a name of our own would need a superuser.
const (
	fenceOverNone = "tRUE"
	fenceOverOff  = "TRUe"
	fenceOverOn   = "trUE"
)

// fenceOver chooses the spelling by the value that the database has now; nil is none.
func fenceOver(value *string) (previous, spelling string) {
	switch {
	case value == nil:
		return "", fenceOverNone
	case isTrue(*value):
		return "on", fenceOverOn
	default:
		return "off", fenceOverOff
	}
}

// previousOf tells a fence of ours, and what it was put over.
func previousOf(value *string) (previous string, ours bool) {
	if value == nil {
		return "", false
	}
	switch *value {
	case fenceOverNone:
		return "", true
	case fenceOverOff:
		return "off", true
	case fenceOverOn:
		return "on", true
	}
	return "", false
}

// isTrue reads PostgreSQL's words for true: "on", "1", and every beginning of "true" and "yes", in any case.
func isTrue(value string) bool {
	v := strings.ToLower(value)
	return v == "on" || v == "1" || (v != "" && (strings.HasPrefix("true", v) || strings.HasPrefix("yes", v)))
}

// settingSQL has no row when the database does not exist, and null when it has no setting.
const settingSQL = `SELECT (SELECT substr(c, strpos(c, '=') + 1) FROM pg_db_role_setting s, unnest(s.setconfig) c
	WHERE s.setdatabase = d.oid AND s.setrole = 0 AND c LIKE 'default\_transaction\_read\_only=%') FROM pg_database d WHERE d.datname = $1`

func readSetting(ctx context.Context, source pgkit.Querier, database string) (*string, error) {
	var value *string
	err := source.QueryRow(ctx, settingSQL, database).Scan(&value)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fault.New(fault.Operator, "read settings of database", database, "check the database's name", "it does not exist").WithCode("no-such-database")
	}
	if err != nil {
		return nil, fmt.Errorf("read settings of database %s: %w", database, err)
	}
	return value, nil
}

func explainAlter(database, op string, err error) error {
	e := &fault.Error{Class: fault.Classify(err), Op: op, Subject: database, Err: err}
	var state interface{ SQLState() string }
	if errors.As(err, &state) && state.SQLState() == "42501" {
		e.Hint = "only the database's owner may: GRANT the owner's role to this user, or ALTER DATABASE … OWNER TO it"
	}
	return e
}

// refusePrepared: a prepared transaction belongs to no session, and its writes would come after the fence.
func refusePrepared(ctx context.Context, source *pgx.Conn, database string) error {
	rows, err := source.Query(ctx, "SELECT gid FROM pg_prepared_xacts WHERE database = $1 ORDER BY prepared", database)
	if err != nil {
		return fmt.Errorf("read prepared transactions: %w", err)
	}
	gids, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("read prepared transactions: %w", err)
	}
	if len(gids) == 0 {
		return nil
	}
	return fault.New(fault.Operator, "fence database", database, "COMMIT PREPARED or ROLLBACK PREPARED each, then try again",
		"prepared transactions are open: %s", strings.Join(gids, ", ")).WithCode("prepared-transactions")
}

// exemptSQL: a role's own setting, in this database or in all, wins over the database's.
const exemptSQL = `SELECT DISTINCT r.rolname FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c
	WHERE s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = $1))
	AND CASE WHEN c LIKE 'default\_transaction\_read\_only=%' THEN NOT substr(c, strpos(c, '=') + 1)::bool END AND NOT r.rolsuper AND r.rolcanlogin AND has_database_privilege(r.oid, $1, 'CONNECT') ORDER BY 1`

func refuseExemptRoles(ctx context.Context, source *pgx.Conn, database string) error {
	rows, err := source.Query(ctx, exemptSQL, database)
	if err != nil {
		return fmt.Errorf("read settings of roles: %w", err)
	}
	roles, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("read settings of roles: %w", err)
	}
	if len(roles) == 0 {
		return nil
	}
	return fault.New(fault.Operator, "fence database", database, "ALTER ROLE … RESET default_transaction_read_only (with IN DATABASE where it is set so), then try again",
		"these roles have default_transaction_read_only off for themselves and would go on writing: %s", strings.Join(roles, ", ")).WithCode("exempt-roles")
}
