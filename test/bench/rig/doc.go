// Package rig is what the benchmarks of whole programs run on: a source and a target server with one database and one role
// that every contender logs in as, and the programs of others.
//
// In: versions and settings. Out: running servers, commands, the processor time of both, what their sessions wait for.
// Invariants: the role is no superuser, as with managed servers; servers and programs die with the process that opened the rig.
//
// Not here: what is measured (copy, stream), what is said about it (report).
package rig
