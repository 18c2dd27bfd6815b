package slot

import (
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/change"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// export is a snapshot that lives until conn runs a command or closes.
type export struct {
	conn     *pgconn.PgConn
	point    change.LSN
	snapshot string
}

// create makes the permanent slot, or a temporary one beside it, and exports its snapshot. watch is a second session, free
// to be used while the server waits for older transactions.
func create(ctx context.Context, watch *pgx.Conn, o HoldOptions, temporary bool) (export, error) {
	conn, err := pgkit.DialReplication(ctx, o.Source, "slot creation")
	if err != nil {
		return export{}, err
	}
	name := o.Slot
	if temporary {
		name = temporaryName(o.Slot)
	}
	if o.BeforeCreate != nil {
		if err := o.BeforeCreate(); err != nil {
			closeQuietly(ctx, conn)
			return export{}, err
		}
	}
	created := make(chan error, 1)
	var result []*pgconn.Result
	work, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		var err error
		result, err = conn.Exec(work, createSQL(conn, name, o.Plugin, temporary)).ReadAll()
		created <- err
	}()
	err = watchCreation(ctx, watch, int(conn.PID()), created, o.OnWaiting, cancel)
	if err != nil {
		closeQuietly(ctx, conn)
		if list, unlisted, asked := pgkit.UnlistedPlugin(ctx, watch, o.Plugin); unlisted && asked == nil && sqlState(err) == stateNoPrivilege {
			return export{}, fault.New(fault.Operator, "create slot", name, contract.ListPlugin(list, o.Plugin),
				"the source's %s does not let %s be used: %w", contract.SettingPlugins, o.Plugin, err).WithCode(CodePluginUnlisted)
		}
		return export{}, explainCreate(ctx, name, err)
	}
	e, err := readExport(result)
	if err != nil {
		closeQuietly(ctx, conn)
		return export{}, fmt.Errorf("create slot %s: %w", name, err)
	}
	e.conn = conn
	return e, nil
}

// createSQL is in the grammar of the replication protocol, which changed in version 15. From 17 on the permanent slot is one that
// standbys may keep too (sync_replication_slots), so that it outlives a failover to them; where none does, that changes nothing.
func createSQL(conn *pgconn.PgConn, name, plugin string, temporary bool) string {
	kind, option := "", "EXPORT_SNAPSHOT"
	if temporary {
		kind = "TEMPORARY "
	}
	switch version := majorVersion(conn.ParameterStatus("server_version")); {
	case version >= 17 && !temporary:
		option = "(SNAPSHOT 'export', FAILOVER)"
	case version >= 15:
		option = "(SNAPSHOT 'export')"
	}
	return "CREATE_REPLICATION_SLOT " + ident.Quote(name) + " " + kind + "LOGICAL " + ident.Quote(plugin) + " " + option
}

// majorVersion of "15.18 (Debian …)" is 15; 0 when it cannot be read, for which the old grammar does.
func majorVersion(version string) int {
	digits := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if digits < 0 {
		digits = len(version)
	}
	major, err := strconv.Atoi(version[:digits])
	if err != nil {
		return 0
	}
	return major
}

// temporaryName stays within PostgreSQL's 63 bytes.
func temporaryName(slot string) string {
	return slot[:min(len(slot), 52)] + "_" + strings.ToLower(rand.Text()[:10])
}

// watchCreation waits for the creation to end and tells meanwhile who is waited for. If watching fails, the creation is
// cancelled, and awaited.
func watchCreation(ctx context.Context, watch *pgx.Conn, pid int, created <-chan error, onWaiting func([]Blocker), cancel func()) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case err := <-created:
			return err
		case <-tick.C:
		}
		if err := reportBlockers(ctx, watch, pid, onWaiting); err != nil {
			cancel()
			<-created
			return err
		}
	}
}

func readExport(results []*pgconn.Result) (export, error) {
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) < 3 {
		return export{}, fmt.Errorf("unexpected answer of the server")
	}
	row := results[0].Rows[0] // slot_name, consistent_point, snapshot_name, output_plugin
	point, err := change.ParseLSN(string(row[1]))
	return export{point: point, snapshot: string(row[2])}, err
}
