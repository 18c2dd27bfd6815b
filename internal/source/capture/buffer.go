package capture

import (
	"timeferry/internal/change"
	"timeferry/internal/spool"
)

// Buffer is what the receiver fills: the spool on the worker's disk, or the relay, which keeps nothing and calls durable what the
// target has on its disk. Its methods are explained at spool.Spool.
type Buffer interface {
	Append(spool.Record) error
	Flush() error
	Sync() (durable change.LSN, err error)
	Rewind() error
	StartAt(change.LSN) error
	Durable() change.LSN
	// Dir is where files may lie beside it; "": nowhere, since nothing is to be kept on this machine's disk.
	Dir() string
	// Beside counts bytes of those files, or with a negative number no longer.
	Beside(bytes int64) error
	Source() (string, error)
	SetSource(note string) error
}
