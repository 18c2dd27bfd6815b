package prepare

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
)

// What the two publications carry. TRUNCATE needs no replica identity.
const (
	publishAll        = "insert, update, delete, truncate"
	publishInsertOnly = "insert, truncate"
)

// publicationBatch is how many tables join in one transaction: each holds a lock until its end, and a server's lock table
// has room for 64 a connection by default.
const publicationBatch = 500

// Codes of a refused publication.
const (
	CodeIdentityNotReady   = "identity-not-ready"
	CodeForeignPublication = "publication-not-ours"
)

// CreatePublication makes the publication called name, and beside it plan.InsertOnlyName(name) if it has tables, or brings
// what is there to the same state. A relation joins in the transaction that has seen its identity work, under a lock that
// keeps the identity from changing; otherwise the error has the code CodeIdentityNotReady and it does not join.
func CreatePublication(ctx context.Context, conn *pgx.Conn, name string, p plan.Publication) error {
	return usualPatience.createPublication(ctx, conn, name, p)
}

func (w patience) createPublication(ctx context.Context, conn *pgx.Conn, name string, p plan.Publication) error {
	version, err := pgkit.Version(ctx, conn)
	if err != nil {
		return fmt.Errorf("create publication %s: %w", name, err)
	}
	if p.ViaRoot && version < plan.ViaRootVersion {
		return fault.New(fault.Bug, "create publication", name, "", "server %d cannot publish via the partition root", version)
	}
	all := publication{name: name, publish: publishAll, viaRoot: p.ViaRoot, tables: p.All, patience: w, version: version}
	if err := all.settle(ctx, conn); err != nil {
		return fmt.Errorf("create publication %s: %w", name, err)
	}
	second := publication{name: plan.InsertOnlyName(name), publish: publishInsertOnly, viaRoot: p.ViaRoot, tables: p.InsertOnly, patience: w, version: version}
	if len(second.tables) == 0 {
		return drop(ctx, conn, second.name)
	}
	if err := second.settle(ctx, conn); err != nil {
		return fmt.Errorf("create publication %s: %w", second.name, err)
	}
	return nil
}

// JoinPublication adds tables to the publication called name, as CreatePublication does, and leaves the others in it as they are.
// With tables for inserts only the second publication must be there: a stream that reads of changes from before a publication
// was made would fail.
func JoinPublication(ctx context.Context, conn *pgx.Conn, name string, p plan.Publication) error {
	version, err := pgkit.Version(ctx, conn)
	if err != nil {
		return fmt.Errorf("join publication %s: %w", name, err)
	}
	for _, own := range []publication{{name: name, publish: publishAll, tables: p.All}, {name: plan.InsertOnlyName(name), publish: publishInsertOnly, tables: p.InsertOnly}} {
		own.version, own.patience = version, usualPatience
		members, err := own.members(ctx, conn)
		if err != nil {
			return fmt.Errorf("join publication %s: %w", own.name, err)
		}
		join := slices.DeleteFunc(slices.Clone(own.tables), func(t ident.Table) bool { _, in := members[t]; return in })
		for batch := range slices.Chunk(join, publicationBatch) {
			if err := own.join(ctx, conn, batch); err != nil {
				return fmt.Errorf("join publication %s: %w", own.name, err)
			}
		}
	}
	return nil
}

// PublishesInserts says whether the second publication is there.
func PublishesInserts(ctx context.Context, conn *pgx.Conn, name string) (there bool, err error) {
	name = plan.InsertOnlyName(name)
	if err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)", name).Scan(&there); err != nil {
		err = fmt.Errorf("look for publication %s: %w", name, err)
	}
	return there, err
}

// DropPublication removes both publications. One that is not there is passed over.
func DropPublication(ctx context.Context, conn *pgx.Conn, name string) error {
	return errors.Join(drop(ctx, conn, name), drop(ctx, conn, plan.InsertOnlyName(name)))
}

