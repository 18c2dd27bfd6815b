package proc_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/sandbox/proc"
)

// TestMain plays a parent that is killed when asked to by environment.
func TestMain(m *testing.M) {
	if log := os.Getenv("PROC_TEST_PARENT"); log != "" {
		if _, err := proc.Start(shell(log, `echo "child $$"; exec sleep 60`)); err != nil {
			panic(err)
		}
		select {}
	}
	os.Exit(m.Run())
}

func shell(log, script string) proc.Options {
	return proc.Options{Name: "script", Path: "/bin/sh", Args: []string{"-c", script}, Env: os.Environ(), LogFile: log, Grace: 5 * time.Second}
}

func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestStopLetsTheProgramFinish(t *testing.T) {
	p, err := proc.Start(shell(filepath.Join(t.TempDir(), "log"), `trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done`))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, p.Await(ctx, func(context.Context) bool { return p.Logged("ready") }))
	require.NoError(t, p.Err())
	require.NoError(t, p.Stop(ctx))
	require.True(t, p.Logged("bye"))
	require.ErrorContains(t, p.Err(), "exit status 3")
	require.NoError(t, p.Stop(ctx), "stopping twice is harmless")
}

func TestKillTakesTheWholeGroup(t *testing.T) {
	p, err := proc.Start(shell(filepath.Join(t.TempDir(), "log"), `sleep 60 & echo "child $!."; wait`))
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(t, p.Await(ctx, func(context.Context) bool { return p.Logged(".") }))
	child, err := strconv.Atoi(strings.Trim(p.Tail(), "child ."))
	require.NoError(t, err)
	require.True(t, alive(child))
	require.NoError(t, p.Kill())
	require.Eventually(t, func() bool { return !alive(child) }, 5*time.Second, 10*time.Millisecond)
}

func TestAwaitTellsWhyItEnded(t *testing.T) {
	p, err := proc.Start(shell(filepath.Join(t.TempDir(), "log"), `echo "port in use" >&2; exit 1`))
	require.NoError(t, err)
	err = p.Await(context.Background(), func(context.Context) bool { return false })
	require.ErrorContains(t, err, "port in use")
}

func TestProgramDiesWithAKilledParent(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), "PROC_TEST_PARENT="+log)
	require.NoError(t, parent.Start())
	child := 0
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(log)
		if err != nil || !strings.HasSuffix(string(text), "\n") {
			return false
		}
		child, err = strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(string(text), "child ")))
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	require.True(t, alive(child))
	require.NoError(t, parent.Process.Signal(syscall.SIGKILL))
	require.Error(t, parent.Wait())
	require.Eventually(t, func() bool { return !alive(child) }, 5*time.Second, 10*time.Millisecond)
}
