package bulk

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/target/ledger"
)

// A snapshot shows a table's rows only as long as its file is the one that they were in. VACUUM FULL, CLUSTER and pg_repack carry
// them over to another one, where they lie in other blocks. An ALTER TABLE that rewrites the table writes all of them anew: to an
// older snapshot it is empty (https://www.postgresql.org/docs/current/mvcc-caveats.html). TRUNCATE leaves it empty too, and rightly
// so: the stream brings the TRUNCATE.

// byBlocks is true for a stretch of a heap's blocks. A whole heap, or a range of keys, is right whatever blocks its rows are in.
func byBlocks(part ledger.Part) bool { return part.First != nil || part.End != nil }

// movedSQL: in this transaction pg_class shows the file that a table had at the snapshot, the function the one it has now.
const movedSQL = `SELECT n.nspname, c.relname, c.oid FROM unnest($1::text[], $2::text[]) w(s, t) JOIN pg_namespace n ON n.nspname = w.s
	JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.t WHERE c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid)`

// lockFiles locks what the parts are read from, so that its files stay what they are, and checks that their rows can be seen.
func (s *stream) lockFiles(ctx context.Context, parts []ledger.Part) error {
	var names, schemas, tables []string
	for _, p := range parts {
		names, schemas, tables = append(names, "ONLY "+p.Source.Quote()), append(schemas, p.Source.Schema), append(tables, p.Source.Name)
	}
	if _, err := s.source.Exec(ctx, "LOCK TABLE "+strings.Join(names, ", ")+" IN ACCESS SHARE MODE"); err != nil {
		if len(parts) > 1 && isGone(err) {
			return s.lockEach(ctx, parts)
		}
		return s.failed(parts[0], "lock", err)
	}
	rows, err := s.source.Query(ctx, movedSQL, schemas, tables)
	if err != nil {
		return failed(parts[0], "look at", err)
	}
	moved := map[ident.Table]uint32{}
	var name ident.Table
	var oid uint32
	if _, err := pgx.ForEachRow(rows, []any{&name.Schema, &name.Name, &oid}, func() error { moved[name] = oid; return nil }); err != nil {
		return failed(parts[0], "look at", err)
	}
	for _, p := range parts {
		if oid, ok := moved[p.Source]; ok {
			if err := s.checkMoved(ctx, p, oid); err != nil {
				return err
			}
		}
	}
	return nil
}

// lockEach finds out which of several is gone. The transaction is lost already.
func (s *stream) lockEach(ctx context.Context, parts []ledger.Part) error {
	for _, p := range parts {
		if _, err := s.source.PgConn().Exec(ctx, "ROLLBACK; BEGIN; LOCK TABLE ONLY "+p.Source.Quote()+" IN ACCESS SHARE MODE").ReadAll(); err != nil {
			return s.failed(p, "lock", err)
		}
	}
	return failed(parts[0], "lock", errors.New("it was gone for a moment"))
}

// checkMoved looks whether a table that is in another file still has the rows of the snapshot, and where the part looks for them.
func (s *stream) checkMoved(ctx context.Context, part ledger.Part, oid uint32) error {
	var rows bool
	if err := s.source.QueryRow(ctx, "SELECT EXISTS (SELECT 1 FROM ONLY "+part.Source.Quote()+")").Scan(&rows); err != nil {
		return failed(part, "look at", err)
	}
	if rows {
		if byBlocks(part) {
			return s.rewritten(part)
		}
		return nil
	}
	altered, err := s.altered(ctx, part, oid)
	if err != nil {
		return failed(part, "look at", err)
	}
	if altered {
		return s.rewritten(part)
	}
	return nil
}

// columnsSQL tells a table's columns from those after any ALTER that rewrites it: each leaves a new version of a column's row, or of
// what is asked of pg_class. TRUNCATE does not.
const columnsSQL = `SELECT concat(c.relam, c.relpersistence) FROM pg_class c WHERE c.oid = $1
	UNION ALL SELECT concat_ws(' ', a.attnum, a.xmin) FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0`

// altered compares the columns under the snapshot with those of now, which another session tells.
func (s *stream) altered(ctx context.Context, part ledger.Part, oid uint32) (bool, error) {
	then, err := columnsOf(ctx, s.source, oid)
	if err != nil {
		return false, err
	}
	conn, err := pgkit.Dial(ctx, s.o.Source, "copy")
	if err != nil {
		return false, err
	}
	defer closeQuietly(ctx, conn)
	now, err := columnsOf(ctx, conn, oid)
	return !slices.Equal(then, now), err
}

func columnsOf(ctx context.Context, q pgkit.Querier, oid uint32) ([]string, error) {
	rows, err := q.Query(ctx, columnsSQL, oid)
	if err != nil {
		return nil, err
	}
	columns, err := pgx.CollectRows(rows, pgx.RowTo[string])
	slices.Sort(columns)
	return columns, err
}

// isGone: a table, its schema, or one of its columns is not there any more, or not by this name.
func isGone(err error) bool {
	switch sqlState(err) {
	case "42P01", "3F000", "42703":
		return true
	}
	return false
}

// rewritten sets the part's table aside for the next epoch.
func (s *stream) rewritten(part ledger.Part) error {
	s.aside = &part
	return tableRewritten(part)
}

// failed is what became of a statement on the source: what is gone since the snapshot is set aside, too.
func (s *stream) failed(part ledger.Part, op string, err error) error {
	if isGone(err) {
		s.aside = &part
	}
	return failed(part, op, err)
}
