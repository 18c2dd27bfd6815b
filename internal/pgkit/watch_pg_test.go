package pgkit_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/netproxy"
	"timeferry/internal/testkit/pgtest"
)

const silence = 400 * time.Millisecond

// A session that works for longer than the silence is left alone.
func TestWatchLeavesWorkAlone(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, "CREATE TABLE locked (id int)")
	w := pgkit.NewWatch(src.Endpoint, silence, nil)
	conn, err := pgkit.DialWatched(t.Context(), src.Endpoint, "watched", w)
	require.NoError(t, err)
	defer conn.Close(context.Background())
	defer w.Close()
	holder := src.Conn(t)
	_, err = holder.Exec(t.Context(), "BEGIN; LOCK TABLE locked")
	require.NoError(t, err)
	time.AfterFunc(5*silence, func() { _, _ = holder.Exec(context.Background(), "COMMIT") })
	for name, sql := range map[string]string{"sleep": fmt.Sprintf("SELECT pg_sleep(%f)", (5 * silence).Seconds()), "lock": "SELECT FROM locked"} {
		end := w.Wait()
		_, err := conn.Exec(t.Context(), sql)
		end()
		require.NoError(t, err, name)
	}
	time.Sleep(4 * silence) // idle, and nobody waits: that is no silence
	_, err = conn.Exec(t.Context(), "SELECT 1")
	require.NoError(t, err)
}

// What was sent is lost, or the answer: the connection is closed, and the session's locks are free.
func TestWatchEndsASilentSession(t *testing.T) {
	src := pgtest.Source(t)
	src.Exec(t, "CREATE TABLE locked (id int)")
	for name, pause := range map[string]string{"request lost": "", "answer lost": fmt.Sprintf("SELECT pg_sleep(%f); ", (2 * silence).Seconds())} {
		t.Run(name, func(t *testing.T) {
			proxy, e := netproxy.To(t, src.Endpoint)
			w := pgkit.NewWatch(e, silence, nil)
			conn, err := pgkit.DialWatched(t.Context(), e, "watched", w)
			require.NoError(t, err)
			defer conn.Close(context.Background())
			defer w.Close()
			_, err = conn.Exec(t.Context(), "BEGIN; LOCK TABLE locked")
			require.NoError(t, err)
			defer w.Wait()()
			if pause == "" {
				proxy.Silence()
			} else {
				time.AfterFunc(silence, proxy.Silence)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*silence)
			defer cancel()
			_, err = conn.Exec(ctx, pause+"SELECT 1")
			require.Error(t, err)
			require.NoError(t, ctx.Err(), "noticed in time")
			require.Equal(t, fault.Transient, fault.Classify(err), "%v", err)
			require.True(t, conn.IsClosed())
			src.Exec(t, "BEGIN; SET LOCAL lock_timeout = '5s'; LOCK TABLE locked; COMMIT")
		})
	}
}
