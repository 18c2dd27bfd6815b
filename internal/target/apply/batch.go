package apply

import (
	"time"

	"timeferry/internal/change"
	"timeferry/internal/ident"
)

// batch is what travels from the gatherer to the session: steps to run, and the position after them.
type batch struct {
	steps []step
	// lanes are the steps that other connections run at the same time, lane 1 first. nil: there are none, and steps are all.
	lanes [][]step
	// splits are the tables whose rows are in several lanes; the others' are together in one.
	splits map[ident.Table]bool
	// end is the ledger's position once the batch is committed. commitTime is the source's clock at its last commit; zero
	// when it has none.
	end        change.LSN
	commitTime time.Time
	// reached is the FinalLSN of the last transaction in it, complete or not.
	reached change.LSN
	// progressed is the position that the batch moves to without a transaction; 0: none.
	progressed change.LSN
	// partial is true when its last transaction goes on in the next batch: do not commit.
	partial bool
	// continues is true for the batch after a partial one.
	continues bool
	// urgent batches are not held back even if they only move the position.
	urgent bool
	// strict batches hold one step per change, in the source's order: what fails in them fails for good.
	strict                bool
	transactions, changes int64
	tables                counts
	touched               touched // since the batch before
}

// empty is true when there is nothing that the session would do.
func (b *batch) empty() bool { return b.end == 0 && len(b.steps) == 0 && b.transactions == 0 }

func (b *batch) positionOnly() bool { return len(b.steps) == 0 && len(b.lanes) == 0 && !b.partial }

// join makes one list of all lanes' steps. Those of one key are in one lane, so they stay in order.
func (b *batch) join() {
	for _, steps := range b.lanes {
		b.steps = append(b.steps, steps...)
	}
	b.lanes = nil
}

// list is where the steps of a lane go.
func (b *batch) list(lane int) *[]step {
	if lane == 0 || len(b.lanes) == 0 {
		return &b.steps
	}
	return &b.lanes[lane-1]
}

// absorb takes over from an earlier batch that only moved the position.
func (b *batch) absorb(earlier *batch) {
	b.end = max(b.end, earlier.end)
	b.progressed = max(b.progressed, earlier.progressed)
	if b.commitTime.IsZero() {
		b.commitTime = earlier.commitTime
	}
	b.transactions += earlier.transactions
	b.changes += earlier.changes
	b.tables.add(earlier.tables)
	b.urgent = b.urgent || earlier.urgent
}

// stepKind says how a step is run.
type stepKind byte

const (
	stepQuery    stepKind = iota // parsed and planned anew with its parameters: set-wise statements
	stepPrepared                 // prepared once per session: statements for one row
	stepCopy                     // COPY … FROM STDIN
)

// step is one statement.
type step struct {
	kind    stepKind
	sql     string
	params  [][]byte
	formats []int16 // nil: all text
	data    []byte  // for stepCopy
	// rows is how many rows it must affect; anyRows when that does not matter.
	rows int64
	// counted is true when the statement answers with one row, (rows affected, different rows of ours among them), instead
	// of the command tag: where no unique index makes sure that they are the same.
	counted bool
	table   *table
	verb    string // for messages: insert, update, delete, truncate
	key     []byte // of a single change, for the hash in messages
}

const anyRows = -1
