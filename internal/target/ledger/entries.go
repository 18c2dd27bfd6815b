package ledger

import (
	"context"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// Sections of the schema: when an entry may be restored. The order of these words is the order of the migration.
const (
	SectionPreData  = "pre-data"  // before any row: types, tables, functions, views, grants
	SectionPostData = "post-data" // after the copy: indexes, constraints, triggers, policies
	SectionFinish   = "finish"    // once the stream has caught up: foreign keys validated, materialized views filled
	SectionCutover  = "cutover"   // once nothing is applied any more: what would get in the applier's way
)

// entriesSQL is the part of createSQL that belongs to this file. Every statement may run again.
const entriesSQL = `
CREATE TABLE IF NOT EXISTS timeferry.entries (
	ordinal int PRIMARY KEY, id text NOT NULL UNIQUE, section text NOT NULL, kind text NOT NULL,
	schema_name text NOT NULL, name text NOT NULL, table_schema text NOT NULL, table_name text NOT NULL,
	owner text NOT NULL, owner_sql text NOT NULL, roles text[] NOT NULL,
	sql text NOT NULL, after_sql text NOT NULL, exclusive boolean NOT NULL, fires boolean NOT NULL);
` + stepsSQL + `
CREATE TABLE IF NOT EXISTS timeferry.schema_problems (
	ordinal bigint GENERATED ALWAYS AS IDENTITY, section text NOT NULL, severity text NOT NULL, code text NOT NULL, object text NOT NULL,
	message text NOT NULL, remedy text NOT NULL, PRIMARY KEY (code, object));
`

// stepsSQL brings up to date what an earlier version made.
const stepsSQL = `ALTER TABLE timeferry.entries ADD COLUMN IF NOT EXISTS index_sql text NOT NULL DEFAULT '', ADD COLUMN IF NOT EXISTS attach_sql text NOT NULL DEFAULT '';`

// Entry is one piece of the source's schema: what it is, and the statements that make it.
type Entry struct {
	Ordinal int    // place in the order of restoring, over all sections
	ID      string // of the dump's table of contents; pieces that were cut further have a suffix
	Section string
	Kind    string // as pg_restore names it: TABLE, FK CONSTRAINT, …
	Schema  string // empty when the object lives in none
	Name    string
	// Table is the relation on the target that the entry belongs to, for an index, constraint, trigger and the like.
	Table ident.Table
	// Owner shall own the object; OwnerSQL is the statement that sees to it, up to the name: "ALTER TABLE x OWNER TO ".
	// Both are empty when the object stays with who restores it. For DEFAULT ACL it is the role whose defaults they are,
	// for ACL the one who granted it, if that was not the object's owner.
	Owner    string
	OwnerSQL string
	// Roles, when there are any, stand between SQL and AfterSQL, those that the target has. The words PublicRole and
	// CurrentRole are not names.
	Roles    []string
	SQL      string
	AfterSQL string
	// Exclusive is true when the entry's statements lock their table against other index builds on it.
	Exclusive bool
	// Fires is true for what acts on the applier's statements where session_replication_role cannot be set: triggers,
	// rules, foreign keys, and what speaks of them.
	Fires bool
	// IndexSQL and AttachSQL make a constraint in two steps, in the place of SQL: first its unique index, which lets other
	// indexes of the table be built at the same time, then the constraint over it, which takes a moment. Both are empty
	// where only SQL will do.
	IndexSQL, AttachSQL string
}

// Words in Entry.Roles that are not names. No role can be called public, and none has an empty name.
const (
	PublicRole  = "public"
	CurrentRole = ""
)

// String names the entry as a person knows it: "INDEX public.orders_day".
func (e Entry) String() string {
	name := e.Name
	if e.Schema != "" {
		name = e.Schema + "." + e.Name
	}
	return e.Kind + " " + name
}

// SaveEntries stores the whole schema in one transaction. If one is stored already it stays, and saved is false: the
// schema is dumped once, and every restore works from that dump.
func SaveEntries(ctx context.Context, conn *pgx.Conn, entries []Entry) (saved bool, err error) {
	err = pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "LOCK TABLE timeferry.entries IN EXCLUSIVE MODE"); err != nil {
			return err
		}
		if stored, err := EntriesStored(ctx, tx); err != nil || stored {
			return err
		}
		saved = true
		if _, err := tx.Exec(ctx, stepsSQL); err != nil {
			return err
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"timeferry", "entries"}, entryColumns,
			pgx.CopyFromSlice(len(entries), func(i int) ([]any, error) { return entries[i].row(), nil }))
		return err
	})
	return saved && err == nil, err
}

// EntriesStored says whether SaveEntries has stored a schema.
func EntriesStored(ctx context.Context, q pgkit.Querier) (bool, error) {
	var stored bool
	err := q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM timeferry.entries)").Scan(&stored)
	return stored, err
}

// AddEntry stores one more entry, of one step, behind all others. One that is stored already stays as it is.
func AddEntry(ctx context.Context, q pgkit.Querier, e Entry) error {
	row := e.row()
	_, err := q.Exec(ctx, `INSERT INTO timeferry.entries (ordinal, id, section, kind, schema_name, name, table_schema, table_name, owner, owner_sql, roles,
			sql, after_sql, exclusive, fires)
		SELECT (SELECT coalesce(max(ordinal), 0) + 1 FROM timeferry.entries), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14
		ON CONFLICT (id) DO NOTHING`, row[1:15]...)
	return err
}

var entryColumns = []string{"ordinal", "id", "section", "kind", "schema_name", "name", "table_schema", "table_name", "owner", "owner_sql", "roles",
	"sql", "after_sql", "exclusive", "fires", "index_sql", "attach_sql"}

