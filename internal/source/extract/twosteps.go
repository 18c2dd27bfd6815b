package extract

import (
	"strings"

	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
)

// inTwoSteps adds to a primary key or unique constraint of a plain table (or of one partition) the statements that make its
// index first and then the constraint over it. Hypertables and partitioned tables refuse USING INDEX. The statements come
// from the catalogue; only what else the dump says (CLUSTER ON, REPLICA IDENTITY) is kept from its text, which must begin
// exactly with the constraint that the catalogue knows. Otherwise the constraint stays in one step.
func (b *builder) inTwoSteps(e *tocEntry, base ledger.Entry) ledger.Entry {
	x, ok := b.cat.constraints[e.oid]
	r, known := b.cat.relations[x.relation]
	if e.kind != "CONSTRAINT" || !ok || !known || x.indexDefinition == "" || r.kind != "r" || b.onHypertable(e) {
		return base
	}
	definition, ok := strings.CutSuffix(x.definition, x.flags)
	if !ok {
		return base
	}
	add := "ALTER TABLE ONLY " + r.name.Quote() + "\n    ADD CONSTRAINT " + ident.Quote(x.name) + " "
	rest, ok := strings.CutPrefix(base.SQL, add+definition+x.options+x.flags+";")
	if !ok {
		return base
	}
	words := map[string]string{"p": "PRIMARY KEY", "u": "UNIQUE"}[x.kind]
	base.IndexSQL = x.indexDefinition + ";"
	base.AttachSQL = add + words + " USING INDEX " + ident.Quote(x.name) + x.flags + ";" + rest
	return base
}
