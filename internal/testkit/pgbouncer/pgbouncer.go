// Package pgbouncer runs a real PgBouncer for tests and benchmarks.
//
// In: databases and users. Out: a PgBouncer on a loopback port of its own, with its file. Invariants: it dies with the process
// that started it.
//
// Not here: what is done to it.
package pgbouncer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"timeferry/internal/pgkit"
)

// ErrUnavailable is the error of Start where there is no PgBouncer.
var ErrUnavailable = errors.New("pgbouncer is not installed")

// AdminUser may use the console.
const AdminUser = "bouncer_admin"

// Options of Start.
type Options struct {
	Dir       string            // for its files; it is made readable for the user that PgBouncer runs as
	Databases string            // the lines of the section
	Included  bool              // the lines stand in a file of their own
	Users     map[string]string // name and password, the console's user among them
	Mode      string            // of pooling; empty: transaction
	Settings  string            // further lines of the section [pgbouncer]
}

// Bouncer is a running PgBouncer.
type Bouncer struct {
	Port int
	File string // that has the databases' lines
	main string
	cmd  *exec.Cmd
	done chan struct{}
	log  string
}

// Path finds the program, which Debian puts where only root looks.
func Path() (string, error) {
	if path, err := exec.LookPath("pgbouncer"); err == nil {
		return path, nil
	}
	if _, err := os.Stat("/usr/sbin/pgbouncer"); err != nil {
		return "", ErrUnavailable
	}
	return "/usr/sbin/pgbouncer", nil
}

// Start writes the files and starts it.
func Start(ctx context.Context, o Options) (*Bouncer, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	b := &Bouncer{Port: port, main: filepath.Join(o.Dir, "pgbouncer.ini"), log: filepath.Join(o.Dir, "pgbouncer.log")}
	if err := b.write(o); err != nil {
		return nil, err
	}
	return b, b.Run(ctx)
}

func (b *Bouncer) write(o Options) error {
	b.File = b.main
	databases := "[databases]\n" + o.Databases + "\n"
	files := map[string]string{}
	if o.Included {
		b.File = filepath.Join(o.Dir, "databases.ini")
		files[b.File] = o.Databases + "\n"
		databases = "[databases]\n%include " + b.File + "\n"
	}
	mode := o.Mode
	if mode == "" {
		mode = "transaction"
	}
	users := filepath.Join(o.Dir, "users.txt")
	for name, password := range o.Users {
		files[users] += fmt.Sprintf("\"%s\" \"%s\"\n", name, password)
	}
	files[b.main] = databases + "[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = " + strconv.Itoa(b.Port) + "\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = " + users +
		"\nadmin_users = " + AdminUser + "\npool_mode = " + mode + "\nignore_startup_parameters = extra_float_digits\nserver_login_retry = 1\n" + o.Settings + "\n"
	for file, text := range files {
		if err := os.WriteFile(file, []byte(text), 0o640); err != nil {
			return err
		}
	}
	return b.giveAway(o.Dir)
}

// giveAway lets the user that PgBouncer runs as, which must not be root, read the files.
func (b *Bouncer) giveAway(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	uid, gid, err := postgres()
	if err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	for _, file := range append(files, dir) {
		err = errors.Join(err, os.Chown(file, uid, gid))
	}
	for parent := filepath.Dir(dir); parent != "/" && parent != os.TempDir(); parent = filepath.Dir(parent) {
		err = errors.Join(err, os.Chmod(parent, 0o755)) // temporary directories of tests are closed to others
	}
	return err
}

func postgres() (uid, gid int, err error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, err
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return uid, gid, errors.Join(err1, err2)
}

// Run starts it again with the files as they are.
func (b *Bouncer) Run(ctx context.Context) error {
	path, err := Path()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(b.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() // the child has its own
	b.cmd, b.done = exec.Command(path, b.main), make(chan struct{})
	b.cmd.Stdout, b.cmd.Stderr = log, log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 {
		uid, gid, err := postgres()
		if err != nil {
			return err
		}
		b.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	started := make(chan error)
	go func(cmd *exec.Cmd, done chan struct{}) {
		runtime.LockOSThread() // never unlocked: the kernel ties the child to the thread
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
			close(done)
		}
	}(b.cmd, b.done)
	if err := <-started; err != nil {
		return err
	}
	return b.await(ctx)
}

func (b *Bouncer) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		conn, err := net.DialTimeout("tcp", b.Address(), time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-b.done:
			return fmt.Errorf("pgbouncer ended: %s", b.Log())
		default:
		}
		if pgkit.Sleep(ctx, 10*time.Millisecond) != nil {
			return fmt.Errorf("pgbouncer does not answer: %w: %s", err, b.Log())
		}
	}
}

// Address is host and port.
func (b *Bouncer) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(b.Port)) }

// Log is what it has said.
func (b *Bouncer) Log() string {
	text, err := os.ReadFile(b.log)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

// Kill ends it at once, and waits until it is gone.
func (b *Bouncer) Kill() {
	_ = b.cmd.Process.Kill() // it may be gone already
	<-b.done
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
