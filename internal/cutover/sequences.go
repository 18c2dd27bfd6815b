package cutover

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"

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
	return SequencesAhead(ctx, source, target, include, 0)
}

// SequencesAhead is Sequences with a margin: each sequence is set so many steps further. One that has no room for them is set
// exactly.
func SequencesAhead(ctx context.Context, source, target *pgx.Conn, include func(ident.Table) bool, margin int64) (int, error) {
	states, err := ReadSequences(ctx, source, include)
	if err != nil {
		return 0, err
	}
	return set(ctx, target, states, margin)
}

// SequencesInBoth is SequencesAhead for those only that the target has too.
func SequencesInBoth(ctx context.Context, source, target *pgx.Conn, include func(ident.Table) bool, margin int64) (int, error) {
	states, err := ReadSequences(ctx, source, include)
	if err != nil {
		return 0, err
	}
	there, err := listSequences(ctx, target, func(ident.Table) bool { return true })
	if err != nil {
		return 0, fmt.Errorf("list sequences of the target: %w", err)
	}
	known := map[ident.Table]bool{}
	for _, s := range there {
		known[s.Table] = true
	}
	states = slices.DeleteFunc(states, func(s Sequence) bool { return !known[s.Table] })
	return set(ctx, target, states, margin)
}

func set(ctx context.Context, target *pgx.Conn, states []Sequence, margin int64) (int, error) {
	if err := writeSequences(ctx, target, states, margin); err != nil {
		return 0, err
	}
	return len(states), nil
}

// Sequence is the state of one on the source, and how it goes on.
type Sequence struct {
	shape.Sequence
	Increment, Min, Max int64
	Cycles              bool
}

// ahead is the value so many steps further, or the value itself where they lead past the end.
func (s Sequence) ahead(steps int64) int64 {
	to := new(big.Int).Mul(big.NewInt(steps), big.NewInt(s.Increment))
	to.Add(to, big.NewInt(s.LastValue))
	if to.Cmp(big.NewInt(s.Min)) < 0 || to.Cmp(big.NewInt(s.Max)) > 0 {
		return s.LastValue
	}
	return to.Int64()
}

// Used is how much of its range the sequence has used up, from 0 to 1; 0 where it begins anew at the end.
func (s Sequence) Used() float64 {
	if s.Cycles || s.Max == s.Min {
		return 0
	}
	used := (float64(s.LastValue) - float64(s.Min)) / (float64(s.Max) - float64(s.Min))
	if s.Increment < 0 {
		return 1 - used
	}
	return used
}

// ReadSequences reads the state of the sequences in scope.
func ReadSequences(ctx context.Context, source *pgx.Conn, include func(ident.Table) bool) ([]Sequence, error) {
	states, err := listSequences(ctx, source, include)
	if err != nil {
		return nil, fmt.Errorf("list sequences of the source: %w", err)
	}
	return states, readSequences(ctx, source, states)
}

// listSQL leaves out temporary sequences and those that belong to extensions. The owner is the table whose column has the
// sequence as serial ('a') or identity ('i').
const listSQL = `SELECT n.nspname, c.relname, coalesce(tn.nspname, ''), coalesce(t.relname, ''),
	s.seqincrement, s.seqmin, s.seqmax, s.seqcycle
	FROM pg_class c JOIN pg_sequence s ON s.seqrelid = c.oid JOIN pg_namespace n ON n.oid = c.relnamespace
	LEFT JOIN pg_depend o ON o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.refclassid = 'pg_class'::regclass
		AND o.refobjsubid > 0 AND o.deptype IN ('a', 'i')
	LEFT JOIN pg_class t ON t.oid = o.refobjid LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace
	WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
	AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid IN (c.oid, t.oid) AND d.deptype = 'e')
	ORDER BY 1, 2`

func listSequences(ctx context.Context, source *pgx.Conn, include func(ident.Table) bool) ([]Sequence, error) {
	rows, err := source.Query(ctx, listSQL)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []Sequence
	for rows.Next() {
		var s Sequence
		var owner ident.Table
		if err := rows.Scan(&s.Schema, &s.Name, &owner.Schema, &owner.Name, &s.Increment, &s.Min, &s.Max, &s.Cycles); err != nil {
			return nil, err
		}
		if owner == (ident.Table{}) {
			owner = s.Table
		}
		if include(owner) {
			all = append(all, s)
		}
	}
	return all, rows.Err()
}

// readSequences asks each sequence itself: pg_sequences shows no last_value where is_called is false.
func readSequences(ctx context.Context, source *pgx.Conn, all []Sequence) error {
	batch := &pgx.Batch{}
	for _, s := range all {
		batch.Queue("SELECT last_value, is_called FROM " + s.Quote())
	}
	results := source.SendBatch(ctx, batch)
	for i := range all {
		if err := results.QueryRow().Scan(&all[i].LastValue, &all[i].IsCalled); err != nil {
			_ = results.Close() // the same error again
			return sequenceError("read sequence", all[i].Table, "GRANT SELECT on it to this user", err)
		}
	}
	return results.Close()
}

// writeSequences sets all in one batch. setval is not undone by a rollback, and setting again does no harm.
func writeSequences(ctx context.Context, target *pgx.Conn, states []Sequence, margin int64) error {
	batch := &pgx.Batch{}
	for _, s := range states {
		batch.Queue("SELECT setval($1::text::regclass, $2, $3)", s.Quote(), s.ahead(margin), s.IsCalled)
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