func drop(ctx context.Context, conn *pgx.Conn, name string) error {
	if _, err := conn.Exec(ctx, "DROP PUBLICATION IF EXISTS "+ident.Quote(name)); err != nil {
		return &fault.Error{Class: fault.Classify(err), Op: "drop publication", Subject: name, Hint: "it must belong to the migration's user", Err: err}
	}
	return nil
}

// publication is one publication as it must become.
type publication struct {
	name     string
	publish  string
	viaRoot  bool
	tables   []ident.Table
	patience patience
	version  int
}

func (p publication) settle(ctx context.Context, conn *pgx.Conn) error {
	exists, err := p.checkOptions(ctx, conn)
	if err != nil {
		return err
	}
	if !exists {
		if err := p.createEmpty(ctx, conn); err != nil {
			return err
		}
	}
	members, err := p.members(ctx, conn)
	if err != nil {
		return err
	}
	wanted := map[ident.Table]bool{}
	var join, leave []ident.Table
	for _, t := range p.tables {
		wanted[t] = true
		if plain, in := members[t]; !in || !plain {
			join = append(join, t)
		}
	}
	for t, plain := range members {
		if !wanted[t] || !plain {
			leave = append(leave, t)
		}
	}
	for batch := range slices.Chunk(leave, publicationBatch) {
		if _, err := conn.Exec(ctx, "ALTER PUBLICATION "+ident.Quote(p.name)+" DROP TABLE "+onlyList(batch)); err != nil {
			return err
		}
	}
	for batch := range slices.Chunk(join, publicationBatch) {
		if err := p.join(ctx, conn, batch); err != nil {
			return err
		}
	}
	return nil
}

func (p publication) createEmpty(ctx context.Context, conn *pgx.Conn) error {
	with := "publish = " + ident.Literal(p.publish)
	if p.viaRoot {
		with += ", publish_via_partition_root = true"
	}
	_, err := conn.Exec(ctx, "CREATE PUBLICATION "+ident.Quote(p.name)+" WITH ("+with+")")
	return err
}

// checkOptions finds out whether the publication is there. One with other options than ours is made anew, so that every
// table is checked when it joins; one of a form that we never make belongs to somebody else.
func (p publication) checkOptions(ctx context.Context, conn *pgx.Conn) (exists bool, err error) {
	viaRoot, schemas := "false", "false"
	if p.version >= plan.ViaRootVersion {
		viaRoot = "pubviaroot"
	}
	if p.version >= 150000 {
		schemas = "EXISTS (SELECT FROM pg_publication_namespace WHERE pnpubid = p.oid)"
	}
	var insert, update, remove, truncate, via, foreign bool
	err = conn.QueryRow(ctx, "SELECT pubinsert, pubupdate, pubdelete, pubtruncate, "+viaRoot+", puballtables OR "+schemas+" FROM pg_publication p WHERE pubname = $1", p.name).
		Scan(&insert, &update, &remove, &truncate, &via, &foreign)
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if foreign {
		return false, fault.New(fault.Operator, "use publication", p.name, "drop it, or rename it, if nobody needs it",
			"it publishes all tables or whole schemas, so it was not made by Timeferry").WithCode(CodeForeignPublication)
	}
	changes := p.publish == publishAll
	if insert && truncate && update == changes && remove == changes && via == p.viaRoot {
		return true, nil
	}
	return false, drop(ctx, conn, p.name)
}

// members maps each table of the publication to whether it is published plainly, without row filter and column list.
func (p publication) members(ctx context.Context, conn *pgx.Conn) (map[ident.Table]bool, error) {
	plainSQL := "true"
	if p.version >= 150000 {
		plainSQL = "pr.prqual IS NULL AND pr.prattrs IS NULL"
	}
	members := map[ident.Table]bool{}
	var t ident.Table
	var plain bool
	err := each(ctx, conn, "SELECT n.nspname, c.relname, "+plainSQL+` FROM pg_publication p JOIN pg_publication_rel pr ON pr.prpubid = p.oid
		JOIN pg_class c ON c.oid = pr.prrelid JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = $1`,
		[]any{&t.Schema, &t.Name, &plain}, func() { members[t] = plain }, p.name)
	return members, err
}

