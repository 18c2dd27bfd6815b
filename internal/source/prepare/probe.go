package prepare

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/plan"
)

// Codes of a failed probe.
const (
	CodeNoSnapshot = "no-exported-snapshot"
	CodeSlotWaits  = "slot-creation-waits"
	CodeNoPlugin   = "no-output-plugin"
)

// probeWait is how long the probe waits for older transactions to end, as slot creation must.
const probeWait = 30 * time.Second

// ProbeSnapshot proves that this server gives a logical slot with a snapshot that another session can use: it creates a
// temporary slot, which goes with its connection, and reads under its snapshot. wal_level must be logical.
func ProbeSnapshot(ctx context.Context, ep pgkit.Endpoint) error {
	return probeSnapshot(ctx, ep, "pgoutput", probeWait)
}

// ProbeSlot is ProbeSnapshot with this output plugin: it also proves that the server has it.
func ProbeSlot(ctx context.Context, ep pgkit.Endpoint, plugin string) error {
	return probeSnapshot(ctx, ep, plugin, probeWait)
}

func probeSnapshot(ctx context.Context, ep pgkit.Endpoint, plugin string, wait time.Duration) (err error) {
	walsender, err := pgkit.DialReplication(ctx, ep, "probe")
	if err != nil {
		return fmt.Errorf("probe the snapshot: %w", err)
	}
	defer func() { err = errors.Join(err, walsender.Close(context.WithoutCancel(ctx))) }()
	reader, err := pgkit.Dial(ctx, ep, "probe")
	if err != nil {
		return fmt.Errorf("probe the snapshot: %w", err)
	}
	defer func() { err = errors.Join(err, reader.Close(context.WithoutCancel(ctx))) }()

	snapshot, err := createProbeSlot(ctx, walsender, plugin, wait)
	if err != nil {
		return explainProbe(ctx, reader, plugin, wait, err)
	}
	if snapshot == "" {
		return noSnapshot(errors.New("the server created the slot without a snapshot"))
	}
	if err := useSnapshot(ctx, reader, snapshot); err != nil {
		return noSnapshot(err)
	}
	return nil
}

// createProbeSlot waits for older transactions by locks, so lock_timeout bounds the wait on the server's side.
func createProbeSlot(ctx context.Context, walsender *pgconn.PgConn, plugin string, wait time.Duration) (snapshot string, err error) {
	if err := walsender.Exec(ctx, fmt.Sprintf("SET lock_timeout = %d", wait.Milliseconds())).Close(); err != nil {
		return "", err
	}
	name := "timeferry_probe_" + strings.ToLower(rand.Text())
	slot, err := pglogrepl.CreateReplicationSlot(ctx, walsender, name, plugin,
		pglogrepl.CreateReplicationSlotOptions{Temporary: true, Mode: pglogrepl.LogicalReplication, SnapshotAction: "EXPORT_SNAPSHOT"})
	return slot.SnapshotName, err
}

func useSnapshot(ctx context.Context, conn *pgx.Conn, snapshot string) error {
	return pgx.BeginTxFunc(ctx, conn, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET TRANSACTION SNAPSHOT "+ident.Literal(snapshot)); err != nil {
			return err
		}
		var rows int64
		return tx.QueryRow(ctx, "SELECT count(*) FROM pg_class").Scan(&rows)
	})
}

func noSnapshot(cause error) error {
	return fault.New(fault.Operator, "probe", "exported snapshot",
		"the copy needs it: connect to the writer directly, not through a pooler or proxy; if that is so already, ask AWS support why EXPORT_SNAPSHOT does not work on this instance",
		"a second session cannot use the slot's snapshot: %w", cause).WithCode(CodeNoSnapshot)
}

const olderTransactionsSQL = `
SELECT pid::text FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid() ORDER BY xact_start LIMIT 10`

func explainProbe(ctx context.Context, reader *pgx.Conn, plugin string, wait time.Duration, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Errorf("probe the snapshot: %w", err)
	}
	const op, subject = "create", "temporary slot"
	switch pg.Code {
	case "55P03":
		hint := "end the transactions that are open on the server; prepared ones count too"
		var pid string
		var pids []string
		if each(ctx, reader, olderTransactionsSQL, []any{&pid}, func() { pids = append(pids, pid) }) == nil && len(pids) > 0 {
			hint += "; writing sessions: " + strings.Join(pids, ", ")
		}
		return fault.New(fault.Transient, op, subject, hint, "it waits for older transactions, longer than %s: %w", wait, err).WithCode(CodeSlotWaits)
	case "58P01":
		return fault.New(fault.Operator, op, subject, "install the plugin on the source, or set replication.plugin to pgoutput, which every server has", "%w", err).WithCode(CodeNoPlugin)
	case "55000":
		return fault.New(fault.Operator, op, subject, "wal_level must be logical", "%w", err).WithCode(CodeNoSnapshot)
	case "42501", "28000":
		if list, unlisted, asked := pgkit.UnlistedPlugin(ctx, reader, plugin); unlisted && asked == nil && pg.Code == "42501" {
			return fault.New(fault.Operator, op, subject, contract.ListPlugin(list, plugin), "%s does not let %s be used: %w", contract.SettingPlugins, plugin, err).
				WithCode(plan.CodePluginUnlisted)
		}
		return fault.New(fault.Operator, op, subject, "GRANT rds_replication to the user, or ALTER ROLE … REPLICATION", "%w", err).WithCode(CodeNoSnapshot)
	case "53400":
		return fault.New(fault.Operator, op, subject, "raise max_replication_slots, or drop a slot that nobody uses", "%w", err).WithCode(CodeNoSnapshot)
	}
	return fmt.Errorf("probe the snapshot: %w", err)
}
