package pgserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"timeferry/internal/fault"
	"timeferry/internal/pgkit"
)

// process is one life of a postmaster.
type process struct {
	cmd     *exec.Cmd
	logFrom int64         // size of the log file when it began
	done    chan struct{} // closed when it has been waited for
	err     error         // what Wait said, once done
}

// spawn starts postgres as a child that is asked to shut down fast when this process dies. The kernel ties that to the
// thread that forked, so the thread is kept for the child alone.
func (s *Server) spawn() (*process, error) {
	log, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	info, err := log.Stat()
	if err != nil {
		return nil, err
	}
	p := &process{logFrom: info.Size(), done: make(chan struct{})}
	p.cmd = s.flavour.command("postgres", "-D", s.flavour.inside(s.data), "-p", strconv.Itoa(s.port))
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr.Pdeathsig = syscall.SIGINT
	p.cmd.SysProcAttr.Setpgid = true // Ctrl-C in the terminal is for us: we stop it in order
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the server
		if err := p.cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	return p, <-started
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// awaitReady returns when a session can be opened, or with the end of the log when that will not happen.
func (s *Server) awaitReady(ctx context.Context) error {
	var last error
	for {
		err := s.ping(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-s.proc.done:
			return s.startError(fmt.Errorf("it ended: %w", s.proc.err))
		case <-ctx.Done():
			return s.startError(errors.Join(context.Cause(ctx), last))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// ping opens a session and makes sure that it is with this server: another one may have the port.
func (s *Server) ping(ctx context.Context) error {
	conn, err := pgkit.Dial(ctx, s.Superuser("postgres"), "pgserver")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	var data string
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&data); err != nil {
		return err
	}
	if data != s.flavour.inside(s.data) {
		return fmt.Errorf("port %d belongs to another server, with its data in %s", s.port, data)
	}
	return nil
}

// startError adds what the server wrote since it was started. A port that is taken is told by EADDRINUSE in the chain.
func (s *Server) startError(cause error) error {
	written, err := os.ReadFile(s.LogFile())
	if err != nil {
		return errors.Join(cause, err)
	}
	written = written[min(s.proc.logFrom, int64(len(written))):]
	if strings.Contains(string(written), "Address already in use") {
		cause = errors.Join(syscall.EADDRINUSE, cause)
	}
	return fault.New(fault.Operator, fmt.Sprintf("start the %s server on port", s.flavour.kind), strconv.Itoa(s.port), "",
		"%w; the end of its log:\n%s", cause, tail(written)).WithCode("server-start")
}

// stop sends sig and waits; when that takes too long, or ctx ends, it becomes an immediate shutdown, then a kill.
func (p *process) stop(ctx context.Context, sig syscall.Signal) error {
	if ended, err := p.signal(ctx, sig, stopTimeout); ended || err != nil {
		return err
	}
	if ended, err := p.signal(context.WithoutCancel(ctx), syscall.SIGQUIT, quitTimeout); ended || err != nil {
		return err
	}
	return p.killTree()
}

// signal sends sig and waits up to patience for the process to end.
func (p *process) signal(ctx context.Context, sig syscall.Signal, patience time.Duration) (ended bool, err error) {
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-p.done:
		return true, nil
	case <-ctx.Done():
		return false, nil
	}
}

// killTree kills the postmaster and its children. The children are killed too because a busy one would go on for a
// while without its postmaster and keep the shared memory, and then the server could not be started again.
func (p *process) killTree() error {
	pid := p.cmd.Process.Pid
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil && !errors.Is(err, os.ErrProcessDone) { // no new children from here on
		return err
	}
	children, err := childrenOf(pid)
	if err != nil {
		return err
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	for _, child := range children {
		if err := syscall.Kill(child, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill session process %d: %w", child, err)
		}
	}
	<-p.done
	deadline := time.Now().Add(10 * time.Second)
	for _, child := range children {
		for alive(child) {
			if time.Now().After(deadline) {
				return fmt.Errorf("session process %d does not end", child)
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

func childrenOf(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var children []int
	for _, e := range entries {
		n, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if _, parent, ok := procStat(n); ok && parent == pid {
			children = append(children, n)
		}
	}
	return children, nil
}

// alive is false for a zombie too: it holds no memory any more.
func alive(pid int) bool {
	state, _, ok := procStat(pid)
	return ok && state != "Z" && state != "X"
}

// procStat reads state and parent from /proc/PID/stat; the name before them may hold anything, even brackets.
func procStat(pid int) (state string, parent int, ok bool) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", 0, false
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 2 {
		return "", 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return fields[0], parent, err == nil
}

// freePort picks a free port below those that the kernel gives to outgoing connections, so that nobody takes it while
// the server restarts.
func freePort() (int, error) {
	for range 100 {
		port := 10240 + rand.IntN(ephemeralFrom()-10240)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		return port, l.Close()
	}
	return 0, errors.New("no free port found on 127.0.0.1")
}

func ephemeralFrom() int {
	const usual = 32768
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return usual
	}
	if f := strings.Fields(string(text)); len(f) == 2 {
		if n, err := strconv.Atoi(f[0]); err == nil && n > 12000 {
			return n
		}
	}
	return usual
}
