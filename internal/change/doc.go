// Package change holds the one parcel that travels from the source to the target: positions, relations and changes.
//
// In: nothing. Out: values that pgoutput makes, and apply consumes, one after the other, so that a transaction of any
// size never has to be held in memory.
//
// Not here: wire or disk bytes (pgoutput, segment), connections.
package change
