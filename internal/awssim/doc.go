// Package awssim simulates the part of AWS that a migration from RDS talks to: the RDS query API with the state machines of
// instances and clusters, EC2's security groups, Secrets Manager with rotation, and instance metadata. One http.Handler
// answers the APIs; Metadata gives another, since AWS has it at an address of its own.
//
// In: HTTP requests of any AWS SDK or CLI whose endpoint points here; faults, by Inject or by HTTP (see serveControl). Out:
// AWS's own wire format, a log of all calls (Log, or GET /_control/calls), and calls of hooks: Server really restarts the
// PostgreSQL server playing the instance, OnIngress hears of inbound rules.
//
// Invariants: what RDS refuses is refused here with the same code (default groups are read-only, 20 parameters a call,
// static parameters not immediately, the right family); a parameter is in force only after what would bring it into force
// on RDS; nothing restarts a server but RebootDBInstance and RebootDBCluster; every call is in the log, in the order in
// which the calls took effect.
//
// Not here: checking of signatures, other engines than PostgreSQL, migration logic. Production code never imports it.
package awssim
