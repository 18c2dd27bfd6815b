package pgserver

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"timeferry/internal/fault"
)

// tempPrefix begins the names of temporary directories, so that those of killed runs can be found.
const tempPrefix = "timeferry-pg-"

// prepare makes the server's directory, locks it, and fills it from the template if it is new.
func (s *Server) prepare(ctx context.Context, dir string) error {
	template, err := s.flavour.template(ctx)
	if err != nil {
		return err
	}
	if dir == "" {
		removeLeftovers(s.flavour.base())
		s.temp = true
		if dir, err = os.MkdirTemp(s.flavour.base(), tempPrefix); err != nil {
			return err
		}
	}
	if s.dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	if err := s.makeDir(); err != nil {
		return err
	}
	if err := s.acquire(); err != nil {
		return err
	}
	password := filepath.Join(s.dir, passwordName)
	if !exists(filepath.Join(s.data, "PG_VERSION")) {
		if err := s.fill(ctx, template); err != nil {
			return err
		}
	}
	text, err := os.ReadFile(password)
	if err != nil {
		return fmt.Errorf("read the superuser's password: %w", err)
	}
	s.password = strings.TrimSpace(string(text))
	return nil
}

// makeDir makes the directory, and says where the data goes: into it, if the server can get there. A server that runs in
// another root, or as a user who may not pass the directories above, has its data in the home of its user, under a name
// made from the directory's.
func (s *Server) makeDir() error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	if s.temp || s.flavour.reaches(s.dir) {
		s.data = filepath.Join(s.dir, dataName)
		return s.flavour.own(s.dir)
	}
	sum := sha256.Sum256([]byte(s.dir))
	s.data = filepath.Join(s.flavour.root, "/var/lib/postgresql", "timeferry-data-"+hex.EncodeToString(sum[:8]))
	return nil
}

// fill copies the template. The data directory appears complete or not at all.
func (s *Server) fill(ctx context.Context, template string) error {
	password, err := os.ReadFile(filepath.Join(template, passwordName))
	if err != nil {
		return err
	}
	partial := s.data + ".partial"
	for _, old := range []string{partial, s.data} {
		if err := os.RemoveAll(old); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, passwordName), password, 0o600); err != nil {
		return err
	}
	if err := copyTree(ctx, filepath.Join(template, dataName), partial); err != nil {
		return err
	}
	return os.Rename(partial, s.data)
}

// acquire takes the directory for this process.
func (s *Server) acquire() error {
	file, err := os.OpenFile(filepath.Join(s.dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	ok, err := tryLock(file)
	if err == nil && !ok {
		err = fault.New(fault.Operator, "use directory", s.dir, "stop the other process or choose another directory", "another process has a server in it")
	}
	if err != nil {
		return errors.Join(err, file.Close())
	}
	s.lock = file
	return nil
}

// release removes a temporary directory and gives up the lock.
func (s *Server) release() error {
	var err error
	if s.temp && s.dir != "" && s.proc == nil {
		err = removeServer(s.dir, s.data)
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
		s.lock = nil
	}
	return err
}

// writeSettings writes the file that postgresql.conf includes.
func (s *Server) writeSettings() error {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.settings)) {
		fmt.Fprintf(&b, "%s = '%s'\n", name, strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(s.settings[name]))
	}
	path := filepath.Join(s.data, settingsName)
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		return err
	}
	return s.flavour.own(path)
}

// leftoverAge spares a directory that is just being made and not locked yet.
const leftoverAge = time.Minute

// removeLeftovers removes temporary directories whose process is gone. It is a courtesy: what it cannot remove stays.
func removeLeftovers(base string) {
	dirs, err := filepath.Glob(filepath.Join(base, tempPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		info, err := os.Stat(dir)
		if err != nil || time.Since(info.ModTime()) < leftoverAge {
			continue
		}
		file, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			continue
		}
		if free, err := tryLock(file); err == nil && free && !hasPostmaster(filepath.Join(dir, dataName)) {
			_ = removeServer(dir, filepath.Join(dir, dataName)) // the next run tries again
		}
		_ = file.Close() // only read
	}
}
