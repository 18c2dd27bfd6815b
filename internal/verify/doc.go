// Package verify compares tables of two databases: their number of rows, and an order-independent digest of what is in
// them.
//
// In: both endpoints, and the tables with their columns by name. Out: a result for each table.
//
// Compare looks at two databases that nobody writes to. Run looks at two that are being written to, at a barrier: a position in
// the stream at which the source has an exported snapshot (of a temporary slot, see source/slot), and where the apply stops for
// a moment so that a snapshot of the target holds exactly the same transactions. Large tables are compared in chunks. The ledger
// keeps at which barrier each chunk was found equal, and the applier notes there what it touched since. So a later Run reads
// what was touched only, and one that died is taken up where it was.
//
// Invariants: no row is written, but for the ledger's. A table that could not be read whole, because it is missing, or row
// security or privileges hide some of it, is an error and never an equal result. No row's value appears in a result or an error;
// only with KeepValues do differing rows go into the ledger. A barrier that was missed gives no result.
//
// Not here: what follows from a difference.
package verify
