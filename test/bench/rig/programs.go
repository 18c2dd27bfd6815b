package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"timeferry/internal/fault"
	"timeferry/internal/testkit/pgserver"
)

// Programs are where the contenders' programs are. Those of PostgreSQL are found by PATH, as the contenders find them.
type Programs struct {
	Env      []string // with the PATH
	Pgcopydb string
}

// findPrograms looks for what is installed. What must be made for it goes into dir.
func findPrograms(ctx context.Context, dir string) (p Programs, err error) {
	clients, err := pgserver.ClientBin(ctx, TargetMajor)
	if err != nil {
		return p, err
	}
	for _, e := range os.Environ() {
		if name, _, _ := strings.Cut(e, "="); name != "PATH" && !strings.HasPrefix(name, "PG") && !strings.HasPrefix(name, "TEMPORAL_") {
			p.Env = append(p.Env, e)
		}
	}
	p.Env = append(p.Env, "PATH="+clients+":"+os.Getenv("PATH"))
	p.Pgcopydb, err = pgcopydbScript(dir)
	return p, err
}

// findPgcopydb looks for pgcopydb on this machine, else in the Debian tree that pgserver made for the target.
func findPgcopydb() (string, error) {
	if path, err := exec.LookPath("pgcopydb"); err == nil {
		return path, nil
	}
	cache := os.Getenv(pgserver.EnvCache)
	if cache == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", err
		}
		cache = filepath.Join(base, "timeferry")
	}
	found, err := filepath.Glob(filepath.Join(cache, fmt.Sprintf("*-pg%d/usr/bin/pgcopydb", TargetMajor)))
	if err != nil || len(found) == 0 {
		return "", errors.Join(err, fault.New(fault.Operator, "find the", "pgcopydb program", "install Debian's package pgcopydb", "it is not installed"))
	}
	return found[0], nil
}

// pgcopydbScript gives a program that can be run: what is in a tree needs the tree's loader and libraries.
func pgcopydbScript(dir string) (string, error) {
	path, err := findPgcopydb()
	if err != nil {
		return "", err
	}
	root := strings.TrimSuffix(path, "/usr/bin/pgcopydb")
	if root == path || root == "" {
		return path, nil
	}
	loaders, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu/ld-linux-*.so.*"))
	if err != nil || len(loaders) == 0 {
		return "", errors.Join(err, fmt.Errorf("the tree of pgcopydb in %s has no loader", root))
	}
	script := filepath.Join(dir, "pgcopydb")
	text := fmt.Sprintf("#!/bin/sh\nexec '%s' --library-path '%s' --argv0 \"$0\" '%s' \"$@\"\n", loaders[0], filepath.Dir(loaders[0]), path)
	return script, os.WriteFile(script, []byte(text), 0o755)
}

// Versions asks each program by its command; one that does not answer is left out. Go, this tree and pgcopydb are asked anyway.
func (p Programs) Versions(ctx context.Context, commands map[string][]string) map[string]string {
	v := map[string]string{"go": strings.TrimPrefix(runtime.Version(), "go")}
	all := map[string][]string{"timeferry": {"git", "describe", "--always", "--dirty"}, "pgcopydb": {p.Pgcopydb, "--version"}}
	maps.Copy(all, commands)
	for name, command := range all {
		cmd := p.Command(ctx, command[0], command[1:]...)
		out, err := cmd.Output()
		if err != nil {
			continue
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		v[name] = first
	}
	return v
}

// Command is a program in the contenders' environment. It and what it started end with ctx.
func (p Programs) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, p.find(name), args...)
	cmd.Env = p.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	return cmd
}

// find looks a name up in the contenders' PATH, which is not this program's.
func (p Programs) find(name string) string {
	path := strings.TrimPrefix(p.Env[len(p.Env)-1], "PATH=")
	for dir := range strings.SplitSeq(path, ":") {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && !info.IsDir() && !strings.Contains(name, "/") {
			return filepath.Join(dir, name)
		}
	}
	return name
}

// Run runs a program to its end and returns the processor time that it and its children took. The error has the end of what
// it said.
func Run(cmd *exec.Cmd) (cpu float64, err error) {
	var said bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &said
	}
	cmd.Stderr = &said
	err = cmd.Run()
	if cmd.ProcessState != nil {
		cpu = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	}
	if err != nil {
		text := strings.TrimSpace(said.String())
		return cpu, fmt.Errorf("run %s: %w: %s", filepath.Base(cmd.Path), err, text[max(0, len(text)-2000):])
	}
	return cpu, nil
}
