package stream

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgtest"
	"timeferry/internal/verify"
)

// world is a source with its two followers.
type world struct {
	source, target, native *pgtest.Database // native is nil when nobody but Timeferry follows
	config                 config
	log                    *slog.Logger
	pipeline               *pipeline
	onSource               *pgx.Conn
	onTarget, onNative     *pgx.Conn
	barriers               int
	slot, subscribed       bool
	added, widened         int // columns, while running
}

// sourceSettings let prepared transactions work, and make the source spill and cut what it decodes.
var sourceSettings = map[string]string{"max_prepared_transactions": "20", "logical_decoding_work_mem": "64kB"}

// lazySettings let the target's commits stay off its disk for long, so that a crash takes them back: the WAL writer is not woken for a
// full page either.
var lazySettings = map[string]string{"wal_writer_delay": "10s", "wal_writer_flush_after": "1GB"}

const slotName, nativeSlot, publication = "stream", "stream_native", "stream"

// ownServer starts a server for one test.
type ownServer func(t testing.TB, settings map[string]string) *pgtest.Database

// newWorld makes a world with a native subscription, or one whose servers are the test's own, to be killed.
func newWorld(t testing.TB, ownSource ownServer, withNative bool) *world {
	t.Helper()
	w := &world{source: ownSource(t, sourceSettings), log: testLog(t)}
	if withNative {
		w.target = pgtest.Target(t)
	} else {
		w.target = pgtest.OwnTarget(t, lazySettings)
	}
	w.source.Exec(t, schema(onSource))
	w.source.Exec(t, "CREATE PUBLICATION "+publication+" FOR TABLE barrier, "+names(false)+" WITH (publish_via_partition_root = true);"+
		"CREATE PUBLICATION native FOR TABLE barrier, "+names(true)+" WITH (publish_via_partition_root = true);")
	w.source.Exec(t, "SELECT pg_replication_origin_create('elsewhere')")
	w.target.Exec(t, schema(onTarget))
	require.NoError(t, ledger.Create(t.Context(), w.target.Conn(t), "stream"))
	w.onSource, w.onTarget = w.source.Conn(t), w.target.Conn(t)
	w.config = config{Source: w.source.Endpoint, Target: w.target.Endpoint, Slot: slotName, Publication: publication, Tables: w.tablesInScope()}
	w.config.Hypertable = []ident.Table{{Schema: "public", Name: "metrics"}, {Schema: "public", Name: "readings"}, {Schema: "public", Name: "flow"}}
	if withNative {
		w.native = pgtest.Target(t)
		w.native.Exec(t, schema(onNative))
		w.onNative = w.native.Conn(t)
	}
	t.Cleanup(func() { require.NoError(t, w.stop()) })
	return w
}

func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

func (w *world) tablesInScope() []ident.Table {
	scope := []ident.Table{{Schema: "public", Name: "barrier"}}
	for _, t := range tables() {
		schemaName, name, _ := strings.Cut(t.name, ".")
		if t.name == oddTable {
			schemaName, name = unquote(oddSchema), unquote(strings.TrimPrefix(oddTable, oddSchema+"."))
		}
		scope = append(scope, ident.Table{Schema: schemaName, Name: name})
	}
	return scope
}

func unquote(quoted string) string { return strings.ReplaceAll(quoted[1:len(quoted)-1], `""`, `"`) }

// renew empties the world and starts all followers anew: nothing of what happened before can matter afterwards.
func (w *world) renew() (err error) {
	if err := w.fresh(); err != nil {
		return err
	}
	if w.pipeline, err = openPipeline(w.config, w.log); err != nil {
		return err
	}
	w.pipeline.receive()
	w.pipeline.apply()
	return nil
}

// fresh is renew without the pipeline.
func (w *world) fresh() error {
	if err := w.stop(); err != nil {
		w.log.Warn("stop", "err", err) // it may have been broken, which the caller knows
	}
	w.barriers = 0
	if err := w.emptyAll(); err != nil {
		return err
	}
	if err := w.narrowed(); err != nil {
		return err
	}
	if err := w.recordShapes(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "timeferry-stream-")
	if err != nil {
		return err
	}
	w.config.Dir = dir
	if _, err := w.onSource.Exec(context.Background(), "SELECT pg_create_logical_replication_slot($1, $2)", slotName, cmp.Or(w.config.Plugin, pgoutput)); err != nil {
		return err
	}
	w.slot = true
	if w.native != nil {
		return w.subscribe()
	}
	return nil
}

