package capture

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"timeferry/internal/change"
	"timeferry/internal/failpoint"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
)

// drain takes a backlog in bulk: look at what comes next, keep it durably, then let the slot forget it. The slot is read by one
// session at a time, and nothing is confirmed before the spool has it, as with the stream. Whichever step a crash comes
// after, the spool is at least as far as the slot: what it has already is passed over when it comes again.
type drain struct {
	*intake
	conn       *pgconn.PgConn
	watch      *pgkit.Watch // of the connection, while we wait for its answers
	slot       *confirmer
	onProgress func(Progress)
	woken      chan struct{}
	told       time.Time
	paused     string // as it was told
	missing    error  // a warning that says so much; it comes before the rows
	last       lookback
	gauge      gauge
	landmarks  *landmarks
	source     pace
	streamed   float64                  // as the Receiver's
	called     time.Time                // when the last call began
	coming     atomic.Bool              // the rows of the call under way
	received   atomic.Pointer[Progress] // as the reading goroutine left it
}

// callMemory is what a call's result may take in memory on the source before it goes to temporary files, in kilobytes: as much as
// decoding may by default.
const callMemory = 64 << 10

// calm is how long a drain waits for another session to leave the slot: the stream's, a moment ago.
const calm = 10 * time.Second

// runDrain drains until what is left is little, or the other way is better for another reason; then it returns nil. It returns
// ctx's error when ctx ends, with everything that was received durable. It takes over
// replication, an idle replication connection to the same server.
func (r *Receiver) runDrain(ctx context.Context, of server, replication *pgconn.PgConn, onProgress func(Progress)) error {
	plugin := r.newPlugin(ctx, of.version)
	d := &drain{slot: newConfirmer(r, of, replication, plugin.options(false)), onProgress: onProgress, woken: make(chan struct{}, 1), gauge: gauge{r: r}, streamed: r.streamed}
	r.streamed = 0
	d.landmarks = newLandmarks(ctx, r)
	defer d.landmarks.close()
	defer d.slot.close()
	defer d.gauge.close()
	conn, err := pgkit.DialNoticing(ctx, r.Source, "receiver", func(n *pgconn.Notice) {
		if missing := r.missing(n.SeverityUnlocalized, n.Code, n.Message); missing != nil && d.missing == nil {
			d.missing = missing
		}
	})
	if err != nil {
		return err
	}
	d.conn = conn.PgConn()
	defer closeConn(d.conn)
	// As in the stream's session: names in regclass and the like must come qualified.
	if _, err := d.conn.Exec(ctx, "SET search_path = ''; SET work_mem = '"+strconv.Itoa(callMemory)+"kB'").ReadAll(); err != nil {
		return err
	}
	d.watch = pgkit.NewWatch(r.Source, r.Silence, r.Log)
	defer d.watch.Close()
	if err := d.watch.Start(ctx, d.conn); err != nil {
		return err
	}
	answered := d.watch.Wait()
	state, err := r.look(ctx, d.conn, of)
	answered()
	if err != nil {
		return r.withoutBulk(ctx, r.explain(err, true))
	}
	d.intake = newIntake(r, plugin, max(r.Spool.Durable(), state.confirmed), d.wake)
	go d.writer.run()
	err = d.rounds(ctx, of)
	if failed := d.writer.finish(d.chunk); failed != nil {
		return failed
	}
	r.progress.DurableLSN = r.Spool.Durable()
	if ctx.Err() != nil {
		d.lastAdvance(ctx)
		return ctx.Err()
	}
	return r.withoutBulk(ctx, r.explain(err, false))
}

// look reads the slot over an ordinary connection, and refuses another server than the one that was recognised.
func (r *Receiver) look(ctx context.Context, conn *pgconn.PgConn, of server) (slotState, error) {
	state, err := readSlot(ctx, conn, r.Slot, true)
	if err != nil {
		return state, fmt.Errorf("read slot %s: %w", r.Slot, err)
	}
	if err := r.sameServer(state, of); err != nil {
		return state, err
	}
	return state, r.checkSlot(state)
}

func (r *Receiver) sameServer(state slotState, of server) error {
	if state.started != of.started {
		return fault.New(fault.Transient, "receive from slot", r.Slot, "", "the source was restarted, or another server has taken its place")
	}
	return nil
}

