package spool

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"timeferry/internal/failpoint"
	"timeferry/internal/fault"
)

// disk is the directory that a spool lives in. Tests put a misbehaving one in its place.
type disk interface {
	list() ([]string, error) // names of all files
	open(name string) (f file, size int64, err error)
	create(name string) (file, error) // empties a file that exists
	remove(name string) error
	syncDir() error
}

// file is one segment file.
type file interface {
	io.ReaderAt
	io.WriterAt
	Sync() error
	Truncate(size int64) error
	Close() error
}

// directory is the real disk.
type directory string

func (d directory) list() ([]string, error) {
	entries, err := os.ReadDir(string(d))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

func (d directory) open(name string) (file, int64, error) {
	f, err := os.OpenFile(filepath.Join(string(d), name), os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return durableFile{f}, info.Size(), nil
}

func (d directory) create(name string) (file, error) {
	f, err := os.OpenFile(filepath.Join(string(d), name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil { // a nil *os.File must not become a file that is not nil
		return nil, err
	}
	failpoint.At(failpoint.SegmentCreated)
	return durableFile{f}, nil
}

func (d directory) remove(name string) error {
	failpoint.At(failpoint.BeforeRemove)
	err := os.Remove(filepath.Join(string(d), name))
	failpoint.At(failpoint.AfterRemove)
	return err
}

func (d directory) syncDir() error {
	failpoint.At(failpoint.BeforeNamesFsync)
	err := syncDirectory(string(d))
	failpoint.At(failpoint.AfterNamesFsync)
	return err
}

// durableFile is a file with points around the steps that change what survives.
type durableFile struct{ *os.File }

func (f durableFile) WriteAt(b []byte, offset int64) (int, error) {
	failpoint.At(failpoint.BeforeWrite)
	n, err := f.File.WriteAt(b, offset)
	failpoint.At(failpoint.AfterWrite)
	return n, err
}

func (f durableFile) Sync() error {
	failpoint.At(failpoint.BeforeFsync)
	err := f.File.Sync()
	failpoint.At(failpoint.AfterFsync)
	return err
}

func (f durableFile) Truncate(size int64) error {
	failpoint.At(failpoint.BeforeCut)
	err := f.File.Truncate(size)
	failpoint.At(failpoint.AfterCut)
	return err
}

// syncDirectory makes created and removed names durable: fsync of a file does not cover its name.
func syncDirectory(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// lockName is the file whose lock says who owns the directory. The kernel drops the lock with the process.
const lockName = "lock"

func lockDirectory(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, diskError("lock spool", dir, err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if cause := f.Close(); cause != nil {
		err = errors.Join(err, cause)
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fault.New(fault.Operator, "lock spool", dir, "stop the other process, or give this worker a data directory of its own",
			"another process or activity is using it").WithCode(CodeLocked)
	}
	return nil, diskError("lock spool", dir, err)
}
