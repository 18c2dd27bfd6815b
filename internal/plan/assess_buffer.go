package plan

import (
	"fmt"

	"timeferry/internal/contract"
)

// CodeWALStays: buffer: source keeps the WAL on the source for as long as the copy takes.
const CodeWALStays = "wal-stays-on-source"

// assessBuffer says what buffer: source asks of the source's disk: all WAL from the slot's start until it is applied, which begins after
// the last table is copied and indexed.
func assessBuffer(f facts) []contract.Problem {
	if f.spec.Replication.Buffer != contract.BufferSource {
		return nil
	}
	var bytes int64
	for _, t := range f.src.Tables {
		bytes += t.Bytes
	}
	about := fmt.Sprintf("buffer: source: its WAL stays on its disk while %.1f GiB are copied and indexed, and until the target has caught up", float64(bytes)/(1<<30))
	remedy := "make sure that its free storage holds the WAL of that time, or use buffer: disk"
	if v, ok := f.src.Settings["max_slot_wal_keep_size"]; ok && v != "-1" {
		return []contract.Problem{warning(CodeWALStays, objectSource, about+"; with more than max_slot_wal_keep_size ("+v+") of it the slot is lost",
			"set max_slot_wal_keep_size to -1 while the migration runs, and "+remedy)}
	}
	return []contract.Problem{warning(CodeWALStays, objectSource, about+"; max_slot_wal_keep_size sets no limit, so a full disk would stop the source", remedy)}
}
