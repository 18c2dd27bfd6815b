package pgoutput

import (
	"encoding/binary"

	"timeferry/internal/change"
)

// IsBegin tells whether msg is a Begin message, and the position of the transaction's commit record. It costs no more
// than looking at a few bytes and never fails: Decode judges the message.
func IsBegin(msg []byte) (final change.LSN, ok bool) {
	if len(msg) != 21 || msg[0] != 'B' {
		return 0, false
	}
	return change.LSN(binary.BigEndian.Uint64(msg[1:])), true
}

// IsCommit tells whether msg is a Commit message, and the position of the first byte after the transaction.
func IsCommit(msg []byte) (end change.LSN, ok bool) {
	if len(msg) != 26 || msg[0] != 'C' {
		return 0, false
	}
	return change.LSN(binary.BigEndian.Uint64(msg[10:])), true
}

// IsRelation tells whether msg describes a relation, and its OID.
func IsRelation(msg []byte) (oid uint32, ok bool) {
	if len(msg) < 5 || msg[0] != 'R' {
		return 0, false
	}
	return binary.BigEndian.Uint32(msg[1:]), true
}

// IsLooseMessage tells whether msg is a logical message that belongs to no transaction (pg_logical_emit_message with
// false), and its position, which is the end of its record. Such messages come between transactions.
func IsLooseMessage(msg []byte) (at change.LSN, ok bool) {
	if len(msg) < 15 || msg[0] != 'M' || msg[1]&1 != 0 {
		return 0, false
	}
	return change.LSN(binary.BigEndian.Uint64(msg[2:])), true
}

// IsOrigin tells whether msg says that the transaction came to the source from elsewhere by replication.
func IsOrigin(msg []byte) bool { return len(msg) > 0 && msg[0] == 'O' }

// IsChange tells whether msg changes rows or is a logical message: what a transaction is about, and not how it is described.
func IsChange(msg []byte) bool {
	if len(msg) == 0 {
		return false
	}
	switch msg[0] {
	case 'I', 'U', 'D', 'T', 'M':
		return true
	}
	return false
}
