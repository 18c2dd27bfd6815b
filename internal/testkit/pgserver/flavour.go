package pgserver

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"timeferry/internal/fault"
)

// Environment variables that point at an installation of one's own, and at the cache.
const (
	EnvSourceBin = "TIMEFERRY_SOURCE_BIN"
	EnvTargetBin = "TIMEFERRY_TARGET_BIN"
	EnvCache     = "TIMEFERRY_CACHE"
)

// ErrUnavailable is in the chain of errors that mean: this machine has no such server. Ensure may change that.
var ErrUnavailable = errors.New("no such PostgreSQL server on this machine")

// flavour is one installed PostgreSQL, and as whom and in which root directory it runs.
type flavour struct {
	kind     string // "source" or "target", after its version if one was asked for
	root     string // directory to chroot into; "" for the machine's own
	bin      string // directory of postgres and initdb, inside root
	uid, gid uint32
	drop     bool // run as uid and gid instead of as this process
	settings map[string]string
}

// commonSettings are for both kinds. synchronous_commit stays on: the code under test relies on what it means.
var commonSettings = map[string]string{
	"listen_addresses":           "127.0.0.1",
	"unix_socket_directories":    "",
	"fsync":                      "off",
	"full_page_writes":           "off",
	"shared_buffers":             "128MB",
	"max_connections":            "100",
	"max_wal_senders":            "10",
	"max_replication_slots":      "10",
	"wal_level":                  "logical",
	"track_commit_timestamp":     "off",
	"timezone":                   "UTC",
	"log_timezone":               "UTC",
	"lc_messages":                "C",
	"logging_collector":          "off",
	"log_line_prefix":            "%m [%p] %q%u@%d %a ",
	"dynamic_shared_memory_type": "mmap", // in the data directory: nothing is left in /dev/shm after a kill
	"password_encryption":        "scram-sha-256",
}

var targetSettings = map[string]string{
	"shared_preload_libraries":           "timescaledb",
	"timescaledb.telemetry_level":        "off",
	"timescaledb.max_background_workers": "4",
	"max_worker_processes":               "32",
}

// findSource looks for a plain PostgreSQL: the one asked for by environment, else Debian's 15, else any other from 12 on.
func findSource() (*flavour, error) {
	bin := os.Getenv(EnvSourceBin)
	if bin == "" {
		for _, major := range []int{15, 16, 17, 18, 14, 13, 12} {
			if dir := debianBin(major); isInstalled("", dir) {
				bin = dir
				break
			}
		}
	}
	if bin == "" || !isInstalled("", bin) {
		return nil, unavailable("source", "PostgreSQL 15", EnvSourceBin, bin)
	}
	return newFlavour("source", "", bin, commonSettings)
}

// findTargetOf looks for a PostgreSQL with TimescaleDB: any, which may be asked for by environment, or one of a major
// version. Debian's comes first, then the one in a cached Debian tree.
func findTargetOf(major int) (*flavour, error) {
	settings := maps.Clone(commonSettings)
	maps.Copy(settings, targetSettings)
	majors, want, kind := []int{17, 18, 16}, defaultTree, "target"
	if major != 0 {
		majors, want, kind = []int{major}, major, fmt.Sprintf("PostgreSQL %d target", major)
	} else if bin := os.Getenv(EnvTargetBin); bin != "" {
		if !isInstalled("", bin) {
			return nil, unavailable("target", "PostgreSQL with TimescaleDB", EnvTargetBin, bin)
		}
		return newFlavour("target", "", bin, settings)
	}
	for _, major := range majors {
		if hasTimescale("", major) {
			return newFlavour(kind, "", debianBin(major), settings)
		}
	}
	if tree, ok := trees[want]; ok && os.Geteuid() == 0 {
		root, err := tree.dir()
		if err != nil {
			return nil, err
		}
		if hasTimescale(root, want) {
			return newFlavour(kind, root, debianBin(want), settings)
		}
	}
	if major != 0 {
		hint := fmt.Sprintf("run `go run ./sandbox/install -target %d` as root on Debian", major)
		return nil, fault.New(fault.Operator, "find the", kind, hint, "PostgreSQL %d with TimescaleDB is not installed: %w", major, ErrUnavailable).WithCode("no-server")
	}
	return nil, unavailable(kind, fmt.Sprintf("PostgreSQL %d with TimescaleDB", want), EnvTargetBin, "")
}

