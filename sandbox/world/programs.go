package world

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"timeferry/internal/fault"
	"timeferry/internal/testkit/pgserver"
	"timeferry/sandbox/proc"
)

// cacheBin is where development programs are kept over clones.
func cacheBin() (string, error) {
	cache := os.Getenv(pgserver.EnvCache)
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the cache directory (set %s): %w", pgserver.EnvCache, err)
		}
		cache = filepath.Join(base, "timeferry")
	}
	dir, err := filepath.Abs(filepath.Join(cache, "bin"))
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// findTemporal takes temporal from PATH, or has it built once into the cache.
func (w *World) findTemporal(ctx context.Context) (string, error) {
	if path, err := exec.LookPath("temporal"); err == nil {
		return path, nil
	}
	bin, err := cacheBin()
	if err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, filepath.Join(w.options.Root, "tools", "build.sh"), bin, "temporal")
	build.Stdout, build.Stderr = w.options.Log, os.Stderr
	if err := build.Run(); err != nil {
		return "", fault.New(fault.Operator, "build", "the temporal program", "put a temporal program on PATH, or see what the Go toolchain says above", "%w", err)
	}
	return filepath.Join(bin, "temporal"), nil
}

func (w *World) startTemporal(ctx context.Context) (err error) {
	if w.temporalProgram, err = w.findTemporal(ctx); err != nil {
		return err
	}
	args := []string{"server", "start-dev", "--ip", Host, "--port", strconv.Itoa(w.Ports.Temporal), "--ui-port", strconv.Itoa(w.Ports.UI), "--log-level", "warn"}
	if w.options.TemporalDB != "" {
		args = append(args, "--db-filename", w.options.TemporalDB)
	}
	w.temporal, err = proc.Start(proc.Options{Name: "temporal", Path: w.temporalProgram, Args: args, Env: w.Env(), Dir: w.options.Dir,
		LogFile: w.Path("logs", "temporal.log"), Grace: 10 * time.Second})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("it was not ready within a minute"))
	defer cancel()
	if err := w.temporal.Await(ctx, w.temporalReady); err != nil {
		return err
	}
	w.say("temporal is on port %d, its UI on http://%s:%d", w.Ports.Temporal, Host, w.Ports.UI)
	return nil
}

// temporalReady says whether the namespace can be used: the server answers a while before it can.
func (w *World) temporalReady(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, w.temporalProgram, "operator", "namespace", "describe", "--namespace", "default")
	cmd.Env = w.Env()
	return cmd.Run() == nil
}

// build makes worker and starter from this tree.
func (w *World) build(ctx context.Context) error {
	for _, program := range []string{"worker", "starter"} {
		cmd := exec.CommandContext(ctx, "go", "build", "-o", w.Path("bin", program), "./"+program)
		cmd.Dir = w.options.Root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w\n%s", program, err, out)
		}
	}
	return nil
}

// Starter runs the starter program and returns what it printed. The error holds what it said and, in its chain, an
// *exec.ExitError with its exit code.
func (w *World) Starter(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, w.Path("bin", "starter"), args...)
	cmd.Env = w.Env()
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return out, fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	return out, err
}
