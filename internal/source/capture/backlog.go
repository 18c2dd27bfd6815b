package capture

import (
	"time"

	"timeferry/internal/change"
)

// The backlog is taken in bulk through the SQL interface while it is large, because the stream sends every change as a
// packet of its own (docs/decisions/0020-backlogs-in-bulk.md). These say when.
const (
	// drainFrom is how far the stream must be behind to be left, and drainTo where it takes over again. 21 MiB of updates of few
	// rows took 5.8 s to stream, and 0.2 s to apply (docs/performance.md); a change of ways costs a connection.
	drainFrom = 16 << 20
	drainTo   = 4 << 20
	// askEvery is how often a stream that brings changes asks how far it is behind. It is left when that is far twice in a row:
	// what it gets over by itself is not worth a change.
	askEvery = 3 * time.Second

	// peekBytes is what the result of one call is to take on the source, in memory and temporary files.
	peekBytes = 256 << 20
	// peekRows bounds a call whose rows are tiny.
	peekRows = 1_000_000
	// rowBytes is what the server stores for a row besides its message.
	rowBytes = 64
	// firstRatio is how many bytes of result a byte of WAL is taken to give, until there was a call to learn from.
	firstRatio = 4
	// leastWindow keeps calls from getting so small that only their beginning is work.
	leastWindow = 8 << 20
	// rereadMost bounds the WAL that a call has to read: from where the slot restarts, which an open transaction holds back, to
	// where the call ends. It is read again by every call, and it bounds the greatest transaction, which comes whole.
	rereadMost = 1 << 30
)

// backlogRule chooses between the ways to receive, and how much a call takes.
type backlogRule struct {
	drainFrom, drainTo                 int64
	peekBytes, leastWindow, rereadMost int64
	askEvery                           time.Duration
}

var usualRule = backlogRule{drainFrom: drainFrom, drainTo: drainTo, peekBytes: peekBytes, leastWindow: leastWindow, rereadMost: rereadMost, askEvery: askEvery}

// window is how far the next call looks from position from. ok is false when the stream does better: the rest is less than
// least, or the slot restarts too far back.
func (b backlogRule) window(from, restart, flushed change.LSN, least int64, ratio float64) (upTo change.LSN, ok bool) {
	if from.BytesBehind(flushed) < max(least, 1) {
		return 0, false
	}
	room := b.rereadMost - restart.BytesBehind(from)
	if restart == 0 || room < b.leastWindow {
		return 0, false
	}
	window := max(int64(float64(b.peekBytes)/max(ratio, 1)), b.leastWindow)
	return min(from+change.LSN(min(window, room)), flushed), true
}

// worth tells whether the backlog is worth leaving the stream, or not beginning it.
func (b backlogRule) worth(from change.LSN, s slotState) bool {
	_, ok := b.window(from, s.restart, s.flushed, b.drainFrom, firstRatio)
	return ok && s.flushed != 0
}
