package spool

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"timeferry/internal/change"
	"timeferry/internal/fault"
)

// Codes of the errors that callers tell apart.
const (
	// CodeFull: the disk or the quota is full. The record was not taken; try again when there is room.
	CodeFull = "spool-full"
	// CodeLocked: another process has the directory.
	CodeLocked = "spool-locked"
	// CodeBroken: an fsync or a write failed; the spool must be closed and opened again.
	CodeBroken = "spool-broken"
	// CodeGap: what was asked for is older than what is kept.
	CodeGap = "spool-gap"
	// CodeCorrupt: a segment holds something else than what was written.
	CodeCorrupt = "spool-corrupt"
	// CodeVersion: a segment was written by a newer program.
	CodeVersion = "spool-version"
	// CodeNoSpool: the directory that was to be inspected holds none.
	CodeNoSpool = "no-spool"
)

// HasCode tells whether any fault in err's chain carries code.
func HasCode(err error, code string) bool {
	for {
		var f *fault.Error
		if !errors.As(err, &f) {
			return false
		}
		if f.Code == code {
			return true
		}
		err = f.Err
	}
}

func fullError(dir string, cause error) error {
	return fault.New(fault.Operator, "write spool", dir, "make room on the worker's disk; receiving goes on by itself", "%w", cause).WithCode(CodeFull)
}

func corruptError(file string, offset int64, format string, args ...any) error {
	f := fault.New(fault.Integrity, "read spool", file, "check the disk; the stream cannot be continued from this spool: resync, or abort", format, args...)
	return fault.New(fault.Integrity, "read spool", file, f.Hint, "at byte %d: %w", offset, f.Err).WithCode(CodeCorrupt)
}

func gapError(dir string, from, base change.LSN) error {
	return fault.New(fault.Integrity, "read spool", dir, "changes between the two positions are not on this disk any more: resync, or abort",
		"it begins after %s, and %s is asked for", base, from).WithCode(CodeGap)
}

func bug(op, dir, format string, args ...any) error {
	return fault.New(fault.Bug, op, dir, "", format, args...)
}

// diskError classifies an error of the file system.
func diskError(op, subject string, err error) error {
	switch {
	case isFull(err):
		return fault.New(fault.Operator, op, subject, "make room on the worker's disk", "%w", err).WithCode(CodeFull)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fault.New(fault.Operator, op, subject, "let the worker's user write there", "%w", err)
	case errors.Is(err, os.ErrNotExist):
		return fault.New(fault.Integrity, op, subject, "nothing but the worker may remove files there", "%w", err)
	}
	return fault.New(fault.Operator, op, subject, "check the worker's disk", "%w", err)
}

func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

func versionError(file string, cause error) error {
	return fault.New(fault.Operator, "read spool", file, "run the newer version of the worker that wrote it", "%w", cause).WithCode(CodeVersion)
}

func noSpool(dir string) error {
	return fault.New(fault.Operator, "read spool", dir, "name the directory of one migration, DATA_DIR/spool/NAME", "there is no spool in it").WithCode(CodeNoSpool)
}
