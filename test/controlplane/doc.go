// Package controlplane tests what a migration does at AWS, as a table of scenarios: the real workflow and the real activities
// against the simulator over HTTP, with a real PostgreSQL server behind each instance or cluster and a real target.
//
// In: an account as somebody left it, and a spec. Out: the AWS calls in order, what people are told, and the state that is
// left, compared with testdata (run with -update to write that anew, and read the difference).
//
// Invariants: a migration that is refused has called nothing that changes anything; one that is disturbed (calls throttled,
// reads lagging, workers dying at any call) ends in the state of the undisturbed one, with one group, one rule, one reboot.
//
// Not here: what follows the creation of the slot (test/e2e), the single calls (internal/source/rdsctl).
package controlplane
