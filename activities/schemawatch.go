package activities

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/evolve"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/shape"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/ledger"
)

// What goes into a history of each list. Problems come again with every look.
const (
	maxWatchProblems = 20
	maxFollowed      = 100
)

// WatchSchema compares the source's tables with what was planned and carried over, before the stream comes to a change: columns,
// tables that are new, gone or renamed, partitions that are gone, enum types, and replica identities that do not work any more.
//
//	Does: reads both catalogues and the ledger. A table that is gone on both sides leaves the plan.
//	Safe to repeat because: it looks at what is.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) WatchSchema(ctx context.Context, input contract.SchemaWatchInput) (out contract.SchemaWatch, err error) {
	spec := input.Spec
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withBoth(ctx, spec, "schema watch", func(source, target *pgx.Conn) error {
			names, err := newTableNames(ctx, spec, source, target)
			if err != nil {
				return err
			}
			out = contract.SchemaWatch{NewTables: boundNames(names, "tables"), Fingerprint: fingerprint(names)}
			w, err := newSchemaWatch(ctx, spec, source, target)
			if err != nil {
				return err
			}
			for _, name := range w.planned {
				if err := w.table(ctx, name); err != nil {
					return err
				}
			}
			if err := w.enums(ctx); err != nil {
				return err
			}
			out.NewTables = slices.DeleteFunc(out.NewTables, func(n string) bool { return w.renamed[n] })
			if err := w.newTables(ctx, &out); err != nil {
				return err
			}
			out.Problems = w.problems[:min(len(w.problems), maxWatchProblems)]
			out.Followed, err = followed(ctx, target, input.Followed)
			return err
		})
	})
	return out, err
}

// schemaWatch is one look.
type schemaWatch struct {
	spec           contract.Spec
	source, target *pgx.Conn
	planned        []ident.Table
	known          map[ident.Table]*shape.Definition
	there, here    map[ident.Table]*shape.Definition // on the source, on the target
	cut            map[string]bool                   // columns by which hypertables are cut: "schema.table.column"
	renamed        map[string]bool                   // new names of tables
	at             string                            // the source's position
	problems       []contract.Problem
}

func newSchemaWatch(ctx context.Context, spec contract.Spec, source, target *pgx.Conn) (*schemaWatch, error) {
	w := &schemaWatch{spec: spec, source: source, target: target, cut: map[string]bool{}, renamed: map[string]bool{}}
	tables, err := ledger.TablesInScope(ctx, target)
	if err != nil {
		return nil, err
	}
	for _, t := range tables {
		w.planned = append(w.planned, t.Table)
	}
	if w.known, err = ledger.Shapes(ctx, target); err != nil {
		return nil, err
	}
	if w.there, err = definitions(ctx, source, w.planned); err != nil {
		return nil, err
	}
	if w.here, err = definitions(ctx, target, w.planned); err != nil {
		return nil, err
	}
	for _, h := range spec.Hypertables {
		if t, ok := ident.ParseTable(h.Table); ok {
			w.cut[t.String()+"."+h.TimeColumn], w.cut[t.String()+"."+h.SpaceColumn] = true, true
		}
	}
	return w, source.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&w.at)
}

func definitions(ctx context.Context, conn *pgx.Conn, names []ident.Table) (found map[ident.Table]*shape.Definition, err error) {
	err = pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		found, err = pgkit.Definitions(ctx, tx, names)
		return err
	})
	return found, err
}

