package pgkit

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/ident"
)

// ImportSnapshot begins a read-only transaction that sees what the exported snapshot called name shows. visible is what it
// must show, as VisibleSQL tells it. ok is false, with no transaction open, when the snapshot is gone or the name is another
// one's by now: names are made of small counters that begin anew when the server restarts. An empty visible is not compared.
func ImportSnapshot(ctx context.Context, conn *pgx.Conn, name, visible string) (ok bool, err error) {
	sql := "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET TRANSACTION SNAPSHOT " + ident.Literal(name) + "; " + VisibleSQL
	results, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	switch {
	case err == nil:
		ok = visible == "" || visible == lastValue(results)
	case !snapshotGone(err):
		return false, err
	}
	if ok {
		return true, nil
	}
	if _, err := conn.Exec(ctx, "ROLLBACK"); err != nil {
		return false, fmt.Errorf("leave snapshot: %w", err)
	}
	return false, nil
}

// VisibleSQL tells which transactions the present one sees: two snapshots of a cluster that say the same show the same.
const VisibleSQL = "SELECT txid_current_snapshot()::text"

// snapshotGone: what SET TRANSACTION SNAPSHOT says differs between versions: invalid_parameter_value until 15,
// undefined_object later, and object_not_in_prerequisite_state when the exporter is just ending.
func snapshotGone(err error) bool {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return false
	}
	return server.Code == "22023" || server.Code == "42704" || server.Code == "55000"
}

func lastValue(results []*pgconn.Result) string {
	if len(results) == 0 {
		return ""
	}
	last := results[len(results)-1]
	if len(last.Rows) != 1 || len(last.Rows[0]) != 1 {
		return ""
	}
	return string(last.Rows[0][0])
}
