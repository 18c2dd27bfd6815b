package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/evolve"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/shape"
	"timeferry/internal/target/ledger"
)

// Catalogue answers what the stream does not tell about the source's schema. Its answers are of the moment of asking, which is
// later than that of the change being applied.
type Catalogue interface {
	// Define describes the relation with this OID, nil if it is gone, and names types by the source's numbers.
	Define(ctx context.Context, oid uint32, types []shape.TypeRef) (*shape.Definition, map[shape.TypeRef]shape.TypeName, error)
	// Enums are the source's enum types.
	Enums(ctx context.Context) ([]shape.Enum, error)
}

// keepUp sees to it that the target's table is in line with a description that is not what was known, or does not fit: somebody
// has followed the source's DDL, or we do, in the transaction of the first row of the new form. Else it is a fault that says what
// changed, and the statements.
func (g *gatherer) keepUp(ctx context.Context, name ident.Table, rel *change.Relation) error {
	sides, err := g.sides(ctx, name, rel)
	if err != nil {
		return err
	}
	if sides.Target == nil {
		return schemaChanged(name, []string{"the table is missing on the target"})
	}
	outcome := evolve.Compare(sides)
	open := outcome.Open()
	if len(open) == 0 {
		if len(outcome.Changes)+len(outcome.Skip) > 0 {
			g.Log.WarnContext(ctx, "the table's definition changed on the source; the target can take it", "table", tableName(rel).String(), "changes", evolve.Words(outcome.Changes), "left out", outcome.Skip)
		}
		return g.settle(rel, outcome)
	}
	if !g.FollowDDL || slices.ContainsFunc(open, func(c evolve.Change) bool { return !c.Follow }) {
		return g.stop(stopped(name, outcome.Told()))
	}
	if err := g.carryOver(ctx, name, rel, sides, open); err != nil {
		return err
	}
	return g.settle(rel, outcome)
}

// settle takes the relation's form as known. Columns that are left out are so until its next form.
func (g *gatherer) settle(rel *change.Relation, outcome evolve.Outcome) error {
	own := tableName(rel)
	g.skips[own] = outcome.Skip
	if known := g.known[own]; known != nil && evolve.Same(known, rel) {
		return nil
	}
	return g.learn(own, outcome.Next)
}

// stop ends the stream before this transaction: those that were gathered with it are applied first, for a statement that a person
// runs on the target may leave no place for rows of the old form.
func (g *gatherer) stop(cause error) error {
	if g.batch.transactions == 0 && !g.batch.continues { // one that continues may have more before it than this transaction
		return cause
	}
	return &againError{reason: "the stream stops at the next transaction", cause: cause, stopBefore: g.final}
}

// unknown is a relation that is not in scope under its name: it may be one of those that are, by another name.
func (g *gatherer) unknown(rel *change.Relation) error {
	now := tableName(rel)
	for name, known := range g.known {
		if known.OID == rel.OID && known.Numbers > 0 && name != now {
			return g.stop(fault.New(fault.Operator, opApply, name.String(), "run on the target: "+evolve.RenameTable(name, now)+"; then resume",
				"the table was renamed to %s on the source", now).WithCode(CodeSchemaChanged))
		}
	}
	return unknownTable(rel)
}

// project leaves columns out of a relation; order says where the others are.
func project(rel *change.Relation, skip []string) (_ *change.Relation, order []int) {
	reduced := *rel
	reduced.Columns = nil
	for i, c := range rel.Columns {
		if !slices.Contains(skip, c.Name) {
			reduced.Columns = append(reduced.Columns, c)
			order = append(order, i)
		}
	}
	return &reduced, order
}

// sides collects the four descriptions of the table.
func (g *gatherer) sides(ctx context.Context, name ident.Table, rel *change.Relation) (evolve.Sides, error) {
	s := evolve.Sides{Known: g.known[tableName(rel)], Described: rel, Target: g.predicted[name], Types: map[shape.TypeRef]shape.TypeName{}}
	var refs, own []shape.TypeRef
	for _, c := range rel.Columns {
		ref := shape.TypeRef{OID: c.TypeOID, Modifier: c.Modifier}
		refs = append(refs, ref)
		if c.TypeOID < evolve.FirstUserOID {
			own = append(own, ref) // the same on every server
		}
	}
	err := g.readCatalogue(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		if s.Target == nil {
			target, err := g.reload(ctx, conn, name)
			if err != nil {
				return err
			}
			s.Target = target
		}
		return pgkit.InTx(ctx, conn, func(tx pgx.Tx) (err error) {
			s.Types, err = pgkit.TypeNames(ctx, tx, own)
			return err
		})
	})
	if err != nil {
		return s, err
	}
	if s.Known == nil && s.Target != nil {
		s.Known = unrecorded(s.Target, rel)
	}
	return s, g.askSource(ctx, &s, refs)
}

