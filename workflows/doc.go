// Package workflows holds LiveMigration, the durable story of one migration: read migration.go from top to bottom.
//
// Only deterministic code lives here. What touches the world is an activity; what a history holds is in contract.
//
// Not here: I/O, clocks, SQL, rooms.
package workflows
