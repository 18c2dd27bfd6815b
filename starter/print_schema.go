package main

import (
	"fmt"
	"io"

	"timeferry/internal/contract"
)

// printSchemaChanges lists what of the source's DDL was carried over, with the statements.
func printSchemaChanges(out io.Writer, changes []contract.SchemaChange) {
	if len(changes) == 0 {
		return
	}
	fmt.Fprintln(out, "\nChanges of the source's schema that were carried over")
	for _, c := range changes {
		fmt.Fprintf(out, "  %s  %s: %s\n    %s\n", c.At.Format("2006-01-02 15:04:05"), c.Table, c.What, c.Statement)
	}
}
