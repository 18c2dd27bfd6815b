package extract

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// DumpOptions says what to dump.
type DumpOptions struct {
	Source pgkit.Endpoint
	// Snapshot is the migration's. Empty: one of our own, for a look ahead.
	Snapshot    string
	Tables      contract.Tables
	Hypertables []contract.Hypertable
	// Privileges: owners and grants are carried over.
	Privileges bool
	// Only, unless nil, are the tables to dump, with what belongs to them, and what else they need and Have does not know (by kind,
	// schema and name, as entries have them).
	Only []ident.Table
	Have func(kind, schema, name string) bool
	// TargetSuperuser: whoever restores is a superuser there. Otherwise what only a superuser may make is left out, and so
	// is what needs it; the problems name both.
	TargetSuperuser bool
}

// Dump reads the schema under the snapshot and cuts it into entries, in the order of restoring. Objects that the source's
// master user owns have no owner: they will belong to whoever restores them. The problems say what is left out; one of
// severity Fatal means that the entries cannot be restored as they are.
func Dump(ctx context.Context, o DumpOptions) (_ []ledger.Entry, _ []contract.Problem, err error) {
	conn, err := pgkit.Dial(ctx, o.Source, "schema")
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, conn.Close(context.WithoutCancel(ctx))) }()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return nil, nil, fmt.Errorf("read schema of %s: %w", o.Source, err)
	}
	defer func() { err = errors.Join(err, tx.Rollback(context.WithoutCancel(ctx))) }()
	snapshot, err := takeSnapshot(ctx, tx, o.Snapshot)
	if err != nil {
		return nil, nil, err
	}
	version, err := pgkit.Version(ctx, tx)
	if err != nil {
		return nil, nil, fmt.Errorf("read schema of %s: %w", o.Source, err)
	}
	programs, err := findClients(ctx, version)
	if err != nil {
		return nil, nil, err
	}
	cat, err := readCatalogue(ctx, tx, o)
	if err != nil {
		return nil, nil, fmt.Errorf("read schema of %s: %w", o.Source, err)
	}
	names, err := readTrueNames(ctx, tx)
	if err != nil {
		return nil, nil, fmt.Errorf("read schema of %s: %w", o.Source, err)
	}
	toc, err := readTOC(ctx, programs, o.Source, snapshot, names)
	if err != nil {
		return nil, nil, err
	}
	if o.Only != nil {
		return build(part(toc, cat, o), cat, o)
	}
	rows, notes, err := extensionRows(ctx, tx, o.Tables)
	if err != nil {
		return nil, nil, fmt.Errorf("read schema of %s: %w", o.Source, err)
	}
	entries, problems, err := build(toc, cat, o)
	return weave(entries, rows), append(problems, notes...), err
}

// takeSnapshot lets tx see the given snapshot, or gives away its own.
func takeSnapshot(ctx context.Context, tx pgx.Tx, snapshot string) (string, error) {
	if snapshot == "" {
		err := tx.QueryRow(ctx, "SELECT pg_catalog.pg_export_snapshot()").Scan(&snapshot)
		if err != nil {
			return "", fmt.Errorf("export snapshot: %w", err)
		}
		return snapshot, nil
	}
	if _, err := tx.Exec(ctx, "SET TRANSACTION SNAPSHOT "+ident.Literal(snapshot)); err != nil {
		return "", &fault.Error{Class: fault.Classify(err), Op: "import snapshot", Subject: snapshot, Hint: "its holder is gone: a new one is needed", Err: err, Code: "snapshot-gone"}
	}
	return snapshot, nil
}

// readTOC makes the archive, reads it and throws it away.
func readTOC(ctx context.Context, programs clients, e pgkit.Endpoint, snapshot string, names trueNames) (_ []tocEntry, err error) {
	a, err := dumpArchive(ctx, programs, e, snapshot)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, a.close()) }()
	toc, err := a.list(ctx)
	if err != nil {
		return nil, err
	}
	plain, err := a.blocks(ctx, toc, false)
	if err != nil {
		return nil, err
	}
	withOwners, err := a.blocks(ctx, toc, true)
	if err != nil {
		return nil, err
	}
	for i := range toc {
		if err := toc[i].fill(plain[toc[i].id], withOwners[toc[i].id], names); err != nil {
			return nil, err
		}
	}
	putOff(toc)
	return toc, nil
}

// putOff moves to post-data what stands in pre-data but needs something of post-data: pg_dump does so with a materialized
// view that needs a primary key, but not with a function that speaks of that view's rows. The list has every entry behind
// what it needs, so one pass is enough.
func putOff(toc []tocEntry) {
	late := map[int]bool{}
	for i := range toc {
		e := &toc[i]
		if slices.ContainsFunc(e.deps, func(dep int) bool { return late[dep] }) {
			e.section = ledger.SectionPostData
		}
		late[e.id] = e.section == ledger.SectionPostData
	}
}

func (a *archive) blocks(ctx context.Context, toc []tocEntry, owners bool) (map[int]block, error) {
	text, err := a.text(ctx, owners, 0)
	if err != nil {
		return nil, err
	}
	return cut(text, toc, func(id int) (string, error) { return a.text(ctx, owners, id) })
}
