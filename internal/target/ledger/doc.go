// Package ledger keeps the migration's bookkeeping on the target, in the schema timeferry: what was planned, copied,
// restored, applied and compared, and what must be undone.
//
// In: facts, in the same target transaction as the data they speak of. Out: the same facts, after any crash.
// Invariants: one ledger per target database belongs to one migration; a part's mark, a position and a restored entry
// commit together with what they describe.
//
// Not here: user tables, decisions.
package ledger
