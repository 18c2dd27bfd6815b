package pgserver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Names inside a server's directory.
const (
	dataName     = "data"
	passwordName = "superuser.password"
	logName      = "postgres.log"
	lockName     = "lock"
	settingsName = "timeferry.conf" // inside the data directory, included from postgresql.conf
)

// templateVersion changes when what initTemplate makes changes, so that older templates are not used.
const templateVersion = "1"

const hbaConf = `host all         all 127.0.0.1/32 scram-sha-256
host replication all 127.0.0.1/32 scram-sha-256
`

// template returns a directory with a freshly initialised cluster and its superuser's password. It is made once for
// each build of PostgreSQL, because initdb takes seconds and copying a fraction of one.
func (f *flavour) template(ctx context.Context) (string, error) {
	version, err := f.command("postgres", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("run postgres --version: %w", err)
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%d\n%s", templateVersion, f.bin, version, f.uid, hbaConf))
	name := "timeferry-template-" + hex.EncodeToString(sum[:6])
	dir := filepath.Join(f.root, "srv", name)
	if f.root == "" {
		cache, err := cacheDir()
		if err != nil {
			return "", err
		}
		dir = filepath.Join(cache, name)
	}
	if exists(dir) {
		return dir, nil
	}
	return dir, withLock(ctx, name, func() error {
		if exists(dir) {
			return nil
		}
		return f.initTemplate(ctx, dir)
	})
}

// initTemplate runs initdb where the server's user may write, and moves the result to dir when it is complete.
func (f *flavour) initTemplate(ctx context.Context, dir string) error {
	work, err := os.MkdirTemp(f.base(), tempPrefix+"init-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := f.own(work); err != nil {
		return err
	}
	password := filepath.Join(work, passwordName)
	if err := os.WriteFile(password, []byte(rand.Text()), 0o600); err != nil {
		return err
	}
	if err := f.own(password); err != nil {
		return err
	}
	data := filepath.Join(work, dataName)
	initdb := f.command("initdb", "--pgdata", f.inside(data), "--no-sync", "--auth=scram-sha-256", "--username=postgres",
		"--pwfile="+f.inside(password), "--encoding=UTF8", "--locale=C.UTF-8", "--lc-messages=C")
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("run initdb for the %s: %w: %s", f.kind, err, tail(out))
	}
	if err := configure(data); err != nil {
		return err
	}
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return err
	}
	if err := copyTree(ctx, work, partial); err != nil {
		return err
	}
	return os.Rename(partial, dir)
}

func configure(data string) error {
	if err := os.WriteFile(filepath.Join(data, "pg_hba.conf"), []byte(hbaConf), 0o600); err != nil {
		return err
	}
	conf, err := os.OpenFile(filepath.Join(data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(conf, "\ninclude_if_exists = '%s'\n", settingsName); err != nil {
		conf.Close()
		return err
	}
	return conf.Close()
}

// copyTree copies a directory with owners and modes; to must not exist.
func copyTree(ctx context.Context, from, to string) error {
	if out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", from, to).CombinedOutput(); err != nil {
		return fmt.Errorf("copy %s to %s: %w: %s", from, to, err, tail(out))
	}
	return nil
}

// tail is the end of a program's output, for an error.
func tail(out []byte) string {
	const most = 2000
	if len(out) > most {
		out = out[len(out)-most:]
	}
	return string(out)
}
