package evolve

import (
	"fmt"
	"slices"
	"strings"

	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// added: rows that were there before the column must get on the target what they have on the source.
func (c *comparison) added(now *shape.DefinedColumn) {
	if c.goneAgain(now) {
		c.Skip = append(c.Skip, now.Name)
		return
	}
	statements, why, refill := c.addStatements(now)
	what := fmt.Sprintf("column %s was added", ident.Quote(now.Name))
	if now.Type != "" {
		what = fmt.Sprintf("column %s (%s) was added", ident.Quote(now.Name), now.Type)
	}
	have := c.onTarget(now.Name)
	if have != nil && have.Generated != "" {
		what += ", which is generated on the target"
		statements = []string{c.alter("ALTER COLUMN " + ident.Quote(now.Name) + " DROP EXPRESSION")}
	} else if have != nil && !c.sameOnTarget(nil, now) && now.Type != "" {
		what += fmt.Sprintf(", which the target has as %s", have.Type)
		statements, why = []string{c.alter("ALTER COLUMN " + ident.Quote(now.Name) + " TYPE " + typeText(now))}, "the target has it with another type"
	}
	c.add(Change{Kind: Added, Column: now.Name, What: what, Statements: statements, Done: have != nil && c.sameOnTarget(nil, now),
		Follow: why == "", Why: why, Early: true, Refill: refill})
}

// goneAgain is true when the target lacks a new column that the source has dropped again, and not renamed: all columns that were
// added since are described by their own names.
func (c *comparison) goneAgain(now *shape.DefinedColumn) bool {
	if c.Source == nil || c.Known.Numbers == 0 || c.Source.Column(now.Name) != nil || c.onTarget(now.Name) != nil {
		return false
	}
	return !slices.ContainsFunc(c.Source.Columns, func(s shape.DefinedColumn) bool {
		return s.Number > c.Known.Numbers && (c.column(s.Name) == nil || c.Known.Column(s.Name) != nil)
	})
}

// addStatements make the column, nullable, with the value that existing rows have on the source. why says what is not sure
// about that value; refill is true when it is not the same for all rows.
func (c *comparison) addStatements(now *shape.DefinedColumn) (statements []string, why string, refill bool) {
	plain := c.alter("ADD COLUMN " + ident.Quote(now.Name) + " " + typeText(now))
	setDefault := c.alter("ALTER COLUMN " + ident.Quote(now.Name) + " SET DEFAULT " + now.Default)
	switch {
	case now.Number == 0:
		return []string{plain}, "the source's catalogue does not have it in this form any more", true
	case now.Missing != nil && sameAsDefault(now):
		return []string{plain + " DEFAULT " + now.Default}, "", false
	case now.Missing != nil && now.Default == "":
		return []string{plain + " DEFAULT " + missingText(now), c.alter("ALTER COLUMN " + ident.Quote(now.Name) + " DROP DEFAULT")}, "", false
	case now.Missing != nil:
		return []string{plain + " DEFAULT " + missingText(now), setDefault}, "", false
	case now.Identity != "":
		return []string{plain}, "each row got a number of its own", true
	case now.Default == "":
		return []string{plain}, "", false
	case c.keptFiles():
		return []string{plain, setDefault}, "", false // the default came after the column
	}
	return []string{plain, setDefault}, "existing rows were rewritten, and may have values of their own", true
}

// columnDefinition is for ADD COLUMN where existing rows do not matter.
func (c *comparison) columnDefinition(now *shape.DefinedColumn) string {
	text := ident.Quote(now.Name) + " " + typeText(now)
	if now.Default != "" {
		text += " DEFAULT " + now.Default
	}
	return text
}

// keptFiles is true when no statement has rewritten the table since it was known.
func (c *comparison) keptFiles() bool {
	if c.Source == nil || len(c.Known.Files) == 0 {
		return false
	}
	for _, f := range c.Known.Files {
		if !slices.Contains(c.Source.Files, f) {
			return false
		}
	}
	return true
}

// sameAsDefault is true when the default's expression is nothing but the missing value.
func sameAsDefault(now *shape.DefinedColumn) bool {
	literal := "'" + strings.ReplaceAll(*now.Missing, "'", "''") + "'"
	return now.Default == *now.Missing || now.Default == literal || now.Default == literal+"::"+now.BaseType || now.Default == literal+"::"+now.Type
}

func missingText(now *shape.DefinedColumn) string {
	return strings.TrimSpace(ident.Literal(*now.Missing)) + "::" + now.Type
}
