package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/failpoint"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// lanesSQL is the part of createSQL that belongs to this file. A lane is a further connection of the applier, which commits its
// share of the changes between from_lsn and applied_lsn just before the position itself moves from the one to the other; of is
// among how many lanes they were shared, and split the tables whose rows are in several of them. holder is the applier that may use the lane.
const lanesSQL = `
CREATE TABLE IF NOT EXISTS timeferry.lanes (
	lane int PRIMARY KEY, holder text NOT NULL, of int NOT NULL DEFAULT 0,
	split jsonb NOT NULL DEFAULT '[]', from_lsn pg_lsn NOT NULL DEFAULT '0/0', applied_lsn pg_lsn NOT NULL DEFAULT '0/0');
`

// EnsureLanes makes what lanes need in a ledger that an earlier version made. It looks before it makes.
func EnsureLanes(ctx context.Context, conn *pgx.Conn) error {
	return ensure(ctx, conn, "timeferry.lanes", lanesSQL)
}

// Ahead are lanes whose share of the changes after the position is on the target already, because whoever applied them ended before
// the position was moved. The zero value: none.
type Ahead struct {
	// Lanes are their numbers, from 1 on: lane 0 moves the position itself.
	Lanes map[int]bool
	// Of is among how many lanes, lane 0 included, the changes were shared.
	Of int
	// Split are the tables whose rows are in several lanes, by their keys; those of the others are in one.
	Split map[ident.Table]bool
	// End is the position up to which they were.
	End change.LSN
}

// ClaimLanes takes lanes 1 to of-1, and all that there were, away from whoever used them, after what that has under way in them has
// ended; nothing of it can be committed afterwards. It returns the position, and the lanes that are ahead of it.
func ClaimLanes(ctx context.Context, conn *pgx.Conn, holder string, of int) (p Position, a Ahead, err error) {
	err = pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		// In order, so that two who claim them at once wait for each other.
		if _, err := tx.Exec(ctx, "SELECT FROM timeferry.lanes ORDER BY lane FOR UPDATE"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE timeferry.lanes SET holder = $1", holder); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO timeferry.lanes (lane, holder) SELECT l, $1 FROM generate_series(1, $2::int - 1) l
			ON CONFLICT (lane) DO UPDATE SET holder = excluded.holder`, holder, of)
		failpoint.At(failpoint.BeforeClaim)
		return err
	})
	if err != nil {
		return Position{}, Ahead{}, fmt.Errorf("claim the lanes: %w", err)
	}
	failpoint.At(failpoint.AfterClaim)
	// Only now: who moved the position after committing its lanes has done so before it lost them, or has not.
	if p, err = Applied(ctx, conn); err != nil {
		return Position{}, Ahead{}, err
	}
	a, err = lanesAhead(ctx, conn, p.LSN)
	return p, a, err
}

func lanesAhead(ctx context.Context, q pgkit.Querier, position change.LSN) (a Ahead, err error) {
	rows, err := q.Query(ctx, "SELECT lane, of, split, applied_lsn::text FROM timeferry.lanes WHERE from_lsn = $1::text::pg_lsn AND applied_lsn > from_lsn", position.String())
	if err != nil {
		return Ahead{}, fmt.Errorf("read the lanes: %w", err)
	}
	a.Lanes, a.Split = map[int]bool{}, map[ident.Table]bool{}
	var lane int
	var names [][2]string
	var end string
	_, err = pgx.ForEachRow(rows, []any{&lane, &a.Of, &names, &end}, func() error {
		a.Lanes[lane] = true
		for _, n := range names {
			a.Split[ident.Table{Schema: n[0], Name: n[1]}] = true
		}
		a.End, err = change.ParseLSN(end)
		return err
	})
	return a, err
}

// MoveLaneSQL is the first statement of a lane's transaction: it locks the lane, and affects one row if the lane is still the
// holder's. $1 is the lane, $2 the holder, $3 and $4 the positions before and after as text, $5 how many lanes share,
// $6 the split tables as a JSON array of schema and name.
const MoveLaneSQL = `UPDATE timeferry.lanes SET from_lsn = $3::text::pg_lsn, applied_lsn = $4::text::pg_lsn, of = $5, split = $6::jsonb WHERE lane = $1 AND holder = $2`
