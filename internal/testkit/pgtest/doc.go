// Package pgtest gives tests databases on real PostgreSQL servers.
//
// In: a test. Out: a fresh, empty database on a source (plain PostgreSQL with RDS's roles) or a target (PostgreSQL with
// TimescaleDB), dropped when the test ends.
// Invariants: the servers start with the first test that asks, are shared by the tests of one process, and are stopped
// by Main. Roles and replication slots are shared by all databases of a server: give them names of their own.
// Without an installed server a test is skipped, or fails if TIMEFERRY_REQUIRE has the word "pg".
//
// Not here: running servers (pgserver).
package pgtest
