package capture

import (
	"bufio"
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
)

// inProgress keeps what the source sends of large transactions before they commit (protocol version 2, from PostgreSQL 14), one
// file each, beside the spool. Nothing of it goes into the spool before the commit comes: then the transaction is written as if it
// had come whole. The files are worth nothing to anybody else: the source sends all of it again on the next connection.
type inProgress struct {
	dir     string
	open    map[uint32]*streamedTx
	current *streamedTx // between a start and a stop
}

// streamedTx is one transaction under way. Its entries are: length, subtransaction, position, message.
type streamedTx struct {
	xid     uint32
	file    *os.File
	out     *bufio.Writer
	size    int64 // of what was written
	aborted map[uint32]bool
}

const (
	streamedPrefix = "in-progress-"
	entryHead      = 4 + 4 + 8
	streamedBuffer = 256 << 10
)

// newInProgress removes what an earlier process left. With dir "" there is no place for files: none must be asked for.
func newInProgress(dir string) (*inProgress, error) {
	if dir == "" {
		return &inProgress{open: map[uint32]*streamedTx{}}, nil
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
	return &inProgress{dir: dir, open: map[uint32]*streamedTx{}}, nil
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
			if err := tx.close(); err != nil {
				return err
			}
		}
		name := filepath.Join(p.dir, streamedPrefix+fmt.Sprint(s.XID))
		f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return diskFault("keep a transaction under way in", name, err)
		}
		tx = &streamedTx{xid: s.XID, file: f, out: bufio.NewWriterSize(f, streamedBuffer), aborted: map[uint32]bool{}}
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
	var b [entryHead]byte
	binary.BigEndian.PutUint32(b[0:], uint32(len(head)+len(tail)))
	binary.BigEndian.PutUint32(b[4:], sub)
	binary.BigEndian.PutUint64(b[8:], uint64(lsn))
	for _, part := range [][]byte{b[:], head, tail} {
		if _, err := tx.out.Write(part); err != nil {
			return diskFault("keep a transaction under way in", tx.file.Name(), err)
		}
		tx.size += int64(len(part))
	}
	return nil
}

// each gives the transaction's messages in their order, without those that were rolled back. Each is valid until the next.
func (tx *streamedTx) each(do func(lsn change.LSN, msg []byte) error) error {
	if err := tx.out.Flush(); err != nil {
		return diskFault("keep a transaction under way in", tx.file.Name(), err)
	}
	in := bufio.NewReaderSize(io.NewSectionReader(tx.file, 0, tx.size), streamedBuffer)
	var head [entryHead]byte
	var msg []byte
	for {
		if _, err := io.ReadFull(in, head[:]); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return diskFault("read a transaction from", tx.file.Name(), err)
		}
		n := int(binary.BigEndian.Uint32(head[0:]))
		if cap(msg) < n {
			msg = make([]byte, n)
		}
		msg = msg[:n]
		if _, err := io.ReadFull(in, msg); err != nil {
			return diskFault("read a transaction from", tx.file.Name(), err)
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
	if err := errors.Join(tx.file.Close(), os.Remove(tx.file.Name())); err != nil {
		return diskFault("remove", tx.file.Name(), err)
	}
	return nil
}

// diskFault lets a full disk be tried again on a new connection, since what is applied meanwhile makes room.
func diskFault(op, name string, err error) error {
	class := fault.Operator
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		class = fault.Transient
	}
	return fault.New(class, op, name, "make room on the worker's disk", "%w", err)
}
