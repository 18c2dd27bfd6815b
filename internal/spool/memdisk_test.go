package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"sync"
	"syscall"
)

// errCrash is what every call gets after the crash.
var errCrash = errors.New("crashed")

// faultDisk is a disk in memory that knows what would survive a loss of power, and fails at a given step. Writing,
// syncing, cutting, creating and removing are steps; reading is not.
type faultDisk struct {
	mu      sync.Mutex
	files   map[string]*faultFile
	durable map[string]*faultFile // the directory as of the last syncDir

	steps  int
	failAt int   // 0: never
	with   error // errCrash: everything fails from then on; otherwise that one step fails
	failed string
	dead   bool
}

type faultFile struct {
	disk         *faultDisk
	data, synced []byte
}

func newFaultDisk() *faultDisk {
	return &faultDisk{files: map[string]*faultFile{}, durable: map[string]*faultFile{}}
}

// step counts, and says whether this step fails. Call it with mu held.
func (d *faultDisk) step(what string) error {
	if d.dead {
		return errCrash
	}
	d.steps++
	if d.steps != d.failAt {
		return nil
	}
	d.failed = what
	d.dead = errors.Is(d.with, errCrash)
	return d.with
}

// survivor says how much of what was not synced is on the disk after a crash.
type survivor string

const (
	nothingMore survivor = "nothing that was not synced" // power lost
	halfOfIt    survivor = "half of what was not synced" // power lost
	everything  survivor = "everything"                  // the process was killed
)

// reboot is the disk after the crash.
func (d *faultDisk) reboot(keep survivor) *faultDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := d.files
	if keep == nothingMore {
		names = d.durable
	}
	return diskOf(names, func(f *faultFile) []byte {
		if more := len(f.data) - len(f.synced); keep == halfOfIt && more > 0 {
			return f.data[:len(f.synced)+more/2]
		}
		if keep == everything {
			return f.data
		}
		return f.synced
	})
}

// rebootWithHoles is the disk after power was lost while the kernel wrote back: of the pages that were not synced, any may be there, and
// the others are as they were synced last, or zeros.
func (d *faultDisk) rebootWithHoles(random *rand.Rand, page int) *faultDisk {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := d.files
	if random.IntN(2) == 0 {
		names = d.durable
	}
	return diskOf(names, func(f *faultFile) []byte {
		size := len(f.data)
		if random.IntN(4) == 0 { // neither is the size
			size = len(f.synced)
		}
		content := make([]byte, size)
		copy(content, f.synced)
		for at := 0; at < min(size, len(f.data)); at += page {
			if random.IntN(2) == 0 {
				copy(content[at:min(at+page, size)], f.data[at:])
			}
		}
		return content
	})
}

func diskOf(files map[string]*faultFile, content func(*faultFile) []byte) *faultDisk {
	d := newFaultDisk()
	for name, f := range files {
		b := content(f)
		d.files[name] = &faultFile{disk: d, data: bytes.Clone(b), synced: bytes.Clone(b)}
	}
	d.durable = maps.Clone(d.files)
	return d
}

func (d *faultDisk) list() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name := range d.files {
		names = append(names, name)
	}
	return names, nil
}

func (d *faultDisk) open(name string) (file, int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[name]
	if f == nil {
		return nil, 0, fs.ErrNotExist
	}
	return f, int64(len(f.data)), nil
}

func (d *faultDisk) create(name string) (file, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("create"); err != nil {
		return nil, err
	}
	f := &faultFile{disk: d}
	d.files[name] = f
	return f, nil
}

func (d *faultDisk) remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("remove"); err != nil {
		return err
	}
	if d.files[name] == nil {
		return fs.ErrNotExist
	}
	delete(d.files, name)
	return nil
}

func (d *faultDisk) syncDir() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.step("sync directory"); err != nil {
		return err
	}
	d.durable = map[string]*faultFile{}
	for name, f := range d.files {
		d.durable[name] = f
	}
	return nil
}

func (f *faultFile) ReadAt(b []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	n := copy(b, f.data[off:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt that fails writes the first half.
func (f *faultFile) WriteAt(b []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	was := f.disk.dead
	err := f.disk.step("write")
	if err != nil && was {
		return 0, err
	}
	if err != nil {
		b = b[:len(b)/2]
	}
	if off != int64(len(f.data)) {
		return 0, fmt.Errorf("write at %d into a file of %d bytes: not an append", off, len(f.data))
	}
	f.data = append(f.data, b...)
	return len(b), err
}

func (f *faultFile) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.disk.step("sync"); err != nil {
		return err
	}
	f.synced = bytes.Clone(f.data)
	return nil
}

func (f *faultFile) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if err := f.disk.step("truncate"); err != nil {
		return err
	}
	f.data = f.data[:size:size]
	return nil
}

func (f *faultFile) Close() error { return nil }

// errNoSpace is what a full disk says.
var errNoSpace error = syscall.ENOSPC