func (d *drain) rounds(ctx context.Context, of server) error {
	for begun := time.Now(); ; {
		answered := d.watch.Wait()
		state, err := d.r.look(ctx, d.conn, of)
		answered()
		if err != nil {
			return err
		}
		if state.active && time.Since(begun) < calm {
			if err := pgkit.Sleep(ctx, tickEvery); err != nil {
				return err
			}
			continue
		}
		p := &d.r.progress
		p.ServerEnd, p.ServerTime = max(p.ServerEnd, state.flushed), state.now
		if durable := d.r.Spool.Durable(); durable > state.confirmed { // a crash came before the last advance, or a stream did not say it
			if err := d.advance(ctx, durable); err != nil {
				return err
			}
			continue
		}
		d.source.look(time.Now(), state.flushed, paceOver)
		least, wait := d.due(begun)
		if wait > 0 {
			if err := pgkit.Sleep(ctx, wait); err != nil {
				return err
			}
			continue // to see what came meanwhile
		}
		d.landmarks.set(state, d.end)
		upTo, ok := d.r.rule().window(d.end, state.restart, state.flushed, least, d.last)
		if !ok {
			return nil
		}
		d.called = time.Now()
		if err := d.round(ctx, upTo); err != nil {
			return err
		}
	}
}

// due is what must be left for the next call, and how long until it may come: a source that outwrites a stream is followed at a pace.
func (d *drain) due(begun time.Time) (least int64, wait time.Duration) {
	rule := d.r.rule()
	if time.Since(begun) > followMost || !rule.outwrites(d.source, d.streamed) {
		return rule.drainTo, 0
	}
	return 1, rule.callEvery - time.Since(d.called)
}

// round takes everything up to upTo, or less if it is many rows.
func (d *drain) round(ctx context.Context, upTo change.LSN) error {
	from := d.end
	read := make(chan peeked, 1)
	reading, stop := context.WithCancel(ctx)
	defer stop()
	d.note()
	d.coming.Store(from.BytesBehind(upTo) <= d.r.rule().leastWindow) // which is never too much
	d.slot.prepare(ctx)
	watched := d.gauge.watch(reading, d.conn, &d.coming)
	go func() {
		n, err := d.peek(reading, upTo)
		read <- peeked{n, err}
	}()
	got := d.await(read, stop)
	stop()
	tooMuch := <-watched
	d.last.blind = d.gauge.blind
	if tooMuch && got.rows == 0 && sqlState(got.err) == "57014" && ctx.Err() == nil {
		d.last = lookback{blind: d.last.blind} // the next one is small
		d.r.at("cancelled")
		return nil
	}
	if got.err != nil {
		return fmt.Errorf("peek at slot %s: %w", d.r.Slot, got.err)
	}
	d.r.at("peeked")
	if got.rows < peekRows { // it went all the way: the source has nothing more for us before
		d.reached(upTo)
	}
	if d.inTx {
		return d.disorder("the source gave a part of a transaction")
	}
	looked := max(from.BytesBehind(d.end), 1)
	d.last.bytes, d.last.ratio = looked, float64(got.bytes+rowBytes*got.rows)/float64(looked)
	if err := d.settle(ctx); err != nil {
		return err
	}
	d.r.progress.ReceivedLSN = max(d.end, d.r.progress.ReceivedLSN)
	d.r.at("durable")
	if err := d.advance(ctx, d.r.Spool.Durable()); err != nil {
		return err
	}
	d.r.at("advanced")
	return nil
}

// peeked is how much a call gave.
type peeked struct {
	size
	err error
}

type size struct{ rows, bytes int64 }

// await waits for the reading goroutine, which owns the intake meanwhile, and tells our caller how it goes.
func (d *drain) await(read <-chan peeked, stop func()) peeked {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case got := <-read:
			return got
		case <-d.woken:
		case <-tick.C:
		}
		if d.writer.failed() {
			stop()
		}
		d.tell(*d.received.Load())
	}
}

// note lets the other goroutine see how far this one is.
func (d *drain) note() {
	p := d.r.progress
	p.ReceivedLSN = max(d.end, p.ReceivedLSN)
	d.received.Store(&p)
}

func (d *drain) tell(p Progress) {
	p.DurableLSN = d.r.Spool.Durable()
	paused, now := d.writer.pausedBy(), time.Now()
	if paused == d.paused && now.Sub(d.told) < reportEvery {
		return
	}
	p.Paused, d.paused, d.told = paused, paused, now
	d.onProgress(p)
}

