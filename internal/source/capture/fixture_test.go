package capture_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/pgoutput"
	"timeferry/internal/source/capture"
	"timeferry/internal/spool"
	"timeferry/internal/testkit/pgtest"
)

// childEnv makes this test binary a receiver that is meant to be killed.
const childEnv = "TIMEFERRY_TEST_RECEIVER"

func TestMain(m *testing.M) {
	if config := os.Getenv(childEnv); config != "" {
		os.Exit(receiverProcess(config))
	}
	pgtest.Main(m)
}

// child is what a receiver process needs to know.
type child struct {
	Source            pgkit.Endpoint
	Slot, Publication string
	Dir               string
	DieAt             string // "place n": by its own hand, the nth time that it comes by
}

func receiverProcess(config string) int {
	var c child
	if err := json.Unmarshal([]byte(config), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	s, err := spool.Open(c.Dir, spool.Options{SegmentBytes: segmentBytes})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	r := &capture.Receiver{Source: c.Source, Slot: c.Slot, Publications: []string{c.Publication}, Spool: s}
	dieAt(r, c.DieAt)
	fmt.Fprintln(os.Stderr, r.Run(context.Background(), nil))
	return 1
}

// dieAt kills this process when the receiver comes by a place.
func dieAt(r *capture.Receiver, at string) {
	if at == "" {
		return
	}
	var place string
	var left int
	if _, err := fmt.Sscan(at, &place, &left); err != nil {
		panic(err)
	}
	r.SetBacklogLimits(512<<10, 64<<10, 256<<10, 64<<10, 1<<30)
	r.SetFailpoint(func(here string) {
		if here != place {
			return
		}
		if left--; left == 0 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
}

// segmentBytes makes the tests' streams go over several segments.
const segmentBytes = 256 << 10

// stream is a table with a publication, a slot to receive from, and a second slot that was made at the same position and
// tells what must have been received.
type stream struct {
	src              *pgtest.Database
	slot, reference  string
	publication, dir string
	table            string
}

func newStream(t *testing.T, src *pgtest.Database, name string) *stream {
	t.Helper()
	s := &stream{src: src, slot: "capture_" + name, reference: "capture_" + name + "_ref", publication: "Pub of " + name, dir: t.TempDir(), table: "events"}
	src.Exec(t, `CREATE TABLE events (worker int, seq int, body text, PRIMARY KEY (worker, seq));
		CREATE TABLE unpublished (id int);
		CREATE PUBLICATION `+ident.Quote(s.publication)+` FOR TABLE events`)
	for _, slot := range []string{s.slot, s.reference} {
		src.Exec(t, `SELECT pg_create_logical_replication_slot($1, 'pgoutput')`, slot)
	}
	return s
}

func (s *stream) receiver(sp *spool.Spool) *capture.Receiver {
	return &capture.Receiver{Source: s.src.Endpoint, Slot: s.slot, Publications: []string{s.publication}, Spool: sp}
}

func (s *stream) open(t *testing.T, o spool.Options) *spool.Spool {
	t.Helper()
	if o.SegmentBytes == 0 {
		o.SegmentBytes = segmentBytes
	}
	sp, err := spool.Open(s.dir, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, sp.Close()) })
	return sp
}

// running is a receiver in this process.
type running struct {
	cancel context.CancelFunc
	done   chan error
	mu     sync.Mutex
	last   capture.Progress
}

func start(t *testing.T, r *capture.Receiver) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	run := &running{cancel: cancel, done: make(chan error, 1)}
	go func() {
		run.done <- r.Run(ctx, func(p capture.Progress) {
			run.mu.Lock()
			defer run.mu.Unlock()
			run.last = p
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-run.done:
		case <-time.After(20 * time.Second):
			t.Error("the receiver does not end")
		}
	})
	return run
}

func (r *running) progress() capture.Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// stop ends the receiver and requires that it ended because of that.
func (r *running) stop(t *testing.T) {
	t.Helper()
	r.cancel()
	require.ErrorIs(t, r.result(t), context.Canceled)
}

// result waits for Run's error; it can be asked for again.
func (r *running) result(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.done:
		r.done <- err
		return err
	case <-time.After(20 * time.Second):
		require.Fail(t, "the receiver does not end")
		return nil
	}
}

// await waits for a condition, with a deadline.
func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, time.Minute, 10*time.Millisecond, what)
}

func (s *stream) currentLSN(t *testing.T) change.LSN { return durableAt(t, s.src) }

func (s *stream) confirmed(t *testing.T) change.LSN {
	t.Helper()
	lsn, err := change.ParseLSN(s.src.QueryValue(t, `SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = `+ident.Literal(s.slot)))
	require.NoError(t, err)
	return lsn
}

// startChild starts a receiver as a process of its own, which dies at dieAt if that is not "".
func (s *stream) startChild(t *testing.T, dieAt string) *exec.Cmd {
	t.Helper()
	config, err := json.Marshal(child{Source: s.src.Endpoint, Slot: s.slot, Publication: s.publication, Dir: s.dir, DieAt: dieAt})
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+string(config))
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	return cmd
}

