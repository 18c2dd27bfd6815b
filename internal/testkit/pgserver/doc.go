// Package pgserver runs real PostgreSQL servers on loopback for tests and for the sandbox.
//
// In: a kind of server (source: plain PostgreSQL; target: PostgreSQL with TimescaleDB) and settings. Out: a running
// server with its address and its superuser's Endpoint; Ensure installs what such servers need.
// Invariants: servers listen on 127.0.0.1 only, with scram passwords, and die with the process that started them.
// Durability against power loss is switched off (fsync=off): data survives Kill, not a crash of the machine.
//
// Not here: databases, roles and test helpers (pgtest), RDS's behaviour (sandbox).
package pgserver
