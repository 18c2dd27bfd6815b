package extract

import "slices"

// part leaves of the dump's entries those of o.Only: the tables with their partitions and whatever belongs to them, then what
// they need and is not known yet (a new type, a sequence of nobody's), then what speaks of all that: comments and grants. Other
// tables and views are never among it, needed or not: without them the statement says so.
func part(toc []tocEntry, cat *catalogue, o DumpOptions) []tocEntry {
	byID := make(map[int]*tocEntry, len(toc))
	for i := range toc {
		byID[toc[i].id] = &toc[i]
	}
	mine := func(e *tocEntry) (belongs, isRelations bool) {
		r, ok := cat.relationOf(object{e.class, e.oid})
		if !ok || r.kind == "S" { // a sequence of nobody's
			return false, false
		}
		if root, known := cat.relations[r.root]; known {
			r = root
		}
		return slices.Contains(o.Only, r.name), true
	}
	picked := map[int]bool{}
	var pick func(e *tocEntry)
	pick = func(e *tocEntry) {
		if picked[e.id] {
			return
		}
		picked[e.id] = true
		for _, id := range e.deps {
			dep := byID[id]
			if dep == nil || o.Have(dep.kind, dep.schema, dep.name) {
				continue
			}
			if belongs, isRelations := mine(dep); belongs || !isRelations {
				pick(dep)
			}
		}
	}
	for i := range toc {
		if belongs, _ := mine(&toc[i]); belongs {
			pick(&toc[i])
		}
	}
	for i := range toc { // each comes behind what it speaks of
		if e := &toc[i]; e.class == 0 && slices.ContainsFunc(e.deps, func(id int) bool { return picked[id] }) {
			pick(e)
		}
	}
	var left []tocEntry
	for _, e := range toc {
		if picked[e.id] {
			left = append(left, e)
		}
	}
	return left
}
