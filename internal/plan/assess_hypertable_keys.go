package plan

import (
	"fmt"
	"slices"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// assessHypertableKeys names each unique key that cannot be on a hypertable as it is, and what is done or can be done.
func (f facts) assessHypertableKeys(t shape.Table, h contract.Hypertable) []contract.Problem {
	var found []contract.Problem
	for _, x := range t.Indexes {
		if !x.Unique || len(h.Missing(x.Columns)) == 0 {
			continue
		}
		if h.ChangesKeys() {
			found = append(found, changedKey(t, h, x))
			found = append(found, f.assessKeyUsers(t, h, x)...)
			continue
		}
		found = append(found, fatal(CodeHypertableKey, t.Table.String(),
			fmt.Sprintf("its %s does not contain %s, by which the hypertable is cut", keyWords(x), strings.Join(h.Missing(x.Columns), " and ")),
			keyRemedy(t, h, x)))
	}
	return append(found, f.assessExclusions(t, h)...)
}

func keyWords(x shape.Index) string {
	kind := "unique index"
	switch {
	case x.Primary:
		kind = "primary key"
	case x.Constraint != "":
		kind = "unique constraint"
	}
	columns := slices.Clone(x.Columns)
	for i, c := range columns {
		if c == "" {
			columns[i] = "an expression"
		}
	}
	return fmt.Sprintf("%s %s (%s)", kind, x.Name, strings.Join(columns, ", "))
}

// changedKey says what will be done with the choice made.
func changedKey(t shape.Table, h contract.Hypertable, x shape.Index) contract.Problem {
	missing := strings.Join(h.Missing(x.Columns), " and ")
	if h.Key == contract.KeyDrop {
		return info(CodeHypertableKeyDropped, t.Table.String(),
			fmt.Sprintf("its %s does not contain %s: on the target an index of that name that is not unique takes its place (key: drop)%s", keyWords(x), missing, lookups(t, h, x)),
			"the target will not refuse a second row of the same key, and INSERT … ON CONFLICT over it fails there: change such statements before the cutover")
	}
	return info(CodeHypertableKeyExtended, t.Table.String(),
		fmt.Sprintf("its %s gets %s added on the target (key: extend)%s", keyWords(x), missing, lookups(t, h, x)),
		"the target will refuse a second row only if "+missing+" are the same too, and INSERT … ON CONFLICT must name all columns: change such statements before the cutover")
}

// lookups: the stream goes on naming rows by the source's key, so each is looked for in every chunk.
func lookups(t shape.Table, h contract.Hypertable, x shape.Index) string {
	if !x.Primary || slices.Contains(x.Columns, h.TimeColumn) {
		return ""
	}
	return fmt.Sprintf("; the rows of its updates and deletes%s are looked for in every chunk, since the stream names them without %s", counts(t), h.TimeColumn)
}

// assessKeyUsers: what refers to a key cannot be made without it.
func (f facts) assessKeyUsers(t shape.Table, h contract.Hypertable, x shape.Index) []contract.Problem {
	var found []contract.Problem
	for _, u := range f.src.ForHypertables[t.Table].KeyUsers {
		if u.Index != x.Name || u.Kind == KeyUserForeignKey && !f.carried(u.From) {
			continue
		}
		object, remedy := u.From.String(), "drop the foreign key on the source, or exclude its table; or keep this one a plain table: remove it from hypertables"
		message := fmt.Sprintf("its foreign key %s refers to the %s of %s, which the hypertable cannot have as it is (key: %s)", u.Name, keyWords(x), t.Table, h.Key)
		if u.Kind != KeyUserForeignKey {
			message = fmt.Sprintf("the view groups by the %s of %s, which the hypertable cannot have as it is (key: %s)", keyWords(x), t.Table, h.Key)
			remedy = "let it group by all columns that it shows, or drop it on the source; or remove the table from hypertables"
		}
		found = append(found, fatal(CodeHypertableKeyUsed, object, message, remedy))
	}
	return found
}

// Kinds of KeyUser.
const (
	KeyUserForeignKey = "foreign key"
	KeyUserView       = "view"
)

// carried is true for a table in scope: the foreign keys of others are not made.
func (f facts) carried(t ident.Table) bool {
	_, ok := f.table(t)
	return ok
}

// assessExclusions: an exclusion constraint is one per chunk too, and must exclude by the equality of what chunks are cut by.
func (f facts) assessExclusions(t shape.Table, h contract.Hypertable) []contract.Problem {
	var found []contract.Problem
	for _, x := range f.src.ForHypertables[t.Table].Exclusions {
		if missing := h.Missing(x.Columns); len(missing) > 0 {
			found = append(found, fatal(CodeHypertableExclusion, t.Table.String(),
				fmt.Sprintf("its exclusion constraint %s does not compare %s for equality, by which the hypertable is cut", x.Name, strings.Join(missing, " and ")),
				fmt.Sprintf("drop it on the source: ALTER TABLE %s DROP CONSTRAINT %s; or remove the table from hypertables", t.Table.Quote(), ident.Quote(x.Name))))
		}
	}
	return found
}

// keyRemedy offers the spec's choices, and what can be done on the source instead.
func keyRemedy(t shape.Table, h contract.Hypertable, x shape.Index) string {
	missing := h.Missing(x.Columns)
	table := t.Table.Quote()
	remedy := fmt.Sprintf("set key: extend for the table under hypertables (%s on the target then covers %s too), or key: drop (an index that is not unique takes its place)",
		x.Name, strings.Join(missing, " and "))
	if !slices.Contains(missing, h.TimeColumn) {
		remedy += ", or leave spaceColumn out"
	}
	with := ident.Columns(append(slices.Clone(x.Columns), missing...))
	switch {
	case x.Expressions:
		remedy += fmt.Sprintf("; or drop the index on the source: DROP INDEX %s", ident.Table{Schema: t.Schema, Name: x.Name}.Quote())
	case x.Primary:
		remedy += fmt.Sprintf("; or replace the key on the source: ALTER TABLE %s DROP CONSTRAINT %s, ADD PRIMARY KEY (%s)", table, ident.Quote(x.Constraint), with)
	case x.Constraint != "":
		remedy += fmt.Sprintf("; or replace the constraint on the source: ALTER TABLE %s DROP CONSTRAINT %s, ADD UNIQUE (%s)", table, ident.Quote(x.Constraint), with)
	default:
		remedy += fmt.Sprintf("; or replace the index on the source by one over (%s)", with)
	}
	return remedy + "; or remove the table from hypertables"
}
