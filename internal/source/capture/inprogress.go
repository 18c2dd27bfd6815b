package capture

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/pgoutput"
	"timeferry/internal/spool"
)

// inProgress keeps what the source sends of large transactions before they commit (protocol version 2, from PostgreSQL 14), one
// file each, beside the spool. Nothing of it goes into the spool before the commit comes: then the transaction is written as if it
// had come whole. The files are worth nothing to anybody else: the source sends all of it again on the next connection.
type inProgress struct {
	dir     string
	open    map[uint32]*streamedTx
	current *streamedTx // between a start and a stop

	// patiently repeats what finds no room (spool.CodeFull) until there is some; beside counts the files' bytes and may find that
	// there are too many. The session sets both.
	patiently func(do func() error) error
	beside    func(bytes int64) error
	create    func(name string) (streamFile, error) // tests put one without room in its place
}

// streamFile is what a transaction under way is kept in.
type streamFile interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
}

// streamedTx is one transaction under way. Its entries are: length, subtransaction, position, message.
type streamedTx struct {
	of      *inProgress
	xid     uint32
	name    string
	file    streamFile
	buf     []byte // what comes after what was written
	written int64
	aborted map[uint32]bool
}

const (
	streamedPrefix = "in-progress-"
	entryHead      = 4 + 4 + 8
	streamedBuffer = 256 << 10
)

// newInProgress removes what an earlier process left. With dir "" there is no place for files: none must be asked for.
func newInProgress(dir string) (*inProgress, error) {
	p := &inProgress{dir: dir, open: map[uint32]*streamedTx{}, create: createFile,
		patiently: func(do func() error) error { return do() }, beside: func(int64) error { return nil }}
	if dir == "" {
		return p, nil
	}
	left, err := filepath.Glob(filepath.Join(dir, streamedPrefix+"*"))
	if err != nil {
		return nil, fault.New(fault.Bug, "list", dir, "", "%w", err)
	}
	for _, name := range left {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, diskFault("remove", name, err)
		}
	}
	return p, nil
}

func createFile(name string) (streamFile, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil { // a nil *os.File must not become a file that is not nil
		return nil, err
	}
	return f, nil
}

// take keeps msg, or does what it says. done is the transaction that it commits, if it does, with the commit's message; the caller
// replays it and closes it. taken is false for a message that has nothing to do with transactions under way.
func (p *inProgress) take(lsn change.LSN, msg []byte) (taken bool, done *streamedTx, commit pgoutput.Streamed, err error) {
	s, ok, err := pgoutput.ParseStreamed(msg)
	switch {
	case err != nil:
		return true, nil, s, err
	case !ok && p.current == nil:
		return false, nil, s, nil
	case !ok:
		return true, nil, s, p.current.add(lsn, msg)
	}
	switch s.Kind {
	case pgoutput.StreamStart:
		err = p.start(s)
	case pgoutput.StreamStop:
		p.current = nil
	case pgoutput.StreamAbort:
		err = p.abort(s)
	case pgoutput.StreamCommit:
		if done = p.open[s.XID]; done == nil {
			err = fault.New(fault.Integrity, "receive", "transaction "+fmt.Sprint(s.XID), "", "it commits, and nothing of it came before")
		}
		delete(p.open, s.XID)
		p.current = nil
	}
	return true, done, s, err
}

