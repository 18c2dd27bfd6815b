package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"timeferry/internal/change"
	"timeferry/internal/ident"
	"timeferry/internal/target/ledger"
	"timeferry/internal/testkit/pgserver"
	"timeferry/test/bench/report"
	"timeferry/test/bench/rig"
)

// following is the process that receives and applies.
type following struct {
	cmd  *exec.Cmd
	said atomic.Pointer[progress] // last
	log  string
	done chan struct{}
	err  error // read it after done only
}

// ledger makes the bookkeeping on the target, as a migration has it before the stream is applied.
func (w *world) ledger(ctx context.Context, _ string) error {
	return rig.Session(ctx, w.Endpoint(w.Target), func(conn *pgx.Conn) error { return ledger.Create(ctx, conn, "bench") })
}

func (w *world) spoolOf(slot string) string { return filepath.Join(w.Dir, "spool-"+slot) }

// startFollowing starts this program as the process to be measured. What o lacks is filled in.
func (w *world) startFollowing(_ context.Context, slot string, o order) (running, error) {
	o.Source, o.Target, o.Slot, o.Publication, o.Spool = w.login(w.Source), w.login(w.Target), slot, publication, w.spoolOf(slot)
	for _, name := range workloads[w.workload].published() {
		o.Tables = append(o.Tables, ident.Table{Schema: "public", Name: name})
	}
	if w.profile != "" {
		o.Profile = filepath.Join(w.profile, fmt.Sprintf("%s-%s%s.pprof", slot, name(o.Receive, "receive"), name(o.Apply, "apply")))
	}
	return newFollowing(o, filepath.Join(w.Dir, slot+".log"))
}

func name(is bool, what string) string {
	if is {
		return what
	}
	return ""
}

func (w *world) login(server *pgserver.Server) login {
	e := w.Endpoint(server)
	return login{Host: e.Host, Port: e.Port, User: e.User, Password: e.Password, SSLMode: e.SSLMode}
}

func newFollowing(o order, log string) (*following, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	f := &following{cmd: exec.Command(self, "-follow"), log: log, done: make(chan struct{})}
	f.said.Store(&progress{})
	f.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	in, err := f.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := f.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	errors, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer errors.Close() // the child has its own
	f.cmd.Stderr = errors
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the kernel sends Pdeathsig when the thread that forked ends
		err := f.cmd.Start()
		started <- err
		if err == nil {
			f.listen(out)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return f, f.tell(in, o)
}

func (f *following) tell(in io.WriteCloser, o order) error {
	return errors.Join(json.NewEncoder(in).Encode(o), in.Close())
}

// listen reads what the process says until it ends.
func (f *following) listen(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var p progress
		if json.Unmarshal(lines.Bytes(), &p) == nil {
			f.said.Store(&p)
		}
	}
	f.err = f.cmd.Wait()
	close(f.done)
}

func (f *following) Err() error {
	select {
	case <-f.done:
		text, _ := os.ReadFile(f.log) // without it the error alone must do
		return fmt.Errorf("the following process ended: %w\n%s", f.err, text[max(0, len(text)-2000):])
	default:
		return nil
	}
}

func (f *following) usage() (cpu map[string]float64, memoryBytes int64, err error) {
	seconds, err := report.TreeCPU(f.cmd.Process.Pid)
	if err != nil {
		return nil, 0, err
	}
	memoryBytes, err = report.PeakMemory(f.cmd.Process.Pid)
	return map[string]float64{timeferry: seconds}, memoryBytes, err
}

func (f *following) stop(context.Context) error {
	_ = f.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	select {
	case <-f.done:
		return f.err
	case <-time.After(20 * time.Second):
		_ = f.cmd.Process.Kill()
		<-f.done
		return errors.New("the following process did not end within 20 seconds")
	}
}

// runApart brings the backlog over in two steps, one after the other: into the spool, and from there to the target.
func (w *world) runApart(ctx context.Context) (r apartResult, err error) {
	if err := w.reset(ctx); err != nil {
		return r, err
	}
	if err := w.ledger(ctx, apartSlot); err != nil {
		return r, err
	}
	if r.Receive, err = w.step(ctx, order{Receive: true}, func(ctx context.Context, f *following) error { return f.await(ctx, w.end, durable) }); err != nil {
		return r, fmt.Errorf("receive alone: %w", err)
	}
	if r.SpoolBytes, err = sizeOf(w.spoolOf(apartSlot)); err != nil {
		return r, err
	}
	if r.Apply, err = w.step(ctx, order{Apply: true}, func(ctx context.Context, f *following) error { return w.awaitEnd(ctx, f) }); err != nil {
		return r, fmt.Errorf("apply alone: %w", err)
	}
	if wrong, err := w.check(ctx); err != nil || wrong != "" {
		return r, errors.Join(err, fmt.Errorf("the target is not what the source is: %s", wrong))
	}
	return r, w.dropSlot(ctx, apartSlot)
}

func (w *world) step(ctx context.Context, o order, await func(context.Context, *following) error) (s stepResult, err error) {
	meter, err := w.StartMeter()
	if err != nil {
		return s, err
	}
	run, err := w.startFollowing(ctx, apartSlot, o)
	if err != nil {
		return s, err
	}
	err = await(ctx, run.(*following))
	if err == nil {
		s.Seconds, s.CPU, err = meter.Stop()
	}
	if err == nil {
		var own map[string]float64
		own, s.MemoryBytes, err = run.usage()
		s.CPU[timeferry] = report.Rounded(own[timeferry])
	}
	s.Seconds = report.Rounded(s.Seconds)
	return s, errors.Join(err, run.stop(ctx))
}

func sizeOf(dir string) (bytes int64, err error) {
	files, err := os.ReadDir(dir)
	for _, file := range files {
		info, err := file.Info()
		if err != nil {
			return 0, err
		}
		bytes += info.Size()
	}
	return bytes, err
}

// await waits until a position that the process tells of has reached end.
func (f *following) await(ctx context.Context, end change.LSN, position func(*progress) change.LSN) error {
	for position(f.said.Load()) < end {
		if err := f.Err(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
		}
	}
	return nil
}

func durable(p *progress) change.LSN { return p.Durable }

func applied(p *progress) change.LSN { return p.Applied }
