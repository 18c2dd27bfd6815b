// Package demo runs one whole migration on the sandbox's world, as a person would, and proves its end.
//
// In: a world's options, a rate of writes. Out: progress and the report for a person, report.json, and an error unless
// everything that was promised is true.
// Invariants: it steers by the starter program alone, and it proves with SQL of its own: nothing here asks the code under
// test whether it was right.
//
// Not here: how the world is made (world), what is written (load).
package demo
