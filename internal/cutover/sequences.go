package cutover

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// Sequences gives the sequences on the target exactly the state that they have on the source, and returns how many. All
// kinds are copied: those owned by a column, those of identity columns, and those that stand alone. include is asked
// about the owning table, or about the sequence itself where there is none. A sequence that the target does not have is
// an error that names it. Call it when the source is fenced: what is taken from a sequence later is not seen.
func Sequences(ctx context.Context, source, target *pgx.Conn, include func(ident.Table) bool) (int, error) {
	names, err := listSequences(ctx, source, include)
	if err != nil {
		return 0, fmt.Errorf("list sequences of the source: %w", err)
	}
	states, err := readSequences(ctx, source, names)
	if err != nil {
		return 0, err
	}
	if err := writeSequences(ctx, target, states); err != nil {
		return 0, err
	}
	return len(states), nil
}

// listSQL leaves out temporary sequences and those that belong to extensions. The owner is the table whose column has the
// sequence as serial ('a') or identity ('i').
const listSQL = `SELECT n.nspname, c.relname, coalesce(tn.nspname, ''), coalesce(t.relname, '')
	FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
	LEFT JOIN pg_depend o ON o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.refclassid = 'pg_class'::regclass
		AND o.refobjsubid > 0 AND o.deptype IN ('a', 'i')
	LEFT JOIN pg_class t ON t.oid = o.refobjid LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace
	WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
	AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid IN (c.oid, t.oid) AND d.deptype = 'e')
	ORDER BY 1, 2`

func listSequences(ctx context.Context, source *pgx.Conn, include func(ident.Table) bool) ([]ident.Table, error) {
	rows, err := source.Query(ctx, listSQL)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var names []ident.Table
	for rows.Next() {
		var sequence, owner ident.Table
		if err := rows.Scan(&sequence.Schema, &sequence.Name, &owner.Schema, &owner.Name); err != nil {
			return nil, err
		}
		if owner == (ident.Table{}) {
			owner = sequence
		}
		if include(owner) {
			names = append(names, sequence)
		}
	}
	return names, rows.Err()
}

// readSequences asks each sequence itself: pg_sequences shows no last_value where is_called is false.
func readSequences(ctx context.Context, source *pgx.Conn, names []ident.Table) ([]shape.Sequence, error) {
	batch := &pgx.Batch{}
	for _, name := range names {
		batch.Queue("SELECT last_value, is_called FROM " + name.Quote())
	}
	results := source.SendBatch(ctx, batch)
	states := make([]shape.Sequence, len(names))
	for i, name := range names {
		states[i].Table = name
		if err := results.QueryRow().Scan(&states[i].LastValue, &states[i].IsCalled); err != nil {
			_ = results.Close() // the same error again
			return nil, sequenceError("read sequence", name, "GRANT SELECT on it to this user", err)
		}
	}
	return states, results.Close()
}

// writeSequences sets all in one batch. setval is not undone by a rollback, and setting again does no harm.
func writeSequences(ctx context.Context, target *pgx.Conn, states []shape.Sequence) error {
	batch := &pgx.Batch{}
	for _, s := range states {
		batch.Queue("SELECT setval($1::text::regclass, $2, $3)", s.Quote(), s.LastValue, s.IsCalled)
	}
	results := target.SendBatch(ctx, batch)
	for _, s := range states {
		if _, err := results.Exec(); err != nil {
			_ = results.Close() // the same error again
			return sequenceError("set sequence", s.Table, "GRANT UPDATE on it to this user, or make this user a member of its owner", err)
		}
	}
	return results.Close()
}

func sequenceError(op string, name ident.Table, privilegeHint string, err error) error {
	e := &fault.Error{Class: fault.Classify(err), Op: op, Subject: name.String(), Err: err}
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		switch state.SQLState() {
		case "42501":
			e.Hint = privilegeHint
		case "42P01", "3F000":
			e.Class, e.Code, e.Hint = fault.Operator, "missing-sequence", "create it on the target as it is on the source, then try again"
		}
	}
	return e
}
