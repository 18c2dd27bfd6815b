package launch_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/launch"
)

const workerProgram = "#!/bin/sh\necho worker\n"

// setupWorld runs the setup script for real, with bash, curl, install and sha256sum, below a directory of its own. What
// would change this machine (packages, users, services, the file system) is replaced by programs that take a note.
type setupWorld struct {
	root, bin, notes string
	fetched          func() []string
}

func newSetupWorld(t *testing.T) setupWorld {
	t.Helper()
	dir := t.TempDir()
	w := setupWorld{root: filepath.Join(dir, "root"), bin: filepath.Join(dir, "bin"), notes: filepath.Join(dir, "notes")}
	var mu sync.Mutex
	var fetched []string
	server := httptest.NewTLSServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		fetched = append(fetched, r.Host+r.URL.Path)
		if _, err := out.Write([]byte(workerProgram)); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(server.Close)
	w.fetched = func() []string {
		mu.Lock()
		defer mu.Unlock()
		return fetched
	}
	at, err := url.Parse(server.URL)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(w.root, 0o755))
	require.NoError(t, os.MkdirAll(w.bin, 0o755))
	note := "#!/bin/bash\necho \"$(basename \"$0\") $*\" >> " + w.notes + "\n"
	for name, text := range map[string]string{
		"apt-get": note, "useradd": note, "tune2fs": note, "systemctl": note,
		"id":      note + "exit 1\n", // there is no such user yet
		"findmnt": note + "echo /dev/root\n",
		"curl":    note + "exec /usr/bin/curl --insecure --connect-to ::" + at.Host + " \"$@\"\n",
		"install": note + "args=()\nfor a in \"$@\"; do case $a in --owner=*|--group=*) ;; *) args+=(\"$a\");; esac; done\nexec /usr/bin/install \"${args[@]}\"\n",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(w.bin, name), []byte(text), 0o755))
	}
	return w
}

func (w setupWorld) run(t *testing.T, script string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash")
	cmd.Stdin = strings.NewReader(script)
	cmd.Env = []string{"PATH=" + w.bin + ":/usr/bin:/bin", "TIMEFERRY_SETUP_ROOT=" + w.root}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (w setupWorld) file(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(w.root, name))
	require.NoError(t, err)
	return string(content)
}

func setupOrder() (launch.Order, launch.Plan) {
	order := goodOrder()
	sum := sha256.Sum256([]byte(workerProgram))
	order.Setup.WorkerSHA256 = strings.ToUpper(hex.EncodeToString(sum[:]))
	return order, launch.Plan{Region: "us-west-2", PostgresClient: 15}
}

