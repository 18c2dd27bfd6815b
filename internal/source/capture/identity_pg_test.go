package capture_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/source/capture"
	"timeferry/internal/spool"
	"timeferry/internal/testkit/pgtest"
)

// startNewTimeline starts a killed server as one that was promoted: it recovers what WAL it has and goes on along a timeline of its own.
func startNewTimeline(t *testing.T, src *pgtest.Database) {
	t.Helper()
	data := src.Server.DataDir()
	signal := filepath.Join(data, "recovery.signal")
	require.NoError(t, os.WriteFile(signal, nil, 0o600))
	info, err := os.Stat(data)
	require.NoError(t, err)
	owner := info.Sys().(*syscall.Stat_t)
	require.NoError(t, os.Chown(signal, int(owner.Uid), int(owner.Gid)))
	require.NoError(t, src.Server.Start(context.Background()))
	await(t, "promoted", func() bool { return src.QueryValue(t, `SELECT pg_is_in_recovery()`) == "f" })
}

// copyData copies a stopped server's data.
func copyData(t *testing.T, from, to string) {
	t.Helper()
	require.NoError(t, os.RemoveAll(to))
	out, err := exec.Command("cp", "-a", from, to).CombinedOutput()
	require.NoError(t, err, string(out))
}

// A server that was promoted has another timeline. Where nothing that was received is lost by it, the stream goes on.
func TestPromotedSource(t *testing.T) {
	src := pgtest.OwnSource(t, map[string]string{"restore_command": "false"})
	s := newStream(t, src, "promoted")
	sp := s.open(t, spool.Options{})
	run := start(t, s.receiver(sp))
	s.backlog(t, 1, 50)
	s.awaitAll(t, sp)
	require.NoError(t, src.Server.Kill())
	startNewTimeline(t, src)
	s.backlog(t, 2, 50)
	s.awaitAll(t, sp)
	run.stop(t)
	require.Equal(t, 100, s.requireSame(t, sp))
	note, err := sp.Source()
	require.NoError(t, err)
	require.Contains(t, note, `"timeline":2`)
	run = start(t, s.receiver(sp)) // and again, without a change
	s.backlog(t, 3, 1)
	s.awaitAll(t, sp)
	run.stop(t)
}

// A server that lost what was received already is told from one that goes on: on a timeline that left before, and on the same
// one, set back.
func TestSourceThatLostSomething(t *testing.T) {
	src := pgtest.OwnSource(t, map[string]string{"restore_command": "false"})
	s := newStream(t, src, "lostpart")
	sp := s.open(t, spool.Options{})
	saved := src.Server.DataDir() + ".saved"
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(saved)) })
	run := start(t, s.receiver(sp))
	s.backlog(t, 1, 20)
	s.awaitAll(t, sp)
	require.NoError(t, src.Server.Kill())
	copyData(t, src.Server.DataDir(), saved)
	require.NoError(t, src.Server.Start(context.Background()))
	s.backlog(t, 2, 2000)
	s.awaitAll(t, sp)
	run.stop(t)

	for _, promoted := range []bool{false, true} {
		require.NoError(t, src.Server.Kill())
		copyData(t, saved, src.Server.DataDir())
		if promoted {
			startNewTimeline(t, src)
			s.backlog(t, 3, 3000) // past what was received
		} else {
			require.NoError(t, src.Server.Start(context.Background()))
		}
		durable := sp.Durable()
		err := start(t, s.receiver(sp)).result(t)
		require.True(t, spool.HasCode(err, capture.CodeDiverged), "promoted %t: %v", promoted, err)
		require.Equal(t, fault.Integrity, fault.Classify(err))
		require.Equal(t, durable, sp.Durable())
	}
}

// Another system with a slot of the same name is not the source.
func TestOtherSystem(t *testing.T) {
	s := newStream(t, pgtest.OwnSource(t, nil), "system")
	sp := s.open(t, spool.Options{})
	run := start(t, s.receiver(sp))
	s.backlog(t, 1, 5)
	s.awaitAll(t, sp)
	run.stop(t)
	other := newStream(t, pgtest.OwnSourceOf(t, 16, nil), "system") // those of one version are copies of one system
	other.backlog(t, 1, 2000)
	err := start(t, other.receiver(sp)).result(t)
	require.True(t, spool.HasCode(err, capture.CodeOtherSource), "%v", err)
	require.Equal(t, fault.Integrity, fault.Classify(err))
	require.Equal(t, 5, s.requireSame(t, sp))
}

func TestLeftAt(t *testing.T) {
	const history = "1\t0/3000000\tno recovery target specified\n\n2\t16/B374D848\tbefore 2000-01-01 05:00:00+00\n"
	for timeline, want := range map[int32]change.LSN{1: 0x3000000, 2: 0x16B374D848, 3: 0} {
		at, ok, err := capture.LeftAt(history, timeline)
		require.NoError(t, err)
		require.Equal(t, want, at)
		require.Equal(t, want != 0, ok)
	}
	_, _, err := capture.LeftAt("1\tnowhere\tx\n", 1)
	require.Error(t, err)
}

// An idle database on a busy server gets a marker now and then, and its position goes on with it.
func TestIdleMarker(t *testing.T) {
	src := pgtest.Source(t)
	s := newStream(t, src, "marker")
	sp := s.open(t, spool.Options{})
	r := s.receiver(sp)
	r.IdleMarker = 1
	run := start(t, r)
	await(t, "begun", func() bool { return sp.Durable() != 0 })
	require.Zero(t, run.progress().Transactions, "nothing is written to a server at rest")
	await(t, "a marker", func() bool {
		src.Exec(t, `SELECT pg_logical_emit_message(false, 'noise', repeat('x', 300000))`)
		return run.progress().Transactions > 0
	})
	run.stop(t)
	require.Contains(t, withoutDetails(eventsOf(t, sp)), "message "+capture.MarkerPrefix+"=")
}

func withoutDetails(events []string) []string {
	var out []string
	for _, e := range events {
		for i := range e {
			if i > 3 && e[i-1] == '=' {
				e = e[:i]
				break
			}
		}
		out = append(out, e)
	}
	return out
}