// load writes like an application: inserts, updates, deletes, rollbacks and larger transactions, from several
// connections, which it makes again when the server goes away. Close the channel to end it.
func (s *stream) load(t *testing.T, workers int, stop chan struct{}) (wait func() int) {
	t.Helper()
	var wg sync.WaitGroup
	var mu sync.Mutex
	total := 0
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			n := s.loadWorker(w, stop)
			mu.Lock()
			defer mu.Unlock()
			total += n
		}()
	}
	return func() int {
		wg.Wait()
		require.NotZero(t, total, "the load wrote nothing")
		return total
	}
}

func (s *stream) loadWorker(w int, stop chan struct{}) (transactions int) {
	ctx := context.Background()
	var conn *pgx.Conn
	for seq := 0; ; seq++ {
		select {
		case <-stop:
			if conn != nil {
				_ = conn.Close(ctx) // the test looks at the data only
			}
			return transactions
		default:
		}
		var err error
		if conn == nil {
			if conn, err = pgkit.Dial(ctx, s.src.Endpoint, "load"); err != nil {
				conn = nil
				continue
			}
		}
		rows := 1
		if seq%50 == 49 {
			rows = 500
		}
		_, err = conn.Exec(ctx, fmt.Sprintf(`WITH new AS (INSERT INTO events SELECT %d, %d + i, repeat('x', 100) FROM generate_series(0, %d - 1) i RETURNING 1),
			up AS (UPDATE events SET body = 'changed' WHERE worker = %d AND seq = %d),
			del AS (DELETE FROM events WHERE worker = %d AND seq = %d) INSERT INTO unpublished SELECT 1 FROM new`,
			w, seq*1000, rows, w, (seq-1)*1000, w, (seq-5)*1000))
		if err == nil && seq%7 == 0 {
			_, err = conn.Exec(ctx, `BEGIN; INSERT INTO events VALUES (-1, 1, 'rolled back'); ROLLBACK; INSERT INTO unpublished VALUES (2)`, pgx.QueryExecModeSimpleProtocol)
		}
		if err != nil {
			conn = nil
			continue
		}
		transactions++
	}
}

// awaitAll waits until everything that is committed now is durable in the spool.
func (s *stream) awaitAll(t *testing.T, sp *spool.Spool) {
	t.Helper()
	target := s.currentLSN(t)
	await(t, fmt.Sprintf("durable up to %s", target), func() bool { return sp.Durable() >= target })
}

// requireSame requires that the spool holds what the reference slot yields: the same messages in the same order, but for
// descriptions, which belong to a session.
func (s *stream) requireSame(t *testing.T, sp *spool.Spool) (transactions int) {
	t.Helper()
	ctx := context.Background()
	r, err := sp.NewReader(0)
	require.NoError(t, err)
	defer func() { require.NoError(t, r.Close()) }()
	messages := ", 'messages', 'true'"
	if s.src.QueryValue(t, "SELECT current_setting('server_version_num')::int >= 140000") != "t" {
		messages = ""
	}
	rows, err := s.src.Conn(t).Query(ctx, `SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL,
		'proto_version', '1', 'publication_names', $2`+messages+`)`, s.reference, ident.Quote(s.publication))
	require.NoError(t, err)
	defer rows.Close()
	decoder := pgoutput.NewDecoder()
	count := 0
	for rows.Next() {
		var want []byte
		require.NoError(t, rows.Scan(&want))
		if isDescription(want) {
			continue
		}
		got, err := nextChange(ctx, r, decoder)
		require.NoError(t, err)
		if string(got) != string(want) {
			require.Equal(t, want, got, "message %d", count)
		}
		if _, ok := pgoutput.IsCommit(want); ok {
			transactions++
		}
		count++
	}
	require.NoError(t, rows.Err())
	_, err = nextChange(ctx, r, decoder)
	require.ErrorIs(t, err, errEnd, "the spool has more than the source")
	return transactions
}

var errEnd = errors.New("nothing more")

// nextChange is the next message of the spool that is no description; each must decode.
func nextChange(ctx context.Context, r *spool.Reader, d *pgoutput.Decoder) ([]byte, error) {
	for r.Ready() {
		rec, err := r.Next(ctx)
		if err != nil {
			return nil, err
		}
		if rec.Kind == spool.Progress {
			continue
		}
		if _, _, err := d.Decode(rec.Data); err != nil {
			return nil, err
		}
		if !isDescription(rec.Data) {
			return rec.Data, nil
		}
	}
	return nil, errEnd
}

// readAndPrune reads a number of transactions, and removes what it has read, as the applier does.
func (s *stream) readAndPrune(t *testing.T, sp *spool.Spool, reader *spool.Reader, transactions int) (got int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for got < transactions {
		rec, err := reader.Next(ctx)
		require.NoError(t, err)
		if end, ok := pgoutput.IsCommit(rec.Data); ok {
			got++
			require.NoError(t, sp.Prune(end))
		}
	}
	return got
}

func isDescription(msg []byte) bool { return msg[0] == 'R' || msg[0] == 'Y' || msg[0] == 'O' }
