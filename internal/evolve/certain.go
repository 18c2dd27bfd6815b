package evolve

import (
	"fmt"
	"slices"

	"timeferry/internal/ident"
	"timeferry/internal/shape"
)

// uncertain says why the catalogue, which is of a later moment than the description, may speak of other columns; "" when every
// column of the description is sure to be the catalogue's of that name.
//
// Numbers are given in order and never again. So if every column that was added since is still there, a description with n new
// columns has the first n of them. Old columns that are there must have kept name and number, and those that are not described
// must be gone.
func (c *comparison) uncertain() string {
	switch {
	case c.Source == nil:
		return "the source's catalogue does not know the table any more"
	case c.Known.Numbers == 0:
		return "it is not recorded how the table was before"
	}
	var fresh []shape.DefinedColumn // added since, in order
	count := 0
	for _, now := range c.Source.Columns {
		if now.Number <= c.Known.Numbers {
			continue
		}
		count++
		if now.Generated == "" {
			fresh = append(fresh, now)
		}
	}
	if c.Source.Numbers-c.Known.Numbers != count {
		return "columns were added and dropped again meanwhile"
	}
	for _, was := range streamed(c.Known) {
		if was.Number == 0 {
			return fmt.Sprintf("column %s came and went, or was renamed, unseen", ident.Quote(was.Name))
		}
		now := c.Source.Column(was.Name)
		described := c.column(was.Name) != nil
		switch {
		case described && now != nil && now.Number != was.Number:
			return fmt.Sprintf("column %s was dropped and added anew, or renamed, meanwhile", ident.Quote(was.Name))
		case !described && c.Source.Numbered(was.Number) != nil:
			return fmt.Sprintf("column %s was renamed, and not dropped", ident.Quote(was.Name))
		}
	}
	added := slices.DeleteFunc(slices.Clone(c.columns), func(d shape.DefinedColumn) bool { return c.Known.Column(d.Name) != nil })
	for i, d := range added {
		if i >= len(fresh) || fresh[i].Name != d.Name || fresh[i].TypeOID != d.TypeOID || fresh[i].Modifier != d.Modifier {
			return fmt.Sprintf("column %s was changed once more meanwhile", ident.Quote(d.Name))
		}
	}
	return ""
}
