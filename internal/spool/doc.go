// Package spool keeps the source's change stream on disk between the receiver and the applier: an append-only log of
// segment files in one directory per migration.
//
// In: replication messages and positions, from one writer. Out: the same records, in order, to any number of readers.
//
// Invariants: readers see whole transactions only, each once; a transaction counts as durable only after an fsync that
// covers it; what an interrupted writer leaves behind is cut back to the last whole transaction; a segment begins at a
// transaction border and with every relation described so far, so reading can start at any segment; after a failed fsync
// the spool refuses all work, because the kernel may have dropped the pages that it could not write.
//
// Not here: the file format (segment), the connection to the source (capture), the meaning of messages (pgoutput).
package spool
