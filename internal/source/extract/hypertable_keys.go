package extract

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// Codes of what is said of the keys that a hypertable cannot have as they are.
const (
	CodeKeyExtended = "hypertable-key-extended"
	CodeKeyDropped  = "hypertable-key-dropped"
	CodeKeyUnknown  = "hypertable-key-unknown"
)

// changedKey is a unique key of a hypertable that lacks a column by which it is cut.
type changedKey struct {
	drop     bool     // an index that is not unique takes its place; else it is extended
	missing  []string // what it lacks
	extended string   // its constraint's or index's statement, with what it lacks
	plain    string   // CREATE INDEX of the same name and columns
	isIndex  bool     // no constraint
}

// keyParts are the pieces of which PostgreSQL puts a key's definition together. What lies between them is the list of
// columns, with collations, operator classes and orders.
type keyParts struct {
	index, relation, constraint uint32
	columns                     []string // '' for an expression
	indexDefinition             string   // CREATE UNIQUE INDEX …
	onlyHead, head, plainHead   string   // up to the list
	include, distinct, tail     string   // after the list: INCLUDE …, NULLS NOT DISTINCT, and WITH … WHERE …
	constraintName              string
	constraintDefinition        string // PRIMARY KEY …
	constraintHead              string // PRIMARY KEY ("a", "b"
}

// changedKeysSQL reads unique indexes in pieces. indnullsnotdistinct came with PostgreSQL 15.
const changedKeysSQL = `
SELECT i.indexrelid, i.indrelid, coalesce(k.oid, 0), columns.names, pg_catalog.pg_get_indexdef(i.indexrelid),
	pg_catalog.format('CREATE UNIQUE INDEX %I ON ONLY %I.%I USING %I (', ic.relname, n.nspname, c.relname, m.amname),
	pg_catalog.format('CREATE UNIQUE INDEX %I ON %I.%I USING %I (', ic.relname, n.nspname, c.relname, m.amname),
	pg_catalog.format('CREATE INDEX %I ON %I.%I USING %I (', ic.relname, n.nspname, c.relname, m.amname),
	coalesce(' INCLUDE (' || (SELECT pg_catalog.string_agg(pg_catalog.pg_get_indexdef(i.indexrelid, p, false), ', ' ORDER BY p)
		FROM pg_catalog.generate_series(i.indnkeyatts + 1, i.indnatts) p) || ')', ''),
	CASE WHEN pg_catalog.to_jsonb(i)->>'indnullsnotdistinct' = 'true' THEN ' NULLS NOT DISTINCT' ELSE '' END,
	coalesce(' WITH (' || (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(o.option_name) || '=' || pg_catalog.quote_literal(o.option_value), ', ')
		FROM pg_catalog.pg_options_to_table(ic.reloptions) o) || ')', '') || coalesce(' WHERE ' || pg_catalog.pg_get_expr(i.indpred, i.indrelid), ''),
	coalesce(k.conname, ''), coalesce(pg_catalog.pg_get_constraintdef(k.oid), ''),
	CASE WHEN k.contype = 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END || CASE WHEN pg_catalog.to_jsonb(i)->>'indnullsnotdistinct' = 'true' THEN ' NULLS NOT DISTINCT' ELSE '' END
		|| ' (' || columns.quoted
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = ic.relam
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = i.indexrelid AND k.conrelid = i.indrelid AND k.contype IN ('p', 'u'),
LATERAL (SELECT pg_catalog.array_agg(coalesce(a.attname::text, '') ORDER BY u.n), pg_catalog.string_agg(coalesce(pg_catalog.quote_ident(a.attname), ''), ', ' ORDER BY u.n)
	FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY u(attnum, n) LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = u.attnum AND u.attnum > 0
	WHERE u.n <= i.indnkeyatts) columns(names, quoted)
WHERE i.indisunique AND i.indrelid = ANY ($1) ORDER BY 1`

