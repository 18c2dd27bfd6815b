package cutover_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/cutover"
	"timeferry/internal/fault"
	"timeferry/internal/ident"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgtest"
)

// newAttempt makes the publication of a migration, and the first attempt to cut over.
func newAttempt(t *testing.T, src *pgtest.Database, limit time.Duration) (*pgx.Conn, cutover.Attempt) {
	t.Helper()
	master := src.MasterConn(t)
	_, err := master.Exec(context.Background(), "CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION timeferry_shop FOR TABLE t")
	require.NoError(t, err)
	return master, cutover.Attempt{Migration: "shop", Database: src.Master.Database, Publication: "timeferry_shop", Number: 1, Limit: limit}
}

func mustRaise(t *testing.T, source *pgx.Conn, src *pgtest.Database, a cutover.Attempt) string {
	t.Helper()
	token, _, err := cutover.Raise(context.Background(), source, src.Master, a)
	require.NoError(t, err)
	require.NotEqual(t, "none", setting(t, src))
	return token
}

func comment(t *testing.T, d *pgtest.Database) string {
	return d.QueryValue(t, "SELECT coalesce(obj_description(oid, 'pg_publication'), 'none') FROM pg_publication WHERE pubname = 'timeferry_shop'")
}

func guards(t *testing.T, d *pgtest.Database) string {
	return d.QueryValue(t, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'timeferry guard%'")
}

func requireCode(t *testing.T, err error, code string) {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, code, f.Code)
}

func writes(t *testing.T, src *pgtest.Database) error {
	t.Helper()
	_, err := mustDialApp(t, src.Master, "shop").Exec(context.Background(), "INSERT INTO t SELECT coalesce(max(id), 0) + 1 FROM t")
	return err
}

func TestAFenceIsRaisedSealedAndTakenBack(t *testing.T) {
	ctx := context.Background()
	for _, before := range []string{"none", "off"} {
		t.Run(before, func(t *testing.T) {
			src := pgtest.Source(t)
			if before != "none" {
				src.Exec(t, "ALTER DATABASE "+ident.Quote(src.Master.Database)+" SET default_transaction_read_only = "+before)
			}
			master, a := newAttempt(t, src, time.Minute)
			app := mustDialApp(t, src.Master, "shop")
			token, result, err := cutover.Raise(ctx, master, src.Master, a)
			require.NoError(t, err)
			require.Len(t, result.Ended, 1)
			require.Error(t, app.Ping(ctx))
			requireState(t, writes(t, src), readOnly)
			require.Equal(t, "1", guards(t, src))
			require.Contains(t, comment(t, src), token)

			for range 2 {
				require.NoError(t, cutover.Seal(ctx, master, a, token))
				require.Equal(t, "0", guards(t, src))
			}
			sealed, err := cutover.TakeBack(ctx, master, a, false)
			require.NoError(t, err)
			require.True(t, sealed)
			requireState(t, writes(t, src), readOnly)
			_, _, err = cutover.Raise(ctx, master, src.Master, a)
			requireCode(t, err, cutover.CodeSealed)

			for range 2 {
				sealed, err = cutover.TakeBack(ctx, master, a, true)
				require.NoError(t, err)
				require.False(t, sealed)
				require.Equal(t, before, setting(t, src))
				require.Equal(t, "none", comment(t, src))
				require.NoError(t, writes(t, src))
			}
			require.Equal(t, "0", guards(t, src), "none is left of the refused one, either")
		})
	}
}

// The worker, Temporal, everything of ours is dead: the server opens the source by itself.
func TestAnAbandonedFenceIsLoweredByTheServer(t *testing.T) {
	ctx := context.Background()
	for _, before := range []string{"none", "off"} {
		t.Run(before, func(t *testing.T) {
			src := pgtest.Source(t)
			if before != "none" {
				src.Exec(t, "ALTER DATABASE "+ident.Quote(src.Master.Database)+" SET default_transaction_read_only = "+before)
			}
			master, a := newAttempt(t, src, 2*time.Second)
			began := time.Now()
			token := mustRaise(t, master, src, a)
			require.NoError(t, master.Close(ctx)) // and the guard's connection is closed already
			requireState(t, writes(t, src), readOnly)
			require.Eventually(t, func() bool { return setting(t, src) == before }, 20*time.Second, 20*time.Millisecond)
			require.GreaterOrEqual(t, time.Since(began), 2*time.Second)
			require.NoError(t, writes(t, src))
			require.Equal(t, "none", comment(t, src))
			requireCode(t, cutover.Seal(ctx, src.MasterConn(t), a, token), cutover.CodeFenceLifted)
		})
	}
}

