package prepare

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// patience is how long to wait for a lock: each of waits once, with a pause between. While we wait, the application's own
// statements queue behind us, so the first waits are short.
type patience struct {
	waits []time.Duration
	pause time.Duration
}

var usualPatience = patience{
	waits: []time.Duration{200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 3 * time.Second},
	pause: time.Second,
}

// CodeLockBusy is the fault code when a table's lock could not be had; trying again later may succeed.
const CodeLockBusy = "lock-busy"

// underLock runs do in a transaction that gives up waiting for a lock soon, and starts over. do must be able to run again.
// When every try failed the error is Transient and names the sessions in the way.
func (p patience) underLock(ctx context.Context, conn *pgx.Conn, op string, tables []ident.Table, do func(pgx.Tx) error) error {
	var last error
	for i, wait := range p.waits {
		if i > 0 {
			if err := pgkit.Sleep(ctx, p.pause); err != nil {
				return fmt.Errorf("%s: %w", op, err)
			}
		}
		last = pgkit.InTx(ctx, conn, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, fmt.Sprintf("SET LOCAL lock_timeout = %d", wait.Milliseconds())); err != nil {
				return err
			}
			return do(tx)
		})
		if !lockFailed(last) {
			return last
		}
	}
	subject := ""
	if len(tables) == 1 {
		subject = tables[0].String()
	}
	return fault.New(fault.Transient, op, subject, lockHint(ctx, conn, tables), "no lock within %d tries: %w", len(p.waits), last).WithCode(CodeLockBusy)
}

// lockFailed is true for lock_not_available and deadlock_detected.
func lockFailed(err error) bool {
	var state interface{ SQLState() string }
	return errors.As(err, &state) && (state.SQLState() == "55P03" || state.SQLState() == "40P01")
}

const lockHoldersSQL = `
SELECT DISTINCT l.pid::text FROM pg_locks l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN unnest($1::text[], $2::text[]) t(schema, name) ON (t.schema, t.name) = (n.nspname, c.relname)
WHERE l.granted AND l.pid <> pg_backend_pid() AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`

func lockHint(ctx context.Context, conn *pgx.Conn, tables []ident.Table) string {
	const general = "a long transaction or maintenance of the table is in the way; it is tried again"
	schemas, names := split(tables)
	var pid string
	var pids []string
	if err := each(ctx, conn, lockHoldersSQL, []any{&pid}, func() { pids = append(pids, pid) }, schemas, names); err != nil || len(pids) == 0 {
		return general // the hint must not hide the error that it belongs to
	}
	return general + "; sessions: " + strings.Join(pids, ", ")
}

func split(tables []ident.Table) (schemas, names []string) {
	for _, t := range tables {
		schemas, names = append(schemas, t.Schema), append(names, t.Name)
	}
	return schemas, names
}
