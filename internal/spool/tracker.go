package spool

import (
	"timeferry/internal/change"
	"timeferry/internal/fault"
	"timeferry/internal/pgoutput"
)

// tracker follows transactions through a sequence of records: where one begins, where it is whole, and that none comes
// twice. The writer, the recovery and the readers share its rules.
type tracker struct {
	inTx bool
	end  change.LSN // end of the last whole transaction or progress
}

// step says what r does: whole is true when everything up to and with r is complete. On an error nothing has changed.
func (t *tracker) step(r Record) (whole bool, err error) {
	if r.Kind == Progress {
		if t.inTx || r.LSN <= t.end {
			return false, fault.New(fault.Bug, "follow stream", "", "", "progress to %s inside of a transaction, or not after %s", r.LSN, t.end)
		}
		t.end = r.LSN
		return true, nil
	}
	if final, ok := pgoutput.IsBegin(r.Data); ok {
		if t.inTx || final < t.end {
			return false, fault.New(fault.Bug, "follow stream", "", "", "transaction %s begins inside of another, or before %s", final, t.end)
		}
		t.inTx = true
		return false, nil
	}
	if end, ok := pgoutput.IsCommit(r.Data); ok {
		if !t.inTx || end <= t.end {
			return false, fault.New(fault.Bug, "follow stream", "", "", "a commit ending at %s without its begin, or not after %s", end, t.end)
		}
		t.inTx, t.end = false, end
		return true, nil
	}
	if t.inTx {
		return false, nil
	}
	if at, ok := pgoutput.IsLooseMessage(r.Data); ok {
		// The position of such a message is the end of its record.
		if at <= t.end {
			return false, fault.New(fault.Bug, "follow stream", "", "", "message %s comes after %s", at, t.end)
		}
		t.end = at
		return true, nil
	}
	if len(r.Data) > 0 && (r.Data[0] == 'R' || r.Data[0] == 'Y' || r.Data[0] == 'O') { // they change nothing by themselves
		return false, nil
	}
	return false, fault.New(fault.Bug, "follow stream", "", "", "a change outside of transactions")
}

// relationIndex keeps the last description of every relation, in the order in which they came first. The zero value is empty.
type relationIndex struct {
	order []uint32
	byOID map[uint32][]byte
}

// put keeps a copy of msg, if msg describes a relation.
func (x *relationIndex) put(msg []byte) {
	oid, ok := pgoutput.IsRelation(msg)
	if !ok {
		return
	}
	if x.byOID == nil {
		x.byOID = map[uint32][]byte{}
	}
	if _, known := x.byOID[oid]; !known {
		x.order = append(x.order, oid)
	}
	x.byOID[oid] = append([]byte(nil), msg...)
}

// merge puts all of other's.
func (x *relationIndex) merge(other *relationIndex) {
	for _, oid := range other.order {
		x.put(other.byOID[oid])
	}
}

func (x *relationIndex) clear() { x.order, x.byOID = nil, nil }
