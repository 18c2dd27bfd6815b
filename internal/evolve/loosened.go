package evolve

import (
	"fmt"
	"slices"

	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// Loosened says whether the target refuses a row by something that the source does not have any more: the NOT NULL of a column, or
// the constraint or unique index called rule.
func Loosened(source, target *shape.Definition, column, rule string) []Change {
	alter := "ALTER TABLE " + target.Table.Quote() + " "
	if rule != "" {
		if _, still := source.HasRule(rule); still {
			return nil
		}
		here, ok := target.HasRule(rule)
		if !ok {
			return nil
		}
		sql := alter + "DROP CONSTRAINT " + ident.Quote(rule)
		if here.Index {
			sql = "DROP INDEX " + ident.Table{Schema: target.Table.Schema, Name: rule}.Quote()
		}
		return []Change{{Kind: Nullable, What: fmt.Sprintf("constraint %s was dropped", ident.Quote(rule)), Statements: []string{sql}, Early: true, Why: "a dropped constraint is not carried over by itself"}}
	}
	there, here := source.Column(column), target.Column(column)
	if there == nil || here == nil || there.NotNull || !here.NotNull {
		return nil
	}
	return []Change{{Kind: Nullable, Column: column, What: fmt.Sprintf("column %s may be NULL", ident.Quote(column)),
		Statements: []string{alter + "ALTER COLUMN " + ident.Quote(column) + " DROP NOT NULL"}, Early: true, Why: "a dropped NOT NULL is not carried over by itself"}}
}

// Labels finds labels of enum types that the target's types of the same name lack. Where the target has labels that the source
// does not have, somebody may have renamed one, and nothing can be followed.
func Labels(source, target []shape.Enum) []Change {
	var changes []Change
	for _, s := range source {
		at := slices.IndexFunc(target, func(t shape.Enum) bool { return t.Table == s.Table })
		if at < 0 {
			continue
		}
		changes = append(changes, labelsOf(s, target[at])...)
	}
	return changes
}

func labelsOf(s, t shape.Enum) (changes []Change) {
	var gone []string
	for _, l := range t.Labels {
		if !slices.Contains(s.Labels, l) {
			gone = append(gone, l)
		}
	}
	for i, l := range s.Labels {
		if slices.Contains(t.Labels, l) {
			continue
		}
		c := Change{Kind: Label, Column: l, What: fmt.Sprintf("type %s has a new label %s", s.Table, ident.Literal(l)), Follow: len(gone) == 0, Early: true,
			Statements: []string{"ALTER TYPE " + s.Quote() + " ADD VALUE IF NOT EXISTS " + ident.Literal(l) + place(s, t, i)}}
		if len(gone) == 1 && len(s.Labels) == len(t.Labels) {
			c.What = fmt.Sprintf("label %s of type %s is now %s", ident.Literal(gone[0]), s.Table, ident.Literal(l))
			c.Statements = []string{"ALTER TYPE " + s.Quote() + " RENAME VALUE " + ident.Literal(gone[0]) + " TO " + ident.Literal(l)}
		}
		if len(gone) > 0 {
			c.Why = "the target's type has labels that the source's has not"
		}
		changes = append(changes, c)
	}
	return changes
}

// place keeps the labels' order: behind the one before, which is there by then, or before the first that is there.
func place(s, t shape.Enum, i int) string {
	if i > 0 {
		return " AFTER " + ident.Literal(s.Labels[i-1])
	}
	for _, l := range s.Labels {
		if slices.Contains(t.Labels, l) {
			return " BEFORE " + ident.Literal(l)
		}
	}
	return ""
}
