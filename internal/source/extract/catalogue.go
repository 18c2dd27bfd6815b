package extract

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// object is a catalogue row.
type object struct{ class, oid uint32 }

// relation is a table, view, sequence or foreign table.
type relation struct {
	oid, root    uint32 // root: of its partition tree; itself when it is no partition
	name         ident.Table
	kind         string
	partitionKey string
	forceRLS     bool
	populated    bool // of a materialized view
}

// lost is an object that needs something which is not carried over: a table, or what only a superuser may make.
type lost struct {
	object
	kind, identity string
	needs          object
}

// setter is a function with a SET clause of a parameter that is not everybody's.
type setter struct{ function, parameter string }

// catalogue is what the source's catalogue knows about the dump's entries.
type catalogue struct {
	classes   map[string]uint32 // OIDs of the catalogues themselves
	relations map[uint32]relation
	members   map[object]uint32 // the relation that an index, constraint, trigger … belongs to
	// excluded tables are out of the scope; flattened are the partitions of what becomes one hypertable.
	excluded, flattened map[uint32]bool
	hypertables         map[uint32]bool
	missingHypertables  []ident.Table
	keys                map[object]changedKey // of hypertables, which the plan extends or drops, by constraint or index
	privileged          map[object]string     // what only a superuser may make, by its kind and name; empty where the target's user is one
	setters             []setter
	lost                map[object]lost
	constraints         map[uint32]constraint
	indexes             map[uint32]index
	policies            map[uint32]policy
	replicaFiring       map[object]bool // triggers and rules that fire in replica sessions too
	triggers            map[uint32]trigger
	databaseSettings    []string
	publicComment       bool     // schema public has another comment than every server gives it
	databaseOwn         []string // what else the database itself has: a comment, grants
}

type constraint struct {
	name, definition, kind string
	relation               uint32
	validated              bool
	// Of a primary key or unique constraint over a btree index: that index's own statement, what its constraint's statement
	// says of storage, and the words of a deferrable one that its definition ends with. The first is empty for any other.
	indexDefinition, options, flags string
}

type index struct {
	definition, onlyPrefix, prefix string
	exclusive                      bool
}

// trigger that is not simply enabled: state is tgenabled, 'D', 'R' or 'A'.
type trigger struct{ state, definition string }

type policy struct {
	head, tail string
	roles      []string
}

// readCatalogue reads in tx, which sees the migration's snapshot.
func readCatalogue(ctx context.Context, tx pgkit.Querier, o DumpOptions) (*catalogue, error) {
	// Definitions come out as pg_dump writes them: qualified and quoted throughout.
	if _, err := tx.Exec(ctx, "SELECT set_config('search_path', '', true), set_config('quote_all_identifiers', 'on', true)"); err != nil {
		return nil, err
	}
	c := &catalogue{classes: map[string]uint32{}, relations: map[uint32]relation{}, members: map[object]uint32{}, excluded: map[uint32]bool{},
		flattened: map[uint32]bool{}, hypertables: map[uint32]bool{}, privileged: map[object]string{}, lost: map[object]lost{}, constraints: map[uint32]constraint{},
		indexes: map[uint32]index{}, policies: map[uint32]policy{}, replicaFiring: map[object]bool{}, triggers: map[uint32]trigger{}}
	steps := []struct {
		what string
		read func(context.Context, pgkit.Querier) error
	}{
		{"classes", c.readClasses}, {"relations", c.readRelations}, {"members of tables", c.readMembers},
		{"constraints", c.readConstraints}, {"indexes", c.readIndexes}, {"policies", c.readPolicies},
		{"triggers and rules", c.readReplicaFiring}, {"triggers", c.readTriggers}, {"database settings", c.readDatabaseSettings},
		{"database", c.readDatabaseOwn},
	}
	for _, s := range steps {
		if err := s.read(ctx, tx); err != nil {
			return nil, fmt.Errorf("read %s: %w", s.what, err)
		}
	}
	if !o.TargetSuperuser {
		if err := c.readPrivileged(ctx, tx); err != nil {
			return nil, fmt.Errorf("read what only superusers may make: %w", err)
		}
		if err := c.readSetters(ctx, tx); err != nil {
			return nil, fmt.Errorf("read what functions set: %w", err)
		}
	}
	c.applyScope(o.Tables, o.Hypertables)
	if err := c.readChangedKeys(ctx, tx, o.Hypertables); err != nil {
		return nil, fmt.Errorf("read keys of hypertables: %w", err)
	}
	if err := c.readLost(ctx, tx); err != nil {
		return nil, fmt.Errorf("read what needs what is left out: %w", err)
	}
	return c, nil
}

