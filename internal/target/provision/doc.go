// Package provision makes the roles and the schema on the target, and takes away again what it made.
//
// In: the entries that extract.Dump cut and ledger.SaveEntries stored; roles as shape.Role. Out: objects on the target,
// and problems: what could not be made, and why.
//
// Order: Roles, PreData, Hypertables, (the copy) with BuildIndexes beside it, PostData, (the stream catches
// up), Finish, (the stream has ended), AtCutover. DropCreated undoes it all.
//
// Invariants: every step works from the ledger alone, so that any worker can take it up; an entry's mark commits in the
// transaction of its statements, so that every function may run again after any crash, and two workers in the same
// function do not restore an entry twice; an object is recorded as created by this migration in the transaction that
// creates it, and nothing else is ever dropped. All of it needs no superuser.
//
// Not here: reading the source (source/extract), rows (bulk), the values of sequences (cutover).
package provision
