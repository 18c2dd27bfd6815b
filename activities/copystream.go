package activities

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/bulk"
	"timeferry/internal/contract"
	"timeferry/internal/fault"
	"timeferry/internal/obs"
	"timeferry/internal/pgkit"
	"timeferry/internal/source/prepare"
	"timeferry/internal/target/ledger"
)

const (
	// steeringAge is how old the last look at the steering may be when a part is claimed: thousands of small parts must not
	// cost a question each.
	steeringAge = 500 * time.Millisecond
	// pressureAge is the same for the source's pressure, and how often a stream that waits looks again.
	pressureAge = 2 * time.Second
	// statusAge and largestAge pace the ledger's answers for display, of one stream in eight at a time where there are many.
	statusAge  = time.Second
	largestAge = 5 * time.Second
)

// largestTables is how many tables the heartbeat tells of.
const largestTables = 20

// copyStream is what an activity does around one stream of the copy: it looks at the steering and at the source between
// parts, and makes heartbeats and metrics of its progress.
type copyStream struct {
	input          contract.CopyInput
	source, target pgkit.Endpoint
	metrics        *obs.Metrics
	shown          *obs.CopyStream
	limit          *copyLimit
	migration      string
	report         func(contract.Beat)
	// credits reads the CPU credit balance of the source's instance, see rdsctl.
	credits func(context.Context) (balance float64, known bool, err error)
	// givesAway says whether this stream should end for another worker to take it up, of so many streams in all; see copyshare.go.
	givesAway func(ctx context.Context, streams int) bool

	mu     sync.Mutex // the stream's meter reports from a goroutine of its own
	ledger *pgx.Conn  // on the target, nil until needed
	scout  *pgx.Conn  // on the source, nil until needed

	began                  time.Time
	steeringAt, pressureAt time.Time
	creditsAt              time.Time
	balance                *float64 // nil: not known
	statusAt, largestAt    time.Time
	stopped                bool

	committed ledger.CopyProgress // as the ledger last told
	beat      contract.CopyStatus // what of the next beat does not come from the ledger, or seldom
	counted   bulk.Progress       // what the metrics have
	speed     speed
}

func newCopyStream(input contract.CopyInput, source, target pgkit.Endpoint, metrics *obs.Metrics, report func(contract.Beat)) *copyStream {
	s := &copyStream{input: input, source: source, target: target, metrics: metrics, migration: input.Name, report: report, began: time.Now()}
	s.speed.add(time.Now(), 0)
	s.shown = metrics.StreamBegins(s.migration)
	return s
}

func (s *copyStream) close(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shown.Ends(s.beat.Waiting != "")
	for _, conn := range []*pgx.Conn{s.ledger, s.scout} {
		if conn != nil {
			closeQuietly(ctx, conn)
		}
	}
}

// onLedger runs do on the stream's own connection to the ledger, which is made anew when it was lost.
func (s *copyStream) onLedger(ctx context.Context, do func(*pgx.Conn) error) error {
	if err := redial(ctx, &s.ledger, s.target, "copy progress"); err != nil {
		return err
	}
	return do(s.ledger)
}

func redial(ctx context.Context, conn **pgx.Conn, e pgkit.Endpoint, purpose string) error {
	if *conn != nil && !(*conn).IsClosed() {
		return nil
	}
	fresh, err := pgkit.Dial(ctx, e, purpose)
	if err == nil {
		*conn = fresh
	}
	return err
}

// between is called before each claim. It ends the stream when the steering wants it no more, and holds it while the source
// is too busy.
func (s *copyStream) between(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		stop, err := s.unwanted(ctx)
		if err != nil {
			return err
		}
		if stop {
			s.stopped = true
			return bulk.ErrStop
		}
		why, err := s.tooBusy(ctx)
		if err != nil {
			return err
		}
		s.wait(ctx, why)
		if why == "" {
			return nil
		}
		if err := pgkit.Sleep(ctx, pressureAge); err != nil {
			return err
		}
	}
}

// unwanted asks the ledger whether this stream is to end, and then whether its worker should carry less. A migration that is paused
// stays so whichever worker dies: its streams ask before their first part.
func (s *copyStream) unwanted(ctx context.Context) (bool, error) {
	if time.Since(s.steeringAt) < steeringAge {
		return false, nil
	}
	var now ledger.Steering
	err := s.onLedger(ctx, func(conn *pgx.Conn) (err error) {
		now, err = ledger.CurrentSteering(ctx, conn)
		return err
	})
	s.steeringAt = time.Now()
	if err != nil || unwanted(s.input, now) {
		return err == nil, err
	}
	streams := cmp.Or(now.Concurrency, s.input.Streams, s.input.Copy.Concurrency)
	return time.Since(s.began) >= settleTime && s.givesAway(ctx, streams), nil
}

// unwanted is true for a stream of a paused migration, and for a surplus one.
func unwanted(input contract.CopyInput, now ledger.Steering) bool {
	switch {
	case now.Paused:
		return true
	case now.Concurrency == 0 || input.Stream == 0:
		return false
	}
	return input.Stream > now.Concurrency
}

// tooBusy says what keeps the source too busy for another part, "" when nothing does.
func (s *copyStream) tooBusy(ctx context.Context) (string, error) {
	if s.input.Copy.BackOff == nil || s.beat.Waiting == "" && time.Since(s.pressureAt) < pressureAge {
		return "", nil
	}
	if err := redial(ctx, &s.scout, s.source, "pressure"); err != nil {
		return "", err
	}
	p, err := prepare.ReadPressure(ctx, s.scout)
	if err != nil {
		return "", err
	}
	if p.CPUCredits, err = s.cpuCredits(ctx); err != nil {
		return "", err
	}
	s.pressureAt = time.Now()
	return p.TooMuch(*s.input.Copy.BackOff), nil
}