// askSource: without the source a stop says less, and nothing can be followed.
func (g *gatherer) askSource(ctx context.Context, s *evolve.Sides, refs []shape.TypeRef) error {
	if g.Source == nil {
		return nil
	}
	source, names, err := g.Source.Define(ctx, s.Described.OID, refs)
	if err == nil {
		s.Source = source
		maps.Copy(s.Types, names)
		return nil
	}
	if g.FollowDDL {
		return fmt.Errorf("read the definition of %s on the source: %w", tableName(s.Described), err)
	}
	g.Log.WarnContext(ctx, "the source does not tell the table's definition", "table", tableName(s.Described).String(), "err", err)
	return nil
}

// unrecorded stands for what an earlier version did not record: the target's columns, with the types of the stream.
func unrecorded(target *shape.Definition, rel *change.Relation) *shape.Definition {
	known := evolve.FromRelation(rel)
	known.Columns = slices.Clone(target.Columns)
	for i := range known.Columns {
		c := &known.Columns[i]
		c.Number = 0
		for _, now := range rel.Columns {
			if now.Name == c.Name {
				c.TypeOID, c.Modifier, c.Generated = now.TypeOID, now.Modifier, ""
			}
		}
	}
	known.Columns = slices.DeleteFunc(known.Columns, func(c shape.DefinedColumn) bool {
		return (!c.NotNull || c.Default != "" || c.Identity != "") && !slices.ContainsFunc(rel.Columns, func(now change.Column) bool { return now.Name == c.Name })
	})
	return &known
}

// reload reads the table anew from the target, where somebody may have followed; what was made of the old one is forgotten.
func (g *gatherer) reload(ctx context.Context, conn *pgx.Conn, name ident.Table) (defined *shape.Definition, err error) {
	g.forget(name)
	err = pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		all, err := pgkit.Definitions(ctx, tx, []ident.Table{name})
		if err != nil {
			return err
		}
		defined = all[name]
		fresh, err := loadTables(ctx, tx, []ident.Table{name}, g.Hypertables)
		g.tables[name] = fresh[name]
		return err
	})
	return defined, err
}

// forget drops what was made of the table's former definition.
func (g *gatherer) forget(name ident.Table) {
	g.stale = true
	g.last = nil
	delete(g.leafMappings, name)
	maps.DeleteFunc(g.routes, func(_ *change.Relation, r *route) bool { return r.table.name == name })
}

// learn records the relation's form, in the transaction of the first row that has it.
func (g *gatherer) learn(own ident.Table, d shape.Definition) error {
	text, err := json.Marshal(d)
	if err != nil {
		return fmt.Errorf("record definition of %s: %w", own, err)
	}
	g.known[own] = &d
	g.batch.steps = append(g.batch.steps, step{kind: stepQuery, sql: ledger.SetShapeSQL, params: [][]byte{[]byte(own.Schema), []byte(own.Name), text}, rows: 1,
		verb: "record the definition of"})
	return nil
}

// verbAlter marks the steps that change the target's schema.
const verbAlter = "alter"

// carryOver adds the statements to the batch, behind the rows of the old form, each with its note. From then on the table is
// taken as it will be.
func (g *gatherer) carryOver(ctx context.Context, name ident.Table, rel *change.Relation, sides evolve.Sides, open []evolve.Change) error {
	t, defined, err := g.predict(ctx, g.tables[name], sides, open)
	if err != nil {
		return err
	}
	g.batch.join() // whatever alters a table locks out everybody else
	if f := g.folds[name]; f != nil {
		g.flush(f)
	}
	for _, c := range open {
		for _, sql := range c.Statements {
			note := [][]byte{[]byte(name.Schema), []byte(name.Name), []byte(c.What), []byte(sql), []byte(g.final.String())}
			g.batch.steps = append(g.batch.steps, step{kind: stepQuery, sql: sql, rows: anyRows, table: t, verb: verbAlter},
				step{kind: stepQuery, sql: ledger.RecordChangeSQL, params: note, rows: 1, table: t, verb: "note a change of"})
		}
	}
	g.Log.WarnContext(ctx, "the table's definition changed on the source; the target follows", "table", tableName(rel).String(), "changes", evolve.Words(open))
	g.forget(name)
	g.tables[name], g.predicted[name] = t, defined
	return nil
}