// join adds tables in one transaction: lock, add, look at the identities, commit.
func (p publication) join(ctx context.Context, conn *pgx.Conn, tables []ident.Table) error {
	const op = "publish"
	err := p.patience.underLock(ctx, conn, op, tables, func(tx pgx.Tx) error {
		if err := lockTrees(ctx, tx, tables); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "ALTER PUBLICATION "+ident.Quote(p.name)+" ADD TABLE "+onlyList(tables)); err != nil {
			return err
		}
		if p.publish != publishAll {
			return nil
		}
		return requireIdentities(ctx, tx, tables)
	})
	var own *fault.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	return &fault.Error{Class: fault.Classify(err), Op: op, Subject: p.name, Hint: "each table must exist and its owner's rights belong to the migration's user", Err: err}
}

// onlyList names the tables with ONLY: children by inheritance are tables in scope of their own. For a partition root ONLY
// changes nothing.
func onlyList(tables []ident.Table) string {
	parts := make([]string, len(tables))
	for i, t := range tables {
		parts[i] = "ONLY " + t.Quote()
	}
	return strings.Join(parts, ", ")
}

const relationKindsSQL = `
SELECT t.schema, t.name, coalesce(c.relkind::text, '') FROM unnest($1::text[], $2::text[]) t(schema, name)
LEFT JOIN (pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace) ON (n.nspname, c.relname) = (t.schema, t.name)`

// lockTrees locks partition trees down to their leaves, in the mode that ALTER PUBLICATION takes for the tables it names:
// writers go on, ALTER TABLE waits.
func lockTrees(ctx context.Context, tx pgx.Tx, tables []ident.Table) error {
	schemas, names := split(tables)
	var t ident.Table
	var kind string
	var roots []string
	var gone []ident.Table
	err := each(ctx, tx, relationKindsSQL, []any{&t.Schema, &t.Name, &kind}, func() {
		switch kind {
		case "p":
			roots = append(roots, t.Quote())
		case "":
			gone = append(gone, t)
		}
	}, schemas, names)
	if err != nil {
		return err
	}
	if len(gone) > 0 {
		return tableGone("publish", gone[0])
	}
	if len(roots) == 0 {
		return nil
	}
	_, err = tx.Exec(ctx, "LOCK TABLE "+strings.Join(roots, ", ")+" IN SHARE UPDATE EXCLUSIVE MODE")
	return err
}

// unreadySQL finds relations that PostgreSQL would refuse updates of once they are published: the tables themselves and
// every partition that holds rows. Under a root that goes by the whole row each partition must do so too, since the old row
// is read by the root's rule.
const unreadySQL = `
WITH listed AS (SELECT c.oid, c.relreplident FROM unnest($1::text[], $2::text[]) t(schema, name)
	JOIN pg_namespace n ON n.nspname = t.schema JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = t.name),
relations AS (SELECT oid, relreplident AS root FROM listed
	UNION SELECT p.relid::oid, l.relreplident FROM listed l, pg_partition_tree(l.oid) p WHERE p.isleaf)
SELECT n.nspname, c.relname FROM relations r JOIN pg_class c ON c.oid = r.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND c.relreplident <> 'f' AND (r.root = 'f' OR NOT EXISTS (SELECT FROM pg_index i
	WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
	AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident)))
ORDER BY 1, 2`

func requireIdentities(ctx context.Context, tx pgx.Tx, tables []ident.Table) error {
	schemas, names := split(tables)
	var t ident.Table
	var unready []string
	if err := each(ctx, tx, unreadySQL, []any{&t.Schema, &t.Name}, func() { unready = append(unready, t.String()) }, schemas, names); err != nil {
		return err
	}
	if len(unready) == 0 {
		return nil
	}
	return fault.New(fault.Operator, "publish", unready[0], "read the tables again and fix their replica identities first",
		"%d relations have no working replica identity, and the application's updates of them would fail: %s", len(unready), strings.Join(unready[:min(len(unready), 8)], ", ")).
		WithCode(CodeIdentityNotReady)
}
