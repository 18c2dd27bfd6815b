package slot

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

// HoldOptions say which slot, and how it may come to be. OnWaiting may be nil.
type HoldOptions struct {
	Source pgkit.Endpoint
	Slot   string
	Plugin string // pgoutput or wal2json
	// Fresh allows to make the permanent slot when there is none: before the first epoch. When false, a missing slot is
	// a lost one: changes since the first epoch would be missing from a new slot, so the fault CodeSlotLost comes back.
	Fresh bool
	// OnWaiting is told about every second who keeps the slot from being made.
	OnWaiting func([]Blocker)
	// BeforeCreate, if not nil, is called once, right before the slot is made whose snapshot will be held: with all connections
	// open, so that little time lies between. Its error ends Hold.
	BeforeCreate func() error
}

// Held is a snapshot and where it stands in the stream.
type Held struct {
	Slot            string
	ConsistentPoint change.LSN
	Snapshot        string // for SET TRANSACTION SNAPSHOT
	Visible         string // what the snapshot shows, see pgkit.VisibleSQL
	Created         bool   // the permanent slot was made by this call
}

// How often the holder's session is asked whether it still lives, and how long it may take to answer: a broken session
// answers with an error at once, a silent network within the timeout.
const (
	pingEvery   = 2 * time.Second
	pingTimeout = 15 * time.Second
)

// Hold makes or finds the permanent slot, takes a snapshot with its exact consistent point, calls onHeld once, and keeps the
// snapshot alive until ctx ends. It calls onPing, if not nil, after each proof of life. It returns nil when ctx ended after onHeld
// returned, ctx's error when it ended before, onHeld's error, or a Transient fault CodeSnapshotLost when the snapshot is gone.
// May be called again at any time: an existing slot is kept, and a temporary one gives a new snapshot.
func Hold(ctx context.Context, o HoldOptions, onHeld func(Held) error, onPing func()) error {
	conn, err := pgkit.Dial(ctx, o.Source, "snapshot holder")
	if err != nil {
		return err
	}
	defer closeQuietly(ctx, conn)
	held, err := take(ctx, conn, o)
	if err != nil {
		return err
	}
	if err := onHeld(held); err != nil {
		return err
	}
	return keepAlive(ctx, conn, held.Slot, onPing)
}

// take leaves conn in a transaction that has the snapshot and exports it again.
func take(ctx context.Context, conn *pgx.Conn, o HoldOptions) (Held, error) {
	before, err := settled(ctx, conn, o)
	if err != nil {
		return Held{}, err
	}
	if err := check(ctx, conn, o, before); err != nil {
		return Held{}, err
	}
	exported, err := create(ctx, conn, o, before.Exists)
	if err != nil {
		return Held{}, err
	}
	// The snapshot lives on in conn's transaction; a temporary slot goes with its connection.
	defer closeQuietly(ctx, exported.conn)
	// Confirmed before the new point: the permanent slot has all that comes after it. (What was confirmed since may be past
	// the point, but that is with the receiver.)
	if before.Exists && before.ConfirmedFlush > exported.point {
		return Held{}, fault.New(fault.Bug, "take snapshot for", o.Slot, "", "slot is confirmed up to %s, past the new consistent point %s",
			before.ConfirmedFlush, exported.point)
	}
	held := Held{Slot: o.Slot, ConsistentPoint: exported.point, Created: !before.Exists}
	if held.Snapshot, held.Visible, err = adopt(ctx, conn, exported.snapshot); err != nil {
		return Held{}, err
	}
	after, err := Inspect(ctx, conn, o.Slot)
	if err != nil {
		return Held{}, err
	}
	if !after.Exists || after.Lost() {
		return Held{}, slotLost(o.Slot, after)
	}
	return held, nil
}

