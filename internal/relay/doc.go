// Package relay hands the change stream from the receiver to the applier through memory, for migrations that keep nothing on the
// worker (replication.buffer: source). The receiver takes it for a spool.
//
// In: the receiver's records, and what the target has on its disk. Out: the same records, in order, to one reader at a time.
//
// Invariants: what it calls durable is on the target's disk, so the slot is never confirmed past that; its memory is bounded, so a
// slow target holds back the source's sending and nothing else; a reader is told when the stream has a gap or begins again
// (ErrInterrupted), never given records of two beginnings as one.
//
// Not here: the connection to the source (capture), what records mean, the applied position (ledger).
package relay
