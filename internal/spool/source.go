package spool

import (
	"errors"
	"os"
	"path/filepath"

	"timeferry/internal/failpoint"
)

// sourceName is the file that says whose changes the spool holds.
const sourceName = "source"

// Dir is the spool's directory. Files beside the segments are not the spool's, and go with it.
func (s *Spool) Dir() string { return s.dir }

// Beside counts bytes of files in Dir that are not the spool's own, or with a negative number no longer. When they and the segments
// would be more than Options.Limit it counts nothing, and gives CodeFull. They never keep the spool itself from taking a record: what
// they wait for is that the spool's are taken and applied.
func (s *Spool) Beside(bytes int64) error {
	s.shared.Lock()
	defer s.shared.Unlock()
	if limit := s.options.Limit; bytes > 0 && limit > 0 && s.bytes+s.beside+bytes > limit {
		return fullError(s.dir, errQuota)
	}
	s.beside += bytes
	return nil
}

// Source is what SetSource kept last, or "" when it was never called. The spool does not look at it: it is the receiver's
// note of which server the positions are of.
func (s *Spool) Source() (string, error) {
	b, err := os.ReadFile(filepath.Join(s.dir, sourceName))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", diskError("read spool", sourceName, err)
	}
	return string(b), nil
}

// SetSource keeps a note beside the segments. After a crash there is the note before or this one, never a part; it survives
// once SetSource has returned.
func (s *Spool) SetSource(note string) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.usable("write spool"); err != nil {
		return err
	}
	path := filepath.Join(s.dir, sourceName)
	if err := writeDurably(path+".new", note); err != nil {
		return diskError("write spool", sourceName, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return diskError("write spool", sourceName, err)
	}
	failpoint.At(failpoint.AfterNoteRename)
	if err := syncDirectory(s.dir); err != nil {
		return diskError("write spool", sourceName, err)
	}
	failpoint.At(failpoint.AfterNoteNameFsync)
	return nil
}

func writeDurably(path, content string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(content)
	failpoint.At(failpoint.BeforeNoteFsync)
	err = errors.Join(err, f.Sync(), f.Close())
	failpoint.At(failpoint.AfterNoteFsync)
	return err
}
