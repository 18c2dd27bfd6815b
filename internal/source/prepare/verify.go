package prepare

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

// Codes of VerifySettings' errors.
const (
	CodeWALLevel   = "wal-level"
	CodeNotInForce = "parameter-not-in-force"
)

// VerifySettings reads from the server itself whether logical replication is possible, and whether the parameters of wanted,
// in RDS's words, are in force: what RDS reports as in-sync is what it believes. It changes nothing.
func VerifySettings(ctx context.Context, conn *pgx.Conn, wanted map[string]string) error {
	level, _, err := pgkit.Setting(ctx, conn, "wal_level")
	if err != nil {
		return err
	}
	if level != "logical" {
		return fault.New(fault.Operator, "verify setting", "wal_level", "set wal_level=logical (on RDS rds.logical_replication=1) and restart the server",
			"the server still has %s", level).WithCode(CodeWALLevel)
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		value, known, err := plainSetting(ctx, conn, name)
		if err != nil {
			return err
		}
		if known && !sameNumber(value, wanted[name]) {
			return fault.New(fault.Operator, "verify setting", name, "see whether something else sets it too (ALTER SYSTEM, a later change of the group), or reboot the instance again, then resume",
				"the parameter group says %s, and the server has %s", wanted[name], value).WithCode(CodeNotInForce)
		}
	}
	return nil
}

// plainSetting is the server's value in the parameter's own unit, which is what RDS's parameters are given in. Only
// settings of the server are known here: RDS's own, as rds.logical_replication, show in what they bring about, and one that
// this session, its role or its database has set is no word about the group.
func plainSetting(ctx context.Context, conn *pgx.Conn, name string) (value string, known bool, err error) {
	err = conn.QueryRow(ctx, `SELECT coalesce(max(setting), ''), count(*) > 0 FROM pg_settings
		WHERE name = $1 AND vartype IN ('integer', 'real') AND source NOT IN ('session', 'client', 'user', 'database', 'database user')`, name).Scan(&value, &known)
	if err != nil {
		return "", false, fmt.Errorf("read setting %s: %w", name, err)
	}
	return value, known, nil
}

// sameNumber compares two numbers; a wanted value that is none, a formula, cannot be compared here and passes.
func sameNumber(have, wanted string) bool {
	w, err := strconv.ParseFloat(wanted, 64)
	if err != nil {
		return true
	}
	h, err := strconv.ParseFloat(have, 64)
	return err == nil && h == w
}
