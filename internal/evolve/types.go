package evolve

import "timeferry/internal/shape"

// FirstUserOID is the least OID of types that databases number on their own.
const FirstUserOID = 16384

// OIDs of types that are the same on every server.
const (
	int8OID, int2OID, int4OID    = 20, 21, 23
	textOID                      = 25
	varcharOID, varbitOID        = 1043, 1562
	numericOID                   = 1700
	timeOID, timestampOID        = 1083, 1114
	timestamptzOID, timetzOID    = 1184, 1266
	numericHeader, numericScales = 4, 0x7ff
)

// sameType is true when two servers' columns have the same type, whatever its modifier.
func sameType(a, b *shape.DefinedColumn) bool {
	if a.TypeOID < FirstUserOID || b.TypeOID < FirstUserOID {
		return a.TypeOID == b.TypeOID
	}
	return a.BaseType != "" && a.BaseType == b.BaseType
}

// Widens is true when every value of the one type is one of the other, and ALTER TYPE alone takes the values over as the source
// did. Equal types do.
func Widens(from, to *shape.DefinedColumn) bool {
	if sameType(from, to) || from.TypeOID == to.TypeOID && from.TypeOID != 0 {
		return from.Modifier == to.Modifier || to.Modifier == -1 && hasLength(from.TypeOID) || moreRoom(to, from)
	}
	switch from.TypeOID {
	case int2OID:
		return to.TypeOID == int4OID || to.TypeOID == int8OID
	case int4OID:
		return to.TypeOID == int8OID
	case varcharOID:
		return to.TypeOID == textOID
	}
	return false
}

// hasLength: types whose modifier only bounds the values. (That of char pads them.)
func hasLength(oid uint32) bool {
	switch oid {
	case varcharOID, varbitOID, numericOID, timeOID, timestampOID, timestamptzOID, timetzOID:
		return true
	}
	return false
}

// moreRoom is true when of two columns of one type the modifier of more allows all that the modifier of less does.
func moreRoom(more, less *shape.DefinedColumn) bool {
	if more.Modifier < 0 || less.Modifier < 0 || !hasLength(more.TypeOID) {
		return false
	}
	if more.TypeOID != numericOID {
		return more.Modifier >= less.Modifier
	}
	precision, scale := numericParts(more.Modifier)
	before, scaleBefore := numericParts(less.Modifier)
	return scale >= scaleBefore && precision-scale >= before-scaleBefore
}

// numericParts takes a numeric's modifier apart; since PostgreSQL 15 the scale may be negative.
func numericParts(modifier int32) (precision, scale int32) {
	m := modifier - numericHeader
	return (m >> 16) & 0xffff, ((m & numericScales) ^ 1024) - 1024
}
