package slot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

// CodeSlotWaits is the fault of a slot whose creation waited too long for older transactions.
const CodeSlotWaits = "slot-creation-waits"

// errPatience ends the waiting for older transactions.
var errPatience = errors.New("older transactions did not end")

// Ensure makes the slot, or finds it made by the same plugin; its snapshot is not kept. It waits at most patience for the
// transactions that were under way, which the server wants to see ended first; then the error has the code CodeSlotWaits and
// names them, and no slot stays. watch is a session on the same server, not in a transaction. Of the options Fresh and
// BeforeCreate do not count.
func Ensure(ctx context.Context, watch *pgx.Conn, o HoldOptions, patience time.Duration) error {
	var waitsFor []Blocker
	o.OnWaiting = func(b []Blocker) { waitsFor = b }
	o.Fresh, o.BeforeCreate = true, nil
	limited, cancel := context.WithTimeoutCause(ctx, patience, errPatience)
	defer cancel()
	err := ensure(limited, watch, o)
	if err == nil || !errors.Is(context.Cause(limited), errPatience) {
		return err
	}
	// It may have succeeded in the last moment. The session that watched may have ended with the waiting.
	conn, err := pgkit.Dial(ctx, o.Source, "slot creation")
	if err != nil {
		return fmt.Errorf("after the slot's creation was given up: %w", err)
	}
	defer closeQuietly(ctx, conn)
	if err := Drop(ctx, conn, o.Slot, time.Second); err != nil {
		return fmt.Errorf("after the slot's creation was given up: %w", err)
	}
	return fault.New(fault.Operator, "create slot", o.Slot, "let these transactions end, or end their sessions, then try again",
		"it waited %s for older transactions: %s", patience, inWords(waitsFor)).WithCode(CodeSlotWaits)
}

func ensure(ctx context.Context, watch *pgx.Conn, o HoldOptions) error {
	s, err := settled(ctx, watch, o)
	if err != nil {
		return err
	}
	if err := check(ctx, watch, o, s); err != nil || s.Exists {
		return err
	}
	e, err := create(ctx, watch, o, false)
	if err == nil {
		closeQuietly(ctx, e.conn)
	}
	return err
}

func inWords(blockers []Blocker) string {
	if len(blockers) == 0 {
		return "whose they are is not known"
	}
	words := make([]string, len(blockers))
	for i, b := range blockers {
		words[i] = b.String()
	}
	return strings.Join(words, "; ")
}
