package apply

import (
	"bytes"
	"encoding/binary"
	"strconv"

	"timeferry/internal/change"
)

// textOID is the type of the elements of our arrays.
const textOID = 25

// textArray encodes n values as a binary text[]: no quoting, and the server reads it without parsing.
func textArray(n int, value func(i int) change.Datum) []byte {
	size, hasNull := 20, uint32(0)
	for i := range n {
		d := value(i)
		size += 4 + len(d.Bytes)
		if d.State != change.Text {
			hasNull = 1
		}
	}
	b := make([]byte, 0, size)
	b = binary.BigEndian.AppendUint32(b, 1) // dimensions
	b = binary.BigEndian.AppendUint32(b, hasNull)
	b = binary.BigEndian.AppendUint32(b, textOID)
	b = binary.BigEndian.AppendUint32(b, uint32(n))
	b = binary.BigEndian.AppendUint32(b, 1) // lower bound
	for i := range n {
		d := value(i)
		if d.State != change.Text {
			b = binary.BigEndian.AppendUint32(b, 0xFFFFFFFF)
			continue
		}
		b = binary.BigEndian.AppendUint32(b, uint32(len(d.Bytes)))
		b = append(b, d.Bytes...)
	}
	return b
}

// appendCopyRow writes one row in COPY's text format:
// https://www.postgresql.org/docs/current/sql-copy.html#SQL-COPY-FILE-FORMATS
func appendCopyRow(b []byte, values []change.Datum) []byte {
	for i, d := range values {
		if i > 0 {
			b = append(b, '\t')
		}
		if d.State != change.Text {
			b = append(b, '\\', 'N')
			continue
		}
		b = appendCopyText(b, d.Bytes)
	}
	return append(b, '\n')
}

func appendCopyText(b, text []byte) []byte {
	for {
		i := bytes.IndexAny(text, "\\\t\n\r")
		if i < 0 {
			return append(b, text...)
		}
		b = append(b, text[:i]...)
		switch text[i] {
		case '\\':
			b = append(b, '\\', '\\')
		case '\t':
			b = append(b, '\\', 't')
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		}
		text = text[i+1:]
	}
}

// oneRow copies values as text parameters of a statement for one row.
func oneRow(values ...[]change.Datum) [][]byte {
	count, size := 0, 0
	for _, vs := range values {
		count += len(vs)
		for _, d := range vs {
			size += len(d.Bytes)
		}
	}
	params, buffer := make([][]byte, 0, count), make([]byte, 0, size)
	for _, vs := range values {
		for _, d := range vs {
			if d.State != change.Text {
				params = append(params, nil)
				continue
			}
			start := len(buffer)
			buffer = append(buffer, d.Bytes...)
			params = append(params, buffer[start:len(buffer):len(buffer)])
		}
	}
	return params
}

// Types whose text can be ordered here.
const (
	int8OID, int2OID, int4OID             = 20, 21, 23
	dateOID, timestampOID, timestamptzOID = 1082, 1114, 1184
)

func boundable(typeOID uint32) bool {
	switch typeOID {
	case int8OID, int2OID, int4OID, dateOID, timestampOID, timestamptzOID:
		return true
	}
	return false
}

// leastAndGreatest finds the smallest and the greatest of n values of a type by their text; ok is false when the text
// does not tell (infinity, BC, different offsets).
func leastAndGreatest(typeOID uint32, n int, value func(i int) []byte) (least, greatest []byte, ok bool) {
	less := lessTime
	if typeOID == int8OID || typeOID == int2OID || typeOID == int4OID {
		less = lessInt
	}
	least, greatest = value(0), value(0)
	if _, ok = less(least, least); !ok {
		return nil, nil, false
	}
	for i := 1; i < n; i++ {
		v := value(i)
		below, ok := less(v, least)
		if !ok {
			return nil, nil, false
		}
		if below {
			least = v
		} else if above, _ := less(greatest, v); above {
			greatest = v
		}
	}
	return least, greatest, true
}

func lessInt(a, b []byte) (less, ok bool) {
	x, err := strconv.ParseInt(string(a), 10, 64)
	if err != nil {
		return false, false
	}
	y, err := strconv.ParseInt(string(b), 10, 64)
	return x < y, err == nil
}

// lessTime compares "2024-05-06", "2024-05-06 07:08:09.1" and "2024-05-06 07:08:09.1+00".
func lessTime(a, b []byte) (less, ok bool) {
	x, xOffset, ok := splitTime(a)
	if !ok {
		return false, false
	}
	y, yOffset, ok := splitTime(b)
	return bytes.Compare(x, y) < 0, ok && bytes.Equal(xOffset, yOffset)
}

func splitTime(t []byte) (local, offset []byte, ok bool) {
	if len(t) < 10 || t[4] != '-' || t[7] != '-' || t[len(t)-1] == 'C' {
		return nil, nil, false
	}
	if i := bytes.LastIndexAny(t, "+-"); i > 10 {
		return t[:i], t[i:], true
	}
	return t, nil, true
}
