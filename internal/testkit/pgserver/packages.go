package pgserver

import (
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// EnsurePackages installs Debian packages that this machine lacks, with apt-get as root, and writes a line to log for each
// step. It says nothing and is quick when all are there. A package that cannot be had is an error that wraps
// ErrUnavailable.
func EnsurePackages(ctx context.Context, log io.Writer, names ...string) error {
	if len(missing(ctx, names)) == 0 {
		return nil
	}
	return withLock(ctx, "install", func() error {
		lacking := missing(ctx, names)
		if len(lacking) == 0 {
			return nil
		}
		a, err := newApt(ctx, log)
		if err != nil {
			return err
		}
		for _, name := range lacking {
			if !a.knows(name) {
				return noPackage(name)
			}
		}
		if err := a.install(lacking...); err != nil {
			return fmt.Errorf("install %s: %w", strings.Join(lacking, " "), err)
		}
		return nil
	})
}

// missing gives the packages that dpkg does not have installed; all of them where there is no dpkg.
func missing(ctx context.Context, names []string) []string {
	var out []string
	for _, name := range names {
		status, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f=${db:Status-Status}", name).Output()
		if err != nil || string(status) != "installed" {
			out = append(out, name)
		}
	}
	return out
}
