package world

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/awssim"
	"timeferry/internal/contract"
	"timeferry/internal/pgkit"
	"timeferry/internal/testkit/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// newRoot is a repository whose worker and starter do as little as the world needs of them: this test is about the world.
func newRoot(t *testing.T) string {
	t.Helper()
	bin, err := cacheBin()
	require.NoError(t, err)
	if _, err := exec.LookPath("temporal"); err != nil {
		if _, err := os.Stat(filepath.Join(bin, "temporal")); err != nil && !pgtest.Required("temporal") {
			t.Skip("no temporal program: run tools/build.sh, or put one on PATH")
		}
	}
	root := t.TempDir()
	real, err := findRoot()
	require.NoError(t, err)
	require.NoError(t, os.Symlink(filepath.Join(real, "tools"), filepath.Join(root, "tools")))
	for name, text := range map[string]string{
		"go.mod": "module fake\n\ngo 1.26\n",
		"worker/main.go": `package main
import ("fmt"; "os"; "os/signal"; "strings"; "syscall")
func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	fmt.Println("worker started", strings.Join(os.Args[1:], " "), os.Getenv("AWS_ENDPOINT_URL"), os.Getenv("AWS_PROFILE"), os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"))
	<-stop
	fmt.Println("worker drained")
}`,
		"starter/main.go": `package main
import ("fmt"; "os")
func main() { fmt.Println(os.Args[1], os.Getenv("TEMPORAL_ADDRESS")); if os.Args[1] == "fail" { fmt.Fprintln(os.Stderr, "refused"); os.Exit(3) } }`,
	} {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return root
}

func TestWorldStartsRebootsAndLeavesNothing(t *testing.T) {
	pgtest.Source(t) // skips without servers
	pgtest.Target(t)
	t.Setenv("AWS_PROFILE", "someone-elses")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	w, err := Start(ctx, Options{Root: newRoot(t), Dir: t.TempDir(), Scale: 0.01, Timings: awssim.DefaultTimings, Gate: true})
	require.NoError(t, err)
	defer func() { require.NoError(t, w.Stop(ctx)) }()

	t.Run("the worker has what it needs, and nothing of the user's", func(t *testing.T) {
		require.True(t, w.worker.Logged("--data-dir "+w.Path("worker")))
		require.True(t, w.worker.Logged("http://127.0.0.1:"+strconv.Itoa(w.Ports.AWS)))
		require.False(t, w.worker.Logged("someone-elses"))
		request, err := http.NewRequest(http.MethodPut, "http://127.0.0.1:"+strconv.Itoa(w.Ports.Metadata)+"/latest/api/token", nil)
		require.NoError(t, err)
		require.True(t, w.worker.Logged("http://"+request.URL.Host))
		request.Header.Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "60")
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, 200, response.StatusCode)
	})
	t.Run("starter is run with the world's environment, and its exit code is kept", func(t *testing.T) {
		out, err := w.Starter(ctx, "hello")
		require.NoError(t, err)
		require.Equal(t, "hello 127.0.0.1:"+strconv.Itoa(w.Ports.Temporal)+"\n", string(out))
		_, err = w.Starter(ctx, "fail")
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, 3, exit.ExitCode())
		require.ErrorContains(t, err, "refused")
	})
	t.Run("the spec is good, and keeps no password", func(t *testing.T) {
		text, err := os.ReadFile(w.Path("shop.json"))
		require.NoError(t, err)
		spec, err := contract.ParseSpec(text)
		require.NoError(t, err)
		require.Equal(t, Instance, spec.Source.RDS.Instance)
		require.Len(t, spec.Hypertables, 2)
		for _, secret := range []string{w.passwords.source, w.passwords.target, w.passwords.app} {
			require.NotContains(t, string(text), secret)
		}
		for _, name := range []string{"env", "pg_service.conf"} {
			info, err := os.Stat(w.Path(name))
			require.NoError(t, err)
			require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
		}
	})
	t.Run("a shell that sources env reaches both databases", func(t *testing.T) {
		if _, err := exec.LookPath("psql"); err != nil {
			require.False(t, pgtest.Required("pg"), "psql is not installed")
			t.Skip("psql is not installed")
		}
		script := fmt.Sprintf(`. %s && psql -XAtc 'SELECT current_user' service=source && psql -XAtc 'SELECT current_user' service=target && command -v starter`, w.Path("env"))
		out, err := exec.CommandContext(ctx, "/bin/sh", "-c", script).CombinedOutput()
		require.NoError(t, err, string(out))
		require.Equal(t, "shopadmin\ntsdbadmin\n"+w.Path("bin", "starter")+"\n", string(out))
	})
	t.Run("both servers take encrypted sessions only", func(t *testing.T) {
		for _, e := range []pgkit.Endpoint{w.SourceMaster(), w.TargetMaster()} {
			conn, err := pgkit.Dial(ctx, e, "test")
			require.NoError(t, err)
			require.NoError(t, conn.Close(ctx))
			e.SSLMode = "disable"
			_, err = pgkit.Dial(ctx, e, "test")
			require.ErrorContains(t, err, "require or better")
		}
	})
	t.Run("the security group is a gate", func(t *testing.T) { gate(t, ctx, w) })
	t.Run("a rotation changes the password", func(t *testing.T) {
		before := w.SourceMaster()
		require.NoError(t, w.RotateSource())
		require.Eventually(t, func() bool { return w.SourceMaster().Password != before.Password }, 10*time.Second, 10*time.Millisecond)
		conn, err := pgkit.Dial(ctx, w.SourceMaster(), "test")
		require.NoError(t, err)
		require.NoError(t, conn.Close(ctx))
		_, err = pgkit.Dial(ctx, before, "test")
		require.ErrorContains(t, err, "refuses the login")
	})
	t.Run("the worker can be killed and comes back", func(t *testing.T) {
		first := w.worker.PID()
		require.NoError(t, w.KillWorker())
		require.ErrorContains(t, w.Err(), "worker is not running")
		require.NoError(t, w.StartWorker(ctx))
		require.NoError(t, w.Err())
		require.NotEqual(t, first, w.worker.PID())
	})
	t.Run("a reboot brings the group's parameters into force", func(t *testing.T) { reboot(t, ctx, w) })
	t.Run("a second world in the same directory is refused", func(t *testing.T) {
		_, err := Start(ctx, Options{Root: w.options.Root, Dir: w.Dir()})
		require.ErrorContains(t, err, "another sandbox is running in it")
	})

	pids := []int{w.worker.PID(), w.temporal.PID()}
	require.NoError(t, w.Stop(ctx))
	require.True(t, w.worker.Logged("worker drained"))
	for _, pid := range pids {
		require.NoDirExists(t, "/proc/"+strconv.Itoa(pid))
	}
	for _, s := range w.Ports.Settings() {
		conn, err := net.DialTimeout("tcp", "127.0.0.1:"+strconv.Itoa(*s.Port), time.Second)
		if err == nil {
			conn.Close()
		}
		require.Error(t, err, "%s still answers", s.What)
	}
	require.NoFileExists(t, w.Path("env"), "passwords do not outlive the world")
	for _, log := range []string{"source.log", "target.log", "worker.log", "temporal.log"} {
		info, err := os.Lstat(w.Path("logs", log))
		require.NoError(t, err)
		require.True(t, info.Mode().IsRegular(), log)
	}
}

