package pgserver_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"github.com/jackc/pgx/v5/pgproto3"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgserver"
)

// helperEnv makes the test binary start a server, say where it is, and wait to be killed.
const helperEnv = "TIMEFERRY_TEST_PGSERVER_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		s, err := pgserver.StartSource(context.Background(), pgserver.Options{})
		if err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		fmt.Println(s.DataDir())
		select {}
	}
	os.Exit(m.Run())
}

type starter func(context.Context, pgserver.Options) (*pgserver.Server, error)

func mustStart(t *testing.T, start starter, o pgserver.Options) *pgserver.Server {
	t.Helper()
	s, err := start(context.Background(), o)
	if errors.Is(err, pgserver.ErrUnavailable) && !strings.Contains(os.Getenv("TIMEFERRY_REQUIRE"), "pg") {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Stop(context.Background())) })
	return s
}

func mustConnect(t *testing.T, s *pgserver.Server) *pgx.Conn {
	t.Helper()
	conn, err := pgkit.Dial(context.Background(), s.Superuser("postgres"), "test")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) }) // the server may be gone by then
	return conn
}

func queryText(t *testing.T, s *pgserver.Server, sql string) string {
	t.Helper()
	conn, err := pgkit.Dial(context.Background(), s.Superuser("postgres"), "test")
	require.NoError(t, err)
	defer conn.Close(context.Background())
	var text string
	require.NoError(t, conn.QueryRow(context.Background(), sql).Scan(&text))
	return text
}

func TestBothKindsStartAndStop(t *testing.T) {
	for name, c := range map[string]struct {
		start     starter
		preloaded string
	}{
		"source": {pgserver.StartSource, ""},
		"target": {pgserver.StartTarget, "timescaledb"},
	} {
		t.Run(name, func(t *testing.T) {
			s := mustStart(t, c.start, pgserver.Options{Settings: map[string]string{"log_min_messages": "info", "application_name": `it's \ odd`}})
			require.Equal(t, c.preloaded, queryText(t, s, "SHOW shared_preload_libraries"))
			require.Equal(t, "logical", queryText(t, s, "SHOW wal_level"))
			require.Equal(t, "127.0.0.1", queryText(t, s, "SHOW listen_addresses"))
			require.Equal(t, "info", queryText(t, s, "SHOW log_min_messages"))
			require.Equal(t, `it's \ odd`, queryText(t, s, "SELECT reset_val FROM pg_settings WHERE name = 'application_name' AND source = 'client' UNION ALL SELECT setting FROM pg_file_settings WHERE name = 'application_name' ORDER BY 1 LIMIT 1"))
			require.Equal(t, "UTF8 C.UTF-8 on", queryText(t, s, "SELECT pg_encoding_to_char(encoding)||' '||datcollate||' '||current_setting('synchronous_commit') FROM pg_database WHERE datname = 'postgres'"))

			require.NoError(t, s.Stop(context.Background()))
			require.False(t, s.Running())
			require.NoDirExists(t, s.DataDir())
			require.Error(t, s.Start(context.Background()), "a stopped server has no data any more")
		})
	}
}

func TestWrongPasswordIsRefused(t *testing.T) {
	s := mustStart(t, pgserver.StartSource, pgserver.Options{})
	e := s.Superuser("postgres")
	e.Password = "guess"
	_, err := pgkit.Dial(context.Background(), e, "test")
	require.ErrorContains(t, err, "password authentication failed")
}

func TestRestartChangesSettingsAndKeepsPortAndData(t *testing.T) {
	ctx := context.Background()
	s := mustStart(t, pgserver.StartSource, pgserver.Options{Settings: map[string]string{"wal_level": "replica"}})
	port := s.Port()
	_, err := mustConnect(t, s).Exec(ctx, "CREATE TABLE kept AS SELECT 7 AS n")
	require.NoError(t, err)

	require.NoError(t, s.Restart(ctx, map[string]string{"wal_level": "logical", "rds.logical_replication": "1"}))
	require.Equal(t, port, s.Port())
	require.Equal(t, "logical", queryText(t, s, "SHOW wal_level"))
	require.Equal(t, "1", queryText(t, s, "SHOW rds.logical_replication"))
	require.Equal(t, "7", queryText(t, s, "SELECT n::text FROM kept"))
}

func TestRestartThatFailsSaysWhyAndCanBeMended(t *testing.T) {
	ctx := context.Background()
	s := mustStart(t, pgserver.StartSource, pgserver.Options{})
	err := s.Restart(ctx, map[string]string{"shared_buffers": "a lot"})
	require.ErrorContains(t, err, `invalid value for parameter "shared_buffers"`)
	require.False(t, s.Running())
	require.NoError(t, s.Restart(ctx, map[string]string{"shared_buffers": "64MB"}))
	require.Equal(t, "64MB", queryText(t, s, "SHOW shared_buffers"))
}

