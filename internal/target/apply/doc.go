// Package apply puts the source's changes on the target, exactly once.
//
// In: a Feed of change.Event in commit order, from the position that the ledger holds. Out: rows on the target, the
// ledger's position, and Progress.
//
// One goroutine (gather) reads the feed, keeps the net change per table and key, and turns it into steps: SQL with its
// parameters, or rows for COPY. Another (Run's own) executes them. They meet at an unbuffered channel of batches, so at
// most two batches are in memory, whatever the size of a transaction.
//
// Invariants:
//   - A target transaction holds whole source transactions, and moves the ledger's position as its last statement. A
//     crash at any moment leaves both or neither.
//   - With Lanes a large batch is shared among several connections by key. Each commits its share with a note of its own, only after
//     all of them have run, and the position last; whoever comes after a crash in between applies the shares that are missing.
//   - The ledger's row is locked and compared with the expected position first: of two appliers only one can win.
//   - Every update and delete must find exactly one row. A batch that does not add up, or that the target refuses, is
//     rolled back and replayed change by change in the source's order; what fails then is a fault that names the table,
//     the constraint and a hash of the key, never a value.
//   - FlushedLSN is behind AppliedLSN until the target's WAL is on its disk: commits are asynchronous.
//   - Partitions that the source publishes one by one (before PostgreSQL 13) are one table here, with one net change: that
//     which the plan names.
//   - Without session_replication_role=replica every change is applied in the source's order, so that foreign keys and
//     triggers see what they saw there.
//
// Not here: reading the source, DDL, sequences.
package apply
