package change

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// LSN is a position in PostgreSQL's write-ahead log, in bytes. Zero means "no position".
type LSN uint64

// ParseLSN reads PostgreSQL's own form, "16/B374D848".
func ParseLSN(s string) (LSN, error) {
	high, low, ok := strings.Cut(s, "/")
	if !ok {
		return 0, fmt.Errorf("parse LSN %q: want two hexadecimal numbers with a slash between", s)
	}
	h, err := strconv.ParseUint(high, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("parse LSN %q: %w", s, err)
	}
	l, err := strconv.ParseUint(low, 16, 32)
	if err != nil {
		return 0, fmt.Errorf("parse LSN %q: %w", s, err)
	}
	return LSN(h<<32 | l), nil
}

// String is PostgreSQL's own form.
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

// MarshalJSON writes PostgreSQL's own form as a JSON string.
func (l LSN) MarshalJSON() ([]byte, error) { return json.Marshal(l.String()) }

// UnmarshalJSON reads what MarshalJSON wrote; null leaves l as it is.
func (l *LSN) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	parsed, err := ParseLSN(s)
	*l = parsed
	return err
}

// BytesBehind is how many bytes of WAL lie between l and the later position end; never negative.
func (l LSN) BytesBehind(end LSN) int64 {
	if end <= l {
		return 0
	}
	return int64(end - l)
}
