package ledger

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// createSQL is version 1 of the ledger. Every statement may run again.
const createSQL = `
CREATE SCHEMA IF NOT EXISTS timeferry;
CREATE TABLE IF NOT EXISTS timeferry.migration (
	only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
	name text NOT NULL, version int NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
	applied_lsn pg_lsn, applied_commit_time timestamptz);
CREATE TABLE IF NOT EXISTS timeferry.epochs (
	epoch int PRIMARY KEY, consistent_point pg_lsn NOT NULL, snapshot text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS timeferry.tables (
	schema_name text NOT NULL, table_name text NOT NULL, bytes bigint NOT NULL, estimated_rows bigint NOT NULL,
	hypertable boolean NOT NULL, text_copy boolean NOT NULL, columns text[] NOT NULL,
	epoch int, start_lsn pg_lsn, completed_at timestamptz, analyzed_at timestamptz,
	PRIMARY KEY (schema_name, table_name));
CREATE TABLE IF NOT EXISTS timeferry.parts (
	schema_name text NOT NULL, table_name text NOT NULL, part int NOT NULL,
	source_schema text NOT NULL, source_table text NOT NULL, first_block bigint, end_block bigint, bytes bigint NOT NULL,
	done_at timestamptz, epoch int, copied_rows bigint, copied_bytes bigint, seconds double precision,
	PRIMARY KEY (schema_name, table_name, part),
	FOREIGN KEY (schema_name, table_name) REFERENCES timeferry.tables ON DELETE CASCADE);
DO $$ BEGIN -- made by an earlier version; asked first, since ALTER TABLE would wait for parts that are being copied
	IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = 'timeferry.parts'::regclass AND attname = 'key_column') THEN
		ALTER TABLE timeferry.parts ADD COLUMN key_column text NOT NULL DEFAULT '', ADD COLUMN first_key text, ADD COLUMN end_key text;
	END IF;
END $$;
CREATE INDEX IF NOT EXISTS parts_open ON timeferry.parts (bytes DESC, schema_name, table_name, part) WHERE done_at IS NULL;
CREATE INDEX IF NOT EXISTS parts_open_of_table ON timeferry.parts (schema_name, table_name) WHERE done_at IS NULL;
CREATE TABLE IF NOT EXISTS timeferry.restored (
	entry text PRIMARY KEY, description text NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE IF NOT EXISTS timeferry.created (
	ordinal bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, type text NOT NULL, identity text NOT NULL, UNIQUE (type, identity));
CREATE TABLE IF NOT EXISTS timeferry.identities (
	schema_name text NOT NULL, table_name text NOT NULL, root text NOT NULL,
	previous_kind text NOT NULL, previous_index text NOT NULL,
	chosen_kind text NOT NULL, chosen_index text NOT NULL, reason text NOT NULL, PRIMARY KEY (schema_name, table_name));
CREATE TABLE IF NOT EXISTS timeferry.source_objects (
	kind text NOT NULL, name text NOT NULL, detail text NOT NULL DEFAULT '', at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (kind, name));
CREATE TABLE IF NOT EXISTS timeferry.verifications (
	run text NOT NULL, schema_name text NOT NULL, table_name text NOT NULL, method text NOT NULL,
	source_rows bigint NOT NULL, target_rows bigint NOT NULL, source_digest text NOT NULL, target_digest text NOT NULL,
	equal boolean NOT NULL, at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (run, schema_name, table_name));
`

// version of the ledger's tables.
const version = 1

// Create makes the ledger for the migration called name, or finds it made. It refuses a ledger of another migration.
func Create(ctx context.Context, conn *pgx.Conn, name string) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		if err := createTables(ctx, tx); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, "INSERT INTO timeferry.migration (name, version) VALUES ($1, $2) ON CONFLICT DO NOTHING", name, version); err != nil {
			return fmt.Errorf("record migration: %w", err)
		}
		owner, err := Owner(ctx, tx)
		if err != nil {
			return err
		}
		if owner != name {
			return fault.New(fault.Operator, "use ledger", contract.LedgerSchema,
				"complete or abort that migration first, or give each migration its own target database",
				"the target database holds the bookkeeping of migration %q", owner).WithCode("ledger-taken")
		}
		return nil
	})
}