// creditsAge is how old the CPU credit balance may be: CloudWatch has a new one every five minutes.
const creditsAge = time.Minute

// cpuCredits is nil where the spec sets no limit, and where no balance is known. While CloudWatch does not answer, the last
// balance counts: a copy must not depend on it.
func (s *copyStream) cpuCredits(ctx context.Context) (*float64, error) {
	if s.input.Copy.BackOff.CPUCredits == 0 || time.Since(s.creditsAt) < creditsAge {
		return s.balance, nil
	}
	balance, known, err := s.credits(ctx)
	switch {
	case err != nil && fault.Classify(err) != fault.Transient:
		return nil, err
	case err == nil && known:
		s.balance = &balance
	case err == nil:
		s.balance = nil
	}
	s.creditsAt = time.Now()
	return s.balance, nil
}

// wait notes why the stream waits, or that it does no more.
func (s *copyStream) wait(ctx context.Context, why string) {
	if (why != "") != (s.beat.Waiting != "") {
		s.metrics.StreamWaits(s.migration, why != "")
	}
	if why == "" && s.beat.Waiting == "" {
		return
	}
	s.beat.Waiting = why
	s.askLedger(ctx, time.Now())
	s.tell()
}

// progressed takes the stream's word of how far it is.
func (s *copyStream) progressed(ctx context.Context, p bulk.Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.count(p)
	s.speed.add(now, p.TotalBytes)
	s.askLedger(ctx, now)
	b := &s.beat
	b.OpenBytes, b.OpenRows = p.OpenBytes, p.OpenRows
	b.Rate = s.sourceBytes(p, s.speed.perSecond(now))
	b.Running = nil
	if p.OpenBytes > 0 || p.OpenRows > 0 {
		running := contract.PartProgress{Table: p.Part.Table.String(), Part: p.Part.Number, Stream: s.input.Stream, Rows: p.Rows,
			Bytes: p.DoneBytes, Planned: p.Part.Bytes, Rate: b.Rate}
		running.ETASeconds = secondsFor(running.Planned-running.Bytes, b.Rate)
		b.Running = []contract.PartProgress{running}
	}
	s.tell()
}

// sourceBytes makes bytes of the source, which all sizes are in, of bytes on the wire.
func (s *copyStream) sourceBytes(p bulk.Progress, wire int64) int64 {
	switch {
	case s.committed.CopiedBytes > 0:
		return int64(float64(wire) * float64(s.committed.BytesDone) / float64(s.committed.CopiedBytes))
	case p.Bytes > 0 && p.DoneBytes > 0:
		return int64(float64(wire) * float64(p.DoneBytes) / float64(p.Bytes))
	}
	return wire
}

// secondsFor is 0 where nothing is left or the rate is not known.
func secondsFor(bytes, rate int64) int64 {
	if rate <= 0 || bytes <= 0 {
		return 0
	}
	return (bytes + rate - 1) / rate
}

// tell sends a heartbeat: what the ledger has, and what this stream adds.
func (s *copyStream) tell() {
	b := statusOf(s.committed)
	b.Epoch = s.committed.Epoch
	b.OpenBytes, b.OpenRows = s.beat.OpenBytes, s.beat.OpenRows
	s.shown.Stands(b)
	b.BytesDone = min(b.BytesDone+s.beat.OpenBytes, b.Bytes)
	b.Rows += s.beat.OpenRows
	b.Rate, b.Waiting, b.Running, b.Largest = s.beat.Rate, s.beat.Waiting, s.beat.Running, s.beat.Largest
	// The others' rates are not known here: whoever reads all heartbeats knows better.
	b.ETASeconds = secondsFor(b.Bytes-b.BytesDone, b.Rate*int64(max(s.input.Streams, 1)))
	s.report(contract.Beat{Copy: &b})
}

// askLedger reads what is for display, and how many streams share the rate: when it fails, the next one will do.
func (s *copyStream) askLedger(ctx context.Context, now time.Time) {
	pace := time.Duration(max(s.input.Streams/8, 1))
	if now.Sub(s.statusAt) < statusAge*pace {
		return
	}
	s.statusAt = now
	err := s.onLedger(ctx, func(conn *pgx.Conn) error {
		p, err := ledger.Progress(ctx, conn)
		if err != nil {
			return err
		}
		s.committed = p
		if err := s.limit.look(ctx, conn); err != nil {
			return err
		}
		if now.Sub(s.largestAt) < largestAge*pace {
			return nil
		}
		s.largestAt = now
		largest, err := ledger.LargestTables(ctx, conn, largestTables)
		if err != nil {
			return err
		}
		s.beat.Largest = nil
		for _, t := range largest {
			s.beat.Largest = append(s.beat.Largest, contract.TableProgress{Table: t.Table.String(), Parts: t.Parts, PartsDone: t.PartsDone,
				Bytes: t.Bytes, BytesDone: t.BytesDone, Rows: t.CopiedRows})
		}
		return nil
	})
	if err != nil {
		slog.DebugContext(ctx, "read copy progress", "err", err)
	}
}

// count adds to the metrics what is new since the last report.
func (s *copyStream) count(p bulk.Progress) {
	s.metrics.Copied(s.migration, p.TotalRows-s.counted.TotalRows, p.TotalBytes-s.counted.TotalBytes, p.PartsDone-s.counted.PartsDone)
	s.counted = p
}
