package ledger

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// snapshotsSQL adds who holds the snapshot of the current epoch, what it shows, and which worker copied a part.
const snapshotsSQL = `
CREATE TABLE IF NOT EXISTS timeferry.snapshots (
	role text PRIMARY KEY, epoch int NOT NULL, snapshot text NOT NULL, host text NOT NULL, since timestamptz NOT NULL DEFAULT now());
ALTER TABLE timeferry.epochs ADD COLUMN IF NOT EXISTS visible text NOT NULL DEFAULT '';
ALTER TABLE timeferry.parts ADD COLUMN IF NOT EXISTS worker text;
`

// Upgrade brings a ledger that an earlier version made, before its worker was replaced in the middle of a copy, to what this
// version asks for. It looks before it alters: an ALTER TABLE waits for every part that is being copied.
func Upgrade(ctx context.Context, conn *pgx.Conn) error {
	var upToDate bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass('timeferry.snapshots') IS NOT NULL").Scan(&upToDate); err != nil || upToDate {
		return err
	}
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error { return createTables(ctx, tx) })
}

// Roles of the sessions that hold a snapshot: the copy was imported from the first, or the other way round after a death.
const (
	RoleHolder = "holder"
	RoleCopy   = "copy"
)

// Held is a snapshot that a session on a worker holds.
type Held struct {
	Snapshot string
	Visible  string // what it shows, see pgkit.VisibleSQL; empty: not known
	Host     string // the worker
}

// Shared is the snapshot of the current epoch under all names that it was ever said to have, the holder's first. Some of them
// may be gone.
type Shared struct {
	Epoch   int // 0 before the first epoch
	Point   change.LSN
	Visible string
	Names   []string
	// Hosts are the workers behind the names; the first holder's, if it is known, under RoleHolder.
	Hosts map[string]string
}

// SharedSnapshot reads the current epoch's snapshot.
func SharedSnapshot(ctx context.Context, q pgkit.Querier) (Shared, error) {
	rows, err := q.Query(ctx, `SELECT e.epoch, e.consistent_point::text, e.visible, coalesce(s.snapshot, e.snapshot), coalesce(s.role, ''), coalesce(s.host, '')
		FROM (SELECT * FROM timeferry.epochs ORDER BY epoch DESC LIMIT 1) e LEFT JOIN timeferry.snapshots s ON s.epoch = e.epoch
		ORDER BY s.role = 'holder' DESC NULLS LAST, s.role`)
	if err != nil {
		return Shared{}, fmt.Errorf("read snapshot: %w", err)
	}
	shared := Shared{Hosts: map[string]string{}}
	var point, name, role, host string
	_, err = pgx.ForEachRow(rows, []any{&shared.Epoch, &point, &shared.Visible, &name, &role, &host}, func() error {
		shared.Names = append(shared.Names, name)
		if role != "" {
			shared.Hosts[role] = host
		}
		shared.Point, err = change.ParseLSN(point)
		return err
	})
	if err != nil {
		return Shared{}, fmt.Errorf("read snapshot: %w", err)
	}
	return shared, nil
}

// CurrentEpoch is the number of the latest epoch, 0 before the first.
func CurrentEpoch(ctx context.Context, q pgkit.Querier) (epoch int, err error) {
	err = q.QueryRow(ctx, "SELECT coalesce(max(epoch), 0) FROM timeferry.epochs").Scan(&epoch)
	return epoch, err
}

// BeginHeldEpoch is BeginEpoch with what else is known of the snapshot, which is written in the same transaction.
func BeginHeldEpoch(ctx context.Context, conn *pgx.Conn, consistentPoint change.LSN, held Held, empty func(pgx.Tx, []ident.Table) error) (epoch int, err error) {
	err = pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		if epoch, err = beginEpoch(ctx, tx, consistentPoint, held.Snapshot, empty); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "UPDATE timeferry.epochs SET visible = $2 WHERE epoch = $1", epoch, held.Visible); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "DELETE FROM timeferry.snapshots WHERE epoch <> $1", epoch); err != nil {
			return err
		}
		return recordHeld(ctx, tx, RoleHolder, epoch, held)
	})
	return epoch, err
}

// RecordHeld notes that a further session holds the epoch's snapshot. It returns false, and notes nothing, when the epoch is
// not the current one any more.
func RecordHeld(ctx context.Context, conn *pgx.Conn, role string, epoch int, held Held) (current bool, err error) {
	err = pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		// It waits for an epoch that is just being begun.
		if _, err := tx.Exec(ctx, "LOCK TABLE timeferry.epochs IN ROW SHARE MODE"); err != nil {
			return err
		}
		newest, err := CurrentEpoch(ctx, tx)
		if err != nil || newest != epoch {
			return err
		}
		current = true
		return recordHeld(ctx, tx, role, epoch, held)
	})
	if err != nil {
		return false, fmt.Errorf("record who holds the snapshot: %w", err)
	}
	return current, nil
}

func recordHeld(ctx context.Context, q pgkit.Querier, role string, epoch int, held Held) error {
	_, err := q.Exec(ctx, `INSERT INTO timeferry.snapshots (role, epoch, snapshot, host) VALUES ($1, $2, $3, $4)
		ON CONFLICT (role) DO UPDATE SET epoch = excluded.epoch, snapshot = excluded.snapshot, host = excluded.host, since = now()`,
		role, epoch, held.Snapshot, held.Host)
	return err
}

// ForgetHeld notes that the session that held the snapshot has ended in order.
func ForgetHeld(ctx context.Context, q pgkit.Querier, role string, held Held) error {
	_, err := q.Exec(ctx, "DELETE FROM timeferry.snapshots WHERE (role, snapshot, host) = ($1, $2, $3)", role, held.Snapshot, held.Host)
	return err
}
