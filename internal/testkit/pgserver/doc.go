// Package pgserver runs real PostgreSQL servers on loopback for tests and for the sandbox.
//
// In: a kind of server (source: plain PostgreSQL, 12 to 18; target: PostgreSQL with TimescaleDB) and settings. Out: a
// running server with its address and its superuser's Endpoint; the Ensure functions install what such servers need:
// Debian's packages, npm's @embedded-postgres for source versions that Debian does not have, pinned by digest, and
// directories with another Debian for TimescaleDB.
// Invariants: servers listen on 127.0.0.1 only, with scram passwords, and die with the process that started them.
// Durability against power loss is switched off (fsync=off): data survives Kill, not a crash of the machine.
//
// Not here: databases, roles and test helpers (pgtest), RDS's behaviour (sandbox).
package pgserver
