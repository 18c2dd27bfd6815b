// Package failpoint names the moments at which the change stream's state becomes durable, or is about to, so that a test can
// end the process at each of them.
//
// In: a point, from the code that comes by it. Out: a call of the test's hook, and without one a load and a comparison.
//
// Invariants: nothing but a test arms a hook (internal/arch holds that); a point stands around one durable step, and is in
// Points.
//
// Not here: what happens at a point.
package failpoint

import "sync/atomic"

// Point is one moment.
type Point string

// The points, in the order in which a change comes by them. Each stands around one step that a crash may separate from the next.
const (
	// The spool is opened: its directory's name is made durable.
	BeforeHomeFsync Point = "before the fsync of the directory that the spool is in"
	AfterHomeFsync  Point = "after the fsync of the directory that the spool is in"
	// The note of which server the spool's positions are of: written beside the old one, and put in its place; without a spool it is
	// a row on the target.
	BeforeNoteFsync    Point = "before the note's fsync"
	AfterNoteFsync     Point = "after the note's fsync"
	AfterNoteRename    Point = "after the note took the old one's place"
	AfterNoteNameFsync Point = "after the fsync of the note's name"
	BeforeStreamSource Point = "before the note's commit on the target"
	AfterStreamSource  Point = "after the note's commit on the target"
	// The spool's segments: a file is made, written, and made durable with its name; it is cut back or removed.
	SegmentCreated   Point = "segment created"
	BeforeWrite      Point = "before a write to the spool"
	AfterWrite       Point = "after a write to the spool"
	BeforeFsync      Point = "before the spool's fsync"
	AfterFsync       Point = "after the spool's fsync"
	BeforeNamesFsync Point = "before the fsync of the spool's directory"
	AfterNamesFsync  Point = "after the fsync of the spool's directory"
	BeforeCut        Point = "before a segment is cut back"
	AfterCut         Point = "after a segment is cut back"
	BeforeRemove     Point = "before a segment is removed"
	AfterRemove      Point = "after a segment is removed"
	// The slot is told what it may forget, by the stream's status.
	BeforeConfirm Point = "before the slot is confirmed"
	AfterConfirm  Point = "after the slot is confirmed"
	// A backlog taken in bulk: the slot is advanced.
	BeforeAdvance Point = "before the slot is advanced"
	AfterAdvance  Point = "after the slot is advanced"
	// Lanes are taken away from whoever used them.
	BeforeClaim Point = "before the commit that claims the lanes"
	AfterClaim  Point = "after the commit that claims the lanes"
	// A new label of an enum type is carried over, in a transaction of its own.
	BeforeLabel Point = "before the commit of a label"
	AfterLabel  Point = "after the commit of a label"
	// The target's transaction: a part of it sent, all of it and the position sent, committed, and its WAL on the disk.
	AfterPart     Point = "after a part of a transaction on the target"
	BeforeLane    Point = "before the commit of a lane"
	AfterLane     Point = "after the commit of a lane"
	BeforeCommit  Point = "before the target's commit"
	AfterCommit   Point = "after the target's commit"
	BeforeFlush   Point = "before the target's WAL is flushed"
	AfterFlush    Point = "after the target's WAL is flushed"
	AfterPosition Point = "after the applied position was reported"
)

// Points lists all of them, for tests that go through them one by one.
func Points() []Point {
	return []Point{BeforeHomeFsync, AfterHomeFsync, BeforeNoteFsync, AfterNoteFsync, AfterNoteRename, AfterNoteNameFsync, BeforeStreamSource, AfterStreamSource,
		SegmentCreated, BeforeWrite, AfterWrite, BeforeFsync, AfterFsync, BeforeNamesFsync, AfterNamesFsync, BeforeCut, AfterCut, BeforeRemove, AfterRemove,
		BeforeConfirm, AfterConfirm, BeforeAdvance, AfterAdvance, BeforeClaim, AfterClaim, BeforeLabel, AfterLabel,
		AfterPart, BeforeLane, AfterLane, BeforeCommit, AfterCommit, BeforeFlush, AfterFlush, AfterPosition}
}

var hook atomic.Pointer[func(Point)]

// At is called where the point is. Safe for concurrent use.
func At(p Point) {
	if h := hook.Load(); h != nil {
		(*h)(p)
	}
}

// Arm makes every At call h, from whatever goroutine comes by. For tests only.
func Arm(h func(Point)) { hook.Store(&h) }