func createTables(ctx context.Context, tx pgx.Tx) error {
	// Two workers may come here at once: CREATE … IF NOT EXISTS alone can still collide on the catalogue.
	if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext('timeferry.ledger'))"); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, createSQL+entriesSQL+steeringSQL+snapshotsSQL+leavesSQL+shapesSQL+countersSQL+verifySQL+joiningSQL+lanesSQL+asideSQL); err != nil {
		return fmt.Errorf("create ledger: %w", err)
	}
	return nil
}

// ensure runs sql, every statement of which may run again, in a ledger without the table, which is the last that it makes. It looks
// before it makes, since altering a table would wait for whoever uses that.
func ensure(ctx context.Context, conn *pgx.Conn, table, sql string) error {
	var upToDate bool
	if err := conn.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&upToDate); err != nil || upToDate {
		return err
	}
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtext('timeferry.ledger'))"); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, sql)
		return err
	})
}

// Owner is the name of the migration that the ledger belongs to, or "" when there is no ledger.
func Owner(ctx context.Context, q pgkit.Querier) (string, error) {
	var exists bool
	if err := q.QueryRow(ctx, "SELECT to_regclass('timeferry.migration') IS NOT NULL").Scan(&exists); err != nil || !exists {
		return "", err
	}
	var name string
	err := q.QueryRow(ctx, "SELECT name FROM timeferry.migration").Scan(&name)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	return name, err
}

// Drop removes the ledger if it belongs to the migration called name. A second call does nothing.
func Drop(ctx context.Context, conn *pgx.Conn, name string) error {
	return pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
		owner, err := Owner(ctx, tx)
		if err != nil || owner != name {
			return err
		}
		_, err = tx.Exec(ctx, "DROP SCHEMA timeferry CASCADE")
		return err
	})
}

// Position is how far the change stream has been applied: every transaction that ends at or before LSN is on the target.
type Position struct {
	LSN        change.LSN
	CommitTime pgxTime
}

// Applied reads the position; zero before anything was applied.
func Applied(ctx context.Context, q pgkit.Querier) (p Position, err error) {
	var text *string
	if err := q.QueryRow(ctx, "SELECT applied_lsn::text, applied_commit_time FROM timeferry.migration").Scan(&text, &p.CommitTime); err != nil {
		return Position{}, fmt.Errorf("read applied position: %w", err)
	}
	p.LSN, err = optionalLSN(text)
	return p, err
}

const reachedSQL = `SELECT r.lsn::text, m.applied_commit_time, r.lsn IS NOT NULL AND NOT EXISTS (SELECT FROM timeferry.tables t WHERE ` + settledSQL + ` AND t.start_lsn > r.lsn)
	FROM timeferry.migration m, LATERAL (SELECT coalesce(m.applied_lsn,
		(SELECT min(start_lsn) FROM timeferry.tables t WHERE ` + settledSQL + ` HAVING bool_and(completed_at IS NOT NULL)))) r (lsn)`

// Reached is Applied, and before anything was applied where the copy has brought the target: once every table is complete, the
// earliest of their start LSNs. An idle source sends nothing that could be applied, and is still in sync. whole is true once every
// table has passed its start: before that, tables of a later epoch hold more than the others.
func Reached(ctx context.Context, q pgkit.Querier) (p Position, whole bool, err error) {
	var text *string
	if err := q.QueryRow(ctx, reachedSQL).Scan(&text, &p.CommitTime, &whole); err != nil {
		return Position{}, false, fmt.Errorf("read the position that is reached: %w", err)
	}
	p.LSN, err = optionalLSN(text)
	return p, whole, err
}

func optionalLSN(text *string) (change.LSN, error) {
	if text == nil {
		return 0, nil
	}
	return change.ParseLSN(*text)
}

// SetAppliedSQL moves the position forward; $1 is the LSN as text, $2 the source's commit time or NULL, $3 and $4 how many
// transactions and changes came with it. The applier runs it
// as the last statement of the transaction that holds the changes. It affects one row, or none when the position would
// not move: then somebody else has applied these changes, and the transaction must be rolled back.
const SetAppliedSQL = `UPDATE timeferry.migration SET applied_lsn = $1::text::pg_lsn, applied_commit_time = coalesce($2, applied_commit_time),
	applied_transactions = applied_transactions + $3, applied_changes = applied_changes + $4
	WHERE applied_lsn IS NULL OR applied_lsn < $1::text::pg_lsn`

