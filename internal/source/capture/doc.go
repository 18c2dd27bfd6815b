// Package capture receives the source's change stream and keeps it in the spool.
//
// In: a replication slot (pgoutput, protocol versions 1 and 2, or wal2json), streamed or taken in bulk. Out: spool records, pgoutput's
// messages either way; progress for whoever asks.
//
// Invariants: the slot is never confirmed past what the spool holds durably; every transaction that the slot yields is
// appended once and whole; nothing is taken from another system, or from a history that lacks what was received; the server
// hears from us in time even while the disk is slow or full.
//
// Not here: making or dropping slots, decoding of changes, removing of spooled segments.
package capture