// applyScope decides per relation. The scope speaks of partition trees as wholes, by the name of their root.
func (c *catalogue) applyScope(tables contract.Tables, hypertables []contract.Hypertable) {
	named := map[ident.Table]bool{}
	for _, h := range hypertables {
		if t, ok := ident.ParseTable(h.Table); ok { // the spec was checked
			named[t] = true
		}
	}
	for oid, r := range c.relations {
		root, ok := c.relations[r.root]
		if !ok {
			root = r
		}
		switch {
		case r.kind != "r" && r.kind != "p" && r.kind != "f":
		case !tables.Includes(root.name):
			c.excluded[oid] = true
		case named[root.name] && oid != root.oid:
			c.flattened[oid] = true
		case named[root.name]:
			c.hypertables[oid] = true
		}
	}
	found := map[ident.Table]bool{}
	for oid := range c.hypertables {
		found[c.relations[oid].name] = true
	}
	for _, h := range hypertables {
		if t, ok := ident.ParseTable(h.Table); ok && !found[t] {
			c.missingHypertables = append(c.missingHypertables, t)
		}
	}
}

func (c *catalogue) readClasses(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, `SELECT relname, oid FROM pg_catalog.pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind = 'r'`, nil, func(row pgx.Rows) error {
		var name string
		var oid uint32
		err := row.Scan(&name, &oid)
		c.classes[name] = oid
		return err
	})
}

const relationsSQL = `
SELECT c.oid, coalesce(CASE WHEN c.relispartition THEN pg_catalog.pg_partition_root(c.oid)::oid END, c.oid), n.nspname, c.relname, c.relkind::text,
	coalesce(pg_catalog.pg_get_partkeydef(c.oid), ''), c.relforcerowsecurity, c.relispopulated
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`

func (c *catalogue) readRelations(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, relationsSQL, nil, func(row pgx.Rows) error {
		var r relation
		err := row.Scan(&r.oid, &r.root, &r.name.Schema, &r.name.Name, &r.kind, &r.partitionKey, &r.forceRLS, &r.populated)
		c.relations[r.oid] = r
		return err
	})
}

// membersSQL: what belongs to a relation and goes with it. A view's own rule is not a member: it is the view.
const membersSQL = `
SELECT 'pg_catalog.pg_class'::regclass::oid, indexrelid, indrelid FROM pg_catalog.pg_index WHERE indexrelid >= 16384
UNION ALL SELECT 'pg_catalog.pg_constraint'::regclass, oid, conrelid FROM pg_catalog.pg_constraint WHERE conrelid <> 0 AND oid >= 16384
UNION ALL SELECT 'pg_catalog.pg_attrdef'::regclass, oid, adrelid FROM pg_catalog.pg_attrdef WHERE oid >= 16384
UNION ALL SELECT 'pg_catalog.pg_trigger'::regclass, oid, tgrelid FROM pg_catalog.pg_trigger WHERE oid >= 16384
UNION ALL SELECT 'pg_catalog.pg_rewrite'::regclass, oid, ev_class FROM pg_catalog.pg_rewrite WHERE oid >= 16384
UNION ALL SELECT 'pg_catalog.pg_policy'::regclass, oid, polrelid FROM pg_catalog.pg_policy
UNION ALL SELECT 'pg_catalog.pg_statistic_ext'::regclass, oid, stxrelid FROM pg_catalog.pg_statistic_ext
UNION ALL SELECT d.classid, d.objid, d.refobjid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid
	WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.refclassid = 'pg_catalog.pg_class'::regclass AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0 AND s.relkind = 'S'`

func (c *catalogue) readMembers(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, membersSQL, nil, func(row pgx.Rows) error {
		var o object
		var relation uint32
		err := row.Scan(&o.class, &o.oid, &relation)
		c.members[o] = relation
		return err
	})
}

// constraintsSQL: a key without overlaps (from PostgreSQL 18) has a gist index, and so no statement for its index alone.
const constraintsSQL = `
SELECT k.oid, k.conname, pg_catalog.pg_get_constraintdef(k.oid), k.contype::text, k.conrelid, k.convalidated,
	coalesce(CASE WHEN k.contype IN ('p', 'u') AND m.amname = 'btree' THEN pg_catalog.pg_get_indexdef(ic.oid) END, ''),
	coalesce(' WITH (' || (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(o.option_name) || '=' || pg_catalog.quote_literal(o.option_value), ', ')
		FROM pg_catalog.pg_options_to_table(ic.reloptions) o) || ')', ''),
	CASE WHEN k.condeferrable THEN ' DEFERRABLE' ELSE '' END || CASE WHEN k.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END
FROM pg_catalog.pg_constraint k LEFT JOIN pg_catalog.pg_class ic ON ic.oid = k.conindid LEFT JOIN pg_catalog.pg_am m ON m.oid = ic.relam
WHERE k.conrelid <> 0 AND k.oid >= 16384`

