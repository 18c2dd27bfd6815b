package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgtest"
)

// TestRestartOfARealServer runs server-loop.sh as compose does, and restarts its server with good and with bad settings.
func TestRestartOfARealServer(t *testing.T) {
	s := mustRunLoop(t)
	version, err := s.awaitVersion(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, version)
	require.Equal(t, "replica", s.show(t, "wal_level"))

	logical := map[string]string{"wal_level": "logical", "rds.logical_replication": "on", "max_wal_senders": "20", "work_mem": "8192"}
	require.NoError(t, s.Restart(t.Context(), logical))
	require.Equal(t, "logical", s.show(t, "wal_level"))
	require.Equal(t, "on", s.show(t, "rds.logical_replication"))
	require.Equal(t, "8MB", s.show(t, "work_mem"))

	logical["work_mem"] = "16384"
	require.NoError(t, s.Reload(t.Context(), logical))
	require.Eventually(t, func() bool { return s.show(t, "work_mem") == "16MB" }, 10*time.Second, 20*time.Millisecond)

	err = s.Restart(t.Context(), map[string]string{"wal_level": "logical", "max_wal_senders": "no number"})
	require.ErrorContains(t, err, "does not start")
	require.NoError(t, s.Restart(t.Context(), map[string]string{"wal_level": "replica", "rds.logical_replication": "off"}), "and is mended")
	require.Equal(t, "replica", s.show(t, "wal_level"))
	require.Equal(t, "4MB", s.show(t, "work_mem"), "what is no longer set goes back")
}

func TestRotationReachesTheServer(t *testing.T) {
	source := pgtest.Source(t)
	source.Exec(t, "CREATE ROLE awssim_rotated LOGIN PASSWORD 'before'")
	t.Cleanup(func() { source.Exec(t, "DROP ROLE awssim_rotated") })
	s := &server{endpoint: source.Endpoint}
	stored := func() (text string) {
		require.NoError(t, source.Conn(t).QueryRow(t.Context(), "SELECT rolpassword FROM pg_authid WHERE rolname = 'awssim_rotated'").Scan(&text))
		return text
	}
	before := stored()
	require.NoError(t, s.SetPassword(t.Context(), "awssim_rotated", `it's "new"`))
	require.NotEqual(t, before, stored())
	err := s.SetPassword(t.Context(), "awssim_nobody", "hidden")
	require.ErrorContains(t, err, "awssim_nobody")
	require.NotContains(t, err.Error(), "hidden")
}

func TestMetadataHasAnAddressOfItsOwn(t *testing.T) {
	simulator := awssim.New(awssim.Options{})
	t.Cleanup(simulator.Close)
	ctx, stop := context.WithCancel(t.Context())
	api, metadata := freeAddress(t), freeAddress(t)
	ended := make(chan error, 1)
	go func() {
		ended <- serveAll(ctx, []site{{"api", api, simulator}, {"metadata", metadata, simulator.Metadata(awssim.MetadataConfig{})}})
	}()
	status := func(address, path string) (code int) {
		response, err := http.Get("http://" + address + path)
		if err != nil {
			return 0
		}
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	require.Eventually(t, func() bool { return status(metadata, "/latest/meta-data/local-ipv4") == http.StatusUnauthorized }, 10*time.Second, 10*time.Millisecond)
	require.Eventually(t, func() bool { return status(api, "/_control/calls") == http.StatusOK }, 10*time.Second, 10*time.Millisecond)
	stop()
	require.NoError(t, <-ended)
	require.Error(t, serveAll(t.Context(), []site{{"api", api, simulator}, {"nothing", "256.0.0.1:1", simulator}}), "one that cannot start ends all")
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().String()
}

func TestParse(t *testing.T) {
	t.Setenv("AWSSIM_INSTANCE", "from-environment")
	t.Setenv("AWSSIM_PORT", "6000")
	file := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(file, []byte("pw\n"), 0o600))
	o, err := parse([]string{"--metadata-listen", "127.0.0.1:1", "--metadata-private-ip", "10.0.0.9", "--host", "source", "--port", "7000", "--superuser-password-file", file})
	require.NoError(t, err)
	require.Equal(t, "from-environment", o.instance.ID)
	require.Equal(t, 7000, o.server.Port, "a flag wins, and the server is where the endpoint says")
	require.Equal(t, "source", o.server.Host)
	require.Equal(t, "pw", o.server.Password)
	require.Equal(t, []string{"127.0.0.1:1", "10.0.0.9"}, []string{o.metaListen, o.metadata.PrivateIP})
	_, err = parse([]string{"--host", "source", "rest"})
	require.ErrorContains(t, err, "rest")
	t.Setenv("AWSSIM_PORT", "many")
	_, err = parse(nil)
	require.ErrorContains(t, err, "AWSSIM_PORT")
}

// show gives a setting as a new session sees it.
func (s *server) show(t *testing.T, name string) (value string) {
	t.Helper()
	require.NoError(t, s.connected(t.Context(), func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&value)
	}))
	return value
}

// mustRunLoop makes a data directory and runs server-loop.sh on it, as the user postgres when we are root.
func mustRunLoop(t *testing.T) *server {
	t.Helper()
	bins, err := filepath.Glob("/usr/lib/postgresql/15/bin/initdb")
	require.NoError(t, err)
	if len(bins) == 0 {
		require.False(t, pgtest.Required("pg"), "PostgreSQL 15 is not installed")
		t.Skip("PostgreSQL 15 is not installed")
	}
	bin := filepath.Dir(bins[0])
	dir, err := os.MkdirTemp("", "awssim-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	login := serverLogin(t, dir)
	here, err := os.Getwd()
	require.NoError(t, err)
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(name, args...)
		cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: login, Setpgid: true}
		cmd.Env = append(os.Environ(), "PATH="+bin+":/usr/bin:/bin", "PGDATA="+dir+"/data", "CONTROL_DIR="+dir)
		return cmd
	}
	text := func(script string) string { // the source tree need not be readable for the user postgres
		content, err := os.ReadFile(filepath.Join(here, script))
		require.NoError(t, err)
		return string(content)
	}
	out, err := run("initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-D", dir+"/data").CombinedOutput()
	require.NoError(t, err, string(out))
	out, err = run("bash", "-c", text("include-settings.sh")).CombinedOutput()
	require.NoError(t, err, string(out))

	port := freePort(t)
	loop := run("bash", "-c", text("server-loop.sh"), "server-loop.sh", "postgres", "-D", dir+"/data", "-p", strconv.Itoa(port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="+dir)
	require.NoError(t, loop.Start())
	t.Cleanup(func() {
		require.NoError(t, loop.Process.Signal(syscall.SIGTERM))
		require.NoError(t, loop.Wait(), "the loop stops the server and ends well")
	})
	return &server{control: dir, endpoint: pgkit.Endpoint{Host: "127.0.0.1", Port: port, Database: "postgres", User: "postgres", SSLMode: "disable"}}
}

// serverLogin gives the user to run the server as, and lets that user own dir: PostgreSQL does not run as root.
func serverLogin(t *testing.T, dir string) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	account, err := user.Lookup("postgres")
	require.NoError(t, err)
	uid, err := strconv.Atoi(account.Uid)
	require.NoError(t, err)
	gid, err := strconv.Atoi(account.Gid)
	require.NoError(t, err)
	require.NoError(t, errors.Join(os.Chown(dir, uid, gid), os.Chmod(dir, 0o755)))
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}
