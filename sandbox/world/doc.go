// Package world runs the sandbox's world on this machine: the PostgreSQL server that plays the RDS instance with its
// simulated API, the TimescaleDB target, a Temporal development server, and a worker.
//
// Both servers take encrypted sessions only, with certificates of authorities made for this world alone, and the spec has
// them checked. The instance's security group can be made a gate that really shuts.
//
// In: ports, how much data, a directory for state. Out: a running world, with endpoints, a spec for its migration, and the
// environment that worker, starter, temporal and tctl need.
// Invariants: everything listens on 127.0.0.1 only. Every process is a child of this one and dies with it; Stop leaves
// none. Passwords are made anew each time, and are in files that only their owner can read.
//
// Not here: the schema (shop), writing (load), what the demo proves (demo).
package world
