package capture

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/spool"
)

// Receiver streams one slot into one spool. Run may be called once at a time; it does not close the spool.
type Receiver struct {
	Source       pgkit.Endpoint
	Slot         string
	Plugin       string   // of the slot: pgoutput, also when empty, or wal2json
	Publications []string // all that the tables in scope are in
	// LocalOnly leaves out changes that came to the source by replication from elsewhere.
	LocalOnly bool
	Spool     Buffer
	Log       *slog.Logger // nil: no log
	// ServerVersion is the source's server_version_num; 0 asks the source.
	ServerVersion int
	// IdleMarker is how long nothing may come before a marker is written to the source; 0: a minute.
	IdleMarker time.Duration
	// Silence is how long the source may say nothing, though asked twice a second, until another connection looks whether its
	// session still works for us (0: pgkit.DefaultSilence).
	Silence time.Duration

	progress Progress
	failures int          // connections that failed in a row
	quoted   bool         // wal2json can be told to quote numbers
	streamed float64      // bytes of WAL a second that the stream brought which was left for being too slow; 0: none was
	noBulk   bool         // the source does not let us take changes in bulk
	noMarker atomic.Bool  // nor write a marker
	limits   *backlogRule // nil: usualRule; tests set others
	// failpoint, if not nil, is called at the places where dying must lose nothing. Tests set it.
	failpoint func(place string)
}

// Progress says how far receiving has come. Transactions and Bytes count what this Run received.
type Progress struct {
	ReceivedLSN change.LSN // end of the last whole transaction received, or what the source said it has nothing before
	DurableLSN  change.LSN // up to where the spool keeps it, and the slot may forget
	ServerEnd   change.LSN // the source's position when it spoke last
	ServerTime  time.Time  // the source's clock then
	// Transactions and Bytes were received; bytes are those of the messages.
	Transactions int64
	Bytes        int64
	// Paused says why nothing is received, "" when all is well.
	Paused string
}

const (
	firstBackoff = 250 * time.Millisecond
	maxBackoff   = 10 * time.Second
	// maxUnknown is how often an error that no rule knows is met with a new connection before a person is asked.
	maxUnknown = 10
	// roomPause is how long to wait before a full disk is tried again.
	roomPause = 250 * time.Millisecond
)

// Run receives until ctx ends, and then returns ctx.Err() after everything received was made durable and confirmed. It
// connects again by itself whenever that can help; any other error is returned. onProgress may be nil; it is called from
// Run's goroutine about every second and when Paused changes, and must not block.
func (r *Receiver) Run(ctx context.Context, onProgress func(Progress)) error {
	if r.Log == nil {
		r.Log = slog.New(slog.DiscardHandler)
	}
	if onProgress == nil {
		onProgress = func(Progress) {}
	}
	r.progress, r.failures = Progress{DurableLSN: r.Spool.Durable(), ReceivedLSN: r.Spool.Durable()}, 0
	for {
		err := r.connectAndReceive(ctx, onProgress)
		if err == nil && ctx.Err() == nil {
			continue // the other way goes on
		}
		if fatal := r.fatal(ctx, err); fatal != nil {
			return fatal
		}
		r.failures++
		pause := min(firstBackoff<<min(r.failures-1, 10), maxBackoff)
		r.Log.LogAttrs(ctx, slog.LevelWarn, "stream interrupted", slog.String("slot", r.Slot), slog.Any("err", err), slog.Duration("elapsed", pause))
		r.report(onProgress, "reconnecting: "+err.Error())
		if err := pgkit.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// fatal is what Run must return after err, or nil if it connects again. A spool that failed counts more than the end of ctx.
func (r *Receiver) fatal(ctx context.Context, err error) error {
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err()) || spoolCode(err) == "") {
		return ctx.Err()
	}
	switch class := fault.Classify(err); class {
	case fault.Transient, fault.NotReady:
		return nil
	case fault.Unknown:
		if r.failures < maxUnknown {
			return nil
		}
		return err
	case fault.Operator, fault.Integrity, fault.Bug:
		return err
	default:
		return err
	}
}

func spoolCode(err error) string {
	for _, code := range []string{spool.CodeBroken, spool.CodeCorrupt, spool.CodeGap} {
		if spool.HasCode(err, code) {
			return code
		}
	}
	return ""
}

// connectAndReceive makes the spool whole, and receives in one of the two ways until that ends. It returns nil when the
// other way is to go on.
func (r *Receiver) connectAndReceive(ctx context.Context, onProgress func(Progress)) error {
	if err := r.settle(ctx, onProgress); err != nil {
		return err
	}
	receive, err := r.connect(ctx)
	if err != nil {
		return err
	}
	before := r.Spool.Durable()
	err = receive(ctx, onProgress)
	if r.Spool.Durable() > before { // the connection was good for something
		r.failures = 0
	}
	if errors.Is(err, errSwitch) {
		return nil
	}
	return err
}

func (r *Receiver) at(place string) {
	if r.failpoint != nil {
		r.failpoint(place)
	}
}

// settle drops an incomplete transaction from the spool and waits until the rest is durable: the source is asked for what
// follows Durable, so nothing may be there after it.
func (r *Receiver) settle(ctx context.Context, onProgress func(Progress)) error {
	if err := r.Spool.Rewind(); err != nil {
		return err
	}
	for {
		_, err := r.Spool.Sync()
		if err == nil || !spool.HasCode(err, spool.CodeFull) {
			return err
		}
		r.report(onProgress, pausedBy(err))
		if err := pgkit.Sleep(ctx, roomPause); err != nil {
			return err
		}
	}
}

// report passes progress on while there is no session.
func (r *Receiver) report(onProgress func(Progress), paused string) {
	r.progress.DurableLSN, r.progress.Paused = r.Spool.Durable(), paused
	onProgress(r.progress)
}

// pausedBy is the sentence for Progress.Paused.
func pausedBy(err error) string { return "no room to buffer changes: " + err.Error() }
