// Package capture receives the source's change stream and keeps it in the spool.
//
// In: a replication slot (pgoutput, protocol version 1). Out: spool records; progress for whoever asks.
//
// Invariants: the slot is never confirmed past what the spool holds durably; every transaction that the slot yields is
// appended once and whole; the server hears from us in time even while the disk is slow or full.
//
// Not here: making or dropping slots, decoding of changes, removing of spooled segments.
package capture