// gate goes in by the way that a worker takes, before a rule lets it in and after.
func gate(t *testing.T, ctx context.Context, w *World) {
	e := w.SourceMaster()
	e.Port = w.Ports.Source
	require.NotEqual(t, w.Source.Port(), e.Port)
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err := pgkit.Dial(short, e, "test")
	require.ErrorContains(t, err, "let the security group")

	spec, err := contract.ParseSpec(must(os.ReadFile(w.Path("shop.json"))))
	require.NoError(t, err)
	require.Equal(t, SecurityGroup, spec.Prepare.SecurityGroup)
	port := strconv.Itoa(e.Port)
	response, err := http.PostForm("http://127.0.0.1:"+strconv.Itoa(w.Ports.AWS), url.Values{"Action": {"AuthorizeSecurityGroupIngress"},
		"Version": {"2016-11-15"}, "GroupId": {SecurityGroup}, "IpPermissions.1.IpProtocol": {"tcp"}, "IpPermissions.1.FromPort": {port},
		"IpPermissions.1.ToPort": {port}, "IpPermissions.1.IpRanges.1.CidrIp": {"127.0.0.1/32"}})
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 200, response.StatusCode)
	conn, err := pgkit.Dial(ctx, e, "test")
	require.NoError(t, err)
	require.NoError(t, conn.Close(ctx))
}

