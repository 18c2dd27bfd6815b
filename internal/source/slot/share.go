package slot

import (
	"context"

	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

// ShareOptions name a snapshot that other sessions hold.
type ShareOptions struct {
	Source  pgkit.Endpoint
	Subject string   // what the snapshot is of, for errors
	Names   []string // that it was exported under; some of the exporting sessions may be gone
	Visible string   // what it must show, see pgkit.VisibleSQL; empty: any snapshot of these names is taken for it
}

// Share takes part in holding a snapshot: it imports it from the first of its names that still lives, exports it under a name
// of its own, calls onHeld once with that name, and keeps the snapshot alive until ctx ends, whatever becomes of the others.
// When none of the names lives, before or after, the Transient fault CodeSnapshotLost comes back; else it ends as Hold does.
func Share(ctx context.Context, o ShareOptions, onHeld func(name string) error, onPing func()) error {
	conn, err := pgkit.Dial(ctx, o.Source, "snapshot holder")
	if err != nil {
		return err
	}
	defer closeQuietly(ctx, conn)
	for _, name := range o.Names {
		ok, err := pgkit.ImportSnapshot(ctx, conn, name, o.Visible)
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		own, err := exportAgain(ctx, conn)
		if err != nil {
			return err
		}
		if err := onHeld(own); err != nil {
			return err
		}
		return keepAlive(ctx, conn, o.Subject, onPing)
	}
	return fault.New(fault.Transient, "share snapshot of", o.Subject, "", "no session holds it any more").WithCode(CodeSnapshotLost)
}