// RecordSourceObject notes, before it is made, that an object on the source will be ours: kind "slot", "publication",
// "fence", "ingress-rule" and the like.
func RecordSourceObject(ctx context.Context, q pgkit.Querier, kind, name, detail string) error {
	_, err := q.Exec(ctx, `INSERT INTO timeferry.source_objects (kind, name, detail) VALUES ($1, $2, $3)
		ON CONFLICT (kind, name) DO UPDATE SET detail = excluded.detail`, kind, name, detail)
	return err
}

// SourceObjects lists what was recorded, oldest first.
func SourceObjects(ctx context.Context, q pgkit.Querier) ([]SourceObject, error) {
	rows, err := q.Query(ctx, "SELECT kind, name, detail FROM timeferry.source_objects ORDER BY at, kind, name")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[SourceObject])
}

// SourceObject is something that the migration made on the source.
type SourceObject struct{ Kind, Name, Detail string }

// Identity is one replica identity that the migration changed, with what was there before.
type Identity struct {
	Table         ident.Table
	Root          string // the table in scope: itself, or its partition root
	PreviousKind  string
	PreviousIndex string
	ChosenKind    string
	ChosenIndex   string
	Reason        string
}

// RecordIdentity notes a change of replica identity before it is made. The first record of a table stays: a second run
// must not take our own choice for what was there before.
func RecordIdentity(ctx context.Context, q pgkit.Querier, i Identity) error {
	_, err := q.Exec(ctx, `INSERT INTO timeferry.identities VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING`,
		i.Table.Schema, i.Table.Name, i.Root, i.PreviousKind, i.PreviousIndex, i.ChosenKind, i.ChosenIndex, i.Reason)
	return err
}

// Identities lists the recorded changes.
func Identities(ctx context.Context, q pgkit.Querier) ([]Identity, error) {
	rows, err := q.Query(ctx, "SELECT schema_name, table_name, root, previous_kind, previous_index, chosen_kind, chosen_index, reason FROM timeferry.identities ORDER BY 1, 2")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (Identity, error) {
		var i Identity
		err := row.Scan(&i.Table.Schema, &i.Table.Name, &i.Root, &i.PreviousKind, &i.PreviousIndex, &i.ChosenKind, &i.ChosenIndex, &i.Reason)
		return i, err
	})
}

// MarkRestored notes, in the transaction that restores it, that an entry of the schema dump is on the target.
func MarkRestored(ctx context.Context, q pgkit.Querier, entry, description string) error {
	_, err := q.Exec(ctx, "INSERT INTO timeferry.restored (entry, description) VALUES ($1, $2)", entry, description)
	return err
}

// Restored lists the entries that are on the target.
func Restored(ctx context.Context, q pgkit.Querier) (map[string]bool, error) {
	rows, err := q.Query(ctx, "SELECT entry FROM timeferry.restored")
	if err != nil {
		return nil, err
	}
	entries, err := pgx.CollectRows(rows, pgx.RowTo[string])
	set := make(map[string]bool, len(entries))
	for _, e := range entries {
		set[e] = true
	}
	return set, err
}

// RecordCreated notes an object that this migration made on the target, by pg_identify_object's type and identity.
func RecordCreated(ctx context.Context, q pgkit.Querier, kind, identity string) error {
	_, err := q.Exec(ctx, "INSERT INTO timeferry.created (type, identity) VALUES ($1, $2) ON CONFLICT DO NOTHING", kind, identity)
	return err
}

// Created lists the objects this migration made on the target, oldest first.
func Created(ctx context.Context, q pgkit.Querier) ([]CreatedObject, error) {
	rows, err := q.Query(ctx, "SELECT type, identity FROM timeferry.created ORDER BY ordinal")
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowToStructByPos[CreatedObject])
}

// CreatedObject is something that the migration made on the target.
type CreatedObject struct{ Type, Identity string }