func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

// reboot does by hand what a migration does.
func reboot(t *testing.T, ctx context.Context, w *World) {
	show := func(name string) (value string) {
		conn, err := pgkit.Dial(ctx, w.SourceMaster(), "test")
		require.NoError(t, err)
		defer conn.Close(ctx)
		require.NoError(t, conn.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value))
		return value
	}
	require.Equal(t, "replica", show("wal_level"))
	before := show("wal_sender_timeout")
	call := func(form ...string) string {
		values := url.Values{"Version": {"2014-10-31"}}
		for i := 0; i < len(form); i += 2 {
			values.Set(form[i], form[i+1])
		}
		response, err := http.PostForm("http://127.0.0.1:"+strconv.Itoa(w.Ports.AWS), values)
		require.NoError(t, err)
		defer response.Body.Close()
		text := make([]byte, 1<<20)
		n, _ := response.Body.Read(text)
		require.Equal(t, 200, response.StatusCode, string(text[:n]))
		return string(text[:n])
	}
	settle := func(apply string) {
		require.Eventually(t, func() bool {
			text := call("Action", "DescribeDBInstances", "DBInstanceIdentifier", Instance)
			return strings.Contains(text, "<DBInstanceStatus>available<") && strings.Contains(text, "<ParameterApplyStatus>"+apply+"<")
		}, 30*time.Second, 20*time.Millisecond)
	}
	call("Action", "CreateDBParameterGroup", "DBParameterGroupName", "mine", "DBParameterGroupFamily", "postgres15", "Description", "x")
	call("Action", "ModifyDBParameterGroup", "DBParameterGroupName", "mine",
		"Parameters.Parameter.1.ParameterName", "rds.logical_replication", "Parameters.Parameter.1.ParameterValue", "1", "Parameters.Parameter.1.ApplyMethod", "pending-reboot",
		"Parameters.Parameter.2.ParameterName", "wal_sender_timeout", "Parameters.Parameter.2.ParameterValue", "1800000", "Parameters.Parameter.2.ApplyMethod", "pending-reboot")
	call("Action", "ModifyDBInstance", "DBInstanceIdentifier", Instance, "DBParameterGroupName", "mine")
	settle("pending-reboot")
	require.Equal(t, "replica", show("wal_level"), "attaching is not enough")
	call("Action", "RebootDBInstance", "DBInstanceIdentifier", Instance)
	settle("in-sync")
	require.Equal(t, []string{"logical", "on", "30min"}, []string{show("wal_level"), show("rds.logical_replication"), show("wal_sender_timeout")})

	call("Action", "ModifyDBInstance", "DBInstanceIdentifier", Instance, "DBParameterGroupName", "default.postgres15")
	settle("pending-reboot")
	call("Action", "RebootDBInstance", "DBInstanceIdentifier", Instance)
	settle("in-sync")
	require.Equal(t, []string{"replica", "off", before}, []string{show("wal_level"), show("rds.logical_replication"), show("wal_sender_timeout")})
}
