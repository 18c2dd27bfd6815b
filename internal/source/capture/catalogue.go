package capture

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/wal2json"
)

// scopeSQL lists, for publications, the tables whose changes they publish and under which table's name: a partition's under
// its root's, if the publication says so. A table in two publications takes all that either publishes.
const scopeSQL = `
WITH listed AS (SELECT pr.prrelid AS oid, bool_or(p.pubupdate) AS changes, bool_or(coalesce((to_jsonb(p) ->> 'pubviaroot')::boolean, false)) AS viaroot
	FROM pg_catalog.pg_publication p JOIN pg_catalog.pg_publication_rel pr ON pr.prpubid = p.oid WHERE p.pubname = ANY ($1) GROUP BY 1),
members AS (SELECT oid, oid AS under, changes, false AS leaf FROM listed
	UNION ALL SELECT t.relid, CASE WHEN l.viaroot THEN l.oid ELSE t.relid END, l.changes, l.viaroot
	FROM listed l JOIN pg_catalog.pg_class c ON c.oid = l.oid AND c.relkind = 'p', pg_catalog.pg_partition_tree(l.oid) t WHERE t.level > 0)
SELECT n.nspname, c.relname, u.oid, un.nspname, u.relname, u.relreplident::text, NOT m.changes, m.leaf
FROM members m JOIN pg_catalog.pg_class c ON c.oid = m.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class u ON u.oid = m.under JOIN pg_catalog.pg_namespace un ON un.oid = u.relnamespace`

// columnsSQL reads the columns of tables, the names of those types that take a modifier, and which are of the replica identity.
const columnsSQL = `
SELECT a.attrelid, a.attname, a.atttypid, a.atttypmod, CASE WHEN y.typmodin <> 0 THEN pg_catalog.format_type(a.atttypid, a.atttypmod) ELSE '' END, a.attgenerated <> '', a.attstorage <> 'p', a.attnotnull,
	EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND a.attnum = ANY (i.indkey[0:i.indnkeyatts - 1])
		AND (c.relreplident = 'd' AND i.indisprimary AND i.indimmediate OR c.relreplident = 'i' AND i.indisreplident))
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_type y ON y.oid = a.atttypid
WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum`

// chunksSQL lists the chunks of hypertables. They are partitions that TimescaleDB makes by itself, and that join no publication.
const chunksSQL = "SELECT chunk_schema::text, chunk_name::text, hypertable_schema::text, hypertable_name::text FROM timescaledb_information.chunks"

// catalogue is the scope of the migration as the source's catalogue has it, for plugins that do not know publications. It
// reads over connections of its own, as the receiving one is at work.
type catalogue struct {
	ctx    context.Context
	r      *Receiver
	tables map[ident.Table]wal2json.Table
	// chunks are all that were ever seen, with their hypertables: one may be dropped, as by TRUNCATE, before its last changes are read.
	chunks map[ident.Table]ident.Table
}

// Table says what changes of this table are to be taken for.
func (c *catalogue) Table(schema, name string, fresh bool) (t wal2json.Table, ok bool, err error) {
	key := ident.Table{Schema: schema, Name: name}
	if t, ok = c.tables[key]; ok && !fresh {
		return t, true, nil
	}
	if err := c.read(); err != nil {
		return t, false, fmt.Errorf("read the tables of %v: %w", c.r.Publications, err)
	}
	t, ok = c.tables[key]
	return t, ok, nil
}

// Modifier asks the server what it takes a type's name for. The question is only prepared: its answer's description is what counts.
func (c *catalogue) Modifier(typeName string) (oid uint32, modifier int32, err error) {
	err = c.ask(func(tx pgx.Tx) error {
		described, err := tx.Conn().Prepare(c.ctx, "", "SELECT NULL::"+typeName)
		switch state := sqlState(err); {
		case state == "": // also for what is no answer of the server's
		case state[:2] == "42", state[:2] == "22", state[:2] == "3F": // no such type or schema, or no such modifier
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the modifier of type %s: %w", typeName, err)
		}
		oid, modifier = described.Fields[0].DataTypeOID, described.Fields[0].TypeModifier
		return nil
	})
	return oid, modifier, err
}