// predict is the table as it will be after the changes.
func (g *gatherer) predict(ctx context.Context, t *table, sides evolve.Sides, open []evolve.Change) (*table, *shape.Definition, error) {
	after, defined := *t, *sides.Target
	after.columns, after.uniques, defined.Columns = slices.Clone(t.columns), slices.Clone(t.uniques), slices.Clone(sides.Target.Columns)
	next := evolve.Compare(sides).Next
	for _, c := range open {
		is := func(name string) bool { return name == c.Column }
		if c.Kind == evolve.Dropped {
			after.columns = slices.DeleteFunc(after.columns, func(have column) bool { return is(have.name) })
			after.uniques = slices.DeleteFunc(after.uniques, func(u []string) bool { return slices.ContainsFunc(u, is) })
			defined.Columns = slices.DeleteFunc(defined.Columns, func(have shape.DefinedColumn) bool { return is(have.Name) })
			continue
		}
		now := next.Column(c.Column)
		made, err := g.columnOf(ctx, now)
		if err != nil {
			return nil, nil, err
		}
		if made == nil {
			missing := c
			missing.Why = "type " + now.BaseType + " is missing on the target: make it first"
			return nil, nil, stopped(t.name, []evolve.Change{missing})
		}
		there := *now
		there.TypeOID = made.typeOID
		if at := slices.IndexFunc(after.columns, func(have column) bool { return is(have.name) }); at >= 0 {
			made.always, made.required = after.columns[at].always, after.columns[at].required
			after.columns[at] = *made
			*defined.Column(c.Column) = there
			continue
		}
		after.columns = append(after.columns, *made)
		defined.Columns = append(defined.Columns, there)
	}
	return &after, &defined, nil
}

const typeTraitsSQL = typesSQL + `
SELECT t.oid, coalesce(t.equal, CASE WHEN e.equal IS NOT NULL THEN 'OPERATOR(pg_catalog.=)' END, ''),
	t.typtype <> 'e' AND t.base <> ALL (ARRAY[16, 17, 18, 19, 20, 21, 23, 25, 26, 1043, 1082, 1083, 1114, 1184, 2950]::oid[])
FROM types t LEFT JOIN types e ON e.oid = t.element WHERE t.oid = to_regtype($1)`

// columnOf is the column as the target will have it; nil when it lacks the type.
func (g *gatherer) columnOf(ctx context.Context, now *shape.DefinedColumn) (made *column, err error) {
	err = g.readCatalogue(ctx, func(ctx context.Context, conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, typeTraitsSQL, now.BaseType)
		if err != nil {
			return err
		}
		c := column{name: now.Name, modifier: now.Modifier, cast: now.BaseType}
		_, err = pgx.ForEachRow(rows, []any{&c.typeOID, &c.equal, &c.loose}, func() error {
			c.loose = c.loose || now.Collation != ""
			made = &c
			return nil
		})
		return err
	})
	return made, err
}

// stopped says what changed on the source, and the statements that let the stream go on.
func stopped(t ident.Table, open []evolve.Change) error {
	var statements, refill, why []string
	for _, c := range open {
		statements = append(statements, c.Statements...)
		if c.Why != "" && !slices.Contains(why, c.Why) {
			why = append(why, c.Why)
		}
		if c.Refill {
			refill = append(refill, ident.Quote(c.Column)+" = "+ident.Quote(c.Column))
		}
	}
	hint := "run on the target: " + strings.Join(statements, "; ") + "; then resume"
	if len(statements) == 0 {
		hint = "make the same change to the table on the target, then resume"
	}
	if len(why) > 0 {
		hint += " (" + strings.Join(why, "; ") + ")"
	}
	if len(refill) > 0 {
		hint += "; once the stream has caught up, run on the source: UPDATE " + t.Quote() + " SET " + strings.Join(refill, ", ") + ", so that the values of all rows come over"
	}
	return fault.New(fault.Operator, opApply, t.String(), hint, "the table's definition changed: %s", evolve.Words(open)).WithCode(CodeSchemaChanged)
}