// emptyAll empties all tables on all sides, and forgets positions and prepared transactions.
func (w *world) emptyAll() error {
	ctx := context.Background()
	truncate := func(native bool) string { return "TRUNCATE barrier, " + names(native) + " RESTART IDENTITY" }
	gids, err := queryStrings(w.onSource, "SELECT gid FROM pg_prepared_xacts")
	if err != nil {
		return err
	}
	for _, gid := range gids {
		if _, err := w.onSource.Exec(ctx, "ROLLBACK PREPARED "+ident.Literal(gid)); err != nil {
			return err
		}
	}
	if _, err := w.onSource.Exec(ctx, truncate(false)); err != nil {
		return err
	}
	if _, err := w.onTarget.Exec(ctx, truncate(false)+"; UPDATE timeferry.migration SET applied_lsn = NULL, applied_commit_time = NULL, stream_source = ''; DELETE FROM timeferry.lanes; DELETE FROM timeferry.shapes"); err != nil {
		return err
	}
	if w.native == nil {
		return nil
	}
	_, err = w.onNative.Exec(ctx, truncate(true))
	return err
}

func (w *world) subscribe() error {
	e := w.source.Endpoint
	connection := fmt.Sprintf("host=%s port=%d dbname=%s user=%s password=%s", e.Host, e.Port, e.Database, e.User, e.Password)
	_, err := w.onNative.Exec(context.Background(), "CREATE SUBSCRIPTION native CONNECTION "+ident.Literal(connection)+
		" PUBLICATION native WITH (copy_data = false, synchronous_commit = off, slot_name = "+nativeSlot+")")
	w.subscribed = err == nil
	return err
}

// stop ends the followers and removes their slots.
func (w *world) stop() error {
	var failed error
	ctx := context.Background()
	if w.pipeline != nil {
		failed = w.pipeline.stop()
		w.pipeline = nil
	}
	failed = errors.Join(failed, os.RemoveAll(w.config.Dir))
	w.config.Dir = ""
	if w.slot {
		failed = errors.Join(failed, w.dropSlot(ctx))
	}
	if w.subscribed {
		_, err := w.onNative.Exec(ctx, "DROP SUBSCRIPTION native")
		failed = errors.Join(failed, err)
		w.subscribed = err != nil
	}
	return failed
}

