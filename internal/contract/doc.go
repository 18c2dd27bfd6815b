// Package contract is what people and programs rely on: the names of the workflow, its signals, query and phases, and
// everything that is serialised into a Temporal history: spec, status, report, and the activities' inputs and results.
//
// In: JSON. Out: validated values.
// Invariants: the JSON form is kept by golden files in testdata; a change of it needs workflow.GetVersion and a replay
// fixture. No field ever holds a secret: only references to one.
//
// Not here: behaviour beyond validation.
package contract
