// Package rdsctl reads and changes an RDS instance or cluster through the AWS API: its parameter group, the attachment of a
// group, the reboot, its secrets, and the rule of a security group that lets the worker in.
//
// In: the instance's or cluster's identifier and the parameters wanted. Out: what it is (Instance), what has to be done to
// its parameter group (GroupPlan), and a database whose parameters are in force.
//
// The three kinds differ in their calls (instance.go, cluster.go; groups.go for the two kinds of parameter group);
// what is done with those calls, and in which order, is written once for all.
//
// Invariants: default groups and groups of others are never changed; other people's pending modifications are never set
// off; a reboot is asked for only by Reboot, only while pending-reboot, and never with failover; a security group's rule that
// was there before is never Ours, and the whole world is never let in; every call can be repeated, also after it died half
// way.
//
// Not here: whether and when a reboot is allowed, and anything that connects to PostgreSQL.
package rdsctl
