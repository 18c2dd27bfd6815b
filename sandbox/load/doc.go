// Package load is the application of the sandbox's shop: it writes all the time, and remembers what it was told is safe.
//
// In: how to log in as the application, a number of connections, a rate. Out: transactions on every table of the shop,
// each with one row in load_journal; afterwards a Summary, and Check, which compares a database with it.
// Invariants: a transaction is acknowledged when COMMIT was answered, ambiguous when the answer did not come, otherwise
// rolled back. Every attempt has a number of its own, so each of the three can be looked up later. A server that restarts
// or refuses writes is no failure; an error that the application would not expect is one, and is kept.
//
// Not here: the schema (package shop), comparing tables (demo).
package load
