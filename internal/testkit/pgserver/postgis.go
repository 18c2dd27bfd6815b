package pgserver

import (
	"context"
	"fmt"
	"io"
)

// EnsurePostGIS adds Debian's PostGIS to the servers that StartSource and StartTarget run, with apt-get as root, and writes
// a line to log for each step. It says nothing and is quick when both have it. Servers that are not Debian's are left
// alone. PostGIS comes with a hundred libraries, so Ensure, which every test may call, does not bring it.
func EnsurePostGIS(ctx context.Context, log io.Writer) error {
	for _, find := range []func() (*flavour, error){findSource, func() (*flavour, error) { return findTargetOf(0) }} {
		f, err := find()
		if err != nil {
			return err
		}
		if err := ensurePostGIS(ctx, log, f); err != nil {
			return fmt.Errorf("install PostGIS for the %s server: %w", f.kind, err)
		}
	}
	return nil
}

func ensurePostGIS(ctx context.Context, log io.Writer, f *flavour) error {
	var major int
	if _, err := fmt.Sscanf(f.bin, "/usr/lib/postgresql/%d/bin", &major); err != nil {
		return nil // not from Debian's packages
	}
	name := fmt.Sprintf("postgresql-%d-postgis-3", major)
	if (&apt{ctx: ctx, root: f.root}).installed(name) {
		return nil
	}
	return withLock(ctx, "install", func() error {
		a, err := newApt(ctx, log)
		if err != nil {
			return err
		}
		a.root = f.root
		if a.installed(name) {
			return nil
		}
		if f.root == "" {
			if !a.knows(name) {
				return noPackage(name)
			}
			return a.install(name)
		}
		return a.addToTree(name)
	})
}

// installed says whether dpkg has the package, unpacked and configured.
func (a *apt) installed(name string) bool {
	status, err := a.command("/usr/bin/dpkg-query", "-W", "-f=${db:Status-Status}", name).Output()
	return err == nil && string(status) == "installed"
}

// addToTree installs a package in a tree that is in use already. Unlike one that is being made, it cannot be thrown away
// when something goes wrong: what an interrupted attempt left half done is ended first.
func (a *apt) addToTree(name string) error {
	if err := a.run("/usr/bin/dpkg", "--configure", "-a"); err != nil {
		return err
	}
	if err := a.install(name); err != nil {
		return err
	}
	return a.run("/usr/bin/apt-get", "clean")
}
