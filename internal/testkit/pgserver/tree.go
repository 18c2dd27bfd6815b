package pgserver

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// tree is a directory with a Debian, made once, for machines whose own packages have no TimescaleDB, or no client
// programs that are new enough.
type tree struct {
	name     string
	release  string // Debian's codename: it stays when the release gets another role
	script   string // what debootstrap calls a release that it has not heard of; "" for one that it has
	major    int
	packages []string
}

// defaultTree is the major version of the target that tests and the sandbox run.
const defaultTree = 17

// trees are the targets that can be made, by PostgreSQL's major version.
var trees = map[int]tree{
	17: {name: "trixie-pg17", release: "trixie", major: 17,
		packages: []string{"postgresql-17", "postgresql-17-timescaledb", "postgresql-17-wal2json", "pgcopydb"}},
	18: {name: "forky-pg18", release: "forky", script: "/usr/share/debootstrap/scripts/sid", major: 18,
		packages: []string{"postgresql-18", "postgresql-18-timescaledb", "postgresql-18-wal2json"}},
}

const defaultMirror = "http://deb.debian.org/debian"

// dir is where the tree is, or will be. It is complete if it exists.
func (t tree) dir() (string, error) {
	cache, err := cacheDir()
	return filepath.Join(cache, t.name), err
}

// buildTree makes the tree under a temporary name and renames it when it is complete. The caller holds the lock.
func (a *apt) buildTree(t tree) error {
	dir, err := t.dir()
	if err != nil {
		return err
	}
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("remove what a failed attempt left: %w", err)
	}
	if err := a.ensureDebootstrap(); err != nil {
		return err
	}
	mirror := debianMirror("/")
	fmt.Fprintf(a.log, "making a Debian %s tree from %s in %s\n", t.release, mirror, dir)
	args := []string{"--variant=minbase", t.release, partial, mirror}
	if t.script != "" {
		args = append(args, t.script)
	}
	if err := a.run(debootstrap, args...); err != nil {
		return err
	}
	if err := noServices(partial); err != nil {
		return err
	}
	if err := a.sameFreshness(partial); err != nil {
		return fmt.Errorf("carry over apt's settings: %w", err)
	}
	inside := &apt{ctx: a.ctx, log: a.log, root: partial}
	if err := inside.install(t.packages...); err != nil {
		return err
	}
	if err := inside.run("/usr/bin/apt-get", "clean"); err != nil {
		return err
	}
	if !hasTimescale(partial, t.major) {
		return fmt.Errorf("the tree in %s is complete but has no PostgreSQL %d with TimescaleDB", partial, t.major)
	}
	return os.Rename(partial, dir)
}

const debootstrap = "/usr/sbin/debootstrap"

// debianKeyring lets debootstrap check the release's signature on machines that are not Debian.
const debianKeyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

func (a *apt) ensureDebootstrap() error {
	var missing []string
	if !exists(debootstrap) {
		missing = append(missing, "debootstrap")
	}
	if !exists(debianKeyring) {
		missing = append(missing, "debian-archive-keyring")
	}
	if len(missing) == 0 {
		return nil
	}
	return a.install(missing...)
}

// noServices keeps package scripts from starting anything, and from asking systemd for directories, by what comes first
// on their PATH: systemd's program insists on /proc, which a tree has not, and servers of ours need none of those.
func noServices(root string) error {
	for name, text := range map[string]string{
		"usr/sbin/policy-rc.d":      "#!/bin/sh\nexit 101\n",
		"usr/sbin/systemd-tmpfiles": "#!/bin/sh\nexit 0\n",
	} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// sameFreshness lets the tree's apt accept package lists of the age that this machine's apt accepts: its mirror, which is
// the tree's too, may be behind. Signatures are checked in any case.
func (a *apt) sameFreshness(root string) error {
	settings, err := a.command("/usr/bin/apt-config", "dump", "Acquire::Check-Valid-Until", "Acquire::Check-Date").Output()
	if err != nil {
		return fmt.Errorf("run apt-config: %w", err)
	}
	return os.WriteFile(filepath.Join(root, "etc/apt/apt.conf.d/90timeferry"), settings, 0o644)
}

// command runs a program on this machine or inside the tree.
func (a *apt) command(program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(a.ctx, program, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	if a.root != "" {
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: a.root}
	}
	return cmd
}

// debianMirror is where this machine gets its own release from, if it is a Debian, so that a mirror near by is used;
// else Debian's own.
func debianMirror(root string) string {
	codename := osRelease(root)
	if codename == "" {
		return defaultMirror
	}
	files := []string{filepath.Join(root, "etc/apt/sources.list")}
	for _, pattern := range []string{"*.list", "*.sources"} {
		more, err := filepath.Glob(filepath.Join(root, "etc/apt/sources.list.d", pattern))
		if err == nil { // the patterns are constant and good
			files = append(files, more...)
		}
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil { // not there, or not for us: the default is always right
			continue
		}
		find := mirrorInList
		if strings.HasSuffix(file, ".sources") {
			find = mirrorInSources
		}
		if mirror := find(string(text), codename); mirror != "" {
			return mirror
		}
	}
	return defaultMirror
}

// osRelease is the codename of a Debian, "" for anything else.
func osRelease(root string) string {
	file, err := os.Open(filepath.Join(root, "etc/os-release"))
	if err != nil {
		return ""
	}
	defer file.Close()
	values := map[string]string{}
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok {
			values[key] = strings.Trim(value, `"'`)
		}
	}
	if values["ID"] != "debian" {
		return ""
	}
	return values["VERSION_CODENAME"]
}

// mirrorInList reads apt's one-line format: deb [options] URI suite component…
func mirrorInList(text, suite string) string {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		if open, end := strings.Index(line, "["), strings.Index(line, "]"); open >= 0 && end > open {
			line = line[:open] + line[end+1:]
		}
		f := strings.Fields(line)
		if len(f) >= 4 && f[0] == "deb" && f[2] == suite && slices.Contains(f[3:], "main") && isHTTP(f[1]) {
			return f[1]
		}
	}
	return ""
}

// mirrorInSources reads apt's deb822 format: paragraphs of "Key: values".
func mirrorInSources(text, suite string) string {
	for paragraph := range strings.SplitSeq(strings.ReplaceAll(text, "\r", ""), "\n\n") {
		fields := map[string][]string{}
		for line := range strings.Lines(paragraph) {
			if key, values, ok := strings.Cut(line, ":"); ok && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, " ") {
				fields[strings.ToLower(key)] = strings.Fields(values)
			}
		}
		if slices.Contains(fields["enabled"], "no") || !slices.Contains(fields["types"], "deb") ||
			!slices.Contains(fields["suites"], suite) || !slices.Contains(fields["components"], "main") {
			continue
		}
		if i := slices.IndexFunc(fields["uris"], isHTTP); i >= 0 {
			return fields["uris"][i]
		}
	}
	return ""
}

func isHTTP(uri string) bool {
	return strings.HasPrefix(uri, "http://") || strings.HasPrefix(uri, "https://")
}