// ask runs do in a transaction that sees one moment. Types have the names that they have in the stream, see pgkit.DialReplication.
func (c *catalogue) ask(do func(tx pgx.Tx) error) error {
	conn, err := pgkit.Dial(c.ctx, c.r.Source, "receiver")
	if err != nil {
		return err
	}
	defer closeConn(conn.PgConn())
	tx, err := conn.BeginTx(c.ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return err
	}
	if _, err := tx.Exec(c.ctx, "SET LOCAL search_path = ''"); err != nil {
		return err
	}
	return do(tx)
}

func (c *catalogue) read() error { return c.ask(c.readTables) }

func (c *catalogue) readTables(tx pgx.Tx) error {
	if err := c.complete(tx); err != nil {
		return err
	}
	tables, under, err := readScope(c.ctx, tx, c.r.Publications)
	if err != nil {
		return err
	}
	if err := c.readChunks(tx); err != nil {
		return err
	}
	for chunk, root := range c.chunks {
		if t, published := tables[root]; published {
			t.Leaf = true
			tables[chunk] = t
		}
	}
	columns, generated, err := readColumns(c.ctx, tx, under)
	if err != nil {
		return err
	}
	for name, t := range tables {
		t.Columns, t.Generated = columns[t.OID], generated[t.OID]
		tables[name] = t
	}
	c.tables = tables
	return nil
}

// complete makes sure that all publications are there: a scope that is read from some of them would leave out changes.
func (c *catalogue) complete(tx pgx.Tx) error {
	var there int
	if err := tx.QueryRow(c.ctx, "SELECT count(*) FROM pg_catalog.pg_publication WHERE pubname = ANY ($1)", c.r.Publications).Scan(&there); err != nil {
		return err
	}
	if there < len(c.r.Publications) {
		return c.r.noPublication(fmt.Errorf("%d of the publications %v are there", there, c.r.Publications))
	}
	return nil
}

func readScope(ctx context.Context, tx pgx.Tx, publications []string) (tables map[ident.Table]wal2json.Table, under []uint32, err error) {
	rows, err := tx.Query(ctx, scopeSQL, publications)
	if err != nil {
		return nil, nil, err
	}
	tables, seen := map[ident.Table]wal2json.Table{}, map[uint32]bool{}
	var of ident.Table
	var identity string
	var t wal2json.Table
	_, err = pgx.ForEachRow(rows, []any{&of.Schema, &of.Name, &t.OID, &t.Schema, &t.Name, &identity, &t.InsertOnly, &t.Leaf}, func() error {
		t.Identity = identity[0]
		tables[of] = t
		if !seen[t.OID] {
			seen[t.OID] = true
			under = append(under, t.OID)
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return tables, under, nil
}

// readChunks reads which chunks there are: their changes are taken for those of their hypertables.
func (c *catalogue) readChunks(tx pgx.Tx) error {
	var hypertables bool
	err := tx.QueryRow(c.ctx, "SELECT to_regclass('timescaledb_information.chunks') IS NOT NULL").Scan(&hypertables)
	if err != nil || !hypertables {
		return err
	}
	rows, err := tx.Query(c.ctx, chunksSQL)
	if err != nil {
		return err
	}
	if c.chunks == nil {
		c.chunks = map[ident.Table]ident.Table{}
	}
	var chunk, root ident.Table
	_, err = pgx.ForEachRow(rows, []any{&chunk.Schema, &chunk.Name, &root.Schema, &root.Name}, func() error {
		c.chunks[chunk] = root
		return nil
	})
	return err
}

func readColumns(ctx context.Context, tx pgx.Tx, of []uint32) (columns map[uint32][]wal2json.Column, generated map[uint32][]string, err error) {
	rows, err := tx.Query(ctx, columnsSQL, of)
	if err != nil {
		return nil, nil, err
	}
	columns, generated = map[uint32][]wal2json.Column{}, map[uint32][]string{}
	var oid uint32
	var isGenerated bool
	var c wal2json.Column
	_, err = pgx.ForEachRow(rows, []any{&oid, &c.Name, &c.TypeOID, &c.Modifier, &c.Type, &isGenerated, &c.Toastable, &c.NotNull, &c.Key}, func() error {
		if isGenerated {
			generated[oid] = append(generated[oid], c.Name)
		} else {
			columns[oid] = append(columns[oid], c)
		}
		return nil
	})
	return columns, generated, err
}