func TestSetupRuns(t *testing.T) {
	w := newSetupWorld(t)
	order, plan := setupOrder()
	order.Setup.RDSBundle = true
	script, err := launch.UserData(order, plan)
	require.NoError(t, err)
	for range 2 { // a person who repeats it by hand breaks nothing
		output, err := w.run(t, script)
		require.NoError(t, err, output)
		require.Contains(t, output, "the worker is set up")
	}
	require.Equal(t, workerProgram, w.file(t, "usr/local/bin/timeferry-worker"))
	info, err := os.Stat(filepath.Join(w.root, "usr/local/bin/timeferry-worker"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o755), info.Mode())
	info, err = os.Stat(filepath.Join(w.root, "var/lib/timeferry"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.Equal(t, []string{"www.postgresql.org/media/keys/ACCC4CF8.asc", "bucket.example/worker", "truststore.pki.rds.amazonaws.com/global/global-bundle.pem"}, w.fetched()[:3])
	require.Contains(t, w.file(t, "etc/timeferry/rds-global-bundle.pem.sha256"), "rds-global-bundle.pem")
	require.Contains(t, w.file(t, "etc/apt/sources.list.d/pgdg.list"), "noble-pgdg")
	unit := w.file(t, "etc/systemd/system/timeferry-worker.service")
	require.Contains(t, unit, "ExecStartPre=+/usr/local/bin/timeferry-worker environment --region us-west-2 --secret "+order.Setup.EnvironmentSecret+" --file /run/timeferry/environment\n")
	require.Contains(t, unit, "User=timeferry")
	require.Equal(t, map[string]string{"TEMPORAL_ADDRESS": "temporal.example:7233", "TEMPORAL_NAMESPACE": `a "b" $c`},
		sourced(t, filepath.Join(w.root, "etc/timeferry/environment"), "TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE"))
	notes, err := os.ReadFile(w.notes)
	require.NoError(t, err)
	for _, want := range []string{"install postgresql-client-15", "useradd --system", "tune2fs -m 1 /dev/root", "--owner=timeferry", "systemctl enable --now timeferry-worker.service"} {
		require.Contains(t, string(notes), want)
	}
}

// A worker that is not the one meant never gets to run.
func TestSetupStopsAtAWrongChecksum(t *testing.T) {
	w := newSetupWorld(t)
	order, plan := setupOrder()
	order.Setup.WorkerSHA256 = strings.Repeat("0", 64)
	script, err := launch.UserData(order, plan)
	require.NoError(t, err)
	output, err := w.run(t, script)
	require.Error(t, err)
	require.Contains(t, output, "timeferry: setup failed at line")
	require.NoFileExists(t, filepath.Join(w.root, "usr/local/bin/timeferry-worker"))
	notes, err := os.ReadFile(w.notes)
	require.NoError(t, err)
	require.NotContains(t, string(notes), "systemctl")
}

func TestUserDataIsSoundShell(t *testing.T) {
	for name, change := range map[string]func(*launch.Setup){
		"secret":    func(s *launch.Setup) { s.RDSBundle = true },
		"parameter": func(s *launch.Setup) { s.EnvironmentSecret, s.EnvironmentParameter = "", "/timeferry/shop" },
		"neither":   func(s *launch.Setup) { s.EnvironmentSecret = "" },
	} {
		t.Run(name, func(t *testing.T) {
			order, plan := setupOrder()
			change(&order.Setup)
			script, err := launch.UserData(order, plan)
			require.NoError(t, err)
			require.NotContains(t, script, "<no value>")
			require.Equal(t, name == "parameter", strings.Contains(script, "--parameter /timeferry/shop --file"))
			require.Equal(t, name != "neither", strings.Contains(script, "ExecStartPre"))
			for _, check := range [][]string{{"bash", "-n"}, {"shellcheck", "--shell=bash", "-"}} {
				if _, err := exec.LookPath(check[0]); err != nil && check[0] != "bash" {
					continue // bash -n is always there
				}
				cmd := exec.Command(check[0], check[1:]...)
				cmd.Stdin = strings.NewReader(script)
				output, err := cmd.CombinedOutput()
				require.NoError(t, err, string(output))
			}
		})
	}
}

// TestUnitIsSound asks systemd itself, where it is.
func TestUnitIsSound(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("no systemd-analyze on this machine")
	}
	order, plan := setupOrder()
	script, err := launch.UserData(order, plan)
	require.NoError(t, err)
	_, rest, found := strings.Cut(script, "timeferry-worker.service\" << 'TIMEFERRY_END'\n")
	require.True(t, found)
	unit, _, found := strings.Cut(rest, "TIMEFERRY_END\n")
	require.True(t, found)
	file := filepath.Join(t.TempDir(), "timeferry-worker.service")
	// It looks whether the program is there.
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(unit, "/usr/local/bin/timeferry-worker", "/bin/true")), 0o600))
	output, err := exec.Command("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", file).CombinedOutput()
	require.NoError(t, err, string(output))
	require.NotContains(t, string(output), "timeferry-worker.service", "systemd has nothing to say about it")
}

func TestUserDataHasALimit(t *testing.T) {
	order, plan := setupOrder()
	order.Setup.Environment["TEMPORAL_LONG"] = strings.Repeat("x", launch.MaxUserData)
	_, err := launch.UserData(order, plan)
	require.ErrorContains(t, err, "16384")
}

// sourced reads variables from a file as a shell does, which is as systemd does.
func sourced(t *testing.T, file string, names ...string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range names {
		out, err := exec.Command("bash", "-c", `. "$1"; printf '%s' "${!2}"`, "bash", file, name).Output()
		require.NoError(t, err)
		all[name] = string(out)
	}
	return all
}