// A guard must not open a source that the application has left: neither one of this attempt, nor one that was posted late by
// a process believed dead.
func TestAGuardLeavesASealedFence(t *testing.T) {
	ctx := context.Background()
	src := pgtest.Source(t)
	master, a := newAttempt(t, src, 1500*time.Millisecond)
	voided := mustRaise(t, master, src, a)
	late := a
	late.Limit = time.Second
	token := mustRaise(t, master, src, late)
	requireCode(t, cutover.Seal(ctx, master, a, voided), cutover.CodeFenceLifted)
	// The seal is noted, but its guards are still there: as if the process died in between, or another one posts its guard now.
	src.Exec(t, "COMMENT ON PUBLICATION timeferry_shop IS 'timeferry: sealed "+token+"'")
	require.Eventually(t, func() bool { return guards(t, src) == "0" }, 20*time.Second, 20*time.Millisecond)
	requireState(t, writes(t, src), readOnly)
	require.NoError(t, cutover.Seal(ctx, master, a, token))

	src.Exec(t, "DROP PUBLICATION timeferry_shop") // by complete: the source stays fenced
	require.NotEqual(t, "none", setting(t, src))
	_, err := cutover.TakeBack(ctx, master, a, false)
	require.NoError(t, err)
	require.Equal(t, "none", setting(t, src))
}

func TestASealOfAFenceThatWasLiftedByHandIsRefused(t *testing.T) {
	ctx := context.Background()
	src := pgtest.Source(t)
	master, a := newAttempt(t, src, time.Minute)
	token := mustRaise(t, master, src, a)
	require.NoError(t, cutover.Unfence(ctx, master, a.Database))
	requireCode(t, cutover.Seal(ctx, master, a, token), cutover.CodeFenceLifted)
	again := mustRaise(t, master, src, a) // by a second worker, which thinks that the first is dead
	requireCode(t, cutover.Seal(ctx, master, a, token), cutover.CodeFenceLifted)
	require.NoError(t, cutover.Seal(ctx, master, a, again))
}

// What an attempt that was given up has under way must not take effect after the source was opened.
func TestAFenceThatWaitsForALockDoesNotLandAfterItIsTakenBack(t *testing.T) {
	ctx := context.Background()
	src := pgtest.Source(t)
	master, a := newAttempt(t, src, time.Minute)
	blocker := src.Conn(t)
	_, err := blocker.Exec(ctx, "BEGIN; SELECT pg_advisory_xact_lock(hashtext('timeferry.fence'), hashtext('timeferry_shop'))")
	require.NoError(t, err)
	fencing, err := pgkit.Dial(ctx, src.Master, cutover.PurposeFence+a.Migration)
	require.NoError(t, err)
	defer fencing.Close(ctx)
	raised := make(chan error, 1)
	go func() {
		_, _, err := cutover.Raise(ctx, fencing, src.Master, a)
		raised <- err
	}()
	require.Eventually(t, func() bool {
		return src.QueryValue(t, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'timeferry fence shop' AND wait_event_type = 'Lock'") == "1"
	}, 10*time.Second, 5*time.Millisecond)
	taken := make(chan error, 1)
	go func() {
		_, err := cutover.TakeBack(ctx, master, a, false)
		taken <- err
	}()
	require.Error(t, <-raised, "its session was ended")
	_, err = blocker.Exec(ctx, "COMMIT")
	require.NoError(t, err)
	require.NoError(t, <-taken)
	require.Equal(t, "none", setting(t, src))
	require.Equal(t, "0", guards(t, src))
}

func TestAFenceDoesNotWaitLongForALock(t *testing.T) {
	ctx := context.Background()
	src := pgtest.Source(t)
	master, a := newAttempt(t, src, time.Minute)
	blocker := src.Conn(t)
	_, err := blocker.Exec(ctx, "BEGIN; SELECT FROM pg_publication WHERE pubname = 'timeferry_shop'; COMMENT ON PUBLICATION timeferry_shop IS 'x'")
	require.NoError(t, err)
	began := time.Now()
	_, _, err = cutover.Raise(ctx, master, src.Master, a)
	require.Error(t, err)
	require.Equal(t, fault.Transient, fault.Classify(err))
	require.Less(t, time.Since(began), 20*time.Second)
	require.Equal(t, "none", setting(t, src))
	_, err = blocker.Exec(ctx, "ROLLBACK")
	require.NoError(t, err)
	_, err = cutover.TakeBack(ctx, master, a, false)
	require.NoError(t, err)
	require.Equal(t, "0", guards(t, src))
}

// An order to take back an earlier attempt that arrives late must not open the source under a later one.
func TestALateTakeBackLeavesALaterAttempt(t *testing.T) {
	ctx := context.Background()
	src := pgtest.Source(t)
	master, first := newAttempt(t, src, time.Minute)
	second := first
	second.Number = 2
	token := mustRaise(t, master, src, second)
	_, err := cutover.TakeBack(ctx, master, first, true)
	require.NoError(t, err)
	require.NotEqual(t, "none", setting(t, src))
	require.NoError(t, cutover.Seal(ctx, master, second, token))
	_, err = cutover.TakeBack(ctx, master, second, true)
	require.NoError(t, err)
}