func (w *schemaWatch) add(severity contract.Severity, code string, t ident.Table, remedy, format string, args ...any) {
	w.problems = append(w.problems, contract.Problem{Severity: severity, Code: code, Object: t.String(), Message: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (w *schemaWatch) table(ctx context.Context, name ident.Table) error {
	known, there, here := w.known[name], w.there[name], w.here[name]
	switch {
	case known == nil: // planned by an earlier version
		return nil
	case there == nil || there.OID != known.OID:
		return w.gone(ctx, name, known)
	case here == nil:
		return nil // the stream says so
	}
	w.columns(name, known, there, here)
	for _, g := range evolve.GoneLeaves(known, there, here) {
		remedy := "see which rows of it the target still has"
		if g.Statement != "" {
			remedy = fmt.Sprintf("once the applied position is past %s, run on the target: %s", w.at, g.Statement)
		}
		w.add(contract.Warning, contract.CodePartitionGone, g.Leaf, remedy, "this partition of %s was detached or dropped on the source: its rows are still on the target", name)
	}
	if known.Findable && !there.Findable {
		w.add(contract.Warning, contract.CodeIdentityLost, name, fmt.Sprintf("run on the source: ALTER TABLE %s REPLICA IDENTITY FULL; or make the key again", name.Quote()),
			"its key or replica identity was dropped on the source: PostgreSQL refuses the application's UPDATE and DELETE of it while it is published")
	}
	return nil
}

// newTables parts those that can be carried over from the others, and says why these cannot.
func (w *schemaWatch) newTables(ctx context.Context, out *contract.SchemaWatch) error {
	if len(out.NewTables) == 0 || w.spec.Replication.DDL != contract.DDLFollow {
		return nil
	}
	n, err := judgeNewTables(ctx, w.spec, w.source, w.target)
	if err != nil {
		return err
	}
	judged := map[string]bool{}
	for _, p := range n.problems {
		judged[p.Object] = true
		w.problems = append(w.problems, p)
	}
	for _, t := range n.fit {
		name := t.Table.String()
		judged[name] = true
		if !w.renamed[name] {
			out.Joining = append(out.Joining, name)
		}
	}
	out.Joining = boundNames(out.Joining, "tables")
	out.NewTables = slices.DeleteFunc(out.NewTables, func(name string) bool { return judged[name] })
	return nil
}

// columns tells of changes that nobody has followed. Those that will be followed are no problem.
func (w *schemaWatch) columns(name ident.Table, known, there, here *shape.Definition) {
	var early, late []evolve.Change
	for _, c := range evolve.Watch(known, there, here) {
		switch {
		case c.Follow && w.spec.Replication.DDL == contract.DDLFollow, c.Kind == evolve.Nullable && w.cut[name.String()+"."+c.Column]:
		case c.Early:
			early = append(early, c)
		default:
			late = append(late, c)
		}
	}
	if len(early)+len(late) == 0 {
		return
	}
	var remedies []string
	if len(early) > 0 {
		remedies = append(remedies, "run on the target now: "+strings.Join(evolve.Statements(early), "; "))
	}
	if len(late) > 0 {
		remedies = append(remedies, fmt.Sprintf("when the stream stops at it, or once the applied position is past %s, run on the target: %s", w.at, strings.Join(evolve.Statements(late), "; ")))
	}
	w.add(contract.Warning, contract.CodeSchemaAhead, name, strings.Join(remedies, "; "), "its definition changed on the source, and the target has not followed: %s", evolve.Words(append(early, late...)))
}

// gone: the stream has no word for a table that was dropped, and shows a new name only with the next row.
func (w *schemaWatch) gone(ctx context.Context, name ident.Table, known *shape.Definition) error {
	names, err := prepare.NamesOf(ctx, w.source, []uint32{known.OID})
	if err != nil {
		return err
	}
	if now, renamed := names[known.OID]; renamed {
		w.renamed[now.String()] = true
		w.add(contract.Warning, contract.CodeTableRenamed, name, "when the stream stops at it, run on the target: "+evolve.RenameTable(name, now)+"; then resume", "it was renamed to %s on the source", now)
		return nil
	}
	if w.here[name] == nil {
		return ledger.ForgetTable(ctx, w.target, name)
	}
	w.add(contract.Warning, contract.CodeTableDropped, name, fmt.Sprintf("once the applied position is past %s, run on the target: DROP TABLE %s", w.at, name.Quote()),
		"it was dropped on the source; on the target it still is")
	return nil
}

func (w *schemaWatch) enums(ctx context.Context) error {
	source, err := pgkit.Enums(ctx, w.source)
	if err != nil {
		return err
	}
	target, err := pgkit.Enums(ctx, w.target)
	if err != nil {
		return err
	}
	for _, c := range evolve.Labels(source, target) {
		if !c.Follow || w.spec.Replication.DDL != contract.DDLFollow {
			w.problems = append(w.problems, contract.Problem{Severity: contract.Warning, Code: contract.CodeEnumAhead, Object: c.Column, Message: c.What + ": the target would refuse it",
				Remedy: "run on the target now: " + strings.Join(c.Statements, "; ")})
		}
	}
	return nil
}

// followed is what was carried over, without the first ones, which are known, and without the last of very many.
func followed(ctx context.Context, target *pgx.Conn, known int) ([]contract.SchemaChange, error) {
	all, err := ledger.SchemaChanges(ctx, target)
	if err != nil {
		return nil, err
	}
	var out []contract.SchemaChange
	all = all[:min(len(all), maxFollowed)]
	for _, c := range all[min(known, len(all)):] {
		out = append(out, contract.SchemaChange{Table: c.Table.String(), What: c.What, Statement: c.Statement, LSN: c.LSN, At: c.At.UTC()})
	}
	return out, nil
}

// recordShapes notes how the source's tables are under the snapshot with which the target's are made.
func (a *Activities) recordShapes(ctx context.Context, spec contract.Spec, target *pgx.Conn, snapshot string) error {
	tables, err := ledger.TablesInScope(ctx, target)
	if err != nil {
		return err
	}
	leaves, err := ledger.Leaves(ctx, target)
	if err != nil {
		return err
	}
	var names []ident.Table
	for _, t := range tables {
		names = append(names, t.Table)
	}
	for n := range leaves {
		names = append(names, n)
	}
	shapes, err := a.shapesUnder(ctx, spec, snapshot, names)
	if err != nil {
		return err
	}
	if err := ledger.UpgradeShapes(ctx, target); err != nil {
		return err
	}
	return ledger.SaveShapes(ctx, target, shapes)
}

// shapesUnder reads how tables of the source are under a snapshot.
func (a *Activities) shapesUnder(ctx context.Context, spec contract.Spec, snapshot string, names []ident.Table) (shapes map[ident.Table]*shape.Definition, err error) {
	err = a.withSource(ctx, spec, "definitions", func(source *pgx.Conn) error {
		return pgx.BeginTxFunc(ctx, source, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, "SET TRANSACTION SNAPSHOT "+ident.Literal(snapshot)); err != nil {
				return err
			}
			shapes, err = pgkit.Definitions(ctx, tx, names)
			return err
		})
	})
	return shapes, err
}

// followNames takes over new names of tables that somebody gave on the target after the source.
func (a *Activities) followNames(ctx context.Context, source, target *pgx.Conn) error {
	known, err := ledger.Shapes(ctx, target)
	if err != nil {
		return err
	}
	var oids []uint32
	for _, d := range known {
		oids = append(oids, d.OID)
	}
	names, err := prepare.NamesOf(ctx, source, oids)
	if err != nil {
		return err
	}
	for name, d := range known {
		now, there := names[d.OID]
		if !there || now == name {
			continue
		}
		here, err := definitions(ctx, target, []ident.Table{name, now})
		if err != nil {
			return err
		}
		if here[name] == nil && here[now] != nil {
			if err := ledger.RenameTable(ctx, target, name, now); err != nil {
				return err
			}
		}
	}
	return nil
}

// ListSchemaChanges tells what more of the source's DDL was carried over.
//
//	Does: reads the ledger.
//	Safe to repeat because: it changes nothing.
//	Heartbeats: nothing of its own.
//	Undone by: nothing to undo.
func (a *Activities) ListSchemaChanges(ctx context.Context, input contract.SchemaWatchInput) (changes []contract.SchemaChange, err error) {
	err = a.live(ctx, func(ctx context.Context, _ func(contract.Beat)) error {
		return a.withTarget(ctx, input.Spec, "schema changes", func(target *pgx.Conn) error {
			changes, err = followed(ctx, target, input.Followed)
			return err
		})
	})
	return changes, err
}
