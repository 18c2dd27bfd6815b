package ledger

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// steeringSQL may run again. Without a row the spec alone counts.
const steeringSQL = `
CREATE TABLE IF NOT EXISTS timeferry.steering (
	only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one), serial int NOT NULL,
	paused boolean NOT NULL, concurrency int NOT NULL, index_jobs int NOT NULL, at timestamptz NOT NULL DEFAULT now());
`

// Steering is what people ordered while the copy runs. It reaches every worker by the ledger, and outlives all of them.
// Zero: nothing was ordered, the spec alone counts.
type Steering struct {
	Serial      int // grows with each order
	Paused      bool
	Concurrency int // streams of the copy
	IndexJobs   int // builds at once
}

// Steer puts s into force, unless a newer order is already.
func Steer(ctx context.Context, conn *pgx.Conn, s Steering) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		// An older version may have made the ledger. Two workers may come here at once, as in Create.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext('timeferry.ledger'))"); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, steeringSQL); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO timeferry.steering (serial, paused, concurrency, index_jobs) VALUES ($1, $2, $3, $4)
			ON CONFLICT (only_one) DO UPDATE SET serial = excluded.serial, paused = excluded.paused, concurrency = excluded.concurrency,
				index_jobs = excluded.index_jobs, at = now() WHERE steering.serial < excluded.serial`,
			s.Serial, s.Paused, s.Concurrency, s.IndexJobs)
		return err
	})
}

const stateUndefinedTable = "42P01"

// CurrentSteering is what is in force. Call it outside of a transaction: a ledger made by an older version has no such table.
func CurrentSteering(ctx context.Context, q pgkit.Querier) (Steering, error) {
	var s Steering
	err := q.QueryRow(ctx, "SELECT serial, paused, concurrency, index_jobs FROM timeferry.steering").Scan(&s.Serial, &s.Paused, &s.Concurrency, &s.IndexJobs)
	var pg *pgconn.PgError
	if errors.Is(err, pgx.ErrNoRows) || errors.As(err, &pg) && pg.Code == stateUndefinedTable {
		return Steering{}, nil
	}
	return s, err
}

// TableProgress is how far the copy of one table is.
type TableProgress struct {
	Table            ident.Table
	Parts, PartsDone int
	Bytes, BytesDone int64 // the source's size of the parts
	CopiedRows       int64
}

// LargestTables tells how far the tables with the most bytes are, largest first.
func LargestTables(ctx context.Context, q pgkit.Querier, limit int) ([]TableProgress, error) {
	rows, err := q.Query(ctx, `SELECT t.schema_name, t.table_name, count(*), count(p.done_at), coalesce(sum(p.bytes), 0)::bigint,
			coalesce(sum(p.bytes) FILTER (WHERE p.done_at IS NOT NULL), 0)::bigint, coalesce(sum(p.copied_rows), 0)::bigint
		FROM (SELECT schema_name, table_name, bytes FROM timeferry.tables ORDER BY bytes DESC, schema_name, table_name LIMIT $1) t
			JOIN timeferry.parts p USING (schema_name, table_name)
		GROUP BY t.schema_name, t.table_name, t.bytes ORDER BY t.bytes DESC, 1, 2`, limit)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (TableProgress, error) {
		var p TableProgress
		err := row.Scan(&p.Table.Schema, &p.Table.Name, &p.Parts, &p.PartsDone, &p.Bytes, &p.BytesDone, &p.CopiedRows)
		return p, err
	})
}
