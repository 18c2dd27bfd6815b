// Package prepare reads preflight's facts of the source, and makes and undoes what a migration changes there in SQL: replica
// identities and the publication.
//
// In: an ordinary session of the source's user (no superuser is needed), and plan's choices. Out: plan.SourceFacts, the
// changes, and what is left of them.
// Invariants: no relation joins a publication of updates before its replica identity works; what was there before a
// change is recorded before the change; no lock is waited for longer than a moment, since the application's statements
// queue behind the waiter; everything can run again, or half and then again.
//
// Not here: RDS parameters and reboots (source/rdsctl), the slot (source/slot), the choices themselves (plan), rows.
package prepare
