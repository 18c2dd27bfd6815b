package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"timeferry/internal/fault"
)

// clientPrograms are those that the code under test runs.
var clientPrograms = []string{"pg_dump", "pg_restore", "psql"}

// ClientBin returns a directory with pg_dump, pg_restore and psql of this major version or a later one: Debian's, else
// scripts that run those of a cached Debian tree. Put it on PATH. The error has ErrUnavailable in its chain when there
// are none; EnsureClients may change that.
func ClientBin(ctx context.Context, major int) (string, error) {
	for newer := major; newer <= slices.Max(Majors()); newer++ {
		if bin := debianBin(newer); hasClients("", bin) {
			return bin, nil
		}
		t, ok := trees[newer]
		if !ok {
			continue
		}
		root, err := t.dir()
		if err != nil {
			return "", err
		}
		if hasClients(root, debianBin(newer)) {
			return t.clients(ctx, root)
		}
	}
	return "", fault.New(fault.Operator, "find the client programs of PostgreSQL", fmt.Sprint(major),
		"install Debian's postgresql-client, or run `go run ./sandbox/install -target 18` as root", "they are not installed: %w", ErrUnavailable).WithCode("no-clients")
}

// EnsureClients makes the tree that ClientBin needs, if it finds nothing without it.
func EnsureClients(ctx context.Context, log io.Writer, major int) error {
	_, err := ClientBin(ctx, major)
	if err == nil || !errors.Is(err, ErrUnavailable) {
		return err
	}
	for _, newer := range slices.Sorted(maps.Keys(trees)) {
		if newer >= major {
			return ensureTree(ctx, log, newer)
		}
	}
	return err
}

func hasClients(root, bin string) bool {
	return !slices.ContainsFunc(clientPrograms, func(name string) bool { return !exists(filepath.Join(root, bin, name)) })
}

// clients makes a script for each program, once. A tree's programs run on the machine, with its files, by the loader and
// the libraries of the tree: neither root nor chroot is needed for that.
func (t tree) clients(ctx context.Context, root string) (string, error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "clients-"+t.name)
	if exists(dir) {
		return dir, nil
	}
	loaders, err := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu/ld-linux-*.so.*"))
	if err != nil || len(loaders) == 0 {
		return "", errors.Join(err, fmt.Errorf("the tree in %s has no loader", root))
	}
	return dir, withLock(ctx, filepath.Base(dir), func() error {
		if exists(dir) {
			return nil
		}
		partial := dir + ".partial"
		if err := errors.Join(os.RemoveAll(partial), os.Mkdir(partial, 0o755)); err != nil {
			return err
		}
		for _, name := range clientPrograms {
			script := fmt.Sprintf("#!/bin/sh\nexec %s --library-path %s --argv0 \"$0\" %s \"$@\"\n", shellQuote(loaders[0]),
				shellQuote(filepath.Dir(loaders[0])), shellQuote(filepath.Join(root, debianBin(t.major), name)))
			if err := os.WriteFile(filepath.Join(partial, name), []byte(script), 0o755); err != nil {
				return err
			}
		}
		return os.Rename(partial, dir)
	})
}

func shellQuote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }
