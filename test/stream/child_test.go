package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"timeferry/internal/failpoint"
	"timeferry/internal/testkit/pgtest"
)

// envChild makes this test binary a pipeline that is meant to be killed.
const envChild = "TIMEFERRY_TEST_STREAM"

func TestMain(m *testing.M) {
	if text := os.Getenv(envChild); text != "" {
		fmt.Fprintln(os.Stderr, childProcess(text))
		os.Exit(1)
	}
	pgtest.Main(m)
}

// order is what a child is told: to run the pipeline, and to die when it comes by a point for the nth time.
type order struct {
	Config config
	Point  failpoint.Point // none: it runs until it is killed
	Nth    int64
}

func childProcess(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	var times atomic.Int64
	failpoint.Arm(func(p failpoint.Point) {
		if p == o.Point && times.Add(1) == o.Nth {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // nothing happens after the point
		}
	})
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	p, err := openPipeline(o.Config, log)
	for deadline := time.Now().Add(30 * time.Second); err != nil && o.Config.Direct && time.Now().Before(deadline); { // the target is away: an activity is tried again
		time.Sleep(100 * time.Millisecond)
		p, err = openPipeline(o.Config, log)
	}
	if err != nil {
		return err
	}
	p.receive()
	p.apply()
	select {
	case <-p.receiving.done:
	case <-p.applying.done:
	}
	return p.failure()
}

// child is a pipeline in a process of its own.
type child struct {
	cmd    *exec.Cmd
	output bytes.Buffer
	done   chan error
}

func startChild(t testing.TB, o order) *child {
	t.Helper()
	text, err := json.Marshal(o)
	require.NoError(t, err)
	c := &child{cmd: exec.Command(os.Args[0], "-test.run=^$"), done: make(chan error, 1)}
	c.cmd.Env = append(os.Environ(), envChild+"="+string(text))
	c.cmd.Stderr = &c.output
	require.NoError(t, c.cmd.Start())
	go func() { c.done <- c.cmd.Wait() }()
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill() // it may have ended long ago
		<-c.done                 // then its lock is free
	})
	return c
}

// died says whether the child has ended, which must have been by SIGKILL.
func (c *child) died() (bool, error) {
	select {
	case err := <-c.done:
		c.done <- err
		return true, c.judge(err)
	default:
		return false, nil
	}
}

// kill ends the child now.
func (c *child) kill() error {
	if err := c.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case err := <-c.done:
		c.done <- err
		return c.judge(err)
	case <-time.After(10 * time.Second):
		return errors.New("a killed process does not end")
	}
}

func (c *child) judge(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return nil
		}
	}
	return fmt.Errorf("the process ended by itself: %v\n%s", err, c.output.String())
}
