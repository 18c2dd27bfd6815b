package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// cacheDir is where things made once are kept: $TIMEFERRY_CACHE, else the user's cache directory.
func cacheDir() (string, error) {
	dir := os.Getenv(EnvCache)
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the cache directory (set %s): %w", EnvCache, err)
		}
		dir = filepath.Join(base, "timeferry")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return dir, os.MkdirAll(dir, 0o755)
}

// withLock runs do while holding the named lock, so that parallel processes make a thing once.
func withLock(ctx context.Context, name string, do func() error) error {
	dir, err := cacheDir()
	if err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(dir, name+".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer file.Close() // the lock goes with it
	for {
		ok, err := tryLock(file)
		if err != nil {
			return fmt.Errorf("lock %s: %w", file.Name(), err)
		}
		if ok {
			return do()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for another process to release %s: %w", file.Name(), ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// tryLock takes the file's lock without waiting. It is released when the file is closed or the process ends.
func tryLock(file *os.File) (bool, error) {
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, err
		}
	}
}
