package spool

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/segment"
)

// Inspection is what a spool's directory holds, for people.
type Inspection struct {
	Dir      string
	Segments []SegmentInspection
	Removed  int // segments that their owner removed, as applied, before they were read
}

// Damaged tells whether anything is not as it was written. A torn tail is none.
func (i Inspection) Damaged() bool {
	return slices.ContainsFunc(i.Segments, func(s SegmentInspection) bool { return s.Damage != "" })
}

// SegmentInspection is what one segment holds. Only whole transactions are counted.
type SegmentInspection struct {
	Name       string
	Sequence   uint64
	Version    uint32
	Base       change.LSN // every transaction in it ends after that
	Created    time.Time
	Bytes      int64 // of the file
	Messages   int64 // bytes of the messages in it, as the source sent them
	LastLSN    change.LSN
	Changes    []TableChanges
	Records    int   // messages and progress
	TailBytes  int64 // after the last whole transaction: being written, or what the next start will cut
	TailOffset int64
	// Damage says what is wrong and where; the rest of the segment was not read then.
	Damage       string
	Transactions int
	FirstCommit  time.Time // the source's clock; zero when there is no transaction
	LastCommit   time.Time
}

// TableChanges counts what happens to one table.
type TableChanges struct {
	Table                                  string
	Inserts, Updates, Deletes, Truncations int64
}

// Total is how many changes these are.
func (c TableChanges) Total() int64 { return c.Inserts + c.Updates + c.Deletes + c.Truncations }

// TransactionInspection is one whole transaction of the source. Changes is valid until each returns.
type TransactionInspection struct {
	Segment    string
	XID        uint32
	CommitLSN  change.LSN
	EndLSN     change.LSN
	CommitTime time.Time
	Changes    []TableChanges
}

// Inspect reads the spool in dir, changing nothing and taking no lock, so that it may run beside the spool's owner. each, if not
// nil, is told of every whole transaction in order; its error ends the reading. Damage is no error but in the result; an
// error is a directory that cannot be read or holds no spool, with CodeNoSpool.
func Inspect(dir string, each func(TransactionInspection) error) (Inspection, error) {
	if each == nil {
		each = func(TransactionInspection) error { return nil }
	}
	found := Inspection{Dir: dir}
	names, err := segmentNames(dir)
	if err != nil {
		return found, err
	}
	for i, name := range names {
		last := i == len(names)-1
		s, err := inspectSegment(dir, name, last, each)
		if errors.Is(err, os.ErrNotExist) {
			found.Removed++
			continue
		}
		if err != nil {
			return found, err
		}
		if i > 0 && s.Damage == "" && !follows(names[i-1], name) {
			s.Damage = "it does not follow " + names[i-1] + ": a segment is missing between"
		}
		found.Segments = append(found.Segments, s)
	}
	return found, nil
}

func follows(before, name string) bool {
	a, _, ok := segment.ParseName(before)
	b, _, alsoOK := segment.ParseName(name)
	return ok && alsoOK && b == a+1
}

func segmentNames(dir string) ([]string, error) {
	all, err := directory(dir).list()
	if err != nil {
		return nil, diskError("read spool", dir, err)
	}
	names := slices.DeleteFunc(all, func(n string) bool { return !segment.IsSegment(n) })
	slices.Sort(names)
	if _, err := os.Stat(filepath.Join(dir, lockName)); len(names) == 0 && err != nil {
		return nil, noSpool(dir)
	}
	return names, nil
}

// lookAgain is how long to wait before damage in the last segment is believed: its owner may have cut the file and gone on
// while it was read.
const lookAgain = 200 * time.Millisecond

// inspectSegment reads one segment. What each was told stays told when a second look is needed.
func inspectSegment(dir, name string, last bool, each func(TransactionInspection) error) (SegmentInspection, error) {
	told := 0
	for look := 1; ; look++ {
		skip := told
		s, err := readSegment(dir, name, last, func(t TransactionInspection) error {
			if skip > 0 {
				skip--
				return nil
			}
			told++
			return each(t)
		})
		if err != nil || s.Damage == "" || !last || look == 3 {
			return s, err
		}
		<-time.After(lookAgain)
	}
}

func readSegment(dir, name string, last bool, each func(TransactionInspection) error) (s SegmentInspection, err error) {
	s.Name = name
	f, err := os.Open(filepath.Join(dir, name))
	if err != nil {
		return s, diskError("open segment", name, err)
	}
	defer f.Close() // only read from
	info, err := f.Stat()
	if err != nil {
		return s, diskError("open segment", name, err)
	}
	s.Bytes = info.Size()
	sequence, base, ok := segment.ParseName(name)
	if !ok {
		s.Damage = "it is not called like a segment"
		return s, nil
	}
	s.Sequence, s.Base, s.LastLSN = sequence, base, base
	h, complete, err := readHead(f, name, s.Bytes)
	s.Version, s.Created = h.Version, h.Created
	switch {
	case err != nil:
		return s, s.damaged(err)
	case !complete && last:
		s.TailBytes = s.Bytes
		return s, nil
	case !complete:
		s.Damage = "at byte 0: the header is damaged"
		return s, nil
	case h.Sequence != sequence || h.Base != base:
		s.Damage = "at byte 0: the header is another segment's"
		return s, nil
	}
	return s, s.damaged(newInspector(&s, f, last, each).run(int64(h.HeadBytes)))
}

// damaged notes an error that means damage, and returns every other one.
func (s *SegmentInspection) damaged(err error) error {
	if err == nil || !HasCode(err, CodeCorrupt) && !HasCode(err, CodeVersion) {
		return err
	}
	s.Damage = damageWords(err)
	return nil
}