// readChangedKeys reads the keys that the plan changes. Exclusion constraints are not among them.
func (c *catalogue) readChangedKeys(ctx context.Context, q pgkit.Querier, hypertables []contract.Hypertable) error {
	wanted := map[ident.Table]contract.Hypertable{}
	for _, h := range hypertables {
		if t, ok := ident.ParseTable(h.Table); ok && h.ChangesKeys() {
			wanted[t] = h
		}
	}
	var oids []uint32
	for oid := range c.hypertables {
		if _, ok := wanted[c.relations[oid].name]; ok {
			oids = append(oids, oid)
		}
	}
	c.keys = map[object]changedKey{}
	return each(ctx, q, changedKeysSQL, []any{oids}, func(row pgx.Rows) error {
		var p keyParts
		err := row.Scan(&p.index, &p.relation, &p.constraint, &p.columns, &p.indexDefinition, &p.onlyHead, &p.head, &p.plainHead, &p.include, &p.distinct, &p.tail,
			&p.constraintName, &p.constraintDefinition, &p.constraintHead)
		if err != nil {
			return err
		}
		table := c.relations[p.relation].name
		h := wanted[table]
		missing := h.Missing(p.columns)
		if len(missing) == 0 {
			return nil
		}
		key, err := p.change(table, missing, h.Key == contract.KeyDrop)
		if p.constraint == 0 {
			c.keys[object{c.classes["pg_class"], p.index}] = key
		} else {
			c.keys[object{c.classes["pg_constraint"], p.constraint}] = key
		}
		return err
	})
}

// change puts the key's statement together again. Every piece is compared with what PostgreSQL says of the whole.
func (p keyParts) change(table ident.Table, missing []string, drop bool) (changedKey, error) {
	key := changedKey{drop: drop, missing: missing, isIndex: p.constraint == 0}
	list, ok := strings.CutPrefix(p.indexDefinition, p.onlyHead)
	if !ok {
		list, ok = strings.CutPrefix(p.indexDefinition, p.head)
	}
	list, ends := strings.CutSuffix(list, ")"+p.include+p.distinct+p.tail)
	if !ok || !ends {
		return key, p.unknown(table)
	}
	key.plain = p.plainHead + list + ")" + p.include + p.tail + ";"
	if key.isIndex {
		key.extended = p.head + list + ", " + ident.Columns(missing) + ")" + p.include + p.distinct + p.tail + ";"
		return key, nil
	}
	rest, ok := strings.CutPrefix(p.constraintDefinition, p.constraintHead+")")
	if !ok {
		return key, p.unknown(table)
	}
	key.extended = "ALTER TABLE " + table.Quote() + "\n    ADD CONSTRAINT " + ident.Quote(p.constraintName) + " " + p.constraintHead + ", " + ident.Columns(missing) + ")" + rest + ";"
	return key, nil
}

func (p keyParts) unknown(table ident.Table) error {
	return fault.New(fault.Operator, "change a key of", table.String(), "drop it on the source, or keep the table a plain one: remove it from hypertables",
		"its definition is of a kind that is not known here: %s%s", p.indexDefinition, p.constraintDefinition).WithCode(CodeKeyUnknown)
}

// changedKey is the entry of a key that the plan extends or drops.
func (b *builder) changedKey(e *tocEntry, base ledger.Entry, key changedKey) ledger.Entry {
	base.Exclusive = !key.isIndex
	missing := strings.Join(key.missing, " and ")
	if !key.drop {
		base.SQL = key.extended
		b.report(contract.Info, CodeKeyExtended, describe(e), "it has "+missing+" added, since "+base.Table.String()+" becomes a hypertable (key: extend)",
			"INSERT … ON CONFLICT must name all its columns on the target")
		return base
	}
	if !key.isIndex {
		b.dropped[e.id] = true
		base.Kind = "INDEX"
	}
	base.SQL = key.plain
	b.report(contract.Info, CodeKeyDropped, describe(e), "it lacks "+missing+", by which the hypertable "+base.Table.String()+" is cut: an index of its name that is not unique takes its place (key: drop)",
		"the target does not refuse a second row of the same key")
	return base
}

// speaksOfDropped is true for a comment on a constraint that is not there any more. One on its index, which stays, has
// INDEX in its name.
func (b *builder) speaksOfDropped(e *tocEntry) bool {
	return e.kind == "COMMENT" && strings.HasPrefix(e.name, "CONSTRAINT ") && slices.ContainsFunc(e.deps, func(dep int) bool { return b.dropped[dep] })
}
