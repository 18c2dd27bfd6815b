package contract

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"timeferry/internal/change"
	"timeferry/internal/ident"
)

// VerifyOption paces the comparison of both sides. Zero values are the defaults.
type VerifyOption struct {
	Concurrency       int    `json:"concurrency,omitempty"`
	ChunkSize         string `json:"chunkSize,omitempty"`
	MaxBytesPerSecond string `json:"maxBytesPerSecond,omitempty"`
}

// Defaults of VerifyOption. A chunk of this size is read within seconds, so that little is lost with a worker.
const (
	defaultVerifyConcurrency = 4
	defaultVerifyChunk       = 256 << 20
)

// Sessions is how many sessions compare on each side. A nil option has the defaults.
func (v *VerifyOption) Sessions() int {
	if v == nil || v.Concurrency == 0 {
		return defaultVerifyConcurrency
	}
	return v.Concurrency
}

// ChunkBytes is about what one query reads of the source.
func (v *VerifyOption) ChunkBytes() int64 {
	if v == nil || v.ChunkSize == "" {
		return defaultVerifyChunk
	}
	n, _ := ParseBytes(v.ChunkSize)
	return n
}

// RateBytes is what may be read of the source in one second, 0 for no bound.
func (v *VerifyOption) RateBytes() int64 {
	if v == nil {
		return 0
	}
	n, _ := ParseBytes(v.MaxBytesPerSecond)
	return n
}

func (v *VerifyOption) validate() error {
	if v == nil {
		return nil
	}
	if v.Concurrency < 0 || v.Concurrency > MaxConcurrency {
		return badSpec("verify.concurrency", fmt.Sprintf("choose 1 to %d", MaxConcurrency), "%d is out of range", v.Concurrency)
	}
	for _, c := range []struct{ at, value string }{{"verify.chunkSize", v.ChunkSize}, {"verify.maxBytesPerSecond", v.MaxBytesPerSecond}} {
		if c.value == "" {
			continue
		}
		if n, err := ParseBytes(c.value); err != nil || n < minRate {
			return badSpec(c.at, "write a size of 64KiB or more, like 256MiB", "%q is no such size", c.value)
		}
	}
	return nil
}

// VerifyProblem says what is wrong with a note for verify, or "".
func (n Note) VerifyProblem() string {
	for _, p := range n.Tables {
		if _, _, ok := parsePattern(p); !ok {
			return fmt.Sprintf("%q is no table: write schema.table, with * and ? as wildcards", p)
		}
	}
	return ""
}

// VerifyWords is how an order to verify is remembered.
func (n Note) VerifyWords() string {
	var words []string
	if len(n.Tables) > 0 {
		words = append(words, "tables: "+strings.Join(n.Tables, ", "))
	}
	if n.Full {
		words = append(words, "full")
	}
	if n.ShowValues {
		words = append(words, "keeping values in the ledger")
	}
	return strings.Join(words, "; ")
}

// BarrierInput asks for a comparison at a barrier; Run names it in the ledger.
type BarrierInput struct {
	Spec
	Run    string `json:"run"`
	Method string `json:"method"`
	// Tables are patterns; none: all.
	Tables []string `json:"only,omitempty"`
	// Full compares also what was found equal before and not touched since.
	Full       bool `json:"full,omitempty"`
	KeepValues bool `json:"keepValues,omitempty"`
}

// Wants says whether the table is to be compared.
func (b BarrierInput) Wants(t ident.Table) bool { return len(b.Tables) == 0 || matchAny(b.Tables, t) }

// VerifyStatus is where the comparisons at barriers stand.
type VerifyStatus struct {
	// Runs are those that wait, the one under way, and the last that ended, oldest first.
	Runs []VerifyRun `json:"runs"`
	// Progress of the one under way. Only the activity knows.
	Progress *VerifyProgress `json:"progress,omitempty"`
}

// States of a VerifyRun.
const (
	VerifyWaiting = "waiting"
	VerifyRunning = "running"
	VerifyEqual   = "equal"
	VerifyDiffers = "differs"
	VerifyFailed  = "failed"
)

// VerifyRun is one comparison at a barrier.
type VerifyRun struct {
	Run     string        `json:"run"`
	State   string        `json:"state"`
	Why     string        `json:"why,omitempty"` // ordered, in sync, before the cutover
	Message string        `json:"message,omitempty"`
	Result  *Verification `json:"result,omitempty"`
}

