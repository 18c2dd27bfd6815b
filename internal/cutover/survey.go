package cutover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// Survey is what a fence would meet on the source right now.
type Survey struct {
	// Sessions would be ended. Those of Spared only a superuser could end, and of Stuck this user may not end any.
	Sessions, Spared, Stuck []Session
	// Long are transactions of others that are open for longer than LongTransaction; the fence would end them.
	Long []Transaction
	// Refusals are why no fence would be raised: prepared transactions, roles that are exempt, a database of another's.
	Refusals  []error
	Sequences []Sequence
}

// Transaction is somebody's open transaction.
type Transaction struct {
	Session
	Age   time.Duration
	State string
}

func (t Transaction) String() string {
	return fmt.Sprintf("%s, open for %s, %s", t.Session, t.Age.Round(time.Second), t.State)
}

// LongTransaction is from when on an open transaction is worth naming before a cutover.
const LongTransaction = 5 * time.Second

// surveySQL is oldSessionsSQL with what a survey asks besides.
const surveySQL = `SELECT a.pid, a.usename, coalesce(a.application_name, ''), coalesce(host(a.client_addr), ''), r.rolsuper,
	pg_has_role(r.oid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE'), me.rolsuper,
	coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8, coalesce(a.state, '')
	FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid CROSS JOIN pg_roles me
	WHERE me.rolname = current_user AND a.datname = $1 AND a.pid <> pg_backend_pid() AND coalesce(a.backend_type, 'client backend') = 'client backend'
	AND NOT starts_with(coalesce(a.application_name, ''), $2)
	AND NOT EXISTS (SELECT 1 FROM pg_stat_replication w WHERE w.pid = a.pid) ORDER BY a.pid`

// Look surveys the source. It changes nothing.
func Look(ctx context.Context, source *pgx.Conn, database string, include func(ident.Table) bool) (s Survey, err error) {
	for _, refuse := range []func(context.Context, *pgx.Conn, string) error{refusePrepared, refuseExemptRoles, refuseForeignDatabase} {
		err := refuse(ctx, source, database)
		var f *fault.Error
		if errors.As(err, &f) && f.Class == fault.Operator {
			s.Refusals = append(s.Refusals, err)
		} else if err != nil {
			return s, err
		}
	}
	if err := s.lookAtSessions(ctx, source, database); err != nil {
		return s, fmt.Errorf("look at the sessions of database %s: %w", database, err)
	}
	s.Sequences, err = ReadSequences(ctx, source, include)
	return s, err
}

func (s *Survey) lookAtSessions(ctx context.Context, source *pgx.Conn, database string) error {
	rows, err := source.Query(ctx, surveySQL, database, pgkit.ApplicationName)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var t Transaction
		var super, mayEnd, weSuper bool
		var seconds float64
		if err := rows.Scan(&t.PID, &t.User, &t.Application, &t.Address, &super, &mayEnd, &weSuper, &seconds, &t.State); err != nil {
			return err
		}
		switch {
		case super && !weSuper:
			s.Spared = append(s.Spared, t.Session)
		case !mayEnd && !weSuper:
			s.Stuck = append(s.Stuck, t.Session)
		default:
			s.Sessions = append(s.Sessions, t.Session)
		}
		t.Age = time.Duration(seconds * float64(time.Second))
		if t.Age > LongTransaction {
			s.Long = append(s.Long, t)
		}
	}
	return rows.Err()
}

func refuseForeignDatabase(ctx context.Context, source *pgx.Conn, database string) error {
	var owns bool
	err := source.QueryRow(ctx, "SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = $1", database).Scan(&owns)
	if err != nil {
		return fmt.Errorf("read the owner of database %s: %w", database, err)
	}
	if owns {
		return nil
	}
	return fault.New(fault.Operator, "fence database", database, "GRANT the owner's role to this user, or ALTER DATABASE … OWNER TO it", "only its owner may").WithCode("not-database-owner")
}