func (d *drain) wake() {
	select {
	case d.woken <- struct{}{}:
	default:
	}
}

// peek reads what comes next, up to upTo, into chunks for the writer. The rows come in binary form and are not kept, so
// that a row costs no more than its copy.
func (d *drain) peek(ctx context.Context, upTo change.LSN) (got size, err error) {
	defer d.watch.Wait()()
	// A context that ends would close the connection and leave the server at work, with the slot in its hands: cancel first.
	hard, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	release := context.AfterFunc(ctx, func() {
		asking, done := context.WithTimeout(hard, 2*time.Second)
		defer done()
		_ = d.conn.CancelRequest(asking) // if it is not heard, the connection is cut below
		_ = pgkit.Sleep(asking, 2*time.Second)
		cut()
	})
	defer release()
	result := d.conn.ExecParams(hard, d.peekSQL(upTo), nil, nil, nil, []int16{1})
	for result.NextRow() {
		if d.missing != nil {
			_ = d.conn.CancelRequest(hard)
			_, _ = result.Close()
			return got, d.missing
		}
		row := result.Values()
		if len(row) != 2 || len(row[0]) != 8 {
			_, _ = result.Close() // what follows is the error
			return got, fault.New(fault.Bug, "peek at slot", d.r.Slot, "", "the query gave %d columns", len(row))
		}
		d.coming.Store(true)
		got.rows++
		got.bytes += int64(len(row[1]))
		err := d.take(change.LSN(binary.BigEndian.Uint64(row[0])), row[1])
		if err == nil && len(d.chunk.data) >= chunkBytes {
			err = d.handOver(ctx)
		}
		if err != nil {
			_ = d.conn.CancelRequest(hard)
			_, _ = result.Close()
			return got, err
		}
	}
	if _, err := result.Close(); err != nil {
		if ctx.Err() != nil {
			return got, ctx.Err()
		}
		return got, err
	}
	return got, d.missing
}

// peekSQL says nothing of columns that are not needed: the transaction's ID is in its messages.
func (d *drain) peekSQL(upTo change.LSN) string {
	var b strings.Builder
	b.WriteString("SELECT lsn, data FROM pg_catalog." + d.plugin.peekFunction() + "(" + ident.Literal(d.r.Slot) + ", '" + upTo.String() + "', " + strconv.Itoa(peekRows))
	for _, o := range d.plugin.options(false) {
		b.WriteString(", " + ident.Literal(o))
	}
	return b.String() + ")"
}

// handOver gives the chunk to the writer, however long its disk is full.
func (d *drain) handOver(ctx context.Context) error {
	defer d.watch.Pause()()
	select {
	case d.writer.in <- d.chunk:
		d.chunk = d.writer.empty()
		d.note()
		d.r.at("reading")
		return nil
	case <-d.writer.done:
		return errWriterFailed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// settle waits until everything taken is durable.
func (d *drain) settle(ctx context.Context) error {
	d.note()
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	if len(d.chunk.records) > 0 {
		if err := d.handOver(ctx); err != nil {
			return err
		}
	}
	for d.r.Spool.Durable() < d.end {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-d.writer.done:
			return errWriterFailed
		case <-d.woken:
		case <-tick.C:
		}
		d.tell(*d.received.Load())
	}
	return nil
}

// lastAdvance says at the end what is durable, as a stream's last status does. Where that fails, whoever comes next says it.
func (d *drain) lastAdvance(ctx context.Context) {
	if d.conn.IsClosed() || d.r.Spool.Durable() == 0 {
		return
	}
	ctx, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer done()
	if err := d.advance(ctx, d.r.Spool.Durable()); err != nil {
		d.r.Log.LogAttrs(ctx, slog.LevelDebug, "the slot keeps what is durable already", slog.String("slot", d.r.Slot), slog.Any("err", err))
	}
}

// advance lets the slot forget what is before to, which must be durable.
func (d *drain) advance(ctx context.Context, to change.LSN) error {
	failpoint.At(failpoint.BeforeAdvance)
	defer failpoint.At(failpoint.AfterAdvance)
	if err := d.slot.confirm(ctx, to); err != nil {
		return fmt.Errorf("advance slot %s: %w", d.r.Slot, err)
	}
	return nil
}
