package pgoutput

import (
	"encoding/binary"

	"timeferry/internal/change"
)

// Streamed is what a message of protocol version 2 says about transactions that are sent before they commit.
type Streamed struct {
	Kind StreamedKind
	XID  uint32
	// First is set with StreamStart: nothing of this transaction came before.
	First bool
	// SubXID is set with StreamAbort: this part of the transaction, or all of it where it is XID.
	SubXID uint32
	// FinalLSN, EndLSN and Micros (since 2000) are set with StreamCommit.
	FinalLSN, EndLSN change.LSN
	Micros           int64
}

// StreamedKind tells them apart.
type StreamedKind byte

const (
	StreamStart  StreamedKind = 'S' // changes of transaction XID follow, each with the ID of its subtransaction
	StreamStop   StreamedKind = 'E' // no more of them for now
	StreamCommit StreamedKind = 'c' // the transaction is committed
	StreamAbort  StreamedKind = 'A' // it, or a subtransaction, is rolled back
)

// ParseStreamed reads such a message. ok is false for every other one; what begins like one and is malformed is an error.
func ParseStreamed(msg []byte) (s Streamed, ok bool, err error) {
	if len(msg) == 0 {
		return s, false, nil
	}
	r := reader{rest: msg[1:]}
	switch s.Kind = StreamedKind(msg[0]); s.Kind {
	case StreamStart:
		s.XID, s.First = r.uint32(), r.uint8() == 1
	case StreamStop:
	case StreamCommit:
		s.XID = r.uint32()
		r.uint8() // flags, none defined
		s.FinalLSN, s.EndLSN, s.Micros = change.LSN(r.uint64()), change.LSN(r.uint64()), int64(r.uint64())
	case StreamAbort:
		s.XID, s.SubXID = r.uint32(), r.uint32()
	default:
		return Streamed{}, false, nil
	}
	if r.err == nil && len(r.rest) > 0 {
		r.fail("%d bytes after the end of a %q message", len(r.rest), msg[0])
	}
	return s, r.err == nil, r.err
}

// CutStreamed takes the subtransaction's ID out of a change that comes between StreamStart and StreamStop: head and tail together are
// the message as it is outside of them. An Origin message has no ID: its head is all of it, and xid is 0.
func CutStreamed(msg []byte) (xid uint32, head, tail []byte, err error) {
	if IsOrigin(msg) {
		return 0, msg, nil, nil
	}
	if len(msg) < 5 {
		return 0, nil, nil, malformed("a streamed message of %d bytes", len(msg))
	}
	return binary.BigEndian.Uint32(msg[1:]), msg[:1], msg[5:], nil
}

// AppendBegin appends a Begin message, and AppendCommit a Commit message, for a transaction that came in another way.
func AppendBegin(b []byte, final change.LSN, micros int64, xid uint32) []byte {
	b = binary.BigEndian.AppendUint64(append(b, 'B'), uint64(final))
	b = binary.BigEndian.AppendUint64(b, uint64(micros))
	return binary.BigEndian.AppendUint32(b, xid)
}

// AppendCommit appends a Commit message.
func AppendCommit(b []byte, final, end change.LSN, micros int64) []byte {
	b = binary.BigEndian.AppendUint64(append(b, 'C', 0), uint64(final))
	b = binary.BigEndian.AppendUint64(b, uint64(end))
	return binary.BigEndian.AppendUint64(b, uint64(micros))
}
