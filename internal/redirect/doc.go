// Package redirect leads the application from the source to the target: by PgBouncer, by a secret that holds the address, or by
// an HTTP call.
//
// In: the switch as the spec has it, and the target's address. Out: clients that reach the target, or an error that tells
// whether they certainly do not (contract.CodeSwitchRefused) or may do so already (contract.CodeSwitchUnknown).
// Invariants: a switch can be repeated with the same end, by another process too; as long as it is not certain that nothing
// was switched, nothing is put back; secrets are in no error.
//
// Not here: the fence, and whether the source may be opened again.
package redirect
