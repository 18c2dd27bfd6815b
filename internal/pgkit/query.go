package pgkit

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/change"
	"timeferry/internal/contract"
)

// Querier is what pgx.Conn, pgx.Tx and pgxpool.Pool have in common.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// Version is server_version_num, 150018 for 15.18.
func Version(ctx context.Context, q Querier) (int, error) {
	var v int
	err := q.QueryRow(ctx, "SELECT current_setting('server_version_num')::int").Scan(&v)
	return v, err
}

// CurrentLSN is the end of the WAL that the server has written so far.
func CurrentLSN(ctx context.Context, q Querier) (change.LSN, error) {
	return lsn(ctx, q, "SELECT pg_current_wal_lsn()::text")
}

// InsertLSN is the end of the WAL including what the server has not written yet: whatever commits from now on ends beyond it.
func InsertLSN(ctx context.Context, q Querier) (change.LSN, error) {
	return lsn(ctx, q, "SELECT pg_current_wal_insert_lsn()::text")
}

// FlushedLSN is the end of the WAL that is safe on the server's disk.
func FlushedLSN(ctx context.Context, q Querier) (change.LSN, error) {
	return lsn(ctx, q, "SELECT pg_current_wal_flush_lsn()::text")
}

func lsn(ctx context.Context, q Querier, sql string) (change.LSN, error) {
	var text string
	if err := q.QueryRow(ctx, sql).Scan(&text); err != nil {
		return 0, err
	}
	return change.ParseLSN(text)
}

// Setting reads a server setting; ok is false when the server does not know it.
func Setting(ctx context.Context, q Querier, name string) (value string, ok bool, err error) {
	var v *string
	if err := q.QueryRow(ctx, "SELECT current_setting($1, true)", name).Scan(&v); err != nil {
		return "", false, fmt.Errorf("read setting %s: %w", name, err)
	}
	if v == nil {
		return "", false, nil
	}
	return *v, true, nil
}

// FastToastSQL lets a session compress long values by lz4, where the server has it and nobody has chosen how: it takes a fraction of
// the time of pglz, to which the setting is by default only because it is older. Columns with a compression of their own keep to it.
// https://www.postgresql.org/docs/current/runtime-config-client.html#GUC-DEFAULT-TOAST-COMPRESSION
const FastToastSQL = `SELECT set_config(name, 'lz4', false) FROM pg_catalog.pg_settings
	WHERE name = 'default_toast_compression' AND source = 'default' AND 'lz4' = ANY (enumvals)`

// UnlistedPlugin says whether the server does not let slots have an output plugin, and its list of those that they may have. A server
// without such a list, or that does not show it to this user, counts as one that lets them.
func UnlistedPlugin(ctx context.Context, q Querier, plugin string) (list string, unlisted bool, err error) {
	var value *string
	err = q.QueryRow(ctx, "SELECT (SELECT setting FROM pg_settings WHERE name = $1)", contract.SettingPlugins).Scan(&value)
	if err != nil || value == nil {
		return "", false, err
	}
	return *value, !contract.ListsPlugin(*value, plugin), nil
}

// InTx runs do in one transaction, and commits it if do returns nil.
func InTx(ctx context.Context, conn *pgx.Conn, do func(pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, conn, do)
}

// CanSetReplicationRole tries, in a transaction that is rolled back, whether this session may keep triggers and foreign keys
// from firing (session_replication_role): a superuser may, and from PostgreSQL 15 on whoever was granted it.
func CanSetReplicationRole(ctx context.Context, conn *pgx.Conn) (bool, error) {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return false, err
	}
	_, err = tx.Exec(ctx, "SET LOCAL session_replication_role = replica")
	if rollbackErr := tx.Rollback(ctx); rollbackErr != nil {
		return false, rollbackErr
	}
	var refused interface{ SQLState() string }
	if errors.As(err, &refused) && refused.SQLState() == "42501" {
		return false, nil
	}
	return err == nil, err
}
