// Package proc runs the programs that the sandbox consists of, and ends them with it.
//
// In: a program, its arguments and environment, a log file. Out: a running process that can be stopped in order or killed.
// Invariants: a program never outlives the process that started it, not even when that is killed. It has its own process
// group, so that Ctrl-C in a terminal reaches the sandbox alone, and what the program itself started dies with it.
//
// Not here: PostgreSQL servers (pgserver), what the programs are (world).
package proc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Options of a program.
type Options struct {
	Name    string // for messages
	Path    string
	Args    []string
	Env     []string // the whole environment
	Dir     string
	LogFile string // appended to
	Grace   time.Duration
}

// Process is one life of a program. Its methods are safe for concurrent use.
type Process struct {
	name  string
	log   string
	from  int64 // size of the log when it began
	grace time.Duration
	cmd   *exec.Cmd
	done  chan struct{}
	err   error // what Wait said, once done
}

// Start starts a program; it does not wait for it to be ready.
func Start(o Options) (*Process, error) {
	log, err := os.OpenFile(o.LogFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	info, err := log.Stat()
	if err != nil {
		return nil, err
	}
	p := &Process{name: o.Name, log: o.LogFile, from: info.Size(), grace: o.Grace, done: make(chan struct{})}
	p.cmd = exec.Command(o.Path, o.Args...)
	p.cmd.Env, p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = o.Env, o.Dir, log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		// The kernel sends Pdeathsig when the thread that forked ends, so that thread is kept for the child: never unlocked.
		runtime.LockOSThread()
		if err := p.cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Name, err)
	}
	return p, nil
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Err says why the process is not running, nil if it is.
func (p *Process) Err() error {
	select {
	case <-p.done:
		how := "it ended by itself"
		if p.err != nil {
			how = p.err.Error()
		}
		return fmt.Errorf("%s is not running: %s; the end of %s:\n%s", p.name, how, p.log, p.Tail())
	default:
		return nil
	}
}

// Await returns when ready says true, or with an error when the process ends before, or ctx does.
func (p *Process) Await(ctx context.Context, ready func(context.Context) bool) error {
	for {
		if ready(ctx) {
			return nil
		}
		select {
		case <-p.done:
			return p.Err()
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; the end of %s:\n%s", p.name, context.Cause(ctx), p.log, p.Tail())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Logged says whether the process has written text since it began.
func (p *Process) Logged(text string) bool { return strings.Contains(p.written(), text) }

// Tail is the end of what it has written since it began.
func (p *Process) Tail() string {
	const most = 2000
	text := strings.TrimSpace(p.written())
	return text[max(0, len(text)-most):]
}

func (p *Process) written() string {
	text, err := os.ReadFile(p.log)
	if err != nil || int64(len(text)) < p.from {
		return ""
	}
	return string(text[p.from:])
}

// Stop asks the process to end, and kills it after its grace or when ctx ends. When it returns nil, nothing is left.
func (p *Process) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, max(p.grace, time.Second))
	defer cancel()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	select {
	case <-p.done:
	case <-ctx.Done():
	}
	return p.Kill()
}

// Kill ends the process and everything in its group as a power cut would, and waits until it is gone.
func (p *Process) Kill() error {
	if err := syscall.Kill(-p.PID(), syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.done
	return nil
}
