package verify

import (
	"context"
	"fmt"

	"timeferry/internal/ident"
)

// emptiedSQL: in this transaction pg_class shows the files that a table and all that lies in it had at the snapshot, the function
// those of now. TRUNCATE gives a new file at once, in which no snapshot finds the rows of before
// (https://www.postgresql.org/docs/current/mvcc-caveats.html); a chunk that was dropped has none any more. VACUUM FULL and its kin
// give a new file too, and keep what the snapshot shows: then a difference is looked at again at the next barrier.
const emptiedSQL = `WITH RECURSIVE family (oid) AS (
	SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE (n.nspname, c.relname) = ($1, $2)
	UNION SELECT i.inhrelid FROM family f JOIN pg_inherits i ON i.inhparent = f.oid)
SELECT EXISTS (SELECT FROM family JOIN pg_class c USING (oid) WHERE c.relkind = 'r' AND c.relfilenode <> coalesce(pg_relation_filenode(c.oid), 0))`

// emptied is true when a side cannot show any more what the table held at the barrier: what was read of it then says nothing, also
// where both sides are empty by now. Asked after the reading, which locks what it read until the piece is done.
func (w *worker) emptied(ctx context.Context, t *tableRun) (bool, error) {
	for _, side := range []struct {
		s     *session
		table ident.Table
	}{{w.source, t.Source}, {w.target, t.Target}} {
		var emptied bool
		if err := side.s.conn.QueryRow(ctx, emptiedSQL, side.table.Schema, side.table.Name).Scan(&emptied); err != nil {
			return false, fmt.Errorf("look whether %s was emptied on the %s: %w", side.table, side.s.side, err)
		}
		if emptied {
			return true, nil
		}
	}
	return false, nil
}

// setEmptied leaves the chunk unverified.
func (c *chunkRun) setEmptied(r *run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c.emptied = true
}
