package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"timeferry/internal/fault"
)

// wal2json is Debian's package of the output plugin that the source needs for replication.plugin: wal2json.
const wal2json = "wal2json"

// Ensure installs what StartSource and StartTarget need and this machine lacks, with apt-get as root, and writes a line
// to log for each step. It says nothing and is quick when everything is there. Run twice, or by several processes at
// once, it installs once.
func Ensure(ctx context.Context, log io.Writer) error {
	if err := ensureSource(ctx, log); err != nil {
		return fmt.Errorf("install the source server: %w", err)
	}
	if err := ensureTarget(ctx, log, 0); err != nil {
		return fmt.Errorf("install the target server: %w", err)
	}
	return nil
}

func ensureSource(ctx context.Context, log io.Writer) error {
	f, err := findSource()
	if ready, err := available(f, err); err != nil {
		return err
	} else if ready {
		return ensureWal2json(ctx, log, f)
	}
	return withLock(ctx, "install", func() error {
		if ready, err := available(findSource()); ready || err != nil {
			return err
		}
		a, err := newApt(ctx, log)
		if err != nil {
			return err
		}
		for _, major := range []int{15, 16, 17, 18} {
			if name := fmt.Sprintf("postgresql-%d", major); a.knows(name) {
				return a.install(append([]string{name}, a.known(name+"-"+wal2json)...)...)
			}
		}
		return noPackage("postgresql-15")
	})
}

// ensureWal2json adds the output plugin to a server of Debian's that was there before. Only tests of that plugin need
// it: where Debian has no package, or we may not install it, they skip.
func ensureWal2json(ctx context.Context, log io.Writer, f *flavour) error {
	var major int
	if _, err := fmt.Sscanf(f.bin, "/usr/lib/postgresql/%d/bin", &major); err != nil || os.Geteuid() != 0 ||
		exists(filepath.Join(filepath.Dir(f.bin), "lib", wal2json+".so")) {
		return nil
	}
	return withLock(ctx, "install", func() error {
		a, err := newApt(ctx, log)
		if err != nil {
			return nil // a server without apt-get is not Debian's
		}
		name := fmt.Sprintf("postgresql-%d-%s", major, wal2json)
		if !a.candidate(name) {
			return nil
		}
		return a.install(name)
	})
}

// EnsureTarget brings a target of one major version, 17 or 18, in the way that Ensure does for its own choice.
func EnsureTarget(ctx context.Context, log io.Writer, major int) error {
	if err := ensureTarget(ctx, log, major); err != nil {
		return fmt.Errorf("install a target server of PostgreSQL %d: %w", major, err)
	}
	return nil
}

func ensureTarget(ctx context.Context, log io.Writer, major int) error {
	if ready, err := available(findTargetOf(major)); ready || err != nil {
		return err
	}
	majors, want := []int{17, 18}, defaultTree
	if major != 0 {
		majors, want = []int{major}, major
	}
	return withLock(ctx, "install", func() error {
		if ready, err := available(findTargetOf(major)); ready || err != nil {
			return err
		}
		a, err := newApt(ctx, log)
		if err != nil {
			return err
		}
		for _, major := range majors {
			if name := fmt.Sprintf("postgresql-%d", major); a.knows(name + "-timescaledb") {
				return a.install(append([]string{name, name + "-timescaledb"}, a.known(name+"-"+wal2json, "pgcopydb")...)...)
			}
		}
		tree, ok := trees[want]
		if !ok {
			return noPackage(fmt.Sprintf("postgresql-%d-timescaledb", want))
		}
		return a.buildTree(tree)
	})
}

// ensureTree makes a tree that is not there.
func ensureTree(ctx context.Context, log io.Writer, major int) error {
	t := trees[major]
	return withLock(ctx, "install", func() error {
		dir, err := t.dir()
		if err != nil || exists(dir) {
			return err
		}
		a, err := newApt(ctx, log)
		if err != nil {
			return err
		}
		return a.buildTree(t)
	})
}

// available turns "not installed" into false. A bin directory of one's own that is wrong is an error: nothing that could
// be installed would change it.
func available(f *flavour, err error) (bool, error) {
	if err == nil {
		return true, nil
	}
	if errors.Is(err, ErrUnavailable) {
		return false, nil
	}
	return false, err
}

// apt installs packages on this machine or in a tree.
type apt struct {
	ctx     context.Context
	log     io.Writer
	root    string // "" for this machine
	updated bool
}

func newApt(ctx context.Context, log io.Writer) (*apt, error) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		return nil, cannotInstall("this machine has no apt-get")
	}
	if os.Geteuid() != 0 {
		return nil, cannotInstall("installing needs root")
	}
	return &apt{ctx: ctx, log: log}, nil
}

func cannotInstall(why string) error {
	return fault.New(fault.Operator, "install PostgreSQL with", "apt-get", "use `docker compose up`, which brings both servers, or set "+EnvSourceBin+" and "+
		EnvTargetBin+" to the bin directories of a PostgreSQL and of one with TimescaleDB", "%s: %w", why, ErrUnavailable).WithCode("cannot-install")
}

func noPackage(name string) error {
	return cannotInstall("apt-get knows no package " + name)
}

// knows says whether a package can be installed. The lists are updated once before the first answer "no".
func (a *apt) knows(name string) bool {
	if a.candidate(name) {
		return true
	}
	if a.updated || a.update() != nil {
		return false
	}
	return a.candidate(name)
}

// known returns those of names that can be installed.
func (a *apt) known(names ...string) []string {
	var known []string
	for _, name := range names {
		if a.candidate(name) {
			known = append(known, name)
		}
	}
	return known
}

func (a *apt) candidate(name string) bool {
	out, err := a.command("/usr/bin/apt-cache", "policy", name).Output()
	return err == nil && strings.Contains(string(out), "Candidate: ") && !strings.Contains(string(out), "Candidate: (none)")
}

func (a *apt) update() error {
	a.updated = true
	fmt.Fprintln(a.log, a.where("updating package lists"))
	return a.run("/usr/bin/apt-get", "update", "-q")
}

// install installs packages without starting servers or making clusters, the lists being updated before.
func (a *apt) install(names ...string) error {
	if !a.updated {
		if err := a.update(); err != nil {
			return err
		}
	}
	if err := noClusters(a.root); err != nil {
		return fmt.Errorf("keep Debian from making a cluster: %w", err)
	}
	fmt.Fprintln(a.log, a.where("installing "+strings.Join(names, " ")))
	return a.run("/usr/bin/apt-get", append([]string{"install", "-y", "-q", "--no-install-recommends",
		"-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Options::=--force-confold"}, names...)...)
}

// noClusters tells postgresql-common, by a drop-in of its own configuration, that nobody wants a cluster on port 5432.
func noClusters(root string) error {
	dir := filepath.Join(root, "/etc/postgresql-common/createcluster.d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "timeferry.conf"), []byte("# made by timeferry's sandbox\ncreate_main_cluster = false\n"), 0o644)
}

func (a *apt) where(step string) string {
	if a.root == "" {
		return step
	}
	return step + " in " + a.root
}

func (a *apt) run(program string, args ...string) error {
	if out, err := a.command(program, args...).CombinedOutput(); err != nil {
		return fault.New(fault.Operator, "run", filepath.Base(program)+" "+strings.Join(args, " "), "check this machine's package sources and network", "%w: %s", err, tail(out))
	}
	return nil
}
