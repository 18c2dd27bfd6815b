package plan

import (
	"fmt"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
)

// Codes of the findings about what is on the target already.
const (
	CodeTargetNotEmpty    = "target-not-empty"
	CodeTargetTableExists = "target-table-exists"
	CodeLedgerTaken       = "ledger-taken"
	CodeLedgerOurs        = "ledger-exists"
)

// assessTargetTables keeps promise 5: what this run did not make on the target is never touched. A run that begins has made
// nothing yet, so a table of an earlier run is in the way like any other.
func assessTargetTables(f facts) []contract.Problem {
	var found []contract.Problem
	for _, e := range f.dst.Existing {
		maker := "which this migration did not make"
		if e.Ours && f.dst.LedgerOwner == f.spec.Name {
			maker = "which an earlier run of this migration made"
		}
		if e.HasRows {
			found = append(found, fatal(CodeTargetNotEmpty, e.Table.String(), "the target has a table of this name with rows in it, "+maker,
				"move it away (ALTER TABLE … RENAME), drop it if it is not needed, or exclude the table"))
			continue
		}
		found = append(found, fatal(CodeTargetTableExists, e.Table.String(), "the target has "+relationKind(e.Kind)+" of this name, "+maker,
			"drop it or rename it: the migration creates its tables itself"))
	}
	return found
}

func relationKind(kind string) string {
	switch kind {
	case "r", "p":
		return "an empty table"
	case "v":
		return "a view"
	case "m":
		return "a materialized view"
	case "f":
		return "a foreign table"
	case "S":
		return "a sequence"
	case "c":
		return "a composite type"
	}
	return "a relation"
}

// assessLedger refuses to build on what another run's bookkeeping says, be it this migration's own: the slot, the spool and
// the rows that it speaks of may be gone.
func assessLedger(f facts) []contract.Problem {
	switch f.dst.LedgerOwner {
	case "":
		return nil
	case f.spec.Name:
		return []contract.Problem{fatal(CodeLedgerOurs, objectTarget,
			fmt.Sprintf("the target holds the bookkeeping of another run of %q, and a new run does not go on where that one stopped", f.spec.Name),
			forgetRun(f.spec.Name))}
	}
	return []contract.Problem{fatal(CodeLedgerTaken, objectTarget,
		fmt.Sprintf("the target database holds the bookkeeping of migration %q", f.dst.LedgerOwner),
		"complete or abort that migration first, or give each migration its own target database")}
}

// forgetRun says how to be rid of a run whose workflow is gone. The replica identities come first: only the bookkeeping
// knows what they were.
func forgetRun(name string) string {
	publication := contract.PublicationName(name)
	return fmt.Sprintf("if that run goes on, leave it alone or `abort` it; if its workflow is gone: on the source SELECT pg_drop_replication_slot(%s); DROP PUBLICATION IF EXISTS %s, %s; "+
		"and set the replica identities back that the target's timeferry.identities lists; on the target drop the tables that it made and DROP SCHEMA %s CASCADE; "+
		"on the worker remove the directory spool/%s of its data directory",
		ident.Literal(contract.SlotName(name)), ident.Quote(publication), ident.Quote(InsertOnlyName(publication)), contract.LedgerSchema, name)
}
