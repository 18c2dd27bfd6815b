package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/evolve"
	"timeferry/internal/failpoint"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/shape"
	"timeferry/internal/target/ledger"
)

// causeError is why the target refused something, without any value.
type causeError struct {
	err                 error
	state, column, rule string
}

func (e *causeError) Error() string { return e.err.Error() }
func (e *causeError) Unwrap() error { return e.err }

// refusedChange is a statement of our own, for the source's DDL, that the target does not take.
func refusedChange(subject, sql string, pg *pgconn.PgError) *fault.Error {
	return fault.New(fault.Operator, "change the definition of", subject, "bring the target's table in line with the source's another way, then resume",
		"the target refuses %s: %s", sql, describe(pg)).WithCode(CodeSchemaChanged)
}

// mendRefusal looks whether rows were refused because the schema changed on the source in a way that the stream does not describe:
// a label was added to an enum type, a constraint or NOT NULL was dropped. It then says so with the statement; labels are added
// where DDL is followed, and mended is true.
func (r *runner) mendRefusal(ctx context.Context, err error) (mended bool, _ error) {
	var f *fault.Error
	var cause *causeError
	if r.Source == nil || !errors.As(err, &f) || f.Code != CodeValueRefused && f.Code != CodeConflict || !errors.As(err, &cause) {
		return false, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("asking both sides why a row was refused took longer than 1m"))
	defer cancel()
	open, lookErr := r.explainRefusal(ctx, f.Subject, cause)
	switch {
	case lookErr != nil:
		r.Log.WarnContext(ctx, "it cannot be told why a row was refused", "table", f.Subject, "err", lookErr)
		return false, err
	case len(open) == 0:
		return false, err
	case r.FollowDDL && everyFollows(open):
		if addErr := r.addLabels(ctx, f.Subject, open); addErr != nil {
			return false, errors.Join(err, addErr)
		}
		return true, nil
	}
	table, _ := ident.ParseTable(f.Subject)
	return false, fmt.Errorf("%w (%w)", stopped(table, open), cause)
}

func everyFollows(open []evolve.Change) bool {
	for _, c := range open {
		if !c.Follow {
			return false
		}
	}
	return true
}

// explainRefusal compares what may be behind a refusal of this kind.
func (r *runner) explainRefusal(ctx context.Context, subject string, cause *causeError) ([]evolve.Change, error) {
	conn, err := pgkit.Dial(ctx, r.Target, "apply catalogue")
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // only read from
	if cause.state == "22P02" {
		return r.newLabels(ctx, conn)
	}
	table, ok := ident.ParseTable(subject)
	if !ok {
		return nil, nil
	}
	var target *shape.Definition
	err = pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		all, err := pgkit.Definitions(ctx, tx, []ident.Table{table})
		target = all[table]
		return err
	})
	known := r.known[table]
	if err != nil || target == nil || known == nil {
		return nil, err
	}
	source, _, err := r.Source.Define(ctx, known.OID, nil)
	if err != nil || source == nil {
		return nil, err
	}
	if strings.HasPrefix(cause.state, "22") {
		return evolve.Compare(evolve.Sides{Known: known, Source: source, Target: target}).Open(), nil
	}
	return evolve.Loosened(source, target, cause.column, cause.rule), nil
}

func (r *runner) newLabels(ctx context.Context, conn *pgx.Conn) ([]evolve.Change, error) {
	source, err := r.Source.Enums(ctx)
	if err != nil {
		return nil, err
	}
	target, err := pgkit.Enums(ctx, conn)
	if err != nil {
		return nil, err
	}
	return evolve.Labels(source, target), nil
}

// addLabels adds labels to enum types, each in one transaction with its note: a new label can be used only after its commit.
func (r *runner) addLabels(ctx context.Context, subject string, open []evolve.Change) error {
	table, _ := ident.ParseTable(subject)
	conn, err := pgkit.Dial(ctx, r.Target, "apply catalogue")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // all is committed
	for _, c := range open {
		err := pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
			for _, sql := range c.Statements {
				if _, err := tx.Exec(ctx, sql); err != nil {
					return fmt.Errorf("run %s: %w", sql, err)
				}
				if err := ledger.RecordChange(ctx, tx, ledger.SchemaChange{Table: table, What: c.What, Statement: sql, LSN: r.progress.AppliedLSN}); err != nil {
					return err
				}
			}
			failpoint.At(failpoint.BeforeLabel)
			return nil
		})
		if err != nil {
			return err
		}
		failpoint.At(failpoint.AfterLabel)
		r.Log.WarnContext(ctx, "an enum type has a new label on the source; the target follows", "table", subject, "changes", c.What)
	}
	return nil
}