// VerifyProgress is how far a comparison is. Bytes are of the source, about.
type VerifyProgress struct {
	Run        string     `json:"run"`
	Message    string     `json:"message,omitempty"`
	BarrierLSN change.LSN `json:"barrierLSN,omitzero"`
	Tables     int        `json:"tables"`
	TablesDone int        `json:"tablesDone"`
	Bytes      int64      `json:"bytes"`
	BytesDone  int64      `json:"bytesDone"`
	Rows       int64      `json:"rows"`
}

// Verification is the comparison of both sides.
type Verification struct {
	Method      string            `json:"method"`
	Tables      int               `json:"tables"` // that are known to be equal or not
	Rows        int64             `json:"rows"`   // of the source, that were compared
	Equal       bool              `json:"equal"`
	Seconds     float64           `json:"seconds"`
	Differences []TableDifference `json:"differences,omitempty"`
	VerificationDetail
}

// VerificationDetail is what is known of a comparison that began at a barrier, or that rests on earlier ones.
type VerificationDetail struct {
	Run        string     `json:"run,omitempty"`
	BarrierLSN change.LSN `json:"barrierLSN,omitzero"`
	At         *time.Time `json:"at,omitempty"` // when both sides were looked at
	Bytes      int64      `json:"bytes,omitempty"`
	// HeldMS is for how long the apply was held at most.
	HeldMS int64 `json:"heldMs,omitempty"`
	// Compared counts the tables of which anything was read, Whole those that were read whole.
	Compared int `json:"compared,omitempty"`
	Whole    int `json:"whole,omitempty"`
	// Relied counts the tables of which some part was not read: it was found equal at a barrier, ReliedLSN at the earliest, and
	// no change that was applied since touched it. What anybody else wrote to the target meanwhile would not be seen.
	Relied    int        `json:"relied,omitempty"`
	ReliedLSN change.LSN `json:"reliedLSN,omitzero"`
	// Unverified are tables of which some part was never found equal; Unequal those that were found to differ, now or before,
	// and not to be equal since. The lists are cut short, their counts are not.
	Unverified      []string `json:"unverified,omitempty"`
	UnverifiedCount int      `json:"unverifiedCount,omitempty"`
	Unequal         []string `json:"unequal,omitempty"`
	UnequalCount    int      `json:"unequalCount,omitempty"`
	// Verdicts of the largest tables that were compared; the ledger has all.
	Verdicts []TableVerdict `json:"verdicts,omitempty"`
}

// TableVerdict is how one table compared.
type TableVerdict struct {
	Table      string     `json:"table"`
	Equal      bool       `json:"equal"`
	Rows       int64      `json:"rows"` // of the source, that were compared
	Bytes      int64      `json:"bytes"`
	Whole      bool       `json:"whole,omitempty"`
	ReliedLSN  change.LSN `json:"reliedLSN,omitzero"`
	Unverified bool       `json:"unverified,omitempty"`
}

// TableDifference is a table that is not the same on both sides.
type TableDifference struct {
	Table      string          `json:"table"`
	SourceRows int64           `json:"sourceRows"`
	TargetRows int64           `json:"targetRows"`
	Message    string          `json:"message"`
	Rows       []RowDifference `json:"rows,omitempty"` // the first ones
}

// RowDifference is a row that is not the same on both sides, named by the hash of its key.
type RowDifference struct {
	KeyHash string   `json:"keyHash"`
	What    string   `json:"what"`
	Columns []string `json:"columns,omitempty"` // that differ
}

// DifferencesInput asks for the rows that a run kept with their values.
type DifferencesInput struct {
	Spec
	Run       string `json:"run"`
	PublicKey []byte `json:"publicKey"` // whom the rows are sealed for
}

// ShowDifferencesInput is the input of the workflow ShowDifferencesType.
type ShowDifferencesInput struct {
	Spec      json.RawMessage `json:"spec"`
	Run       string          `json:"run"`
	PublicKey []byte          `json:"publicKey"`
}

// SealedRows are DifferingRows that only the owner of the key can read: a history must not tell them.
type SealedRows struct {
	Sealed []byte `json:"sealed"`
}

// DifferingRow is a row that differs, with its values where somebody asked for them.
type DifferingRow struct {
	Table   string             `json:"table"`
	KeyHash string             `json:"keyHash"`
	What    string             `json:"what"`
	Columns []string           `json:"columns,omitempty"`
	Key     *string            `json:"key,omitempty"`
	Source  map[string]*string `json:"source,omitempty"`
	Target  map[string]*string `json:"target,omitempty"`
}
