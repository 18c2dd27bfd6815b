package main

import (
	"fmt"
	"io"
	"strings"

	"timeferry/internal/contract"
	"timeferry/internal/ident"
)

func printPasswords(out io.Writer, r contract.PasswordsResult, dryRun bool) {
	title := "Set"
	if dryRun {
		title = "Would be set"
	}
	printList(out, title, oneLineEach(r.Set))
	printList(out, "Not on the target", oneLineEach(r.Missing))
	var refused []string
	for _, role := range r.Refused {
		refused = append(refused, oneLine(role.Role)+": "+role.Reason)
	}
	printList(out, "Not set", refused)
	printList(out, "Came without a password, and none is given there", oneLineEach(r.Unnamed))
	if r.UnnamedUnknown {
		fmt.Fprintln(out, "\nWhich other roles came without a password is not known: there is neither bookkeeping on the target nor a report of the migration.")
	}
}

// oneLineEach keeps a name with a line break on its line.
func oneLineEach(names []string) []string {
	lines := make([]string, len(names))
	for i, n := range names {
		lines[i] = oneLine(n)
	}
	return lines
}

// printRolesWithoutPassword lists the roles, each with a command that sets its password, and one for all.
func printRolesWithoutPassword(out io.Writer, migration string, roles []string) {
	if len(roles) == 0 {
		return
	}
	fmt.Fprintf(out, "\nRoles that need a password set on the target\n")
	for _, role := range roles {
		fmt.Fprintf(out, "  %-32s %s\n", oneLine(role), passwordCommand(migration, role))
	}
	fmt.Fprintf(out, "  all at once, from a file on the worker's machine or a secret:\n    starter passwords %s --file /path/of/roles.json   (or --secret-arn ARN)\n", migration)
}

// passwordCommand is psql's, which takes everything but a line break in a name.
func passwordCommand(migration, role string) string {
	if strings.ContainsAny(role, "\r\n") {
		return "starter passwords " + migration + " --file /path/of/roles.json"
	}
	return `in psql: \password ` + ident.Quote(role)
}
