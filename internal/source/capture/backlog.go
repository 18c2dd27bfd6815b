package capture

import (
	"time"

	"timeferry/internal/change"
)

// The backlog is taken in bulk through the SQL interface while it is large, because the stream sends every change as a
// packet of its own (docs/decisions/0020-backlogs-in-bulk.md). These say when.
const (
	// drainFrom is how far the stream must be behind to be left, and drainTo where it takes over again: a source that writes faster
	// than it can stream is followed by one call after the other, each as long as the one before took (docs/performance.md).
	drainFrom = 4 << 20
	drainTo   = 1 << 20
	// askEvery is how often a stream that brings changes asks how far it is behind. It is left when that is far twice in a row:
	// what it gets over by itself is not worth a change, which costs a connection.
	askEvery = 500 * time.Millisecond
	// callEvery is the pace of the calls that follow a source which outwrites a stream: at the least so much is between their beginnings.
	callEvery = 200 * time.Millisecond
	// asFast is the part of what a stream brought, when it was left, that a source must write to be followed by calls, and fastSource
	// the least, in bytes of WAL a second. After followMost the stream is tried again whatever the source writes.
	asFast     = 0.8
	fastSource = 1 << 20
	followMost = 5 * time.Minute
	// paceOver is how long the source's writing is watched for it.
	paceOver = time.Second

	// peekBytes is what the result of one call is to take on the source, in memory and temporary files. A call that takes twice as much
	// there is cancelled, unless it is one of leastWindow.
	peekBytes = 256 << 20
	// peekRows bounds a call whose rows are tiny.
	peekRows = 1_000_000
	// rowBytes is what the server stores for a row besides its message.
	rowBytes = 64
	// growth is how much further than the one before a call may look: what the next WAL expands to is not known. Compressed values that
	// are kept out of their rows come to 80 times the WAL that they took.
	growth = 2
	// leastWindow keeps calls from getting so small that only their beginning is work. The first call, and the one after a
	// call that was cancelled, are as small.
	leastWindow = 8 << 20
	// blindWindow is as far as a call looks where the source does not say what it takes in temporary files.
	blindWindow = 64 << 20
	// rereadMost bounds the WAL that a call has to read: from where the slot restarts, which an open transaction holds back, to
	// where the call ends. It is read again by every call, and it bounds the greatest transaction, which comes whole.
	rereadMost = 1 << 30
	// rereadRatio bounds the same by how far the stream is behind: for little it is not worth to read much again.
	rereadRatio = 64
)

// backlogRule chooses between the ways to receive, and how much a call takes.
type backlogRule struct {
	drainFrom, drainTo                 int64
	peekBytes, leastWindow, rereadMost int64
	blindWindow                        int64
	askEvery, callEvery                time.Duration
	fastSource                         float64
}

var usualRule = backlogRule{drainFrom: drainFrom, drainTo: drainTo, peekBytes: peekBytes, leastWindow: leastWindow, rereadMost: rereadMost, blindWindow: blindWindow,
	askEvery: askEvery, callEvery: callEvery, fastSource: fastSource}

// lookback is what the calls before teach the next one. The zero value: there was none, or it was cancelled.
type lookback struct {
	bytes int64   // of WAL that the last call looked at
	ratio float64 // bytes of result to bytes of WAL in it
	blind bool    // the source does not say what a call takes
}

// bytes is how far the next call looks: no more than what the last one's ratio allows, and than growth.
func (b backlogRule) bytes(last lookback) int64 {
	window := min(int64(float64(b.peekBytes)/max(last.ratio, 1)), growth*last.bytes)
	if last.blind {
		window = min(window, b.blindWindow)
	}
	return max(window, b.leastWindow)
}

// window is how far the next call looks from position from. ok is false when the stream does better: the rest is less than
// least, or the slot restarts too far back.
func (b backlogRule) window(from, restart, flushed change.LSN, least int64, last lookback) (upTo change.LSN, ok bool) {
	behind, again := from.BytesBehind(flushed), restart.BytesBehind(from)
	if behind < max(least, 1) || again > rereadRatio*behind {
		return 0, false
	}
	room := b.rereadMost - again
	if restart == 0 || room < b.leastWindow {
		return 0, false
	}
	return min(from+change.LSN(min(b.bytes(last), room)), flushed), true
}

// worth tells whether the backlog is worth leaving the stream, or not beginning it.
func (b backlogRule) worth(from change.LSN, s slotState) bool {
	_, ok := b.window(from, s.restart, s.flushed, b.drainFrom, lookback{})
	return ok && s.flushed != 0
}

// outwrites tells whether a source that writes as fast as it does is followed by calls, though little is left: a stream that brought
// streamed bytes a second would fall behind again. streamed is 0 when no stream was left.
func (b backlogRule) outwrites(p pace, streamed float64) bool {
	return streamed > 0 && (!p.known || p.rate > max(asFast*streamed, b.fastSource))
}
