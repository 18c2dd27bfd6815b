package spool

import (
	"errors"
	"io"
	"slices"
	"strings"

	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/pgoutput"
	"timeferry/internal/segment"
)

// inspector reads one segment from its head to its end.
type inspector struct {
	*SegmentInspection
	file    io.ReaderAt
	scan    *scanner
	last    bool
	each    func(TransactionInspection) error
	decoder *pgoutput.Decoder
	track   tracker

	now      TransactionInspection // the transaction under way
	tables   map[string]*TableChanges
	messages int64 // bytes since the last whole transaction
	records  int
}

func newInspector(s *SegmentInspection, f io.ReaderAt, last bool, each func(TransactionInspection) error) *inspector {
	return &inspector{SegmentInspection: s, file: f, scan: newScanner(f, s.Name, segment.HeaderSize, s.Version), last: last, each: each,
		decoder: pgoutput.NewDecoder(), track: tracker{end: s.Base}, tables: map[string]*TableChanges{}}
}

func (i *inspector) run(head int64) error {
	end := i.Bytes
	i.TailOffset = head
	for i.scan.more(end) {
		at := i.scan.at()
		frame, err := i.scan.frame(end)
		if err != nil {
			if err := i.judge(at, err); err != nil {
				return err
			}
			break
		}
		if err := i.take(at, frame, at < head); err != nil {
			return err
		}
	}
	if i.TailBytes = end - i.TailOffset; i.TailBytes > 0 && !i.last {
		return corruptError(i.Name, i.TailOffset, "a segment ends inside of a transaction")
	}
	for _, t := range i.tables {
		i.Changes = append(i.Changes, *t)
	}
	byTable(i.Changes)
	return nil
}

// judge tells damage from a torn tail, as recovery does.
func (i *inspector) judge(at int64, cause error) error {
	if ignoreTorn(cause) != nil {
		return cause
	}
	if !i.last {
		return corruptError(i.Name, at, "%w", cause)
	}
	proof, err := provenDurable(i.file, i.Name, i.Version, at, i.Bytes)
	if err != nil || proof == "" {
		return err
	}
	return corruptError(i.Name, at, "%w, and %s", cause, proof)
}

func (i *inspector) take(at int64, frame segment.Frame, head bool) error {
	if frame.Kind == segment.Durable {
		if i.TailOffset == at { // the last one of a spool that was closed
			i.TailOffset = i.scan.offset()
		}
		return nil
	}
	if head || frame.Kind == segment.Relation {
		if !head {
			return corruptError(i.Name, at, "a carried relation outside of the head")
		}
		_, _, err := i.decoder.Decode(frame.Payload)
		return i.undecodable(at, err)
	}
	record := Record{LSN: frame.LSN, Kind: Kind(frame.Kind), Data: frame.Payload}
	whole, err := i.track.step(record)
	if err != nil {
		return corruptError(i.Name, at, "%w", err)
	}
	i.records++
	i.messages += int64(len(record.Data))
	if record.Kind == Message {
		ev, ok, err := i.decoder.Decode(record.Data)
		if err != nil {
			return i.undecodable(at, err)
		}
		if ok {
			i.count(ev)
		}
	}
	if !whole {
		return nil
	}
	return i.whole(record)
}

// undecodable: the checksum is right, so this is what was received.
func (i *inspector) undecodable(at int64, err error) error {
	if err == nil {
		return nil
	}
	return corruptError(i.Name, at, "a message that cannot be understood: %w", err)
}

// whole is at the end of a transaction, or of what stands between two.
func (i *inspector) whole(record Record) error {
	i.Messages, i.Records = i.Messages+i.messages, i.Records+i.records
	i.messages, i.records = 0, 0
	i.LastLSN = i.track.end
	if !i.scan.open() {
		i.TailOffset = i.scan.offset()
	}
	if _, commit := pgoutput.IsCommit(record.Data); !commit {
		return nil
	}
	i.Transactions++
	if i.FirstCommit.IsZero() {
		i.FirstCommit = i.now.CommitTime
	}
	i.LastCommit = i.now.CommitTime
	i.now.Segment = i.Name
	byTable(i.now.Changes)
	for _, c := range i.now.Changes {
		t := i.tables[c.Table]
		if t == nil {
			t = &TableChanges{Table: c.Table}
			i.tables[c.Table] = t
		}
		t.Inserts, t.Updates, t.Deletes, t.Truncations = t.Inserts+c.Inserts, t.Updates+c.Updates, t.Deletes+c.Deletes, t.Truncations+c.Truncations
	}
	return i.each(i.now)
}

func (i *inspector) count(ev change.Event) {
	switch ev.Kind {
	case change.Begin:
		i.now = TransactionInspection{XID: ev.XID, CommitLSN: ev.FinalLSN, Changes: i.now.Changes[:0]}
	case change.Commit:
		i.now.EndLSN, i.now.CommitTime = ev.EndLSN, ev.CommitTime
	case change.Insert:
		i.of(ev.Relation).Inserts++
	case change.Update:
		i.of(ev.Relation).Updates++
	case change.Delete:
		i.of(ev.Relation).Deletes++
	case change.Truncate:
		for _, r := range ev.Truncated {
			i.of(r).Truncations++
		}
	case change.Message, change.Schema, change.Progress:
	}
}

// of is the count of the table in the transaction under way.
func (i *inspector) of(r *change.Relation) *TableChanges {
	name := r.Schema + "." + r.Name
	at := slices.IndexFunc(i.now.Changes, func(c TableChanges) bool { return c.Table == name })
	if at < 0 {
		at = len(i.now.Changes)
		i.now.Changes = append(i.now.Changes, TableChanges{Table: name})
	}
	return &i.now.Changes[at]
}

func byTable(changes []TableChanges) {
	slices.SortFunc(changes, func(a, b TableChanges) int { return strings.Compare(a.Table, b.Table) })
}

// damageWords is what an error says of a place, without the file's name, which stands beside it.
func damageWords(err error) string {
	var f *fault.Error
	if errors.As(err, &f) && f.Err != nil {
		return f.Err.Error()
	}
	return err.Error()
}
