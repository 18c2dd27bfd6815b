package stream

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/shape"
	"timeferry/internal/target/ledger"
)

// alteration is a column that is added, and whose type is widened later, with values of the two types for a row with an id.
type alteration struct{ first, wide, value, wideValue string }

var alterations = []alteration{
	{"varchar(12)", "text", "'x' || id", "repeat('wide', 10) || id"},
	{"smallint DEFAULT 7", "bigint", "id", "3000000000 + id"},
	{"numeric(6,2)", "numeric(12,2)", "id / 3.0", "id + 1234567.5"},
}

// mostAdded keeps the table's rows of a size that is read soon.
const mostAdded = 20

// alter adds a column to a table, or widens one that was added, and writes rows of the new form. The native subscription wants it
// before the source; with alone, Timeferry's target is left to follow.
func (w *world) alter(widen, alone bool) error {
	n := w.added
	widen = widen && w.widened < w.added || w.added == mostAdded
	if widen {
		if n = w.widened; n == mostAdded {
			return nil
		}
	}
	a := alterations[n%len(alterations)]
	sql, value := fmt.Sprintf("ALTER TABLE dropped ADD COLUMN x%d %s", n, a.first), a.value
	if widen {
		sql, value = fmt.Sprintf("ALTER TABLE dropped ALTER COLUMN x%d TYPE %s", n, a.wide), a.wideValue
		w.widened++
	} else {
		w.added++
	}
	sides := []*pgx.Conn{w.onTarget, w.onNative, w.onSource}
	if alone {
		sides = sides[1:]
	}
	for _, conn := range sides {
		if conn == nil {
			continue
		}
		if _, err := conn.Exec(context.Background(), sql); err != nil {
			return err
		}
	}
	_, err := w.onSource.Exec(context.Background(), fmt.Sprintf(`INSERT INTO dropped (id) SELECT generate_series(500, 520) ON CONFLICT DO NOTHING;
		UPDATE dropped SET x%d = %s WHERE id %% 2 = 0`, n, value))
	return err
}

// narrowed makes the table anew without the columns that were added. The publications of a table go with it.
func (w *world) narrowed() error {
	if w.added == 0 {
		return nil
	}
	const published = "; ALTER PUBLICATION " + publication + " ADD TABLE dropped; ALTER PUBLICATION native ADD TABLE dropped"
	for conn, sql := range map[*pgx.Conn]string{w.onSource: droppedTable(onSource) + published, w.onTarget: droppedTable(onTarget), w.onNative: droppedTable(onNative)} {
		if conn == nil {
			continue
		}
		if _, err := conn.Exec(context.Background(), "DROP TABLE dropped; "+sql); err != nil {
			return err
		}
	}
	w.added, w.widened = 0, 0
	return nil
}

// recordShapes notes how the source's tables are, as a migration does when it makes the target's.
func (w *world) recordShapes() error {
	ctx := context.Background()
	var shapes map[ident.Table]*shape.Definition
	err := pgkit.InTx(ctx, w.onSource, func(tx pgx.Tx) (err error) {
		shapes, err = pgkit.Definitions(ctx, tx, w.tablesInScope())
		return err
	})
	if err != nil {
		return err
	}
	return ledger.SaveShapes(ctx, w.onTarget, shapes)
}
