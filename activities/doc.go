// Package activities holds the thin Temporal shells around the rooms of internal/: unpack the input, call a room,
// heartbeat, translate the error.
//
// Every activity may run twice, or half and then again, with the same end. What makes that so stands in its comment
// ("Safe to repeat because"), with what it heartbeats and what undoes it.
//
// Not here: SQL, loops over rows, retry loops, decisions.
package activities