func (c *catalogue) readConstraints(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, constraintsSQL, nil, func(row pgx.Rows) error {
		var oid uint32
		var x constraint
		err := row.Scan(&oid, &x.name, &x.definition, &x.kind, &x.relation, &x.validated, &x.indexDefinition, &x.options, &x.flags)
		c.constraints[oid] = x
		return err
	})
}

// indexesSQL: an index of a partition root reads "… ON ONLY table"; both beginnings are made so that the word can be left
// out by exact comparison. An index that also changes its table (CLUSTER ON, REPLICA IDENTITY) needs it alone.
const indexesSQL = `
SELECT i.indexrelid, pg_catalog.pg_get_indexdef(i.indexrelid),
	pg_catalog.format('CREATE %sINDEX %I ON ONLY %I.%I USING ', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, ic.relname, n.nspname, c.relname),
	pg_catalog.format('CREATE %sINDEX %I ON %I.%I USING ', CASE WHEN i.indisunique THEN 'UNIQUE ' ELSE '' END, ic.relname, n.nspname, c.relname),
	i.indisclustered OR i.indisreplident
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'`

func (c *catalogue) readIndexes(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, indexesSQL, nil, func(row pgx.Rows) error {
		var oid uint32
		var x index
		err := row.Scan(&oid, &x.definition, &x.onlyPrefix, &x.prefix, &x.exclusive)
		c.indexes[oid] = x
		return err
	})
}

// policiesSQL: those for named roles, in two pieces, since the roles may not all be on the target.
const policiesSQL = `
SELECT p.oid, pg_catalog.format('CREATE POLICY %I ON %I.%I AS %s FOR %s TO ', p.polname, n.nspname, c.relname,
		CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
		CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END),
	coalesce(' USING (' || pg_catalog.pg_get_expr(p.polqual, p.polrelid) || ')', '') || coalesce(' WITH CHECK (' || pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) || ')', '') || ';',
	ARRAY(SELECT r.rolname::text FROM pg_catalog.pg_roles r WHERE r.oid = ANY (p.polroles) ORDER BY 1)
FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT 0::oid = ANY (p.polroles)`

func (c *catalogue) readPolicies(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, policiesSQL, nil, func(row pgx.Rows) error {
		var oid uint32
		var p policy
		err := row.Scan(&oid, &p.head, &p.tail, &p.roles)
		c.policies[oid] = p
		return err
	})
}

func (c *catalogue) readReplicaFiring(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, `SELECT 'pg_catalog.pg_trigger'::regclass::oid, oid FROM pg_catalog.pg_trigger WHERE tgenabled IN ('A', 'R') AND NOT tgisinternal
		UNION ALL SELECT 'pg_catalog.pg_rewrite'::regclass, oid FROM pg_catalog.pg_rewrite WHERE ev_enabled IN ('A', 'R') AND rulename <> '_RETURN'`, nil, func(row pgx.Rows) error {
		var o object
		err := row.Scan(&o.class, &o.oid)
		c.replicaFiring[o] = true
		return err
	})
}

func (c *catalogue) readTriggers(ctx context.Context, q pgkit.Querier) error {
	return each(ctx, q, `SELECT oid, tgenabled::text, pg_catalog.pg_get_triggerdef(oid) FROM pg_catalog.pg_trigger WHERE tgenabled <> 'O' AND NOT tgisinternal`, nil, func(row pgx.Rows) error {
		var oid uint32
		var t trigger
		err := row.Scan(&oid, &t.state, &t.definition)
		c.triggers[oid] = t
		return err
	})
}

// relationOf is the relation that an object is or belongs to.
func (c *catalogue) relationOf(o object) (relation, bool) {
	oid, member := c.members[o]
	if !member && o.class == c.classes["pg_class"] {
		oid = o.oid
	}
	r, ok := c.relations[oid]
	return r, ok
}

func each(ctx context.Context, q pgkit.Querier, sql string, args []any, read func(pgx.Rows) error) error {
	rows, err := q.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := read(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
