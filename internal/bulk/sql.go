package bulk

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// planSettings are for the transaction that reads the parts: a range of keys is worth its while only by the index, which
// the planner, knowing nothing of the other ranges, would rather not use for a large one.
func planSettings(parts []ledger.Part) string {
	if slices.ContainsFunc(parts, func(p ledger.Part) bool { return p.KeyColumn != "" }) {
		return "SET LOCAL enable_seqscan = off"
	}
	return ""
}

// copyOutSQL reads the part. A whole heap is read by the plain form, which has no query to run; neither form descends to
// children.
func copyOutSQL(part ledger.Part) string {
	conditions := conditionsOf(part)
	if len(conditions) == 0 {
		return "COPY " + part.Source.Quote() + columnList(part.Columns) + " TO STDOUT (FORMAT " + format(part) + ")"
	}
	return "COPY (SELECT " + ident.Columns(part.Columns) + " FROM ONLY " + part.Source.Quote() + " WHERE " + strings.Join(conditions, " AND ") +
		") TO STDOUT (FORMAT " + format(part) + ")"
}

// conditionsOf is empty for a whole heap. A key's bound has no type of its own, and so takes the column's.
func conditionsOf(part ledger.Part) (conditions []string) {
	if part.First != nil {
		conditions = append(conditions, fmt.Sprintf("ctid >= '(%d,0)'::tid", *part.First))
	}
	if part.End != nil {
		conditions = append(conditions, fmt.Sprintf("ctid < '(%d,0)'::tid", *part.End))
	}
	if part.FirstKey != nil {
		conditions = append(conditions, ident.Quote(part.KeyColumn)+" >= "+ident.Literal(*part.FirstKey))
	}
	if part.EndKey != nil {
		conditions = append(conditions, ident.Quote(part.KeyColumn)+" < "+ident.Literal(*part.EndKey))
	}
	return conditions
}

func copyInSQL(table string, columns []string, part ledger.Part, freeze bool) string {
	options := "FORMAT " + format(part)
	if freeze {
		options += ", FREEZE"
	}
	return "COPY " + table + columnList(columns) + " FROM STDIN (" + options + ")"
}

// columnList is empty for a table without columns to copy: there is no such list in SQL.
func columnList(columns []string) string {
	if len(columns) == 0 {
		return ""
	}
	return " (" + ident.Columns(columns) + ")"
}

func format(part ledger.Part) string {
	if part.TextCopy {
		return "text"
	}
	return "binary"
}

// freezeBytes: for smaller tables TRUNCATE's new files cost more than frozen rows save.
const freezeBytes = 8 << 20

// freezableSQL: COPY FREEZE works on plain tables only, and TRUNCATE not where a foreign key points here.
const freezableSQL = `SELECT c.relkind = 'r' AND NOT c.relhassubclass
	AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid = c.oid AND k.conrelid <> c.oid)
FROM pg_class c WHERE c.oid = to_regclass($1)`

// freezable says whether the rows can be written frozen, and truncates the table in tx, as that takes: it is empty, since
// this is its only part. Frozen rows need no second writing of every page by whoever reads or vacuums the table first.
func freezable(ctx context.Context, tx pgx.Tx, part ledger.Part) (bool, error) {
	if !part.Alone || part.Hypertable || part.Bytes < freezeBytes {
		return false, nil
	}
	table := part.Table.Quote()
	var may bool
	if err := tx.QueryRow(ctx, "SELECT coalesce(("+freezableSQL+"), false)", table).Scan(&may); err != nil || !may {
		return false, err
	}
	// Not to stand in a queue for the lock with everyone else behind: whoever has the table open now comes first.
	err := pgx.BeginFunc(ctx, tx, func(savepoint pgx.Tx) error {
		_, err := savepoint.Exec(ctx, "LOCK TABLE ONLY "+table+" IN ACCESS EXCLUSIVE MODE NOWAIT")
		return err
	})
	if sqlState(err) == stateLockNotAvailable {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, "TRUNCATE ONLY "+table)
	return err == nil, err
}
