// Package plan decides: which replica identity a table gets, which tables a publication carries, what speaks against a
// migration, and how a table is cut into parts.
//
// In: shape's tables, the spec, and facts that the rooms on either side have read.
// Out: choices and problems, as values, each problem with a stable code and a remedy.
// Invariants: the same values in give the same values out; nothing here waits, asks a server or reads a clock.
//
// Not here: reading of the facts (source/prepare, target/survey), carrying out of the choices.
package plan
