// Package survey reads preflight's facts of the target.
//
// In: an ordinary session of the target's user, and the names that the migration wants. Out: plan.TargetFacts.
// Invariants: nothing is changed.
//
// Not here: judgement of the facts (plan), making of anything (target/provision).
package survey
