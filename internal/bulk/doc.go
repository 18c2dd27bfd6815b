// Package bulk carries the rows that a snapshot shows from the source to the target, part by part.
//
// In: the ledger's plan of parts and its current epoch. Out: rows on the target, each part committed together with its mark
// in the ledger.
// Invariants: every row that the epoch's snapshot shows arrives exactly once, whoever dies when; a part is durable on the
// target when its mark is; rows are never decoded, nor shown in an error.
//
// Not here: changes after the snapshot (target/apply), cutting of tables into parts (plan), the snapshot (source/slot).
package bulk
