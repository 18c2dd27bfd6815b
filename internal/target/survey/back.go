package survey

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
	"timeferry/internal/wal2json"
)

const backSQL = `
SELECT current_setting('wal_level'), pg_encoding_to_char(d.encoding), (SELECT count(*) FROM pg_replication_slots), current_setting('max_replication_slots')::int,
	(SELECT count(*) FROM pg_stat_replication), current_setting('max_wal_senders')::int, r.rolsuper OR r.rolreplication, pg_has_role(d.datdba, 'USAGE')
FROM pg_database d, pg_roles r WHERE d.datname = current_database() AND r.rolname = current_user`

// ReadBack reads whether changes can be read from the target by the plugin, for the way back. Nothing is changed.
func ReadBack(ctx context.Context, conn *pgx.Conn, plugin string, f *plan.BackFacts) error {
	f.Plugin = plugin
	err := conn.QueryRow(ctx, backSQL).Scan(&f.WALLevel, &f.Encoding, &f.SlotsUsed, &f.MaxSlots, &f.SendersUsed, &f.Senders, &f.CanReplicate, &f.OwnsDatabase)
	if err != nil {
		return fmt.Errorf("read whether the target can be read from: %w", err)
	}
	if f.WALLevel != "logical" || f.SlotsUsed >= f.MaxSlots || !f.CanReplicate {
		return nil
	}
	err = tryPlugin(ctx, conn, plugin)
	var refused interface{ SQLState() string }
	switch {
	case err == nil || ctx.Err() != nil:
		return ctx.Err()
	case !errors.As(err, &refused):
		return fmt.Errorf("try the plugin %s on the target: %w", plugin, err)
	case refused.SQLState() == lockNotAvailable: // the plugin is there, and older transactions are open
		return nil
	}
	f.PluginError = err.Error()
	return nil
}

const (
	lockNotAvailable = "55P03"
	// probePatience is how long the probe waits for older transactions, as a slot's creation does.
	probePatience = 5 * time.Second
)

// tryPlugin makes a temporary slot, which ends with its session at the latest, and asks the plugin to begin as the receiver will.
func tryPlugin(ctx context.Context, conn *pgx.Conn, plugin string) error {
	if _, err := conn.Exec(ctx, "SELECT set_config('lock_timeout', $1, false)", fmt.Sprint(probePatience.Milliseconds())); err != nil {
		return err
	}
	name := "timeferry_probe_" + strings.ToLower(rand.Text())
	if _, err := conn.Exec(ctx, "SELECT pg_create_logical_replication_slot($1, $2, true)", name, plugin); err != nil {
		return err
	}
	if plugin == plan.PluginWal2json {
		sql := "SELECT count(*) FROM pg_logical_slot_peek_changes(" + ident.Literal(name) + ", '0/1', 1"
		for _, o := range wal2json.Options(true) {
			sql += ", " + ident.Literal(o)
		}
		if _, err := conn.Exec(ctx, sql+")"); err != nil {
			return err
		}
	}
	_, err := conn.Exec(ctx, "SELECT pg_drop_replication_slot($1)", name)
	return err
}

// backHypertablesSQL lists hypertables with what would change them behind the change stream's back.
const backHypertablesSQL = `
SELECT h.hypertable_schema::text, h.hypertable_name::text, h.compression_enabled
	OR EXISTS (SELECT FROM timescaledb_information.jobs j WHERE (j.hypertable_schema, j.hypertable_name) = (h.hypertable_schema, h.hypertable_name) AND j.proc_name = 'policy_retention')
FROM timescaledb_information.hypertables h`

// Hypertables are those of the target: true for those that keep a columnstore or drop old rows by themselves.
func Hypertables(ctx context.Context, q pgkit.Querier) (map[ident.Table]bool, error) {
	all := map[ident.Table]bool{}
	var exists bool
	if err := q.QueryRow(ctx, "SELECT to_regclass('timescaledb_information.hypertables') IS NOT NULL").Scan(&exists); err != nil || !exists {
		return all, err
	}
	rows, err := q.Query(ctx, backHypertablesSQL)
	if err != nil {
		return nil, fmt.Errorf("read the target's hypertables: %w", err)
	}
	var t ident.Table
	var changes bool
	_, err = pgx.ForEachRow(rows, []any{&t.Schema, &t.Name, &changes}, func() error { all[t] = changes; return nil })
	if err != nil {
		return nil, fmt.Errorf("read the target's hypertables: %w", err)
	}
	return all, nil
}
