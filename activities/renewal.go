package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/evolve"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/shape"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/ledger"
)

// renewal is what the source looks like under the snapshot of a new epoch. The plan was made before, and a first epoch may have
// been long ago: what was copied under the snapshot by the old plan would lack the rows of a partition that is new, and the values of
// a column that is, and nothing else would bring them, since the stream counts from the snapshot on.
type renewal struct {
	planned []ledger.Table
	known   map[ident.Table]*shape.Definition // how the tables were when those of the target were made; none before
	there   map[ident.Table]*shape.Definition // how they are
	names   map[uint32]ident.Table            // of those that are known
	log     func(what string, t ident.Table)
}

// readRenewal looks at the source under a snapshot; nil where nothing is to be copied under it but new tables, which are planned by
// themselves.
func (h *holding) readRenewal(ctx context.Context, snapshot string) (r *renewal, err error) {
	r = &renewal{log: func(what string, t ident.Table) {
		h.a.Log.WarnContext(ctx, "the table was altered on the source before it was copied; the target follows", "table", t.String(), "changes", what)
	}}
	var open map[ident.Table]ledger.Table
	err = h.a.withTarget(ctx, h.spec, "epoch", func(target *pgx.Conn) (err error) {
		if open, err = ledger.ToReplan(ctx, target); err != nil {
			return err
		}
		r.known, err = ledger.Shapes(ctx, target)
		return err
	})
	if err != nil || len(open) == 0 {
		return nil, err
	}
	return r, h.a.withSource(ctx, h.spec, "epoch", func(source *pgx.Conn) error { return r.read(ctx, h.spec, source, snapshot, open) })
}

func (r *renewal) read(ctx context.Context, spec contract.Spec, source *pgx.Conn, snapshot string, open map[ident.Table]ledger.Table) error {
	return pgx.BeginTxFunc(ctx, source, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) (err error) {
		if _, err := tx.Exec(ctx, "SET TRANSACTION SNAPSHOT "+ident.Literal(snapshot)); err != nil {
			return err
		}
		facts, err := prepare.ReadCopyFacts(ctx, source, spec.Tables)
		if err != nil {
			return err
		}
		if err := prepare.ReadSplits(ctx, source, facts.Tables, partBytes(spec, facts.Tables)); err != nil {
			return err
		}
		if r.planned = copyPlan(spec, facts); facts.Version < plan.ViaRootVersion {
			leaveNewLeaves(r.planned, open)
		}
		var names []ident.Table
		var oids []uint32
		for name := range open {
			if known := r.known[name]; known != nil {
				names, oids = append(names, name), append(oids, known.OID)
			}
		}
		if r.names, err = prepare.NamesOf(ctx, tx, oids); err != nil {
			return err
		}
		r.there, err = pgkit.Definitions(ctx, tx, names)
		return err
	})
}

// leaveNewLeaves takes partitions out of a plan that are not published: before PostgreSQL 13 each is so by itself, and nothing would
// bring the changes of a new one. The schema watch names it.
func leaveNewLeaves(planned []ledger.Table, known map[ident.Table]ledger.Table) {
	for i := range planned {
		t := &planned[i]
		t.Parts = slices.DeleteFunc(t.Parts, func(p ledger.Part) bool {
			return p.Source != t.Table && !slices.ContainsFunc(known[t.Table].Parts, func(was ledger.Part) bool { return was.Source == p.Source })
		})
	}
}

// apply brings plan and target in line with it, in the transaction that begins the epoch: tables are those to be copied under it, and
// empty.
func (r *renewal) apply(ctx context.Context, tx pgx.Tx, tables []ident.Table, point change.LSN) error {
	gone, err := ledger.Replan(ctx, tx, r.planned)
	if err != nil {
		return err
	}
	for _, t := range gone {
		if err := r.gone(t); err != nil {
			return err
		}
	}
	var altered []ident.Table
	for _, t := range tables {
		if known, there := r.known[t], r.there[t]; known != nil && there != nil && !sameDefinition(known, there) {
			altered = append(altered, t)
		}
	}
	if len(altered) == 0 {
		return nil
	}
	here, err := pgkit.Definitions(ctx, tx, altered)
	if err != nil {
		return err
	}
	fresh := map[ident.Table]*shape.Definition{}
	for _, t := range altered {
		fresh[t] = r.there[t]
		if here[t] == nil { // not made yet: that will be under this snapshot
			continue
		}
		if err := r.follow(ctx, tx, t, here[t], point); err != nil {
			return err
		}
	}
	return ledger.SaveShapes(ctx, tx, fresh)
}

// sameDefinition compares what is written down: one of the two has been.
func sameDefinition(a, b *shape.Definition) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// gone lets a table that was dropped be: the schema watch tells of it. One that lives on by another name has rows that nobody would
// copy.
func (r *renewal) gone(t ident.Table) error {
	known := r.known[t]
	if known == nil {
		return nil
	}
	if now, lives := r.names[known.OID]; lives && now != t {
		return fault.New(fault.Operator, "copy", t.String(), "give it its name back on the source, then resume; or abort, and start again",
			"it was renamed to %s on the source before it was copied", now).WithCode(contract.CodeTableRenamed)
	}
	return nil
}

// follow makes the target's table, which is empty, what the source's is.
func (r *renewal) follow(ctx context.Context, tx pgx.Tx, t ident.Table, here *shape.Definition, point change.LSN) error {
	for _, c := range evolve.Watch(r.known[t], r.there[t], here) {
		if len(c.Statements) == 0 {
			return cannotFollow(t, c, "make the same change on the target, then resume", nil)
		}
		for _, sql := range c.Statements {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return cannotFollow(t, c, "run on the target: "+strings.Join(c.Statements, "; ")+"; then resume", err)
			}
			if err := ledger.RecordChange(ctx, tx, ledger.SchemaChange{Table: t, What: c.What, Statement: sql, LSN: point}); err != nil {
				return fmt.Errorf("note a change of %s: %w", t, err)
			}
		}
		r.log(c.What, t)
	}
	return nil
}

func cannotFollow(t ident.Table, c evolve.Change, hint string, cause error) error {
	if cause == nil {
		return fault.New(fault.Operator, "copy", t.String(), hint, "the source altered it before it was copied: %s", c.What).WithCode(contract.CodeSchemaAhead)
	}
	return fault.New(fault.Operator, "copy", t.String(), hint, "the source altered it before it was copied, and the target refuses the same: %s: %w", c.What, cause).WithCode(contract.CodeSchemaAhead)
}
