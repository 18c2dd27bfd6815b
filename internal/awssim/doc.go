// Package awssim simulates the part of AWS that a migration from RDS talks to: the RDS query API with the state machines of
// instances and clusters, EC2's security groups and machines, Secrets Manager with rotation, SSM's parameters, and instance
// metadata. One http.Handler answers the APIs; Metadata gives another, since AWS has it at an address of its own.
//
// In: HTTP requests of any AWS SDK or CLI whose endpoint points here; faults, by Inject or by HTTP (see serveControl). Out:
// AWS's own wire format, a log of all calls (Log, or GET /_control/calls), and calls of hooks: Server really restarts the
// PostgreSQL server playing the instance, OnIngress hears of inbound rules, OnCall of every call before its answer.
//
// Invariants: what AWS refuses is refused here with the same code (default groups are read-only, 20 parameters a call,
// static parameters not immediately, the right family, a security group in use); a parameter is in force only after what
// would bring it into force on RDS; nothing restarts a server but RebootDBInstance and RebootDBCluster; every call is in the
// log, in the order in which the calls took effect. The AWS CLI agrees with all of it (cli_test.go).
//
// Not here: checking of signatures and permissions, other engines than PostgreSQL, machines that run anything, migration
// logic. Production code never imports it.
package awssim
