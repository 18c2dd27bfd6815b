// Package slot lives the life of the migration's replication slot, and holds the snapshot that goes with it.
//
// In: the source's endpoint and the slot's name. Out: a snapshot with its exact consistent point (every transaction whose
// commit LSN is below the point is visible in the snapshot, no other is), and the slot's state.
// Invariants: the permanent slot exists before any consistent point that is handed out, so no change between them can be
// missed; a slot that should be there and is not is never silently replaced.
//
// Not here: decoding, receiving, the publication.
package slot
