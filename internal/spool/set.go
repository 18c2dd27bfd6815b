package spool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"timeferry/internal/fault"
)

// Set shares the spools of one process: the receiving and the applying side of a migration each acquire the same one.
// Safe for concurrent use.
type Set struct {
	root string

	mu   sync.Mutex
	open map[string]*shared
}

type shared struct {
	spool *Spool
	users int
}

// NewSet returns the spools under root, one directory per migration.
func NewSet(root string) *Set { return &Set{root: root, open: map[string]*shared{}} }

// Acquire opens the migration's spool, or gives the one that is open; options count for the first only. The caller calls
// release once it uses the spool no more; the last release closes it.
func (t *Set) Acquire(name string, o Options) (s *Spool, release func(), err error) {
	dir, err := t.path(name)
	if err != nil {
		return nil, nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	sh := t.open[name]
	if sh == nil {
		spool, err := Open(dir, o)
		if err != nil {
			return nil, nil, err
		}
		sh = &shared{spool: spool}
		t.open[name] = sh
	}
	sh.users++
	var once sync.Once
	return sh.spool, func() { once.Do(func() { t.release(name, sh) }) }, nil
}

func (t *Set) release(name string, sh *shared) {
	t.mu.Lock()
	defer t.mu.Unlock()
	sh.users--
	if sh.users > 0 {
		return
	}
	delete(t.open, name)
	// Whoever needs what was appended to be durable has called Sync; the next owner reads the files anew in any case.
	_ = sh.spool.Close()
}

// Remove deletes the migration's directory. It refuses while somebody in this or another process uses it; a directory that
// is not there is no error.
func (t *Set) Remove(name string) error {
	dir, err := t.path(name)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[name] != nil {
		return fault.New(fault.NotReady, "remove spool", dir, "", "it is in use")
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	lock, err := lockDirectory(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(dir), lock.Close()); err != nil {
		return diskError("remove spool", dir, err)
	}
	return nil
}

// Files names what is still there of the migration's directory.
func (t *Set) Files(name string) ([]string, error) {
	dir, err := t.path(name)
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, diskError("look for spool", dir, err)
	}
	return []string{dir}, nil
}

// path keeps names inside of root.
func (t *Set) path(name string) (string, error) {
	if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" {
		return "", bug("open spool", name, "not a migration's name")
	}
	return filepath.Join(t.root, name), nil
}
