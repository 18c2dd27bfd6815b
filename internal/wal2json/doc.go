// Package wal2json words what the output plugin wal2json says as pgoutput's messages, protocol version 1, so that the
// spool and all behind it need not know which plugin the source has.
//
// In: one JSON object of format version 2, and what the catalogue says of the tables in scope. Out: the messages that pgoutput
// would have sent for it: the same rows under the same names, with the values' text as the server wrote it.
//
// Invariants: what cannot be said exactly is an error and never a guess; a change of a table in scope is never left out; a
// malformed object gives an Integrity error and never a panic.
//
// Not here: reading the catalogue (capture), the protocol around the objects, the order of transactions.
package wal2json
