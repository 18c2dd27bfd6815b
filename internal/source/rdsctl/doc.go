// Package rdsctl reads and changes an RDS instance through the AWS API: its parameter group, the attachment of a group,
// the reboot, its secrets, and the rule of a security group that lets the worker in.
//
// In: an instance's identifier and the parameters wanted. Out: what the instance is (Instance), what has to be done to its
// parameter group (GroupPlan), and an instance whose parameters are in force.
//
// Invariants: default groups and groups of others are never changed; other people's pending modifications are never set
// off; an instance is rebooted only by Reboot, only while it is pending-reboot, and never with failover; a security group's
// rule that was there before is never Ours, and the whole world is never let in; every call can be repeated, also after it
// died half way.
//
// Not here: whether and when a reboot is allowed, and anything that connects to PostgreSQL.
package rdsctl