func (p *inProgress) start(s pgoutput.Streamed) error {
	tx := p.open[s.XID]
	if tx == nil && !s.First {
		return fault.New(fault.Integrity, "receive", "transaction "+fmt.Sprint(s.XID), "", "it goes on, and its beginning did not come")
	}
	if s.First {
		if tx != nil {
			delete(p.open, s.XID)
			if err := tx.close(); err != nil {
				return err
			}
		}
		tx = &streamedTx{of: p, xid: s.XID, name: filepath.Join(p.dir, streamedPrefix+fmt.Sprint(s.XID)), aborted: map[uint32]bool{}}
		err := p.patiently(func() (err error) {
			if tx.file, err = p.create(tx.name); err != nil {
				return diskFault("keep a transaction under way in", tx.name, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		p.open[s.XID] = tx
	}
	p.current = tx
	return nil
}

func (p *inProgress) abort(s pgoutput.Streamed) error {
	tx := p.open[s.XID]
	if tx == nil {
		return nil // rolled back before anything of it was sent
	}
	if s.SubXID != s.XID {
		tx.aborted[s.SubXID] = true
		return nil
	}
	delete(p.open, s.XID)
	if p.current == tx {
		p.current = nil
	}
	return tx.close()
}

// close removes all files.
func (p *inProgress) close() error {
	var errs []error
	for _, tx := range p.open {
		errs = append(errs, tx.close())
	}
	p.open, p.current = map[uint32]*streamedTx{}, nil
	return errors.Join(errs...)
}

// idle is true while nothing is under way: only then the session can be left without a loss of work.
func (p *inProgress) idle() bool { return p == nil || len(p.open) == 0 }

func (tx *streamedTx) add(lsn change.LSN, msg []byte) error {
	sub, head, tail, err := pgoutput.CutStreamed(msg)
	if err != nil {
		return err
	}
	tx.buf = binary.BigEndian.AppendUint32(tx.buf, uint32(len(head)+len(tail)))
	tx.buf = binary.BigEndian.AppendUint32(tx.buf, sub)
	tx.buf = binary.BigEndian.AppendUint64(tx.buf, uint64(lsn))
	tx.buf = append(append(tx.buf, head...), tail...)
	if len(tx.buf) < streamedBuffer {
		return nil
	}
	return tx.of.patiently(tx.write)
}

// write puts the buffer into the file. When it fails nothing has changed, so that it may be tried again.
func (tx *streamedTx) write() error {
	size := int64(len(tx.buf))
	if err := tx.of.beside(size); err != nil {
		return err
	}
	if _, err := tx.file.WriteAt(tx.buf, tx.written); err != nil {
		return errors.Join(diskFault("keep a transaction under way in", tx.name, err), tx.of.beside(-size))
	}
	tx.written += size
	tx.buf = tx.buf[:0]
	if cap(tx.buf) > 4*streamedBuffer { // one great value came: give its memory back
		tx.buf = nil
	}
	return nil
}

// each gives the transaction's messages in their order, without those that were rolled back. Each is valid until the next.
func (tx *streamedTx) each(do func(lsn change.LSN, msg []byte) error) error {
	in := bufio.NewReaderSize(io.MultiReader(io.NewSectionReader(tx.file, 0, tx.written), bytes.NewReader(tx.buf)), streamedBuffer)
	var head [entryHead]byte
	var msg []byte
	for {
		if _, err := io.ReadFull(in, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return diskFault("read a transaction from", tx.name, err)
		}
		n := int(binary.BigEndian.Uint32(head[0:]))
		if cap(msg) < n {
			msg = make([]byte, n)
		}
		msg = msg[:n]
		if _, err := io.ReadFull(in, msg); err != nil {
			return diskFault("read a transaction from", tx.name, err)
		}
		if tx.aborted[binary.BigEndian.Uint32(head[4:])] && pgoutput.IsChange(msg) {
			continue
		}
		if err := do(change.LSN(binary.BigEndian.Uint64(head[8:])), msg); err != nil {
			return err
		}
	}
}

// close removes the file.
func (tx *streamedTx) close() error {
	if err := errors.Join(tx.file.Close(), os.Remove(tx.name), tx.of.beside(-tx.written)); err != nil {
		return diskFault("remove", tx.name, err)
	}
	return nil
}

// diskFault gives a full disk the spool's code, which means that it is worth waiting. Who cannot wait may connect again.
func diskFault(op, name string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fault.New(fault.Transient, op, name, "make room on the worker's disk; receiving goes on by itself", "%w", err).WithCode(spool.CodeFull)
	}
	return fault.New(fault.Operator, op, name, "check the worker's disk", "%w", err)
}