func unavailable(kind, what, env, bin string) error {
	if bin != "" { // not ErrUnavailable: someone asked for it, so it must not be passed over
		return fault.New(fault.Operator, "find PostgreSQL for the", kind, "correct or unset "+env, "%s has no postgres and initdb", bin).WithCode("no-server")
	}
	return fault.New(fault.Operator, "find PostgreSQL for the", kind, "run `go run ./sandbox/install` as root on Debian, or set "+env+
		" to the bin directory of a server of your own, or use `docker compose up`, which brings both servers",
		"%s is not installed: %w", what, ErrUnavailable).WithCode("no-server")
}

func debianBin(major int) string { return fmt.Sprintf("/usr/lib/postgresql/%d/bin", major) }

func hasTimescale(root string, major int) bool {
	library := fmt.Sprintf("/usr/lib/postgresql/%d/lib/timescaledb.so", major)
	return isInstalled(root, debianBin(major)) && exists(filepath.Join(root, library))
}

func isInstalled(root, bin string) bool {
	return exists(filepath.Join(root, bin, "postgres")) && exists(filepath.Join(root, bin, "initdb"))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// newFlavour decides as whom the server runs: PostgreSQL refuses to run as root.
func newFlavour(kind, root, bin string, settings map[string]string) (*flavour, error) {
	f := &flavour{kind: kind, root: root, bin: bin, settings: settings}
	if os.Geteuid() != 0 {
		return f, nil
	}
	f.drop = true
	var err error
	f.uid, f.gid, err = lookupPostgres(root)
	if err != nil {
		return nil, fault.New(fault.Operator, "find the user postgres for the", kind, "install PostgreSQL from Debian's packages, which make it", "%w", err)
	}
	return f, nil
}

func lookupPostgres(root string) (uid, gid uint32, err error) {
	var uidText, gidText string
	if root == "" {
		u, err := user.Lookup("postgres")
		if err != nil {
			return 0, 0, err
		}
		uidText, gidText = u.Uid, u.Gid
	} else {
		passwd, err := os.ReadFile(filepath.Join(root, "etc/passwd"))
		if err != nil {
			return 0, 0, err
		}
		for line := range strings.Lines(string(passwd)) {
			if f := strings.Split(line, ":"); len(f) > 3 && f[0] == "postgres" {
				uidText, gidText = f[2], f[3]
			}
		}
	}
	u, err := strconv.ParseUint(uidText, 10, 32)
	if err != nil {
		return 0, 0, fmt.Errorf("user postgres in %s: %w", filepath.Join("/", root, "etc/passwd"), err)
	}
	g, err := strconv.ParseUint(gidText, 10, 32)
	return uint32(u), uint32(g), err
}

// command runs one of the installation's programs as the server's user. Paths in args are inside root.
func (f *flavour) command(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(f.bin, program), args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + f.bin + ":/usr/bin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC"}
	if library := os.Getenv("LD_LIBRARY_PATH"); library != "" && f.root == "" {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+library)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: f.root}
	if f.drop {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: f.uid, Gid: f.gid}
	}
	return cmd
}

// inside turns a path of the machine into the same path as the server sees it.
func (f *flavour) inside(path string) string {
	if f.root == "" {
		return path
	}
	return "/" + strings.TrimPrefix(strings.TrimPrefix(path, f.root), "/")
}

// base is the directory, on the machine, where temporary data directories are made.
func (f *flavour) base() string {
	if f.root == "" {
		return os.TempDir()
	}
	return filepath.Join(f.root, "srv")
}

// reaches says whether the server's user can get to a directory of the machine, which is or becomes its own.
func (f *flavour) reaches(dir string) bool {
	if f.root != "" {
		return false
	}
	for f.drop && dir != "/" {
		dir = filepath.Dir(dir)
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
	}
	return true
}

func (f *flavour) own(path string) error {
	if !f.drop {
		return nil
	}
	return os.Chown(path, int(f.uid), int(f.gid))
}
