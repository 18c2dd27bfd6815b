// Package awssim simulates the part of AWS that a migration from RDS talks to: the RDS query API with its instance state
// machine, and Secrets Manager, behind one http.Handler.
//
// In: HTTP requests of any AWS SDK or CLI whose endpoint points here. Out: AWS's own wire format, and calls of a Server
// hook that really restarts the PostgreSQL server playing the instance.
//
// Invariants: what RDS refuses is refused here with the same code (default groups are read-only, 20 parameters a call,
// static parameters not immediately, the right family); a parameter is in force only after what would bring it into force
// on RDS; nothing restarts a server but RebootDBInstance.
//
// Not here: checking of signatures, other engines than PostgreSQL, migration logic. Production code never imports it.
package awssim