func (e Entry) row() []any {
	roles := e.Roles
	if roles == nil {
		roles = []string{}
	}
	return []any{e.Ordinal, e.ID, e.Section, e.Kind, e.Schema, e.Name, e.Table.Schema, e.Table.Name, e.Owner, e.OwnerSQL, roles,
		e.SQL, e.AfterSQL, e.Exclusive, e.Fires, e.IndexSQL, e.AttachSQL}
}

// Entries reads one section in the order of restoring; what is restored already is left out.
func Entries(ctx context.Context, q pgkit.Querier, section string) ([]Entry, error) {
	var stepped bool // false: an earlier version stored the schema
	if err := q.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'timeferry.entries'::regclass AND attname = 'attach_sql')").Scan(&stepped); err != nil {
		return nil, err
	}
	steps := "'', ''"
	if stepped {
		steps = "index_sql, attach_sql"
	}
	rows, err := q.Query(ctx, `SELECT ordinal, id, section, kind, schema_name, name, table_schema, table_name, owner, owner_sql, roles, sql, after_sql, exclusive, fires, `+steps+`
		FROM timeferry.entries e WHERE section = $1 AND NOT EXISTS (SELECT FROM timeferry.restored r WHERE r.entry = e.id) ORDER BY ordinal`, section)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Entry, error) {
		var e Entry
		err := row.Scan(&e.Ordinal, &e.ID, &e.Section, &e.Kind, &e.Schema, &e.Name, &e.Table.Schema, &e.Table.Name, &e.Owner, &e.OwnerSQL, &e.Roles,
			&e.SQL, &e.AfterSQL, &e.Exclusive, &e.Fires, &e.IndexSQL, &e.AttachSQL)
		return e, err
	})
}

// CountEntries counts the entries of a section, restored or not.
func CountEntries(ctx context.Context, q pgkit.Querier, section string) (int, error) {
	var n int
	err := q.QueryRow(ctx, "SELECT count(*) FROM timeferry.entries WHERE section = $1", section).Scan(&n)
	return n, err
}

// CountRestoredAtCutover counts the entries on the target that must not be there while changes are applied: those of
// SectionCutover, and where session_replication_role cannot be set, whatever fires on the applier's statements.
func CountRestoredAtCutover(ctx context.Context, q pgkit.Querier, replicaRole bool) (int, error) {
	var n int
	err := q.QueryRow(ctx, `SELECT count(*) FROM timeferry.entries e JOIN timeferry.restored r ON r.entry = e.id
		WHERE e.section = $1 OR (e.section = $2 AND e.fires AND NOT $3)`, SectionCutover, SectionPostData, replicaRole).Scan(&n)
	return n, err
}

// CountPendingAtCutover counts the entries that are left for the cutover.
func CountPendingAtCutover(ctx context.Context, q pgkit.Querier) (int, error) {
	var n int
	err := q.QueryRow(ctx, `SELECT count(*) FROM timeferry.entries e WHERE e.section IN ($1, $2)
		AND NOT EXISTS (SELECT FROM timeferry.restored r WHERE r.entry = e.id)`, SectionCutover, SectionPostData).Scan(&n)
	return n, err
}

// ForgetSchema forgets the stored entries and what of them was restored: after the target was emptied again.
func ForgetSchema(ctx context.Context, q pgkit.Querier) error {
	if _, err := q.Exec(ctx, "DELETE FROM timeferry.entries"); err != nil {
		return err
	}
	if _, err := q.Exec(ctx, "DELETE FROM timeferry.schema_problems"); err != nil {
		return err
	}
	_, err := q.Exec(ctx, "DELETE FROM timeferry.restored")
	return err
}

// RecordProblem keeps what was found while a section was restored, in the transaction of the entries that it speaks of:
// after a crash nobody restores them again, and so nobody would find it again. The first of its code and object stays.
func RecordProblem(ctx context.Context, q pgkit.Querier, section string, p contract.Problem) error {
	_, err := q.Exec(ctx, `INSERT INTO timeferry.schema_problems (section, severity, code, object, message, remedy)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING`, section, string(p.Severity), p.Code, p.Object, p.Message, p.Remedy)
	return err
}

// SchemaProblems lists what was kept for a section, or with an empty section for all, oldest first.
func SchemaProblems(ctx context.Context, q pgkit.Querier, section string) ([]contract.Problem, error) {
	rows, err := q.Query(ctx, "SELECT severity, code, object, message, remedy FROM timeferry.schema_problems WHERE $1 IN ('', section) ORDER BY ordinal", section)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[contract.Problem])
}

// ForgetCreated forgets one object that RecordCreated noted, in the transaction that dropped it.
func ForgetCreated(ctx context.Context, q pgkit.Querier, o CreatedObject) error {
	_, err := q.Exec(ctx, "DELETE FROM timeferry.created WHERE (type, identity) = ($1, $2)", o.Type, o.Identity)
	return err
}

// RecordCreatedObjects is RecordCreated for many catalogue rows at once, oldest first.
func RecordCreatedObjects(ctx context.Context, q pgkit.Querier, classes, oids []uint32) error {
	_, err := q.Exec(ctx, `INSERT INTO timeferry.created (type, identity)
		SELECT i.type, i.identity FROM unnest($1::oid[], $2::oid[]) WITH ORDINALITY u(class, oid, n), LATERAL pg_identify_object(u.class, u.oid, 0) i
		ORDER BY u.n ON CONFLICT DO NOTHING`, classes, oids)
	return err
}
