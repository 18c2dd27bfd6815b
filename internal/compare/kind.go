package compare

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strconv"
	"strings"
	"time"
)

// Kind is a family of types whose values can be put into an order here that is the same on every server. Text is none of them:
// its order depends on the server's libraries.
type Kind string

const (
	None      Kind = "" // of a type that is none of these
	Int       Kind = "int"
	Date      Kind = "date"
	Timestamp Kind = "timestamp" // with time zone or without
	UUID      Kind = "uuid"
	// Value is any other type with equality: its values are remembered one by one, and no ranges are made of them.
	Value Kind = "value"
)

// KindOf is the kind of a type by its OID.
func KindOf(typeOID uint32) Kind {
	switch typeOID {
	case 20, 21, 23:
		return Int
	case 1082:
		return Date
	case 1114, 1184:
		return Timestamp
	case 2950:
		return UUID
	}
	return None
}

// Ordinal is the place of a value among all of its kind: an integer itself, days or microseconds since 1970, the first half of a
// UUID. Different values may have the same one. ok is false where the text does not tell: infinity, BC, years of five digits,
// another zone than UTC.
func (k Kind) Ordinal(text []byte) (ordinal int64, ok bool) {
	switch k {
	case Int:
		return parseInt(text)
	case Date:
		at, rest, ok := parseDate(text)
		return at, ok && len(rest) == 0
	case Timestamp:
		return parseTimestamp(text)
	case UUID:
		return parseUUID(text)
	}
	return 0, false
}

// Text is the least value with this ordinal, in a form that the server reads as a value of the kind.
func (k Kind) Text(ordinal int64) string {
	switch k {
	case Int:
		return strconv.FormatInt(ordinal, 10)
	case Date:
		return time.Unix(ordinal*secondsOfDay, 0).UTC().Format("2006-01-02")
	case Timestamp:
		return time.UnixMicro(ordinal).UTC().Format("2006-01-02 15:04:05.000000+00")
	case UUID:
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], uint64(ordinal)^1<<63)
		x := hex.EncodeToString(b[:])
		return x[:8] + "-" + x[8:12] + "-" + x[12:] + "-0000-000000000000"
	}
	return ""
}

// Least and Greatest bound the ordinals of which Text makes a value. Values may lie outside: those that have no ordinal.
func (k Kind) Least() int64 {
	switch k {
	case Date:
		return leastDay
	case Timestamp:
		return leastDay * microsOfDay
	}
	return math.MinInt64
}

// Greatest is the other end, see Least.
func (k Kind) Greatest() int64 {
	switch k {
	case Date:
		return greatestDay
	case Timestamp:
		return (greatestDay+1)*microsOfDay - 1
	}
	return math.MaxInt64
}

const (
	secondsOfDay = 24 * 60 * 60
	microsOfDay  = secondsOfDay * 1_000_000
	leastDay     = -719162 // 0001-01-01
	greatestDay  = 2932896 // 9999-12-31
)

// parseInt is strconv.ParseInt without its price: it is called for every change.
func parseInt(text []byte) (int64, bool) {
	digits := text
	if len(digits) > 0 && digits[0] == '-' {
		digits = digits[1:]
	}
	if len(digits) == 0 || len(digits) > 18 {
		n, err := strconv.ParseInt(string(text), 10, 64)
		return n, err == nil
	}
	n := int64(0)
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if len(digits) != len(text) {
		n = -n
	}
	return n, true
}

// parseDate reads "2024-05-06", and returns the days and what follows.
func parseDate(text []byte) (days int64, rest []byte, ok bool) {
	if len(text) < 10 || text[4] != '-' || text[7] != '-' {
		return 0, nil, false
	}
	year, a := number(text[0:4])
	month, b := number(text[5:7])
	day, c := number(text[8:10])
	if !a || !b || !c {
		return 0, nil, false
	}
	return daysOf(year, month, day), text[10:], true
}

// daysOf counts from 1970-01-01 in the Gregorian calendar, with the year beginning in March.
func daysOf(year, month, day int64) int64 {
	if month <= 2 {
		year--
		month += 12
	}
	return 365*year + year/4 - year/100 + year/400 + (153*(month-3)+2)/5 + day - 719469
}

// parseTimestamp reads "2024-05-06 07:08:09.123", with or without "+00".
func parseTimestamp(text []byte) (int64, bool) {
	days, rest, ok := parseDate(text)
	if !ok || len(rest) < 9 || rest[0] != ' ' || rest[3] != ':' || rest[6] != ':' {
		return 0, false
	}
	hour, a := number(rest[1:3])
	minute, b := number(rest[4:6])
	second, c := number(rest[7:9])
	if !a || !b || !c {
		return 0, false
	}
	micros, rest := fraction(rest[9:])
	if string(rest) != "" && string(rest) != "+00" {
		return 0, false
	}
	return days*microsOfDay + ((hour*60+minute)*60+second)*1_000_000 + micros, true
}

// fraction reads ".123456" with one to six digits, if it is there.
func fraction(text []byte) (micros int64, rest []byte) {
	if len(text) == 0 || text[0] != '.' {
		return 0, text
	}
	rest, scale := text[1:], int64(100_000)
	for len(rest) > 0 && rest[0] >= '0' && rest[0] <= '9' {
		micros += int64(rest[0]-'0') * scale
		scale /= 10
		rest = rest[1:]
	}
	return micros, rest
}

func number(digits []byte) (n int64, ok bool) {
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

func parseUUID(text []byte) (int64, bool) {
	if len(text) != 36 {
		return 0, false
	}
	b, err := hex.DecodeString(strings.ReplaceAll(string(text[:18]), "-", ""))
	if err != nil || len(b) != 8 {
		return 0, false
	}
	return int64(binary.BigEndian.Uint64(b) ^ 1<<63), true
}