func TestRestartEndsASilentWalsender(t *testing.T) {
	ctx := context.Background()
	s := mustStart(t, pgserver.StartSource, pgserver.Options{})
	conn := mustConnect(t, s)
	_, err := conn.Exec(ctx, "CREATE TABLE a (id int); CREATE PUBLICATION p FOR TABLE a")
	require.NoError(t, err)
	_, err = conn.Exec(ctx, "SELECT pg_create_logical_replication_slot('silent', 'pgoutput')")
	require.NoError(t, err)
	repl, err := pgkit.DialReplication(ctx, s.Superuser("postgres"), "test")
	require.NoError(t, err)
	defer repl.Close(ctx)
	// Started, and then never answered: a fast shutdown would wait for it as long as wal_sender_timeout.
	repl.Frontend().SendQuery(&pgproto3.Query{String: startReplication})
	require.NoError(t, repl.Frontend().Flush())
	require.Eventually(t, func() bool {
		return queryText(t, s, "SELECT count(*)::text FROM pg_stat_replication") == "1"
	}, 10*time.Second, 20*time.Millisecond)
	_, err = conn.Exec(ctx, "INSERT INTO a VALUES (1)")
	require.NoError(t, err)
	require.NoError(t, s.Restart(ctx, nil))
	require.Equal(t, "1", queryText(t, s, "SELECT count(*)::text FROM a"))
}

func TestKillLosesNoCommittedData(t *testing.T) {
	for name, start := range map[string]starter{"source": pgserver.StartSource, "target": pgserver.StartTarget} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			s := mustStart(t, start, pgserver.Options{})
			conn := mustConnect(t, s)
			_, err := conn.Exec(ctx, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
			require.NoError(t, err)
			busy := mustConnect(t, s)
			ended := make(chan error, 1)
			go func() {
				_, err := busy.Exec(ctx, "SELECT count(*) FROM generate_series(1, 1000000000000)")
				ended <- err
			}()
			require.Eventually(t, func() bool {
				return queryText(t, s, "SELECT count(*)::text FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%1000000000000%' AND pid <> pg_backend_pid()") == "1"
			}, 10*time.Second, 10*time.Millisecond)

			require.NoError(t, s.Kill())
			require.Error(t, <-ended)
			require.False(t, s.Running())
			require.NoError(t, s.Kill(), "killing twice")
			require.NoError(t, s.Start(ctx))
			require.NoError(t, s.Start(ctx), "starting twice")
			require.Equal(t, "1000", queryText(t, s, "SELECT count(*)::text FROM kept"))
		})
	}
}

func TestDirKeepsItsData(t *testing.T) {
	for name, start := range map[string]starter{"source": pgserver.StartSource, "target": pgserver.StartTarget} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			dir := filepath.Join(t.TempDir(), "server")
			s := mustStart(t, start, pgserver.Options{Dir: dir})
			_, err := mustConnect(t, s).Exec(ctx, "CREATE TABLE kept AS SELECT 7 AS n")
			require.NoError(t, err)

			_, err = start(ctx, pgserver.Options{Dir: dir})
			require.ErrorContains(t, err, "another process has a server in it")

			require.NoError(t, s.Stop(ctx))
			again := mustStart(t, start, pgserver.Options{Dir: dir})
			require.Equal(t, "7", queryText(t, again, "SELECT n::text FROM kept"))

			require.NoError(t, again.Remove(ctx))
			require.NoDirExists(t, dir)
			require.NoDirExists(t, again.DataDir())
			require.NoError(t, again.Remove(ctx), "removing twice")
		})
	}
}

func TestTakenPortIsNamed(t *testing.T) {
	first := mustStart(t, pgserver.StartSource, pgserver.Options{})
	_, err := pgserver.StartSource(context.Background(), pgserver.Options{Port: first.Port()})
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, fmt.Sprint(first.Port()))
	require.True(t, first.Running())
}

func TestServerDiesWithItsProcess(t *testing.T) {
	probe := mustStart(t, pgserver.StartSource, pgserver.Options{}) // skips where there is no server
	require.True(t, probe.Running())

	helper := exec.Command(os.Args[0])
	helper.Env = append(os.Environ(), helperEnv+"=1")
	out, err := helper.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, helper.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	data := strings.TrimSpace(line)
	require.FileExists(t, filepath.Join(data, "postmaster.pid"), line)

	require.NoError(t, helper.Process.Kill())
	require.Error(t, helper.Wait())
	require.Eventually(t, func() bool { // an orderly shutdown removes its pid file
		_, err := os.Stat(filepath.Join(data, "postmaster.pid"))
		return errors.Is(err, os.ErrNotExist)
	}, 20*time.Second, 20*time.Millisecond)

	// Nobody uses the directory any more: the next start removes it.
	old := time.Now().Add(-time.Hour)
	require.NoError(t, os.Chtimes(filepath.Dir(data), old, old))
	mustStart(t, pgserver.StartSource, pgserver.Options{})
	require.NoDirExists(t, filepath.Dir(data))
	require.DirExists(t, probe.DataDir(), "a living server's directory stays")
}

const startReplication = `START_REPLICATION SLOT silent LOGICAL 0/0 (proto_version '1', publication_names 'p')`

func TestParallelStartsShareOneTemplate(t *testing.T) {
	mustStart(t, pgserver.StartSource, pgserver.Options{}) // skips where there is no server
	cache := t.TempDir()
	t.Setenv(pgserver.EnvCache, cache)
	results := make(chan error)
	for range 3 {
		go func() {
			s, err := pgserver.StartSource(context.Background(), pgserver.Options{})
			if err == nil {
				err = s.Stop(context.Background())
			}
			results <- err
		}()
	}
	for range 3 {
		require.NoError(t, <-results)
	}
	made, err := filepath.Glob(filepath.Join(cache, "timeferry-template-*"))
	require.NoError(t, err)
	require.Len(t, made, 2, "one template and its lock: %v", made)
}