func (w *world) dropSlot(ctx context.Context) error {
	var err error
	for range 100 { // the walsender may take a moment to see that its receiver is gone
		if _, err = w.onSource.Exec(ctx, "SELECT pg_drop_replication_slot($1)", slotName); err == nil {
			w.slot = false
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return err
}

// fallBehind writes as much log as the receiver rather takes in bulk, most of which concerns no published table.
func (w *world) fallBehind() error {
	_, err := w.onSource.Exec(context.Background(), "CREATE TABLE IF NOT EXISTS unpublished (v text); TRUNCATE unpublished;"+
		"INSERT INTO unpublished SELECT repeat('x', 1000) FROM generate_series(1, 80000)", pgx.QueryExecModeSimpleProtocol)
	return err
}

// patience is how long followers may take to come to a barrier: longer than any pause that is meant.
const patience = 3 * time.Minute

// barrier commits a mark on the source and waits until all followers have it, with everything before it.
func (w *world) barrier() error {
	w.barriers++
	if _, err := w.onSource.Exec(context.Background(), "INSERT INTO barrier VALUES ($1)", w.barriers); err != nil {
		return err
	}
	return w.arrived(w.barriers)
}

func (w *world) arrived(n int) error {
	deadline := time.Now().Add(patience)
	type follower struct {
		conn  *pgx.Conn
		there string
	}
	const there = "SELECT EXISTS (SELECT FROM barrier WHERE n = $1)"
	// What one lane has brought can be seen before what the others bring.
	const level = " AND NOT EXISTS (SELECT FROM timeferry.lanes l, timeferry.migration m WHERE l.applied_lsn > coalesce(m.applied_lsn, '0/0'))"
	followers := map[string]follower{"the target": {w.onTarget, there + level}}
	if w.native != nil {
		followers["the native subscription"] = follower{w.onNative, there}
	}
	for name, f := range followers {
		for {
			var there bool
			if err := f.conn.QueryRow(context.Background(), f.there, n).Scan(&there); err != nil {
				return err
			}
			if there {
				break
			}
			if w.pipeline != nil {
				if err := w.pipeline.failure(); err != nil {
					return err
				}
			}
			if err := w.nativeFailure(); err != nil {
				return err
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s has not come to barrier %d within %s", name, n, patience)
			}
			time.Sleep(3 * time.Millisecond)
		}
	}
	return nil
}

// nativeFailure is an error if the native subscription met one: it tries again and again, and its server's log says why.
func (w *world) nativeFailure() error {
	if !w.subscribed {
		return nil
	}
	var failures int
	err := w.onNative.QueryRow(context.Background(), "SELECT coalesce(sum(apply_error_count), 0)::int FROM pg_stat_subscription_stats WHERE subname = 'native'").Scan(&failures)
	if err == nil && failures > 0 {
		err = fmt.Errorf("the native subscription fails: see %s", w.native.Server.LogFile())
	}
	return err
}

// same compares all sides at a barrier, without the product's own comparison: by the ordered text of all rows.
func (w *world) same() error {
	want, err := w.fingerprints(w.onSource, false)
	if err != nil {
		return err
	}
	var differences []string
	compare := func(side string, conn *pgx.Conn, native bool) error {
		got, err := w.fingerprints(conn, native)
		if err != nil {
			return err
		}
		for _, t := range w.tables() {
			if (!t.ours || !native) && got[t.name] != want[t.name] {
				differences = append(differences, fmt.Sprintf("%s differs on %s:\n%s", t.name, side, w.difference(conn, t)))
			}
		}
		return nil
	}
	if err := compare("the target", w.onTarget, false); err != nil {
		return err
	}
	if w.native != nil {
		if err := compare("the native subscription", w.onNative, true); err != nil {
			return err
		}
	}
	if len(differences) > 0 {
		return errors.New(strings.Join(differences, "\n"))
	}
	return nil
}

func rowsSQL(t table) string {
	return "SELECT ROW(" + t.columns + ")::text AS x FROM " + t.name
}

// fingerprints are the number of rows and the md5 of the ordered text of each table.
func (w *world) fingerprints(conn *pgx.Conn, native bool) (map[string]string, error) {
	var parts []string
	for _, t := range w.tables() {
		if !t.ours || !native {
			parts = append(parts, fmt.Sprintf(`SELECT %s, count(*) || ' rows ' || coalesce(md5(string_agg(x, E'\n' ORDER BY x COLLATE "C")), '') FROM (%s) t`, ident.Literal(t.name), rowsSQL(t)))
		}
	}
	rows, err := conn.Query(context.Background(), strings.Join(parts, " UNION ALL "), pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	var name, print string
	_, err = pgx.ForEachRow(rows, []any{&name, &print}, func() error {
		found[name] = print
		return nil
	})
	return found, err
}

// difference shows the first rows that one side has and the other has not.
func (w *world) difference(conn *pgx.Conn, t table) string {
	count := func(c *pgx.Conn, step int, into map[string]int) error {
		list, err := queryStrings(c, rowsSQL(t))
		for _, row := range list {
			into[row] += step
		}
		return err
	}
	balance := map[string]int{}
	if err := errors.Join(count(w.onSource, 1, balance), count(conn, -1, balance)); err != nil {
		return err.Error()
	}
	var lines []string
	for row, n := range balance {
		if len(row) > 300 {
			sum := md5.Sum([]byte(row))
			row = row[:300] + "… md5 " + hex.EncodeToString(sum[:])
		}
		switch {
		case n > 0:
			lines = append(lines, fmt.Sprintf("  missing %d× %s", n, row))
		case n < 0:
			lines = append(lines, fmt.Sprintf("  surplus %d× %s", -n, row))
		}
		if len(lines) > 20 {
			break
		}
	}
	return strings.Join(lines, "\n")
}

func queryStrings(conn *pgx.Conn, sql string) ([]string, error) {
	rows, err := conn.Query(context.Background(), sql, pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// verified compares source and target with the product's own comparison.
func (w *world) verified() error {
	var list []verify.Table
	for i, t := range w.tablesInScope()[1:] {
		of := w.tables()[i]
		columns := []string{}
		for _, c := range strings.Split(of.columns, ", ") {
			columns = append(columns, columnName(c))
		}
		if of.name == "public.nothing" {
			columns = nil
		}
		list = append(list, verify.Table{Source: t, Target: t, Columns: columns, Root: true})
	}
	o := verify.Options{Source: w.config.Source, Target: w.config.Target, Method: verify.MethodChecksum}
	return verify.Compare(context.Background(), o, list, func(r verify.Result) error {
		if !r.Equal {
			return fmt.Errorf("verify finds a difference in %s: %d rows on the source, %d on the target", r.Table, r.SourceRows, r.TargetRows)
		}
		return nil
	})
}

func columnName(sql string) string {
	if strings.HasPrefix(sql, `"`) {
		return unquote(sql)
	}
	return sql
}
