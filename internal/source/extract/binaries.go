package extract

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"timeferry/internal/fault"
)

// clients are pg_dump and the pg_restore beside it.
type clients struct {
	dump, restore string
	version       int // like server_version_num: 150018
}

// major of the client programs.
func (c clients) major() int { return c.version / 10000 }

// clientPlaces are looked into besides PATH: Debian's, Red Hat's, and a build of one's own.
var clientPlaces = []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql@*/bin"}

// findClients picks the newest pg_dump on this machine: it can read every server that is not newer than itself.
func findClients(ctx context.Context, serverVersion int) (clients, error) {
	var best clients
	for _, dir := range clientDirectories() {
		c := clients{dump: filepath.Join(dir, "pg_dump"), restore: filepath.Join(dir, "pg_restore")}
		if !isProgram(c.dump) || !isProgram(c.restore) {
			continue
		}
		version, err := clientVersion(ctx, c.dump)
		if ctx.Err() != nil {
			return clients{}, ctx.Err()
		}
		if err == nil && version > best.version { // one that does not run is no candidate
			c.version = version
			best = c
		}
	}
	major := serverVersion / 10000
	hint := fmt.Sprintf("install the PostgreSQL client programs of version %d or later where the worker runs (Debian: postgresql-client-%d)", major, major)
	if best.version == 0 {
		return clients{}, fault.New(fault.Operator, "find", "pg_dump", hint, "it is not on this machine").WithCode(codeNoDump)
	}
	if best.major() < major {
		return clients{}, fault.New(fault.Operator, "find", "pg_dump", hint, "the newest here, %s, is version %d, the source %d", best.dump, best.major(), major).WithCode("old-pg-dump")
	}
	return best, nil
}

// Clients says which pg_dump Dump would use on this machine, with its version as a server_version_num; path is "" where there
// is none.
func Clients(ctx context.Context) (path string, version int, err error) {
	c, err := findClients(ctx, 0) // any version will do: the caller compares
	var refused *fault.Error
	if errors.As(err, &refused) && refused.Code == codeNoDump {
		return "", 0, nil
	}
	return c.dump, c.version, err
}

const codeNoDump = "no-pg-dump"

func clientDirectories() []string {
	var dirs []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if filepath.IsAbs(dir) { // never a program from wherever the worker was started
			dirs = append(dirs, dir)
		}
	}
	for _, pattern := range clientPlaces {
		found, err := filepath.Glob(pattern)
		if err == nil { // the patterns are constant and well formed
			dirs = append(found, dirs...)
		}
	}
	return dirs
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir() && info.Mode()&0o111 != 0
}

var versionText = regexp.MustCompile(`\(PostgreSQL\) (\d+)\.(\d+)`)

func clientVersion(ctx context.Context, program string) (int, error) {
	cmd := exec.CommandContext(ctx, program, "--version")
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C"}
	out, err := cmd.Output()
	if err != nil {
		return 0, err
	}
	return parseClientVersion(string(out))
}

func parseClientVersion(text string) (int, error) {
	m := versionText.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return 0, errors.New("no version in the answer to --version")
	}
	major, err := strconv.Atoi(m[1])
	if err != nil {
		return 0, err
	}
	minor, err := strconv.Atoi(m[2])
	return major*10000 + minor, err
}