// check refuses a slot that is not ours or no longer of use, and a missing one that must be there.
func check(ctx context.Context, conn *pgx.Conn, o HoldOptions, s State) error {
	if !s.Exists {
		if o.Fresh {
			return nil
		}
		return slotLost(o.Slot, s)
	}
	if s.Lost() {
		return slotLost(o.Slot, s)
	}
	var database string
	if err := conn.QueryRow(ctx, "SELECT current_database()").Scan(&database); err != nil {
		return fmt.Errorf("check slot %s: %w", o.Slot, err)
	}
	if s.Database != database || s.Plugin != o.Plugin {
		return fault.New(fault.Operator, "use slot", o.Slot, "drop that slot if nobody needs it, or give the migration another name",
			"a slot of this name exists for database %q with plugin %q", s.Database, s.Plugin).WithCode(CodeSlotTaken)
	}
	return nil
}

func slotLost(name string, s State) error {
	reason := "the slot does not exist any more"
	switch {
	case s.Invalidation != "":
		reason = "the server has invalidated it: " + s.Invalidation
	case s.Exists:
		reason = "the server has removed WAL that it needs (wal_status " + s.WALStatus + ")"
	}
	return fault.New(fault.Operator, "use slot", name, "resync makes a fresh slot and copy, or abort and start again; give the source more room for WAL (max_slot_wal_keep_size) first",
		"%s", reason).WithCode(CodeSlotLost)
}

// settled waits while another session is making the slot: an earlier call of ours whose process died may still be at it.
func settled(ctx context.Context, conn *pgx.Conn, o HoldOptions) (State, error) {
	for {
		s, err := Inspect(ctx, conn, o.Slot)
		if err != nil || !s.settling() {
			return s, err
		}
		if err := reportBlockers(ctx, conn, s.ActivePID, o.OnWaiting); err != nil {
			return State{}, err
		}
		if err := pgkit.Sleep(ctx, time.Second); err != nil {
			return State{}, err
		}
	}
}

// adopt imports the snapshot into conn's new transaction and exports it from there.
func adopt(ctx context.Context, conn *pgx.Conn, snapshot string) (own, visible string, err error) {
	ok, err := pgkit.ImportSnapshot(ctx, conn, snapshot, "")
	if err != nil {
		return "", "", fmt.Errorf("adopt snapshot: %w", err)
	}
	if !ok {
		return "", "", fault.New(fault.Transient, "adopt snapshot", snapshot, "", "the session that made it has ended").WithCode(CodeSnapshotLost)
	}
	if own, err = exportAgain(ctx, conn); err != nil {
		return "", "", err
	}
	if err := conn.QueryRow(ctx, pgkit.VisibleSQL).Scan(&visible); err != nil {
		return "", "", fmt.Errorf("look at snapshot: %w", err)
	}
	return own, visible, nil
}

// exportAgain gives the snapshot of conn's transaction a further name, which lives as long as that transaction.
func exportAgain(ctx context.Context, conn *pgx.Conn) (own string, err error) {
	if err := conn.QueryRow(ctx, "SELECT pg_export_snapshot()").Scan(&own); err != nil {
		return "", fmt.Errorf("export snapshot: %w", err)
	}
	return own, nil
}

func keepAlive(ctx context.Context, conn *pgx.Conn, subject string, onPing func()) error {
	for {
		if pgkit.Sleep(ctx, pingEvery) != nil {
			return nil
		}
		ping, cancel := context.WithTimeoutCause(ctx, pingTimeout, fmt.Errorf("no answer within %s", pingTimeout))
		_, err := conn.Exec(ping, "SELECT 1")
		cancel()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fault.New(fault.Transient, "hold snapshot of", subject, "", "the session that held it has ended: %w", err).WithCode(CodeSnapshotLost)
		}
		if onPing != nil {
			onPing()
		}
	}
}

// closeQuietly closes a connection whose work is done or lost either way, so that its error says nothing.
func closeQuietly(ctx context.Context, conn interface{ Close(context.Context) error }) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
