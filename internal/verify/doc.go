// Package verify compares tables of two databases: their number of rows, and an order-independent digest of what is in
// them.
//
// In: both endpoints, the tables with their columns by name, and, for databases that are being written to, a snapshot
// of each. Out: one Result for each table.
// Invariants: nothing is written. A table that could not be read whole, because it is missing, or row security or
// privileges hide some of it, is an error and never an equal Result. No row's value appears in a Result or an error.
//
// Not here: making both snapshots of the same moment, and what follows from a difference.
package verify
