package change

import "time"

// Kind tells the events of a stream apart.
type Kind byte

const (
	Begin    Kind = 'B' // a transaction starts; FinalLSN, CommitTime and XID are set
	Commit   Kind = 'C' // it ends; FinalLSN, EndLSN and CommitTime are set
	Insert   Kind = 'I' // New is set
	Update   Kind = 'U' // New is set; Old is set when the key changed or the identity is FULL
	Delete   Kind = 'D' // Old is set
	Truncate Kind = 'T' // Truncated is set
	Message  Kind = 'M' // Prefix, Content and MessageLSN are set
	Progress Kind = 'K' // the source has nothing more before FinalLSN; outside of transactions only
	Schema   Kind = 'R' // Relation is set: the description that later changes of this relation follow
)

// Event is one step of the stream, in commit order. Which fields are set depends on Kind. Byte slices and the Old and
// New slices may point into the buffer that was decoded: they are valid until the next event is asked for.
type Event struct {
	Kind     Kind
	XID      uint32
	FinalLSN LSN // commit record's position: a table takes the transaction if FinalLSN >= its start LSN
	EndLSN   LSN // first byte after the commit record: where to go on once the transaction is applied
	// CommitTime is the source's clock at commit.
	CommitTime time.Time

	Relation *Relation
	Old      []Datum
	// OldIsKey is true when Old has only the replica identity's columns (the others are Null); false for FULL.
	OldIsKey bool
	New      []Datum

	Truncated       []*Relation
	Cascade         bool
	RestartIdentity bool

	Prefix        string
	Content       []byte
	MessageLSN    LSN
	Transactional bool
}

// Relation is a published table as the stream describes it. Never changed after it was handed out: when the source's
// table changes, a new Relation comes.
type Relation struct {
	OID      uint32
	Schema   string
	Name     string
	Identity byte // 'd' default, 'n' nothing, 'f' full, 'i' index
	Columns  []Column
}

// Column is one column of a Relation, in the source's order. Generated columns are not among them.
type Column struct {
	Name     string
	TypeOID  uint32
	Modifier int32
	Key      bool // part of the replica identity
}

// State says what a Datum holds.
type State byte

const (
	Null      State = 'n'
	Unchanged State = 'u' // a TOASTed value that the update did not touch, so the stream left it out
	Text      State = 't' // Bytes has the type's text form
	Binary    State = 'b' // Bytes has the type's binary form
)

// Datum is one column's value in a change.
type Datum struct {
	State State
	Bytes []byte
}
